// SPDX-License-Identifier: BSL-1.0
// Hosts with several addresses: which is tried when, and which is taken.
#include <rondo/http/detail/connect_race.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>

#include <netinet/in.h>
#include <sys/socket.h>

#include <unistd.h>

#include <array>
#include <chrono>
#include <string>
#include <vector>

#include <support/http_fixture.hpp>

namespace {

using namespace std::chrono_literals;
using boost::asio::ip::make_address;
using boost::asio::ip::tcp;
using rondo::test::ok;
using rondo::test::peer;
using rondo::test::scripted_server;
using rondo::test::asio::awaitable;
using verb = rondo::http::beast_http::verb;

/// An address whose port takes no connection and refuses none: its queue is full.
class silent_address {
public:
  silent_address(char const* address, std::uint16_t port) {
    sockaddr_in where{};
    where.sin_family = AF_INET;
    where.sin_port = htons(port);
    BOOST_REQUIRE(::inet_pton(AF_INET, address, &where.sin_addr) == 1);
    auto const* const to = reinterpret_cast<sockaddr const*>(&where);
    BOOST_REQUIRE(::bind(listener_, to, sizeof(where)) == 0);
    BOOST_REQUIRE(::listen(listener_, 0) == 0);
    for (auto const filler : fillers_) {
      static_cast<void>(::connect(filler, to, sizeof(where)));
    }
  }
  silent_address(silent_address const&) = delete;
  silent_address& operator=(silent_address const&) = delete;
  ~silent_address() {
    ::close(listener_);
    for (auto const filler : fillers_) {
      ::close(filler);
    }
  }

private:
  static int open() { return ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0); }
  int listener_ = open();
  std::array<int, 4> fillers_{open(), open(), open(), open()};
};

struct race_fixture : rondo::test::http_fixture {
  std::string answer{ok};
  scripted_server server{context, [this](peer& p) -> awaitable<void> {
                           for (;;) {
                             co_await p.read_request();
                             co_await p.write(answer);
                           }
                         }};

  ~race_fixture() { client.reset(); }

  rondo::http::url host(std::vector<char const*> const& addresses,
                        std::chrono::steady_clock::duration delay = std::chrono::hours{1}) {
    rondo::http::client_options options;
    options.attempt_delay = delay;
    for (auto const* const a : addresses) {
      options.hosts["origin.localhost"].push_back(make_address(a));
    }
    use_client(options);
    return url_of("http", "origin.localhost", server.port());
  }

  rondo::error_code get(rondo::http::url const& to, rondo::http::exchange_options const& options = {}) {
    auto const request = request_of(verb::get);
    auto const got = run(client->send(to, request, options));
    return got ? rondo::error_code{} : got.error().ec;
  }
};

