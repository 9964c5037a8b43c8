// SPDX-License-Identifier: BSL-1.0
// Which servers are believed, and how.
#include <boost/asio/post.hpp>

#include <openssl/ssl.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include <support/certificate_cases.hpp>
#include <support/http_fixture.hpp>

namespace {

using namespace std::chrono_literals;
using rondo::test::authority;
using rondo::test::leaf_params;
using rondo::test::ok;
using rondo::test::peer;
using rondo::test::scripted_server;
using rondo::test::test_trust;
using rondo::test::asio::awaitable;
using verb = rondo::http::beast_http::verb;

struct tls_fixture : rondo::test::http_fixture {
  /// A client with these settings that finds `api.rondo.test` on this machine.
  void trust(rondo::http::tls_options const& settings) {
    rondo::http::client_options options;
    options.tls = rondo::http::make_tls_context(settings).value();
    options.hosts["api.rondo.test"] = {boost::asio::ip::address_v4::loopback()};
    use_client(options);
  }

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

} // namespace

BOOST_FIXTURE_TEST_SUITE(http_tls, tls_fixture)

BOOST_AUTO_TEST_CASE(certificates_of_every_kind) {
  rondo::test::temporary_directory files;
  for (auto const& c : rondo::test::certificate_cases(files)) {
    trust(c.trust);
    auto const ec = ask(c.host, c.shown);
    BOOST_TEST((c.good ? !ec : ec == rondo::error::certificate_rejected), c.what << ": " << ec.message());
  }
}

BOOST_AUTO_TEST_CASE(pinned_keys) {
  auto const& root = test_trust::instance().root;
  authority const middle{"pinned intermediate", root};
  auto const shown = middle.issue();
  auto const pins = [&](std::vector<std::string> list) {
    rondo::http::tls_options options;
    options.ca_file = test_trust::instance().ca_file;
    options.pins = std::move(list);
    trust(options);
    return ask("localhost", shown);
  };
  auto const other = rondo::test::pin_of(root.issue().certificate);
  auto const own = rondo::test::pin_of(shown.certificate);
  BOOST_TEST(!pins({own}));
  BOOST_TEST(!pins({"sha256//" + own}));
  BOOST_TEST(!pins({other, own}));
  BOOST_TEST(!pins({rondo::test::pin_of(middle.certificate())}), "an authority of the chain");
  BOOST_TEST(!pins({rondo::test::pin_of(root.certificate())}), "the root");
  BOOST_TEST((pins({other}) == rondo::error::certificate_not_pinned));
  // a pin is no trust
  rondo::http::tls_options stranger;
  authority const unknown{"nobody knows it"};
  auto const theirs = unknown.issue();
  stranger.ca_file = test_trust::instance().ca_file;
  stranger.pins = {rondo::test::pin_of(theirs.certificate)};
  trust(stranger);
  BOOST_TEST((ask("localhost", theirs) == rondo::error::certificate_rejected));
}

BOOST_AUTO_TEST_CASE(a_certificate_of_our_own_is_shown_to_who_asks) {
  auto const& root = test_trust::instance().root;
  rondo::test::temporary_directory files;
  leaf_params for_clients;
  for_clients.extended_usage = "clientAuth";
  auto const us = root.issue(for_clients);
  authority const stranger;
  auto const them = stranger.issue(for_clients);
  rondo::http::tls_options nobody;
  nobody.ca_file = test_trust::instance().ca_file;
  auto ours = nobody;
  ours.certificate_file = files.write("us.pem", us.certificate);
  ours.key_file = files.write("us.key", us.key);
  auto in_one_file = nobody;
  in_one_file.certificate_file = files.write("both.pem", us.key + us.certificate);
  auto theirs = nobody;
  theirs.certificate_file = files.write("them.pem", them.certificate + them.key);
  for (auto const version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    auto server_tls = rondo::test::server_context(root.issue());
    SSL_CTX_set_max_proto_version(server_tls.native_handle(), version);
    server_tls.load_verify_file(nobody.ca_file);
    server_tls.set_verify_mode(boost::asio::ssl::verify_peer | boost::asio::ssl::verify_fail_if_no_peer_cert);
    SSL_CTX_set_session_id_context(server_tls.native_handle(), reinterpret_cast<unsigned char const*>("rondo"), 5);
    scripted_server server{context, [&](peer& p) -> awaitable<void> {
                             co_await p.start_tls(server_tls);
                             co_await p.read_request();
                             co_await p.write(ok);
                             co_await p.wait_for_close();
                           }};
    auto const to = url_of("https", "localhost", server.port());
    auto const request = request_of(verb::post, "/", "{}");
    for (auto const* const good : {&ours, &in_one_file}) {
      trust(*good);
      auto const got = run(client->send(to, request));
      BOOST_TEST(got.has_value(), (got ? "" : got.error().ec.message()));
    }
    for (auto const* const bad : {&nobody, &theirs}) {
      trust(*bad);
      auto const got = run(client->send(to, request));
      BOOST_TEST_REQUIRE(!got.has_value());
      // the server of TLS 1.3 may have gone, with a reset, before its alert was read
      BOOST_TEST((got.error().ec == rondo::error::tls_handshake_failed ||
                  (version == TLS1_3_VERSION && got.error().ec == rondo::error::connection_lost)),
                 got.error().ec.message());
      BOOST_TEST(client->idle_connections() == 0);
    }
  }
}

BOOST_AUTO_TEST_CASE(keys_are_logged_for_nobody) {
  rondo::test::temporary_directory files;
  auto const log = (files.path() / "keys.log").string();
  BOOST_REQUIRE(::setenv("SSLKEYLOGFILE", log.c_str(), 1) == 0);
  static int logged;
  logged = 0;
  rondo::http::client_options options;
  options.tls = rondo::http::make_tls_context({test_trust::instance().ca_file}).value();
  SSL_CTX_set_keylog_callback(options.tls->native_handle(), [](SSL const*, char const*) { ++logged; });
  use_client(options);
  BOOST_TEST(!ask("localhost", leaf_params{}));
  trust({test_trust::instance().ca_file});
  BOOST_TEST(!ask("localhost", leaf_params{}));
  ::unsetenv("SSLKEYLOGFILE");
  BOOST_TEST(logged == 0);
  BOOST_TEST(!std::filesystem::exists(log));
}

BOOST_AUTO_TEST_CASE(only_http_1_1_is_offered_and_taken) {
  static std::string offered;
  static std::string chosen;
  auto server_tls = rondo::test::server_context(test_trust::instance().root.issue());
  SSL_CTX_set_alpn_select_cb(
      server_tls.native_handle(),
      [](SSL*, unsigned char const** out, unsigned char* size, unsigned char const* in, unsigned in_size, void*) {
        offered.assign(reinterpret_cast<char const*>(in), in_size);
        *out = reinterpret_cast<unsigned char const*>(chosen.data());
        *size = static_cast<unsigned char>(chosen.size());
        return chosen.empty() ? SSL_TLSEXT_ERR_NOACK : SSL_TLSEXT_ERR_OK;
      },
      nullptr);
  for (auto const* const choice : {"http/1.1", "", "h2"}) {
    chosen = choice;
    scripted_server server{context, [&](peer& p) -> awaitable<void> {
                             co_await p.start_tls(server_tls);
                             co_await p.read_request();
                             co_await p.write(ok);
                             co_await p.wait_for_close();
                           }};
    auto const to = url_of("https", "localhost", server.port());
    auto const request = request_of(verb::get);
    auto const got = run(client->send(to, request));
    BOOST_TEST(offered == "\x08http/1.1");
    BOOST_TEST(got.has_value() == (chosen != "h2"));
    if (!got) {
      BOOST_TEST((got.error().ec == rondo::error::tls_handshake_failed && !got.error().written));
    }
    client->close_idle();
  }
}

BOOST_AUTO_TEST_CASE(a_context_without_verification_verifies_all_the_same) {
  rondo::http::client_options options;
  options.tls = std::make_shared<boost::asio::ssl::context>(boost::asio::ssl::context::tls_client);
  options.tls->set_verify_mode(boost::asio::ssl::verify_none);
  use_client(options);
  BOOST_TEST((ask("localhost", leaf_params{}) == rondo::error::certificate_rejected));
}

BOOST_AUTO_TEST_CASE(settings_that_cannot_be_used) {
  rondo::test::temporary_directory files;
  auto const refused = [](rondo::http::tls_options const& options) {
    auto const made = rondo::http::make_tls_context(options);
    return !made && made.error() == rondo::error::invalid_trust;
  };
  rondo::http::tls_options const good{.ca_file = test_trust::instance().ca_file};
  auto const us = test_trust::instance().root.issue();
  auto const certificate = files.write("us.pem", us.certificate);
  auto const key = files.write("other.key", test_trust::instance().root.issue().key);
  auto options = good;
  options.certificate_file = "/nowhere/us";
  BOOST_TEST(refused(options));
  options.certificate_file = certificate;
  BOOST_TEST(refused(options), "no key");
  options.key_file = key;
  BOOST_TEST(refused(options), "the key of another");
  options = good;
  options.crl_file = "/nowhere/list";
  BOOST_TEST(refused(options));
  options.crl_file = certificate;
  BOOST_TEST(refused(options), "no list in it");
  options = good;
  auto const pin = rondo::test::pin_of(us.certificate);
  for (auto const& bad : {std::string{}, pin.substr(1), pin + "=", "sha1//" + pin, std::string(44, '*')}) {
    options.pins = {pin, bad};
    BOOST_TEST(refused(options), "pin " << bad);
  }
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
