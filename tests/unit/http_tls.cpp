// SPDX-License-Identifier: BSL-1.0
// Which servers are believed, and how.
#include <boost/asio/post.hpp>

#include <openssl/ssl.h>

#include <chrono>
#include <string>
#include <vector>

#include <support/http_fixture.hpp>

namespace {

using namespace std::chrono_literals;
using rondo::test::authority;
using rondo::test::leaf_params;
using rondo::test::peer;
using rondo::test::scripted_server;
using rondo::test::test_trust;
using rondo::test::asio::awaitable;
using verb = rondo::http::beast_http::verb;

constexpr std::string_view ok = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

struct tls_fixture : rondo::test::http_fixture {
  /// What a request to `host` gives when the server shows a certificate made of `p`.
  rondo::error_code ask(std::string_view host, rondo::test::identity const& shown) {
    auto server_tls = rondo::test::server_context(shown);
    auto asked = 0;
    scripted_server server{context, [&](peer& p) -> awaitable<void> {
                             co_await p.start_tls(server_tls);
                             co_await p.read_request();
                             ++asked;
                             co_await p.write(ok);
                             co_await p.wait_for_close();
                           }};
    auto const to = url_of("https", host, server.port());
    auto const request = request_of(verb::get);
    auto const got = run(client->send(to, request));
    BOOST_TEST(asked == (got ? 1 : 0));
    client->close_idle();
    if (got) {
      return {};
    }
    BOOST_TEST(!got.error().written);
    BOOST_TEST((got.error().who == rondo::blame::origin));
    return got.error().ec;
  }
  rondo::error_code ask(std::string_view host, leaf_params const& p) {
    return ask(host, test_trust::instance().root.issue(p));
  }
};

leaf_params names(std::vector<std::string> alternative_names, std::string common_name = "server") {
  leaf_params p;
  p.alternative_names = std::move(alternative_names);
  p.common_name = std::move(common_name);
  return p;
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(http_tls, tls_fixture)

BOOST_AUTO_TEST_CASE(good_certificates) {
  BOOST_TEST(!ask("localhost", leaf_params{}));
  BOOST_TEST(!ask("127.0.0.1", leaf_params{}));
  BOOST_TEST(!ask("127.0.0.1", names({"IP:127.0.0.1"})));
}

BOOST_AUTO_TEST_CASE(bad_certificates) {
  auto const refused = [](rondo::error_code ec) { return ec == rondo::error::certificate_rejected; };
  BOOST_TEST(refused(ask("localhost", names({"DNS:example.com"}))), "another host");
  BOOST_TEST(refused(ask("localhost", names({}, "localhost"))), "common name only");
  BOOST_TEST(refused(ask("localhost", names({"DNS:example.com"}, "localhost"))), "common name beside another name");
  BOOST_TEST(refused(ask("localhost", names({"email:localhost@localhost"}, "localhost"))), "common name and e-mail");
  BOOST_TEST(refused(ask("localhost", names({"DNS:local*"}))), "partial wildcard");
  BOOST_TEST(refused(ask("localhost", names({"DNS:*"}))), "wildcard alone");
  BOOST_TEST(refused(ask("127.0.0.1", names({"DNS:127.0.0.1"}))), "an address written as a name");
  BOOST_TEST(refused(ask("127.0.0.1", names({"DNS:localhost"}, "127.0.0.1"))), "an address in the common name");
  BOOST_TEST(refused(ask("127.0.0.1", names({"IP:127.0.0.2"}))), "another address");
  BOOST_TEST(refused(ask("localhost", names({"IP:127.0.0.1"}))), "an address for a name");

  leaf_params expired;
  expired.not_before = -48h;
  expired.not_after = -1h;
  BOOST_TEST(refused(ask("localhost", expired)), "expired");
  leaf_params future;
  future.not_before = 1h;
  BOOST_TEST(refused(ask("localhost", future)), "not valid yet");
  leaf_params for_clients;
  for_clients.extended_usage = "clientAuth";
  BOOST_TEST(refused(ask("localhost", for_clients)), "for clients only");

  authority const stranger;
  BOOST_TEST(refused(ask("localhost", stranger.issue())), "unknown authority");
  authority const impostor{"rondo test authority"};
  BOOST_TEST(refused(ask("localhost", impostor.issue())), "an authority of the same name");
}

BOOST_AUTO_TEST_CASE(a_context_without_verification_verifies_all_the_same) {
  rondo::http::client_options options;
  options.tls = std::make_shared<boost::asio::ssl::context>(boost::asio::ssl::context::tls_client);
  options.tls->set_verify_mode(boost::asio::ssl::verify_none);
  use_client(options);
  BOOST_TEST((ask("localhost", leaf_params{}) == rondo::error::certificate_rejected));
}

BOOST_AUTO_TEST_CASE(files_that_hold_no_authority) {
  rondo::test::temporary_directory files;
  for (auto const& file :
       {files.write("empty.pem", ""), files.write("text.pem", "hello"), std::string{"/nowhere/ca"}}) {
    auto const made = rondo::http::make_tls_context({file});
    BOOST_TEST((!made && made.error() == rondo::error::invalid_trust));
  }
}

BOOST_AUTO_TEST_CASE(names_are_announced_and_addresses_are_not) {
  auto server_tls = rondo::test::server_context(test_trust::instance().root.issue());
  std::string announced = "nothing asked";
  scripted_server server{context, [&](peer& p) -> awaitable<void> {
                           co_await p.start_tls(server_tls);
                           announced = p.server_name();
                           co_await p.read_request();
                           co_await p.write(ok);
                         }};
  auto const request = request_of(verb::get);
  auto const name = url_of("https", "localhost", server.port());
  BOOST_TEST(run(client->send(name, request)).has_value());
  BOOST_TEST(announced == "localhost");
  auto const address = url_of("https", "127.0.0.1", server.port());
  BOOST_TEST(run(client->send(address, request)).has_value());
  BOOST_TEST(announced.empty());
}

BOOST_AUTO_TEST_CASE(old_versions_are_refused) {
  for (auto const version : {TLS1_1_VERSION, TLS1_2_VERSION, TLS1_3_VERSION}) {
    auto server_tls = rondo::test::server_context(test_trust::instance().root.issue());
    SSL_CTX_set_security_level(server_tls.native_handle(), 0);
    SSL_CTX_set_min_proto_version(server_tls.native_handle(), version);
    SSL_CTX_set_max_proto_version(server_tls.native_handle(), version);
    scripted_server server{context, [&](peer& p) -> awaitable<void> {
                             co_await p.start_tls(server_tls);
                             co_await p.read_request();
                             co_await p.write(ok);
                           }};
    auto const to = url_of("https", "localhost", server.port());
    auto const request = request_of(verb::get);
    auto const got = run(client->send(to, request));
    BOOST_TEST(got.has_value() == (version != TLS1_1_VERSION));
    if (!got) {
      BOOST_TEST((got.error().ec == rondo::error::tls_handshake_failed));
    }
  }
}

BOOST_AUTO_TEST_CASE(tickets_are_used_once_and_for_their_own_origin) {
  for (auto const version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    auto server_tls = rondo::test::server_context(test_trust::instance().root.issue());
    SSL_CTX_set_max_proto_version(server_tls.native_handle(), version);
    SSL_CTX_set_num_tickets(server_tls.native_handle(), 1);
    std::vector<bool> resumed;
    scripted_server server{context, [&](peer& p) -> awaitable<void> {
                             co_await p.start_tls(server_tls);
                             resumed.push_back(p.resumed());
                             for (;;) {
                               co_await p.read_request();
                               co_await p.write(ok);
                             }
                           }};
    auto const request = request_of(verb::get);
    auto const name = url_of("https", "localhost", server.port());
    auto const address = url_of("https", "127.0.0.1", server.port());
    BOOST_TEST(run(client->send(name, request)).has_value());
    client->close_idle();
    BOOST_TEST(run(client->send(name, request)).has_value());
    client->close_idle();
    BOOST_TEST(run(client->send(address, request)).has_value()); // the same server by another name: no ticket
    BOOST_REQUIRE(resumed.size() == 3U);
    BOOST_TEST(!resumed[0]);
    BOOST_TEST(resumed[1]);
    BOOST_TEST(!resumed[2]);
    client->close_idle();
  }
}

BOOST_AUTO_TEST_CASE(two_connections_at_once_do_not_share_a_ticket) {
  auto server_tls = rondo::test::server_context(test_trust::instance().root.issue());
  SSL_CTX_set_num_tickets(server_tls.native_handle(), 1);
  auto resumed = 0;
  auto together = 1U;
  scripted_server* self = nullptr;
  scripted_server server{context, [&](peer& p) -> awaitable<void> {
                           while (self->accepted() < together) { // both say hello before either gets an answer
                             co_await boost::asio::post(boost::asio::use_awaitable);
                           }
                           co_await p.start_tls(server_tls);
                           resumed += p.resumed() ? 1 : 0;
                           co_await p.read_request();
                           co_await p.write(ok);
                           co_await p.wait_for_close();
                         }};
  self = &server;
  auto const to = url_of("https", "localhost", server.port());
  auto const request = request_of(verb::get);
  BOOST_TEST(run(client->send(to, request)).has_value());
  client->close_idle();
  together = 3;
  auto answered = 0;
  for (auto i = 0; i < 2; ++i) {
    client->async_send(to, request, {}, [&](rondo::error_code ec, rondo::http::response const&) {
      BOOST_TEST(!ec);
      ++answered;
    });
  }
  context.restart();
  while (answered < 2 && context.run_one() > 0) {
  }
  BOOST_TEST(answered == 2);
  BOOST_TEST(resumed == 1);
}

BOOST_AUTO_TEST_CASE(a_body_that_ends_with_the_connection_needs_a_proper_end) {
  auto server_tls = rondo::test::server_context(test_trust::instance().root.issue());
  for (auto const proper : {true, false}) {
    scripted_server server{context, [&, proper](peer& p) -> awaitable<void> {
                             co_await p.start_tls(server_tls);
                             co_await p.read_request();
                             co_await p.write("HTTP/1.1 200 OK\r\n\r\nhello");
                             if (proper) {
                               co_await p.shut_down_tls();
                             }
                           }};
    auto const to = url_of("https", "localhost", server.port());
    auto const request = request_of(verb::get);
    auto const got = run(client->send(to, request));
    if (proper) {
      BOOST_TEST((got && got->body() == "hello"));
    } else {
      BOOST_TEST((!got && got.error().ec == rondo::error::truncated_response));
    }
    BOOST_TEST(client->idle_connections() == 0);
  }
}

BOOST_AUTO_TEST_CASE(large_bodies_in_both_directions) {
  auto server_tls = rondo::test::server_context(test_trust::instance().root.issue());
  scripted_server server{context, [&](peer& p) -> awaitable<void> {
                           co_await p.start_tls(server_tls);
                           for (;;) {
                             auto const request = co_await p.read_request();
                             auto const body = request.substr(request.find("\r\n\r\n") + 4);
                             co_await p.write("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) +
                                              "\r\n\r\n" + body);
                           }
                         }};
  auto const to = url_of("https", "localhost", server.port());
  for (std::size_t const size : {0, 1, 16'000, 16'384, 16'385, 100'000, 2'000'000}) {
    auto const request = request_of(verb::post, "/", std::string(size, 'x'));
    auto const got = run(client->send(to, request));
    BOOST_TEST_REQUIRE(got.has_value());
    BOOST_TEST((got->body() == request.body()), "size " << size);
  }
  BOOST_TEST(server.accepted() == 1);
}

BOOST_AUTO_TEST_SUITE_END()
