// SPDX-License-Identifier: BSL-1.0
// The line to a proxy breaks after every byte of the set-up of a tunnel, in both directions.
#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include <support/cutting_relay.hpp>
#include <support/tunnel_fixture.hpp>

namespace {

using namespace std::string_literals;
using rondo::blame;
using rondo::error;
using rondo::test::cutting_relay;
using rondo::test::direction;
using rondo::test::established;
using rondo::test::ok;
using rondo::test::peer;
using rondo::test::scripted_server;
using rondo::test::asio::awaitable;
using verb = rondo::http::beast_http::verb;

struct faults_fixture : rondo::test::tunnel_fixture {
  bool stands = false; ///< the proxy has begun to send its last byte

  using handshake = std::function<awaitable<void>(peer&)>;

  awaitable<void> be_socks5(peer& p, std::size_t size_of_login, std::size_t size_of_request) {
    auto const wants_login = size_of_login > 0;
    co_await p.read_exactly(wants_login ? 4 : 3);
    if (wants_login) {
      co_await p.write("\x05\x02");
      co_await p.read_exactly(size_of_login);
      co_await p.write("\x01\x00"s);
    } else {
      co_await p.write("\x05\x00"s);
    }
    co_await p.read_exactly(size_of_request);
    co_await last_write(p, "\x05\x00\x00\x01\x7f\x00\x00\x01\x10\x00"s);
  }

  awaitable<void> be_connect(peer& p) {
    co_await p.read_until("\r\n\r\n");
    co_await last_write(p, established);
  }

  /// The reply that completes the tunnel, or its first hop.
  awaitable<void> last_write(peer& p, std::string_view bytes) {
    ++writes;
    stands = writes == writes_of_a_tunnel;
    co_await p.write(bytes);
  }
  int writes = 0;
  int writes_of_a_tunnel = 1;

  /// Cuts at every byte until a tunnel stands: all before must be the proxy's fault. Then the line is whole again.
  ///
  /// \param fewest bytes that a set-up surely takes each way
  void cut_everywhere(std::string_view prefix, handshake shake, std::size_t fewest, std::string_view suffix = "") {
    scripted_server proxy{context, [&, shake = std::move(shake)](peer& p) -> awaitable<void> {
                            writes = 0;
                            stands = false;
                            co_await shake(p);
                            for (;;) {
                              co_await p.read_request();
                              co_await p.write(ok);
                            }
                          }};
    cutting_relay relay{context, proxy.port()};
    auto const options = by(std::string{prefix} + "127.0.0.1:" + std::to_string(relay.port()) + std::string{suffix});
    auto const to = url_of("http", "127.0.0.1", 4080); // its own TLS is another matter
    auto const request = request_of(verb::post, "/", "{}");
    for (auto const way : {direction::to_server, direction::to_client}) {
      for (std::size_t bytes = 0;; ++bytes) {
        relay.cut(way, bytes);
        stands = false;
        auto const got = run(client->send(to, request, options));
        BOOST_TEST_REQUIRE(!got.has_value());
        auto const& why = got.error();
        if (why.who != blame::proxy) {
          BOOST_TEST(stands);
          BOOST_TEST((why.ec == error::connection_lost), why.ec.message());
          BOOST_TEST(bytes >= fewest);
          break;
        }
        auto const known = why.ec == error::proxy_closed || why.ec == error::proxy_tls_failed;
        BOOST_TEST(known, bytes << ": " << why.ec.message());
        BOOST_TEST(!why.written);
        BOOST_TEST(client->idle_connections() == 0U);
        BOOST_TEST(client->active_connections() == 0U);
        if (bytes % 64 == 0) {
          relay.heal();
          BOOST_TEST(run(client->send(to, request, options)).has_value());
          client->close_idle();
        }
      }
      relay.heal();
      BOOST_TEST(run(client->send(to, request, options)).has_value());
      BOOST_TEST(client->idle_connections() == 1U);
      client->close_idle();
    }
  }
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(tunnel_faults, faults_fixture)

BOOST_AUTO_TEST_CASE(http) {
  cut_everywhere("http://user:pass@", [this](peer& p) -> awaitable<void> { co_await be_connect(p); }, 39);
}

BOOST_AUTO_TEST_CASE(https) {
  cut_everywhere(
      "https://user:pass@",
      [this](peer& p) -> awaitable<void> {
        co_await p.start_tls(proxy_tls);
        co_await be_connect(p);
      },
      300);
}

BOOST_AUTO_TEST_CASE(socks4a) {
  cut_everywhere(
      "socks4a://user@",
      [this](peer& p) -> awaitable<void> {
        co_await p.read_exactly(8 + 5);
        co_await last_write(p, "\x00\x5a\x00\x00\x00\x00\x00\x00"s);
      },
      8);
}

BOOST_AUTO_TEST_CASE(socks5h_with_login) {
  cut_everywhere("socks5h://user:pass@", [this](peer& p) -> awaitable<void> { co_await be_socks5(p, 11, 10); }, 14);
}

BOOST_AUTO_TEST_CASE(socks_and_then_https) {
  writes_of_a_tunnel = 2;
  cut_everywhere(
      "socks5h://user:pass@",
      [this](peer& p) -> awaitable<void> {
        co_await be_socks5(p, 11, 4 + 1 + 9 + 2);
        co_await p.start_tls(proxy_tls);
        co_await be_connect(p);
      },
      320, "|https://localhost:8443");
}

BOOST_AUTO_TEST_SUITE_END()
