// SPDX-License-Identifier: BSL-1.0
// The http client through proxies that follow a script.
#pragma once

#include <rondo/http/client.hpp>
#include <rondo/http/proxy.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/error.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <support/http_fixture.hpp>

namespace rondo::test {

inline constexpr std::string_view established = "HTTP/1.1 200 Connection established\r\n\r\n";

/// The authority that vouches for proxies, and for nobody else.
struct proxy_trust {
  temporary_directory files;
  authority root{"rondo test authority for proxies"};
  std::string ca_file = files.write("ca.pem", root.certificate());

  static proxy_trust& instance() {
    static proxy_trust trust;
    return trust;
  }
};

struct tunnel_fixture : http_fixture {
  asio::ssl::context origin_tls = server_context(test_trust::instance().root.issue());
  asio::ssl::context proxy_tls = server_context(proxy_trust::instance().root.issue());

  tunnel_fixture() { trust_proxies({}); }

  /// A new client that trusts the proxies' authority where it talks to a proxy, and there only.
  void trust_proxies(http::client_options options) {
    options.proxy_tls = http::make_tls_context({proxy_trust::instance().ca_file}).value();
    use_client(std::move(options));
  }

  static http::exchange_options by(http::proxy p) {
    http::exchange_options options;
    options.connect_timeout = std::chrono::seconds{20}; // a machine under load is no fault of the proxy
    options.via = std::make_shared<http::proxy const>(std::move(p));
    return options;
  }
  static http::exchange_options by(std::string_view proxy) { return by(http::parse_proxy(proxy).value()); }

  static http::exchange_options through(std::string_view scheme_and_login, std::uint16_t port) {
    return by(std::string{scheme_and_login} + "127.0.0.1:" + std::to_string(port));
  }

  /// Plays the origin at the far end of an established tunnel.
  asio::awaitable<void> be_origin(peer& p, std::string* seen = nullptr) {
    co_await p.start_tls(origin_tls);
    for (;;) {
      auto const request = co_await p.read_request();
      if (seen != nullptr) {
        *seen += request;
      }
      co_await p.write(ok);
    }
  }

  /// The origin of all tests; nothing listens there.
  static http::url far() { return url_of("https", "localhost", 4443); }

  void expect_good(http::exchange_options const& options) {
    auto const to = far();
    auto const request = request_of(http::beast_http::verb::post, "/", "{}");
    auto const got = run(client->send(to, request, options));
    BOOST_TEST_REQUIRE(got.has_value(), got.error().ec.message());
    BOOST_TEST(got->body() == "hello");
  }

  /// Cancels an exchange after each of its event loop's steps: nothing half used may be left behind.
  ///
  /// \param least steps that it surely takes
  void cancel_everywhere(http::exchange_options const& options, std::size_t least) {
    std::size_t cancelled = 0;
    for (std::size_t steps = 0;; ++steps) {
      client->close_idle();
      std::optional<error_code> result;
      asio::cancellation_signal signal;
      client->async_send(
          far(), request_of(http::beast_http::verb::post, "/", "{}"), options,
          asio::bind_cancellation_slot(signal.slot(), [&](error_code ec, http::response const&) { result = ec; }));
      context.restart();
      for (std::size_t i = 0; i < steps && !result; ++i) {
        context.run_one();
      }
      auto const over = result.has_value();
      signal.emit(asio::cancellation_type::terminal);
      while (!result) {
        context.run_one();
      }
      BOOST_TEST(client->active_connections() == 0);
      BOOST_TEST(client->idle_connections() == (*result ? 0U : 1U));
      if (*result) {
        BOOST_TEST((*result == asio::error::operation_aborted), result->message());
        ++cancelled;
      }
      if (over) {
        break;
      }
    }
    BOOST_TEST(cancelled >= least);
    client->close_idle();
  }

  void expect(http::exchange_options const& options, error e, blame who) {
    auto const to = far();
    auto const request = request_of(http::beast_http::verb::post, "/", "{}");
    auto const got = run(client->send(to, request, options));
    BOOST_TEST((!got && got.error().ec == e), (got ? "an answer" : got.error().ec.message()));
    BOOST_TEST((!got && got.error().who == who && !got.error().written));
    BOOST_TEST(client->active_connections() == 0);
    BOOST_TEST(client->idle_connections() == 0);
  }
  void expect(http::exchange_options const& options, error e) { expect(options, e, blame_of(e)); }
};

} // namespace rondo::test
