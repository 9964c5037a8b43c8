// SPDX-License-Identifier: BSL-1.0
// The client through proxies that follow a script; real ones are in tests/integration.
#include <chrono>
#include <string>
#include <vector>

#include <support/tunnel_fixture.hpp>

namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;
using rondo::test::peer;
using rondo::test::scripted_server;
using rondo::test::test_trust;
using rondo::test::asio::awaitable;
using verb = rondo::http::beast_http::verb;

using rondo::test::established;
using rondo::test::ok;

} // namespace

BOOST_FIXTURE_TEST_SUITE(http_tunnels, rondo::test::tunnel_fixture)

BOOST_AUTO_TEST_CASE(connect_with_login_and_then_tls_to_the_origin) {
  std::string to_proxy;
  std::string to_origin;
  scripted_server proxy{context, [&](peer& p) -> awaitable<void> {
                          to_proxy = co_await p.read_until("\r\n\r\n");
                          co_await p.write(established);
                          co_await be_origin(p, &to_origin);
                        }};
  auto const options = through("http://user:pass@", proxy.port());
  auto const to = url_of("https", "localhost", 4443);
  auto request = request_of(verb::get, "/v1/voices");
  request.set("xi-api-key", "sk_secret");
  request.set("Proxy-Authorization", "Basic elsewhere");
  for (auto i = 0; i < 3; ++i) {
    auto const got = run(client->send(to, request, options));
    BOOST_TEST_REQUIRE(got.has_value());
    BOOST_TEST(got->body() == "hello");
  }
  BOOST_TEST(proxy.accepted() == 1);
  BOOST_TEST(to_proxy.starts_with("CONNECT localhost:4443 HTTP/1.1\r\nHost: localhost:4443\r\nUser-Agent: rondo/"));
  BOOST_TEST(to_proxy.find("Proxy-Authorization: Basic dXNlcjpwYXNz\r\n") != std::string::npos);
  BOOST_TEST(to_proxy.find("sk_secret") == std::string::npos);
  BOOST_TEST(to_origin.find("xi-api-key: sk_secret\r\n") != std::string::npos);
  BOOST_TEST(to_origin.find("Proxy-") == std::string::npos);
  BOOST_TEST(to_origin.find("Basic") == std::string::npos);
}

BOOST_AUTO_TEST_CASE(socks5_with_login_lets_the_proxy_resolve) {
  std::string destination;
  scripted_server proxy{context, [&](peer& p) -> awaitable<void> {
                          co_await p.read_exactly(4);
                          co_await p.write("\x05\x02"s);
                          co_await p.read_exactly(11);
                          co_await p.write("\x01\x00"s);
                          destination = co_await p.read_exactly(4 + 1 + 16 + 2);
                          co_await p.write("\x05\x00\x00\x03\x00\x00\x00"s);
                          co_await be_origin(p);
                        }};
  auto const options = through("socks5h://user:pass@", proxy.port());
  auto server_tls_name = url_of("https", "origin.localhost", 4443); // resolved by nobody here
  origin_tls = rondo::test::server_context(
      test_trust::instance().root.issue({{"DNS:origin.localhost"}, "origin", -1h, 24h, "serverAuth"}));
  auto const request = request_of(verb::get);
  auto const got = run(client->send(server_tls_name, request, options));
  BOOST_TEST((got && got->body() == "hello"), (got ? "" : got.error().ec.message()));
  BOOST_TEST(destination == "\x05\x01\x00\x03\x10origin.localhost\x11\x5b"s);
}

BOOST_AUTO_TEST_CASE(names_that_only_the_proxy_can_resolve_are_verified_as_written) {
  struct claim {
    std::string_view host;
    std::string name;
    bool good;
  };
  for (auto const& [host, name, good] :
       {claim{"api.example.test", "DNS:api.example.test", true}, claim{"api.example.test", "DNS:*.example.test", true},
        claim{"API.Example.test.", "DNS:api.example.test", true},
        claim{"a.b.example.test", "DNS:*.example.test", false}, claim{"example.test", "DNS:*.example.test", false},
        claim{"api.example.test", "DNS:a*.example.test", false}, claim{"api.example.test", "DNS:api.*.test", false},
        claim{"api.example.test", "DNS:example.test", false},
        claim{"api.example.test", "DNS:api.example.test.evil.test", false}}) {
    origin_tls = rondo::test::server_context(test_trust::instance().root.issue({{name}, "x", -1h, 24h, "serverAuth"}));
    scripted_server proxy{context, [&](peer& p) -> awaitable<void> {
                            co_await p.read_exactly(3);
                            co_await p.write("\x05\x00"s);
                            auto const head = co_await p.read_exactly(5);
                            co_await p.read_exactly(static_cast<unsigned char>(head[4]) + 2U);
                            co_await p.write("\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"s);
                            co_await be_origin(p);
                          }};
    auto const options = through("socks5h://", proxy.port());
    auto const to = url_of("https", host, 443);
    auto const request = request_of(verb::get);
    auto const got = run(client->send(to, request, options));
    BOOST_TEST(got.has_value() == good, host << " shown " << name);
    BOOST_TEST((got || got.error().ec == rondo::error::certificate_rejected));
  }
}

