// SPDX-License-Identifier: BSL-1.0
// The http client and nginx: certificates, sessions, and what a client shows of its own.
#include <chrono>
#include <string>
#include <string_view>

#include <support/certificate_cases.hpp>
#include <support/http_fixture.hpp>
#include <support/real_servers.hpp>

namespace {

using rondo::test::leaf_params;
using rondo::test::servers;
using rondo::test::test_trust;
using verb = rondo::http::beast_http::verb;

struct origins_fixture : rondo::test::http_fixture {
  void trust(rondo::http::tls_options const& settings) {
    rondo::http::client_options options;
    options.tls = rondo::http::make_tls_context(settings).value();
    options.hosts["api.rondo.test"] = {boost::asio::ip::address_v4::loopback()};
    use_client(options);
  }

  boost::system::result<rondo::http::response, rondo::http::failure>
  ask(std::string_view host, rondo::test::real_server const& server, std::string_view target) {
    rondo::http::exchange_options options;
    options.connect_timeout = std::chrono::seconds{20}; // a machine under load is no fault of the origin
    auto const to = url_of("https", host, server.port());
    auto const request = request_of(verb::get, target);
    return run(client->send(to, request, options));
  }
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(real_origins, origins_fixture)

BOOST_AUTO_TEST_CASE(nginx_with_certificates_of_every_kind) {
  rondo::test::temporary_directory files;
  for (auto const& c : rondo::test::certificate_cases(files)) {
    auto const server = servers::nginx(c.shown, "ssl_ciphers DEFAULT:@SECLEVEL=0;");
    if (!server) {
      return;
    }
    trust(c.trust);
    auto const got = ask(c.host, *server, "/status/");
    if (c.good) {
      BOOST_TEST((got && got->result_int() == 429U), c.what << ": " << (got ? "" : got.error().ec.message()));
    } else {
      BOOST_TEST((!got && got.error().ec == rondo::error::certificate_rejected),
                 c.what << ": " << (got ? "believed" : got.error().ec.message()));
      BOOST_TEST((!got && !got.error().written && got.error().who == rondo::blame::origin));
    }
  }
}

BOOST_AUTO_TEST_CASE(nginx_resumes_sessions_and_sees_no_ticket_twice) {
  for (auto const* const version : {"TLSv1.2", "TLSv1.3"}) {
    auto const server =
        servers::nginx(test_trust::instance().root.issue(), std::string{"ssl_protocols "} + version + ";");
    if (!server) {
      return;
    }
    trust({test_trust::instance().ca_file});
    std::string resumed;
    for (auto i = 0; i < 4; ++i) {
      auto const got = ask("localhost", *server, "/resumed");
      BOOST_TEST_REQUIRE(got.has_value());
      resumed += got->body();
      client->close_idle();
    }
    // with TLS 1.2 a resumed session brings no new ticket
    BOOST_TEST(resumed == (std::string_view{version} == "TLSv1.2" ? ".r.r" : ".rrr"), version);
    // by another name it is another origin, whose tickets are its own
    auto const got = ask("127.0.0.1", *server, "/resumed");
    BOOST_TEST((got && got->body() == "."), version);
  }
}

BOOST_AUTO_TEST_CASE(nginx_asks_for_a_certificate) {
  auto const& root = test_trust::instance().root;
  auto const server = servers::nginx(root.issue(), "ssl_client_certificate " + test_trust::instance().ca_file +
                                                       ";\n    ssl_verify_client on;");
  if (!server) {
    return;
  }
  rondo::test::temporary_directory files;
  leaf_params for_clients;
  for_clients.extended_usage = "clientAuth";
  auto const us = root.issue(for_clients);
  rondo::http::tls_options options{.ca_file = test_trust::instance().ca_file};
  trust(options);
  auto got = ask("localhost", *server, "/status/");
  BOOST_TEST((got && got->result_int() == 400U)); // nginx says so in HTTP
  options.certificate_file = files.write("us.pem", us.certificate + us.key);
  trust(options);
  got = ask("localhost", *server, "/status/");
  BOOST_TEST((got && got->result_int() == 429U));
}

BOOST_AUTO_TEST_CASE(nginx_speaks_only_what_is_too_old) {
  auto const server =
      servers::nginx(test_trust::instance().root.issue(), "ssl_protocols TLSv1.1; ssl_ciphers ALL:@SECLEVEL=0;");
  if (!server) {
    return;
  }
  trust({test_trust::instance().ca_file});
  auto const got = ask("localhost", *server, "/status/");
  BOOST_TEST((!got && got.error().ec == rondo::error::tls_handshake_failed));
}

BOOST_AUTO_TEST_SUITE_END()