std::vector<std::string> order_of(std::vector<char const*> const& found) {
  std::vector<tcp::endpoint> endpoints;
  for (auto const* const a : found) {
    endpoints.emplace_back(make_address(a), 80);
  }
  std::vector<std::string> out;
  for (auto const& e : rondo::http::detail::alternate_families(endpoints)) {
    out.push_back(e.address().to_string());
  }
  return out;
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(http_race, race_fixture)

BOOST_AUTO_TEST_CASE(families_take_turns) {
  using strings = std::vector<std::string>;
  BOOST_TEST(order_of({}).empty());
  BOOST_TEST(order_of({"::1"}) == (strings{"::1"}));
  BOOST_TEST(order_of({"10.0.0.2", "10.0.0.1"}) == (strings{"10.0.0.2", "10.0.0.1"}));
  BOOST_TEST(order_of({"::1", "::2", "::3", "10.0.0.1", "10.0.0.2"}) ==
             (strings{"::1", "10.0.0.1", "::2", "10.0.0.2", "::3"}));
  BOOST_TEST(order_of({"10.0.0.1", "10.0.0.2", "::1"}) == (strings{"10.0.0.1", "::1", "10.0.0.2"}));
}

BOOST_AUTO_TEST_CASE(who_refuses_is_followed_at_once) {
  // an hour would pass otherwise
  BOOST_TEST(!get(host({"127.0.0.3", "127.0.0.2", "127.0.0.1"})));
  BOOST_TEST(!get(host({"127.0.0.1", "127.0.0.2"})));
  BOOST_TEST(server.accepted() == 2);
}

BOOST_AUTO_TEST_CASE(who_is_silent_is_overtaken) {
  silent_address const silent{"127.0.0.2", server.port()};
  BOOST_TEST(!get(host({"127.0.0.2", "127.0.0.1"}, 1ms)));
  BOOST_TEST(server.accepted() == 1);
  BOOST_TEST(client->idle_connections() == 1);
  BOOST_TEST(client->active_connections() == 0);
}

BOOST_AUTO_TEST_CASE(a_short_limit_leaves_time_for_every_address) {
  silent_address const silent{"127.0.0.2", server.port()};
  rondo::http::exchange_options options;
  options.connect_timeout = 500ms;
  BOOST_TEST(!get(host({"127.0.0.2", "127.0.0.1"}), options));
}

BOOST_AUTO_TEST_CASE(nobody_answers) {
  rondo::http::exchange_options options;
  BOOST_TEST((get(host({"127.0.0.2", "127.0.0.3"}), options) == rondo::error::connect_failed));
  options.connect_timeout = 30ms;
  silent_address const silent{"127.0.0.2", server.port()};
  BOOST_TEST((get(host({"127.0.0.2", "127.0.0.3"}), options) == rondo::error::connect_timeout));
  BOOST_TEST((get(host({"127.0.0.3", "127.0.0.2"}), options) == rondo::error::connect_timeout));
  options.deadline = std::chrono::steady_clock::now() + 20ms;
  options.connect_timeout = 1h;
  BOOST_TEST((get(host({"127.0.0.2", "127.0.0.3"}), options) == rondo::error::deadline_exceeded));
  BOOST_TEST(client->active_connections() == 0);
}

BOOST_AUTO_TEST_CASE(a_race_can_be_cancelled) {
  silent_address const silent{"127.0.0.2", server.port()};
  silent_address const other{"127.0.0.3", server.port()};
  auto const to = host({"127.0.0.2", "127.0.0.3"}, 1ms);
  for (auto const wait : {0ms, 20ms}) {
    std::optional<rondo::error_code> result;
    boost::asio::cancellation_signal signal;
    client->async_send(to, request_of(verb::get), {},
                       boost::asio::bind_cancellation_slot(
                           signal.slot(), [&](rondo::error_code ec, rondo::http::response const&) { result = ec; }));
    boost::asio::steady_timer pause{context, wait};
    pause.async_wait([&](rondo::error_code) { signal.emit(boost::asio::cancellation_type::total); });
    context.restart();
    while (!result && context.run_one() > 0) {
    }
    BOOST_REQUIRE(result);
    BOOST_TEST((*result == boost::asio::error::operation_aborted), result->message());
    BOOST_TEST(client->active_connections() == 0);
  }
}

BOOST_AUTO_TEST_CASE(proxies_are_raced_for_too) {
  silent_address const silent{"127.0.0.2", server.port()};
  host({"127.0.0.2", "127.0.0.1"}, 1ms);
  answer = "HTTP/1.1 403 No\r\n\r\n";
  rondo::http::exchange_options options;
  options.via = std::make_shared<rondo::http::proxy const>(
      rondo::http::parse_proxy("http://origin.localhost:" + std::to_string(server.port())).value());
  BOOST_TEST((get(url_of("https", "api.example.com", 443), options) == rondo::error::proxy_denied));
  BOOST_TEST(server.accepted() == 1);
}

BOOST_AUTO_TEST_CASE(addresses_that_are_given_are_not_asked_for) {
  rondo::http::client_options options;
  options.hosts["api.invalid"] = {};
  use_client(options);
  BOOST_TEST((get(url_of("https", "api.invalid", 443)) == rondo::error::connect_failed));
}

BOOST_AUTO_TEST_SUITE_END()