BOOST_AUTO_TEST_CASE(socks5_and_socks4_resolve_here) {
  std::string destination;
  scripted_server five{context, [&](peer& p) -> awaitable<void> {
                         co_await p.read_exactly(3);
                         co_await p.write("\x05\x00"s);
                         destination = co_await p.read_exactly(10);
                         co_await p.write("\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"s);
                         co_await be_origin(p);
                       }};
  auto const to = url_of("https", "localhost", 4443);
  auto const request = request_of(verb::get);
  auto const by_five = through("socks5://", five.port());
  BOOST_TEST(run(client->send(to, request, by_five)).has_value());
  BOOST_TEST(destination == "\x05\x01\x00\x01\x7f\x00\x00\x01\x11\x5b"s);

  scripted_server four{context, [&](peer& p) -> awaitable<void> {
                         destination = co_await p.read_exactly(9);
                         co_await p.write("\x00\x5a\x00\x00\x00\x00\x00\x00"s);
                         co_await be_origin(p);
                       }};
  auto const by_four = through("socks4://", four.port());
  BOOST_TEST(run(client->send(to, request, by_four)).has_value());
  BOOST_TEST(destination == "\x04\x01\x11\x5b\x7f\x00\x00\x01\x00"s);
}

BOOST_AUTO_TEST_CASE(proxies_that_refuse) {
  using rondo::blame;
  using rondo::error;
  struct refusal {
    std::string_view answer;
    error e;
    blame who;
  };
  for (auto const& [answer, e, who] :
       {refusal{"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", error::proxy_auth_failed, blame::proxy},
        refusal{"HTTP/1.0 401 Unauthorized\r\n\r\n", error::proxy_auth_failed, blame::proxy},
        refusal{"HTTP/1.1 403 Forbidden\r\n\r\n", error::proxy_denied, blame::proxy},
        refusal{"HTTP/1.1 503 Service Unavailable\r\n\r\n", error::origin_unreachable_via_proxy, blame::path},
        refusal{"HTTP/1.1 429 Too Many\r\n\r\n", error::proxy_failed, blame::proxy},
        refusal{"SSH-2.0-OpenSSH_9.2\r\n", error::proxy_protocol, blame::proxy},
        refusal{"HTTP/1.1 200 OK\r\n\r\nand more", error::proxy_protocol, blame::proxy},
        refusal{"HTTP/1.1 200 OK\r\nA: b\r\n", error::proxy_closed, blame::proxy},
        refusal{"", error::proxy_closed, blame::proxy}}) {
    scripted_server proxy{context, [answer](peer& p) -> awaitable<void> {
                            co_await p.read_until("\r\n\r\n");
                            co_await p.write(answer);
                          }};
    auto const options = through("http://", proxy.port());
    expect(options, e, who);
  }
}

BOOST_AUTO_TEST_CASE(proxies_that_hang) {
  for (auto const* const scheme : {"http://", "socks5h://"}) {
    scripted_server proxy{context, [](peer& p) -> awaitable<void> { co_await p.wait_for_close(); }};
    auto options = through(scheme, proxy.port());
    options.connect_timeout = 50ms;
    expect(options, rondo::error::proxy_timeout, rondo::blame::proxy);
    options.connect_timeout = 20s;
    options.deadline = std::chrono::steady_clock::now() + 50ms;
    expect(options, rondo::error::deadline_exceeded, rondo::blame::path);
  }
}

