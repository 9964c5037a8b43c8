// SPDX-License-Identifier: BSL-1.0
// The http client through the proxies that people run, to an origin that keeps what it saw.
#include <filesystem>
#include <fstream>
#include <string>

#include <support/http_fixture.hpp>
#include <support/real_servers.hpp>

namespace {

using rondo::test::peer;
using rondo::test::scripted_server;
using rondo::test::servers;
using rondo::test::test_trust;
using rondo::test::asio::awaitable;
using verb = rondo::http::beast_http::verb;

constexpr std::string_view ok = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

struct proxies_fixture : rondo::test::http_fixture {
  boost::asio::ssl::context origin_tls = rondo::test::server_context(test_trust::instance().root.issue());
  std::string seen;
  scripted_server origin{context, [this](peer& p) -> awaitable<void> {
                           co_await p.start_tls(origin_tls);
                           for (;;) {
                             auto const request = co_await p.read_request();
                             seen += request;
                             co_await p.write(ok);
                           }
                         }};

  ~proxies_fixture() { client.reset(); }

  static rondo::http::exchange_options through(std::string_view scheme_and_login, std::uint16_t port) {
    rondo::http::exchange_options options;
    options.connect_timeout = std::chrono::seconds{20}; // a machine under load is no fault of the proxy
    options.via = std::make_shared<rondo::http::proxy const>(
        rondo::http::parse_proxy(std::string{scheme_and_login} + "127.0.0.1:" + std::to_string(port)).value());
    return options;
  }

  /// Requests one after the other share one tunnel, and the origin learns nothing of the proxy.
  void expect_good(std::string_view scheme_and_login, std::uint16_t port) {
    auto const options = through(scheme_and_login, port);
    auto const before = origin.accepted();
    seen.clear();
    auto const to = url_of("https", "127.0.0.1", origin.port());
    auto request = request_of(verb::post, "/v1/text-to-speech", std::string(100'000, 'x'));
    request.set("xi-api-key", "sk_0123456789");
    for (auto i = 0; i < 3; ++i) {
      auto const got = run(client->send(to, request, options));
      BOOST_TEST_REQUIRE(got.has_value(), scheme_and_login << " " << got.error().ec.message());
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
    auto const options = through(scheme_and_login, port);
    auto const before = origin.accepted();
    auto const request = request_of(verb::post, "/", "{}");
    auto const got = run(client->send(to, request, options));
    BOOST_TEST((!got && got.error().ec == e),
               scheme_and_login << ": " << (got ? "answered" : got.error().ec.message()));
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
  expect_failure(there(), "socks5h://nobody-knows-me:wrong@", proxy->port(), rondo::error::proxy_auth_failed);
  expect_failure(there(), "socks5h://", proxy->port(), rondo::error::proxy_auth_failed);
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
