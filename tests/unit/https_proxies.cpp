// SPDX-License-Identifier: BSL-1.0
// Proxies that are spoken to in TLS, with the origin's TLS inside.
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <support/tunnel_fixture.hpp>

namespace {

using namespace std::chrono_literals;
using rondo::error;
using rondo::test::authority;
using rondo::test::established;
using rondo::test::ok;
using rondo::test::peer;
using rondo::test::proxy_trust;
using rondo::test::scripted_server;
using rondo::test::server_context;
using rondo::test::test_trust;
using rondo::test::asio::awaitable;
using verb = rondo::http::beast_http::verb;

struct https_proxies_fixture : rondo::test::tunnel_fixture {
  /// Does everything right.
  awaitable<void> serve(peer& p) {
    co_await p.start_tls(proxy_tls);
    co_await p.read_until("\r\n\r\n");
    co_await p.write(established);
    co_await be_origin(p);
  }
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(https_proxies, https_proxies_fixture)

BOOST_AUTO_TEST_CASE(tls_to_the_origin_runs_inside_tls_to_the_proxy) {
  std::string to_proxy;
  std::string to_origin;
  std::string proxy_name;
  scripted_server proxy{context, [&](peer& p) -> awaitable<void> {
                          co_await p.start_tls(proxy_tls);
                          proxy_name = p.server_name();
                          to_proxy = co_await p.read_until("\r\n\r\n");
                          co_await p.write(established);
                          co_await be_origin(p, &to_origin);
                        }};
  auto const options = by("https://user:pass@localhost:" + std::to_string(proxy.port()));
  auto const to = far();
  auto request = request_of(verb::post, "/v1/voices", std::string(200'000, 'x'));
  request.set("xi-api-key", "sk_secret");
  for (auto i = 0; i < 3; ++i) {
    auto const got = run(client->send(to, request, options));
    BOOST_TEST_REQUIRE(got.has_value(), got.error().ec.message());
    BOOST_TEST(got->body() == "hello");
  }
  BOOST_TEST(proxy.accepted() == 1);
  BOOST_TEST(proxy_name == "localhost");
  BOOST_TEST(to_proxy.starts_with("CONNECT localhost:4443 HTTP/1.1\r\n"));
  BOOST_TEST(to_proxy.find("Proxy-Authorization: Basic dXNlcjpwYXNz\r\n") != std::string::npos);
  BOOST_TEST(to_proxy.find("sk_secret") == std::string::npos);
  BOOST_TEST(to_origin.size() > 600'000U);
  BOOST_TEST(to_origin.find("Basic") == std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_large_answer_comes_through_both_layers) {
  auto const large = std::string(1'500'000, 'y');
  scripted_server proxy{context, [&](peer& p) -> awaitable<void> {
                          co_await p.start_tls(proxy_tls);
                          co_await p.read_until("\r\n\r\n");
                          co_await p.write(established);
                          co_await p.start_tls(origin_tls);
                          for (;;) {
                            co_await p.read_request();
                            co_await p.write("HTTP/1.1 200 OK\r\nContent-Length: 1500000\r\n\r\n");
                            co_await p.write(large);
                          }
                        }};
  auto const options = through("https://", proxy.port());
  auto const to = far();
  auto const request = request_of(verb::get);
  for (auto i = 0; i < 2; ++i) {
    auto const got = run(client->send(to, request, options));
    BOOST_TEST((got && got->body() == large));
  }
  BOOST_TEST(proxy.accepted() == 1);
}

BOOST_AUTO_TEST_CASE(a_plain_origin_is_plain_inside_tls_to_the_proxy) {
  std::string seen;
  scripted_server proxy{context, [&](peer& p) -> awaitable<void> {
                          co_await p.start_tls(proxy_tls);
                          seen = co_await p.read_until("\r\n\r\n");
                          co_await p.write(established);
                          for (;;) {
                            auto const request = co_await p.read_request();
                            seen += request;
                            co_await p.write(ok);
                          }
                        }};
  auto const to = url_of("http", "127.0.0.1", 8080);
  auto const request = request_of(verb::get, "/x");
  auto const options = through("https://", proxy.port());
  for (auto i = 0; i < 2; ++i) {
    BOOST_TEST(run(client->send(to, request, options)).has_value());
  }
  BOOST_TEST(proxy.accepted() == 1);
  BOOST_TEST(seen.starts_with("CONNECT 127.0.0.1:8080 HTTP/1.1\r\n"));
  BOOST_TEST(seen.find("GET /x HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(trust_in_proxies_and_in_origins_are_two_things) {
  scripted_server proxy{context, [&](peer& p) -> awaitable<void> { co_await serve(p); }};
  auto const options = through("https://", proxy.port());
  expect_good(options);
  client->close_idle();
  // each authority in the other's place
  proxy_tls = server_context(test_trust::instance().root.issue());
  expect(options, error::proxy_certificate_rejected);
  proxy_tls = server_context(proxy_trust::instance().root.issue());
  origin_tls = server_context(proxy_trust::instance().root.issue());
  expect(options, error::certificate_rejected, rondo::blame::path);
  // without settings of their own, proxies must have a certificate that the system knows
  use_client({});
  expect(options, error::proxy_certificate_rejected);
}

BOOST_AUTO_TEST_CASE(the_certificate_must_be_the_proxys) {
  auto const& root = proxy_trust::instance().root;
  struct claim {
    std::string_view proxy;
    rondo::test::leaf_params leaf;
    bool good;
  };
  for (auto const& [host, leaf, good] :
       {claim{"localhost", {{"DNS:localhost"}, "x", -1h, 24h, "serverAuth"}, true},
        claim{"localhost", {{"DNS:elsewhere.test"}, "x", -1h, 24h, "serverAuth"}, false},
        claim{"localhost", {{}, "localhost", -1h, 24h, "serverAuth"}, false}, // the common name does not count
        claim{"localhost", {{"DNS:localhost"}, "x", -2h, -1h, "serverAuth"}, false},
        claim{"localhost", {{"DNS:localhost"}, "x", 1h, 24h, "serverAuth"}, false},
        claim{"localhost", {{"DNS:localhost"}, "x", -1h, 24h, "clientAuth"}, false},
        claim{"127.0.0.1", {{"IP:127.0.0.1"}, "x", -1h, 24h, "serverAuth"}, true},
        claim{"127.0.0.1", {{"DNS:127.0.0.1"}, "x", -1h, 24h, "serverAuth"}, false},
        claim{"127.0.0.1", {{"IP:127.0.0.2"}, "x", -1h, 24h, "serverAuth"}, false}}) {
    proxy_tls = server_context(root.issue(leaf));
    scripted_server proxy{context, [&](peer& p) -> awaitable<void> { co_await serve(p); }};
    auto const options = by("https://" + std::string{host} + ":" + std::to_string(proxy.port()));
    if (good) {
      expect_good(options);
      client->close_idle();
    } else {
      expect(options, error::proxy_certificate_rejected);
    }
  }
}

BOOST_AUTO_TEST_CASE(old_protocols_are_refused) {
  SSL_CTX_set_max_proto_version(proxy_tls.native_handle(), TLS1_1_VERSION);
  SSL_CTX_set_min_proto_version(proxy_tls.native_handle(), TLS1_VERSION);
  SSL_CTX_set_security_level(proxy_tls.native_handle(), 0);
  scripted_server proxy{context, [&](peer& p) -> awaitable<void> { co_await serve(p); }};
  expect(through("https://", proxy.port()), error::proxy_tls_failed);
}

BOOST_AUTO_TEST_CASE(a_proxy_that_wants_a_certificate_of_ours) {
  SSL_CTX_set_verify(proxy_tls.native_handle(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  scripted_server proxy{context, [&](peer& p) -> awaitable<void> { co_await serve(p); }};
  auto const options = through("https://", proxy.port());
  for (auto const version : {TLS1_2_VERSION, TLS1_3_VERSION}) { // the second says so after the handshake
    SSL_CTX_set_max_proto_version(proxy_tls.native_handle(), version);
    expect(options, error::proxy_tls_failed);
  }
}

BOOST_AUTO_TEST_CASE(a_proxy_that_fails_at_any_stage) {
  struct fault {
    std::function<awaitable<void>(peer&)> script;
    error e;
  };
  auto const speaks_plain = [](std::string_view text) {
    return [text](peer& p) -> awaitable<void> {
      co_await p.more();
      co_await p.write(text);
      co_await p.wait_for_close();
    };
  };
  auto const answers = [this](std::string_view text) {
    return [this, text](peer& p) -> awaitable<void> {
      co_await p.start_tls(proxy_tls);
      co_await p.read_until("\r\n\r\n");
      co_await p.write(text);
      co_await p.shut_down_tls();
    };
  };
  for (auto const& [script, e] :
       {fault{[](peer& p) -> awaitable<void> {
                p.close();
                co_return;
              },
              error::proxy_tls_failed},
        fault{[](peer& p) -> awaitable<void> {
                co_await p.more();
                p.reset();
              },
              error::proxy_tls_failed},
        fault{speaks_plain("HTTP/1.1 400 The plain HTTP request was sent to HTTPS port\r\n\r\n"),
              error::proxy_tls_failed},
        fault{speaks_plain("SSH-2.0-OpenSSH_9.2\r\n"), error::proxy_tls_failed},
        fault{speaks_plain(std::string_view{"\x15\x03\x03\x00\x02\x02\x28", 7}), error::proxy_tls_failed}, // an alert
        fault{[this](peer& p) -> awaitable<void> { co_await p.start_tls(proxy_tls); }, error::proxy_closed},
        fault{[this](peer& p) -> awaitable<void> {
                co_await p.start_tls(proxy_tls);
                co_await p.read_until("\r\n\r\n");
                co_await rondo::test::asio::async_write(p.socket(),
                                                        rondo::test::asio::buffer("HTTP/1.1 200 OK\r\n\r\n"),
                                                        rondo::test::asio::use_awaitable); // past its own TLS
                co_await p.wait_for_close();
              },
              error::proxy_tls_failed},
        fault{answers(""), error::proxy_closed}, fault{answers("HTTP/1.1 200 OK\r\n"), error::proxy_closed},
        fault{answers("HTTP/1.1 403 Forbidden\r\n\r\n"), error::proxy_denied},
        fault{answers("HTTP/1.1 407 Login\r\n\r\n"), error::proxy_auth_failed},
        fault{answers("HTTP/1.1 200 OK\r\n\r\nand more"), error::proxy_protocol},
        fault{answers("SSH-2.0\r\n"), error::proxy_protocol}}) {
    scripted_server proxy{context, script};
    expect(through("https://", proxy.port()), e, rondo::blame::proxy);
  }
  scripted_server unreachable{context, answers("HTTP/1.1 503 Service Unavailable\r\n\r\n")};
  expect(through("https://", unreachable.port()), error::origin_unreachable_via_proxy, rondo::blame::path);
  // the same proxy and client, once it works
  scripted_server proxy{context, [&](peer& p) -> awaitable<void> { co_await serve(p); }};
  expect_good(through("https://", proxy.port()));
}

BOOST_AUTO_TEST_CASE(a_proxy_that_hangs_at_any_stage) {
  std::vector<std::function<awaitable<void>(peer&)>> const stages = {
      [](peer& p) -> awaitable<void> { co_await p.wait_for_close(); },
      [this](peer& p) -> awaitable<void> {
        co_await p.start_tls(proxy_tls);
        co_await p.wait_for_close();
      },
      [this](peer& p) -> awaitable<void> {
        co_await p.start_tls(proxy_tls);
        co_await p.read_until("\r\n\r\n");
        co_await p.write("HTTP/1.1 200 OK\r\nA: ");
        for (;;) { // a byte now and then must not help
          rondo::test::asio::steady_timer pause{p.socket().get_executor(), 5ms};
          co_await pause.async_wait(rondo::test::asio::use_awaitable);
          co_await p.write("x");
        }
      }};
  for (auto const& stage : stages) {
    scripted_server proxy{context, stage};
    auto options = through("https://", proxy.port());
    options.connect_timeout = 60ms;
    expect(options, error::proxy_timeout, rondo::blame::proxy);
    options.connect_timeout = 20s;
    options.deadline = std::chrono::steady_clock::now() + 60ms;
    expect(options, error::deadline_exceeded, rondo::blame::path);
  }
}

BOOST_AUTO_TEST_CASE(what_comes_while_the_tunnel_rests_ends_it) {
  for (auto const evil : {false, true}) {
    auto left = std::make_shared<rondo::test::asio::steady_timer>(context, rondo::steady_time::max());
    scripted_server proxy{context, [this, left, evil](peer& p) -> awaitable<void> {
                            co_await p.start_tls(proxy_tls);
                            co_await p.read_until("\r\n\r\n");
                            co_await p.write(established);
                            co_await p.start_tls(origin_tls);
                            co_await p.read_request();
                            co_await p.write(ok);
                            if (p.number() > 0) {
                              co_await p.wait_for_close();
                            }
                            if (evil) {
                              co_await p.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
                            } else {
                              p.socket().shutdown(rondo::test::tcp::socket::shutdown_send);
                            }
                            left->expires_at(rondo::steady_time{}); // whoever waits, or comes to wait
                            co_await p.wait_for_close();
                          }};
    auto const options = through("https://", proxy.port());
    expect_good(options);
    run([](auto timer) -> awaitable<int> {
      co_await timer->async_wait(rondo::test::asio::as_tuple(rondo::test::asio::use_awaitable));
      co_return 0;
    }(left));
    expect_good(options);
    BOOST_TEST(proxy.accepted() == 2);
    client->close_idle();
  }
}

BOOST_AUTO_TEST_CASE(tickets_of_proxy_and_origin_are_kept_apart) {
  std::vector<std::pair<bool, bool>> resumed; // by the proxy, by the origin
  SSL_CTX_set_session_cache_mode(origin_tls.native_handle(), SSL_SESS_CACHE_OFF);
  scripted_server proxy{context, [&](peer& p) -> awaitable<void> {
                          co_await p.start_tls(proxy_tls);
                          auto const outer = p.resumed();
                          co_await p.read_until("\r\n\r\n");
                          co_await p.write(established);
                          co_await p.start_tls(origin_tls);
                          resumed.emplace_back(outer, p.resumed());
                          co_await p.read_request();
                          co_await p.write(ok);
                          co_await p.wait_for_close();
                        }};
  auto const options = through("https://", proxy.port());
  for (auto i = 0; i < 3; ++i) {
    expect_good(options);
    client->close_idle();
  }
  std::vector<std::pair<bool, bool>> const expected{{false, false}, {true, true}, {true, true}};
  BOOST_TEST((resumed == expected));
  // another user of the proxy does not show the tickets of the first
  expect_good(through("https://a:b@", proxy.port()));
  BOOST_TEST((resumed.back() == std::pair{false, false}));
}

BOOST_AUTO_TEST_CASE(cancellation_at_every_step_leaves_nothing_half_used) {
  scripted_server proxy{context, [&](peer& p) -> awaitable<void> {
                          co_await p.start_tls(proxy_tls);
                          co_await p.read_until("\r\n\r\n");
                          for (auto const c : established) {
                            co_await p.write({&c, 1});
                          }
                          co_await be_origin(p);
                        }};
  auto const options = through("https://", proxy.port());
  // at least once for every byte of the proxy's answer
  cancel_everywhere(options, established.size());
  expect_good(options);
}

BOOST_AUTO_TEST_SUITE_END()