BOOST_AUTO_TEST_CASE(proxies_that_are_not_there) {
  auto const options = [&] {
    scripted_server const gone{context, [](peer&) -> awaitable<void> { co_return; }};
    return through("http://", gone.port());
  }();
  expect(options, rondo::error::proxy_connect_failed, rondo::blame::proxy);
  auto unknown = options;
  rondo::http::proxy nameless = *options.via;
  nameless.host = std::string(64, 'a'); // longer than a label may be: fails without asking anybody
  unknown.via = std::make_shared<rondo::http::proxy const>(nameless);
  expect(unknown, rondo::error::proxy_connect_failed, rondo::blame::proxy);
}

BOOST_AUTO_TEST_CASE(proxies_that_lie) {
  // the tunnel stands, but what is at its end is not the origin: neither side is proven guilty
  auto const stranger = rondo::test::server_context(rondo::test::authority{}.issue());
  scripted_server man_in_the_middle{context, [&](peer& p) -> awaitable<void> {
                                      co_await p.read_until("\r\n\r\n");
                                      co_await p.write(established);
                                      co_await p.start_tls(const_cast<boost::asio::ssl::context&>(stranger));
                                    }};
  auto options = through("http://", man_in_the_middle.port());
  expect(options, rondo::error::certificate_rejected, rondo::blame::path);

  scripted_server closes{context, [](peer& p) -> awaitable<void> {
                           co_await p.read_until("\r\n\r\n");
                           co_await p.write(established);
                           co_await p.more();
                         }};
  options = through("http://", closes.port());
  expect(options, rondo::error::tls_handshake_failed, rondo::blame::path);

  scripted_server swallows{context, [](peer& p) -> awaitable<void> {
                             co_await p.read_until("\r\n\r\n");
                             co_await p.write(established);
                             co_await p.wait_for_close();
                           }};
  options = through("http://", swallows.port());
  options.connect_timeout = 50ms;
  expect(options, rondo::error::connect_timeout, rondo::blame::path);
}

BOOST_AUTO_TEST_CASE(a_tunnel_belongs_to_its_proxy_and_its_user) {
  scripted_server proxy{context, [&](peer& p) -> awaitable<void> {
                          co_await p.read_until("\r\n\r\n");
                          co_await p.write(established);
                          co_await be_origin(p);
                        }};
  auto const to = url_of("https", "localhost", 4443);
  auto const request = request_of(verb::get);
  auto tunnels = 0U;
  for (auto const* const login : {"http://", "http://a:1@", "http://a:2@", "http://b:1@"}) {
    ++tunnels;
    for (auto i = 0; i < 2; ++i) { // each time a new object: what counts is what it says
      auto const options = through(login, proxy.port());
      BOOST_TEST(run(client->send(to, request, options)).has_value());
      BOOST_TEST(proxy.accepted() == tunnels);
    }
  }
}

BOOST_AUTO_TEST_CASE(a_rotating_proxy_gets_a_new_tunnel_when_it_is_due) {
  scripted_server proxy{context, [&](peer& p) -> awaitable<void> {
                          co_await p.read_until("\r\n\r\n");
                          co_await p.write(established);
                          co_await be_origin(p);
                        }};
  auto const to = url_of("https", "localhost", 4443);
  auto const request = request_of(verb::get);
  auto options = through("http://", proxy.port());
  auto rotating = *options.via;
  rotating.requests_per_tunnel = 2;
  options.via = std::make_shared<rondo::http::proxy const>(rotating);
  for (auto i = 0; i < 6; ++i) {
    BOOST_TEST(run(client->send(to, request, options)).has_value());
  }
  BOOST_TEST(proxy.accepted() == 3);
  rotating.requests_per_tunnel = 0;
  rotating.tunnel_age = 1ns;
  options.via = std::make_shared<rondo::http::proxy const>(rotating);
  for (auto i = 0; i < 3; ++i) {
    BOOST_TEST(run(client->send(to, request, options)).has_value());
  }
  BOOST_TEST(proxy.accepted() == 6);
}

BOOST_AUTO_TEST_CASE(a_stale_tunnel_is_replaced_through_the_same_proxy) {
  auto other_used = false;
  scripted_server other{context, [&](peer&) -> awaitable<void> {
                          other_used = true;
                          co_return;
                        }};
  scripted_server proxy{context, [&](peer& p) -> awaitable<void> {
                          co_await p.read_until("\r\n\r\n");
                          co_await p.write(established);
                          if (p.number() > 0) {
                            co_await be_origin(p);
                          }
                          co_await p.start_tls(origin_tls);
                          co_await p.read_request();
                          co_await p.write(ok);
                          co_await p.read_request();
                        }};
  auto const to = url_of("https", "localhost", 4443);
  auto const request = request_of(verb::get);
  auto const options = through("http://", proxy.port());
  BOOST_TEST(run(client->send(to, request, options)).has_value());
  BOOST_TEST(run(client->send(to, request, options)).has_value());
  BOOST_TEST(proxy.accepted() == 2);
  BOOST_TEST(!other_used);
}

