// SPDX-License-Identifier: BSL-1.0
// The http client through the proxies that people run, to an origin that keeps what it saw.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <support/real_servers.hpp>
#include <support/tunnel_fixture.hpp>

namespace {

using rondo::test::ok;
using rondo::test::peer;
using rondo::test::proxy_trust;
using rondo::test::scripted_server;
using rondo::test::servers;
using rondo::test::test_trust;
using rondo::test::asio::awaitable;
using verb = rondo::http::beast_http::verb;

struct proxies_fixture : rondo::test::tunnel_fixture {
  std::string seen;
  std::vector<std::string> came_from; ///< the address that each connection to the origin came from
  scripted_server origin{context, [this](peer& p) -> awaitable<void> {
                           came_from.push_back(p.socket().remote_endpoint().address().to_string());
                           co_await p.start_tls(origin_tls);
                           for (;;) {
                             auto const request = co_await p.read_request();
                             seen += request;
                             co_await p.write(ok);
                           }
                         }};

  ~proxies_fixture() { client.reset(); }

  /// Requests one after the other share one tunnel, and the origin learns nothing of the proxy.
  void expect_good(std::string_view scheme_and_login, std::uint16_t port) {
    expect_good(through(scheme_and_login, port));
  }
  void expect_good(rondo::http::exchange_options const& options) {
    auto const before = origin.accepted();
    seen.clear();
    auto const to = url_of("https", "127.0.0.1", origin.port());
    auto request = request_of(verb::post, "/v1/text-to-speech", std::string(100'000, 'x'));
    request.set("xi-api-key", "sk_0123456789");
    for (auto i = 0; i < 3; ++i) {
      auto const got = run(client->send(to, request, options));
      BOOST_TEST_REQUIRE(got.has_value(), masked(*options.via) << " " << got.error().ec.message());
      BOOST_TEST(got->body() == "hello");
    }
    BOOST_TEST(origin.accepted() == before + 1);
    BOOST_TEST(seen.find("sk_0123456789") != std::string::npos);
    for (auto const* const leak : {"Proxy-", "proxy-", "Basic", "dXNlcjpwYXNz", "user", "pass"}) {
      BOOST_TEST(seen.find(leak) == std::string::npos, leak);
    }
    client->close_idle();
  }

  void expect_failure(rondo::http::url const& to, std::string_view scheme_and_login, std::uint16_t port,
                      rondo::error e) {
    expect_failure(to, through(scheme_and_login, port), e);
  }
  void expect_failure(rondo::http::url const& to, rondo::http::exchange_options const& options, rondo::error e) {
    auto const before = origin.accepted();
    auto const request = request_of(verb::post, "/", "{}");
    auto const got = run(client->send(to, request, options));
    BOOST_TEST((!got && got.error().ec == e), masked(*options.via)
                                                  << ": " << (got ? "answered" : got.error().ec.message()));
    BOOST_TEST((!got && got.error().who == rondo::blame_of(e) && !got.error().written));
    BOOST_TEST(origin.accepted() == before);
    BOOST_TEST(client->idle_connections() == 0);
  }

  [[nodiscard]] rondo::http::url there() const { return url_of("https", "127.0.0.1", origin.port()); }
  [[nodiscard]] static rondo::http::url dead() { return url_of("https", "127.0.0.1", rondo::test::free_port()); }
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(real_proxies, proxies_fixture)

BOOST_AUTO_TEST_CASE(microsocks_with_login) {
  auto const proxy = servers::microsocks(true);
  if (!proxy) {
    return;
  }
  for (auto const* const login : {"socks5h://user:pass@", "socks5://user:pass@"}) {
    expect_good(login, proxy->port());
    expect_failure(dead(), login, proxy->port(), rondo::error::origin_unreachable_via_proxy);
  }
  expect_failure(there(), "socks5h://user:wrong@", proxy->port(), rondo::error::proxy_auth_failed);
  expect_failure(there(), "socks5h://", proxy->port(), rondo::error::proxy_auth_failed);
  // this proxy has one code for everything it cannot resolve
  expect_failure(url_of("https", std::string(64, 'a'), 443), "socks5h://user:pass@", proxy->port(),
                 rondo::error::proxy_failed);
}

BOOST_AUTO_TEST_CASE(microsocks_without_login) {
  auto const proxy = servers::microsocks(false);
  if (!proxy) {
    return;
  }
  expect_good("socks5h://", proxy->port());
  expect_good("socks5h://user:pass@", proxy->port()); // credentials that nobody asks for
}

BOOST_AUTO_TEST_CASE(tinyproxy_with_login) {
  auto const proxy = servers::tinyproxy(true);
  if (!proxy) {
    return;
  }
  expect_good("http://user:pass@", proxy->port());
  expect_failure(there(), "http://user:wrong@", proxy->port(), rondo::error::proxy_auth_failed);
  expect_failure(there(), "http://", proxy->port(), rondo::error::proxy_auth_failed);
  expect_failure(dead(), "http://user:pass@", proxy->port(), rondo::error::origin_unreachable_via_proxy);
}

BOOST_AUTO_TEST_CASE(tinyproxy_without_login) {
  auto const proxy = servers::tinyproxy(false);
  if (!proxy) {
    return;
  }
  expect_good("http://", proxy->port());
}

BOOST_AUTO_TEST_CASE(proxy_chain_with_login) {
  auto const proxy = servers::proxy_chain();
  if (!proxy) {
    return;
  }
  expect_good("http://user:pass@", proxy->port());
  expect_failure(there(), "http://user:wrong@", proxy->port(), rondo::error::proxy_auth_failed);
  expect_failure(there(), "http://", proxy->port(), rondo::error::proxy_auth_failed);
  // it closes without a word: nobody can tell that the origin is to blame
  expect_failure(dead(), "http://user:pass@", proxy->port(), rondo::error::proxy_closed);
}

BOOST_AUTO_TEST_CASE(squid_with_login) {
  auto const proxy = servers::squid();
  if (!proxy) {
    return;
  }
  expect_good("http://user:pass@", proxy->port());
  expect_failure(there(), "http://user:wrong@", proxy->port(), rondo::error::proxy_auth_failed);
  expect_failure(there(), "http://", proxy->port(), rondo::error::proxy_auth_failed);
  expect_failure(dead(), "http://user:pass@", proxy->port(), rondo::error::origin_unreachable_via_proxy);
  expect_failure(url_of("https", "127.0.0.1", 1), "http://user:pass@", proxy->port(), rondo::error::proxy_denied);
}

BOOST_AUTO_TEST_CASE(dante_without_login) {
  auto const proxy = servers::dante(false);
  if (!proxy) {
    return;
  }
  expect_good("socks5h://", proxy->port());
  expect_failure(dead(), "socks5h://", proxy->port(), rondo::error::origin_unreachable_via_proxy);
  expect_failure(url_of("https", "127.0.0.1", 1), "socks5h://", proxy->port(), rondo::error::proxy_denied);
  expect_good("socks4://", proxy->port());
}

BOOST_AUTO_TEST_CASE(dante_with_login) {
  auto const proxy = servers::dante(true);
  if (!proxy) {
    return;
  }
  expect_good("socks5h://user:pass@", proxy->port());
  expect_failure(there(), "socks5h://user:wrong@", proxy->port(), rondo::error::proxy_auth_failed);
  expect_failure(there(), "socks5h://nobody-knows-me:wrong@", proxy->port(), rondo::error::proxy_auth_failed);
  expect_failure(there(), "socks5h://", proxy->port(), rondo::error::proxy_auth_failed);
}

BOOST_AUTO_TEST_CASE(squid_that_is_asked_first) {
  auto const proxy = servers::squid();
  if (!proxy) {
    return;
  }
  for (auto const* const login : {"http://user:pass@", "http://user:wrong@"}) {
    auto asked = *through(login, proxy->port()).via;
    asked.login = rondo::http::proxy_login::when_asked;
    if (asked.password.equals("pass")) {
      expect_good(by(asked));
    } else {
      expect_failure(there(), by(asked), rondo::error::proxy_auth_failed);
    }
  }
}

BOOST_AUTO_TEST_CASE(squid_with_digest) {
  auto const proxy = servers::squid({nullptr, true});
  if (!proxy) {
    return;
  }
  expect_failure(there(), "http://user:pass@", proxy->port(), rondo::error::proxy_auth_unsupported);
  expect_failure(there(), "http://", proxy->port(), rondo::error::proxy_auth_unsupported);
}

BOOST_AUTO_TEST_CASE(squid_with_tls) {
  auto const who = proxy_trust::instance().root.issue();
  auto const proxy = servers::squid({&who, false});
  if (!proxy) {
    return;
  }
  expect_good("https://user:pass@", proxy->port());
  expect_failure(there(), "https://user:wrong@", proxy->port(), rondo::error::proxy_auth_failed);
  expect_failure(dead(), "https://user:pass@", proxy->port(), rondo::error::origin_unreachable_via_proxy);
  expect_failure(there(), "http://user:pass@", proxy->port(), rondo::error::proxy_closed);
}

BOOST_AUTO_TEST_CASE(stunnel_in_front_of_tinyproxy) {
  auto const behind = servers::tinyproxy(true);
  auto const proxy = behind ? servers::stunnel(proxy_trust::instance().root.issue(), behind->port()) : nullptr;
  if (!proxy) {
    return;
  }
  expect_good("https://user:pass@", proxy->port());
  expect_failure(there(), "https://user:wrong@", proxy->port(), rondo::error::proxy_auth_failed);
  expect_failure(dead(), "https://user:pass@", proxy->port(), rondo::error::origin_unreachable_via_proxy);
  auto const stranger = servers::stunnel(test_trust::instance().root.issue(), behind->port());
  expect_failure(there(), "https://user:pass@", stranger->port(), rondo::error::proxy_certificate_rejected);
}

BOOST_AUTO_TEST_CASE(stunnel_in_front_of_nobody) {
  auto const proxy = servers::stunnel(proxy_trust::instance().root.issue(), rondo::test::free_port());
  if (!proxy) {
    return;
  }
  auto const options = through("https://", proxy->port());
  auto const request = request_of(verb::post, "/", "{}");
  auto const got = run(client->send(there(), request, options));
  // it may find out before or after it has shaken hands
  BOOST_TEST((!got && got.error().who == rondo::blame::proxy && !got.error().written));
}

BOOST_AUTO_TEST_CASE(chains_of_real_proxies) {
  auto const first = servers::microsocks(true);
  auto const second = servers::tinyproxy(true);
  auto const secure = second ? servers::stunnel(proxy_trust::instance().root.issue(), second->port()) : nullptr;
  if (!first || !second || !secure) {
    return;
  }
  auto const chain = [&](std::string_view scheme_and_login, std::string_view last, std::uint16_t port) {
    return by(std::string{scheme_and_login} + "127.0.0.1:" + std::to_string(first->port()) + "|" + std::string{last} +
              "127.0.0.1:" + std::to_string(port));
  };
  expect_good(chain("socks5h://user:pass@", "http://user:pass@", second->port()));
  expect_good(chain("socks5://user:pass@", "https://user:pass@", secure->port()));
  expect_failure(there(), chain("socks5h://user:wrong@", "http://user:pass@", second->port()),
                 rondo::error::proxy_auth_failed);
  expect_failure(there(), chain("socks5h://user:pass@", "https://user:wrong@", secure->port()),
                 rondo::error::proxy_auth_failed);
  expect_failure(there(), chain("socks5h://user:pass@", "http://user:pass@", rondo::test::free_port()),
                 rondo::error::proxy_connect_failed);
  expect_failure(dead(), chain("socks5h://user:pass@", "http://user:pass@", second->port()),
                 rondo::error::origin_unreachable_via_proxy);
}

BOOST_AUTO_TEST_CASE(haproxy_over_three_proxies_with_one_dead) {
  auto const one = servers::microsocks(true, "127.0.0.2");
  auto const two = servers::microsocks(true, "127.0.0.3");
  auto const gate = one && two ? servers::haproxy({one->port(), rondo::test::free_port(), two->port()}) : nullptr;
  if (!gate) {
    return;
  }
  auto rotating = *through("socks5h://user:pass@", gate->port()).via;
  rotating.requests_per_tunnel = 1;
  auto const options = by(rotating);
  auto const to = there();
  auto const request = request_of(verb::get);
  came_from.clear();
  auto failed = 0;
  for (auto i = 0; i < 12; ++i) {
    auto const got = run(client->send(to, request, options));
    if (!got) {
      BOOST_TEST((got.error().ec == rondo::error::proxy_closed), got.error().ec.message());
      ++failed;
    }
  }
  auto const by_one = std::count(came_from.begin(), came_from.end(), "127.0.0.2");
  auto const by_two = std::count(came_from.begin(), came_from.end(), "127.0.0.3");
  // it takes them in turn, but not exactly
  BOOST_TEST(failed > 0);
  BOOST_TEST(by_one > 1);
  BOOST_TEST(by_two > 1);
  BOOST_TEST(failed + by_one + by_two == 12);
}

BOOST_AUTO_TEST_CASE(ssh_as_a_socks_proxy) {
  auto const proxy = servers::ssh();
  if (!proxy) {
    return;
  }
  for (auto const* const scheme : {"socks5h://", "socks5://", "socks4a://", "socks4://"}) {
    expect_good(scheme, proxy->port());
  }
  expect_failure(dead(), "socks5h://", proxy->port(), rondo::error::proxy_closed); // it does not say why
  auto second = servers::tinyproxy(false);
  if (second) {
    expect_good(by("socks5h://127.0.0.1:" + std::to_string(proxy->port()) +
                   "|http://127.0.0.1:" + std::to_string(second->port())));
  }
}

BOOST_AUTO_TEST_CASE(nginx_as_origin_direct_and_through_a_proxy) {
  auto const server = servers::nginx(test_trust::instance().root.issue());
  auto const proxy = servers::tinyproxy(false);
  if (!server || !proxy) {
    return;
  }
  std::string large(3'000'000, 'x');
  for (std::size_t i = 0; i < large.size(); i += 1009) {
    large[i] = static_cast<char>('a' + i % 26);
  }
  std::ofstream{server->directory() / "www" / "large", std::ios::binary} << large;
  auto const to = url_of("https", "localhost", server->port());
  rondo::http::exchange_options const direct;
  auto const tunnelled = through("http://", proxy->port());
  for (auto const* const options : {&direct, &tunnelled}) {
    auto request = request_of(verb::get, "/large");
    auto got = run(client->send(to, request, *options));
    BOOST_TEST_REQUIRE(got.has_value());
    BOOST_TEST((got->body() == large));
    request = request_of(verb::head, "/large");
    got = run(client->send(to, request, *options));
    BOOST_TEST((got && got->body().empty() && got->at("Content-Length") == "3000000"));
    request = request_of(verb::get, "/missing");
    got = run(client->send(to, request, *options));
    BOOST_TEST((got && got->result_int() == 404));
    request = request_of(verb::post, "/status/x", large);
    got = run(client->send(to, request, *options));
    BOOST_TEST((got && got->result_int() == 429 && got->body() == "slow down"));
  }
  BOOST_TEST(client->active_connections() == 0);
}

BOOST_AUTO_TEST_SUITE_END()