BOOST_AUTO_TEST_CASE(ipv6_literals_of_origins) {
  std::string asked;
  auto const to = url_of("https", "[2001:db8::1]", 4443);
  auto const request = request_of(verb::get);
  origin_tls = rondo::test::server_context(
      test_trust::instance().root.issue({{"IP:2001:db8::1"}, "origin", -1h, 24h, "serverAuth"}));
  scripted_server connect{context, [&](peer& p) -> awaitable<void> {
                            asked = co_await p.read_until("\r\n\r\n");
                            co_await p.write(established);
                            co_await be_origin(p);
                          }};
  auto options = through("http://", connect.port());
  BOOST_TEST(run(client->send(to, request, options)).has_value());
  BOOST_TEST(asked.starts_with("CONNECT [2001:db8::1]:4443 HTTP/1.1\r\nHost: [2001:db8::1]:4443\r\n"), asked);

  scripted_server five{context, [&](peer& p) -> awaitable<void> {
                         co_await p.read_exactly(3);
                         co_await p.write("\x05\x00"s);
                         asked = co_await p.read_exactly(4 + 16 + 2);
                         co_await p.write("\x05\x00\x00\x04"s + std::string(18, '\0'));
                         co_await be_origin(p);
                       }};
  for (auto const* const scheme : {"socks5h://", "socks5://"}) {
    options = through(scheme, five.port());
    BOOST_TEST(run(client->send(to, request, options)).has_value());
    BOOST_TEST(asked == "\x05\x01\x00\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x11\x5b"s);
  }
  // version 4 has no form for it, and does not ask
  for (auto const* const scheme : {"socks4://", "socks4a://"}) {
    asked.clear();
    options = through(scheme, five.port());
    auto const got = run(client->send(to, request, options));
    BOOST_TEST((!got && got.error().ec == rondo::error::origin_unreachable_via_proxy), scheme);
    BOOST_TEST(asked.empty());
  }
}

BOOST_AUTO_TEST_CASE(ipv6_literals_of_proxies) {
  for (auto const* const scheme : {"http", "https"}) {
    scripted_server proxy{context,
                          [&](peer& p) -> awaitable<void> {
                            if (std::string_view{scheme} == "https") {
                              co_await p.start_tls(proxy_tls);
                            }
                            co_await p.read_until("\r\n\r\n");
                            co_await p.write(established);
                            co_await be_origin(p);
                          },
                          boost::asio::ip::address_v6::loopback()};
    expect_good(by(std::string{scheme} + "://[::1]:" + std::to_string(proxy.port())));
    client->close_idle();
  }
}

BOOST_AUTO_TEST_CASE(origins_with_impossible_names_are_refused_before_anything_happens) {
  scripted_server proxy{context, [](peer&) -> awaitable<void> { co_return; }};
  auto const to = url_of("https", std::string(256, 'a'), 443);
  auto const request = request_of(verb::get);
  for (auto const* const scheme : {"http://", "https://", "socks4://", "socks4a://", "socks5://", "socks5h://"}) {
    auto const options = through(scheme, proxy.port());
    auto const got = run(client->send(to, request, options));
    BOOST_TEST((!got && got.error().ec == rondo::error::name_too_long && got.error().who == rondo::blame::caller),
               scheme);
  }
  BOOST_TEST(proxy.accepted() == 0U);
}

BOOST_AUTO_TEST_CASE(plain_http_goes_through_a_tunnel_too) {
  std::string seen;
  scripted_server proxy{context, [&](peer& p) -> awaitable<void> {
                          seen = co_await p.read_until("\r\n\r\n");
                          co_await p.write(established);
                          seen += co_await p.read_request();
                          co_await p.write(ok);
                        }};
  auto const to = url_of("http", "127.0.0.1", 8080);
  auto const request = request_of(verb::get, "/x");
  auto const options = through("http://", proxy.port());
  BOOST_TEST(run(client->send(to, request, options)).has_value());
  BOOST_TEST(seen.starts_with("CONNECT 127.0.0.1:8080 HTTP/1.1\r\n"));
  BOOST_TEST(seen.find("GET /x HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n") != std::string::npos);
}

BOOST_AUTO_TEST_SUITE_END()
