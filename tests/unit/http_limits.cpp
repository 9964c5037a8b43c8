// SPDX-License-Identifier: BSL-1.0
// How many connections there are at once, and who gets the next one.
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/steady_timer.hpp>

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <support/http_fixture.hpp>

namespace {

using namespace std::chrono_literals;
using rondo::test::ok;
using rondo::test::peer;
using rondo::test::scripted_server;
using rondo::test::asio::awaitable;
using verb = rondo::http::beast_http::verb;
using strings = std::vector<std::string>;

/// A server that answers a request when the test says so, and requests whose ends are kept.
struct limits_fixture : rondo::test::http_fixture {
  std::map<std::string, boost::asio::steady_timer> gates; ///< by target
  std::map<std::string, bool> broken;                     ///< the connection is closed instead of an answer
  strings arrived;
  std::map<std::string, rondo::error_code> ended;

  ~limits_fixture() {
    client.reset();
    gates.clear(); // ends the scripts that wait, while what they refer to is there
    settle();
  }

  scripted_server::script gated() {
    return [this](peer& p) -> awaitable<void> { co_await answer(p); };
  }

  awaitable<void> answer(peer& p) {
    for (;;) {
      auto const request = co_await p.read_request();
      auto const target = request.substr(request.find('/'), 2);
      arrived.push_back(target);
      co_await gate(target).async_wait(boost::asio::as_tuple(boost::asio::use_awaitable));
      if (broken[target]) {
        co_return;
      }
      co_await p.write(ok);
    }
  }

  boost::asio::steady_timer& gate(std::string const& target) {
    return gates.try_emplace(target, context, rondo::steady_time::max()).first->second;
  }
  void open_gate(std::string const& target) { gate(target).expires_at(rondo::steady_time::min()); }

  void limit_origin(std::size_t most) {
    rondo::http::client_options options;
    options.max_per_origin = most;
    use_client(options);
  }
  void limit_proxy(std::size_t most) {
    rondo::http::client_options options;
    options.max_per_proxy = most;
    use_client(options);
  }

  void start(rondo::http::url const& to, std::string const& target, rondo::http::exchange_options options = {}) {
    client->async_send(to, request_of(verb::post, target), std::move(options),
                       [this, target](rondo::error_code ec, rondo::http::response const&) { ended[target] = ec; });
  }

  template <class Condition> void until(Condition reached) {
    context.restart();
    while (!reached() && context.run_one() > 0) {
    }
    context.restart();
    context.poll();
  }
  void until_arrived(std::size_t n) {
    until([&] { return arrived.size() >= n; });
  }
  void until_ended(std::string const& target) {
    until([&] { return ended.contains(target); });
  }

  static rondo::http::exchange_options through(std::string_view login, std::uint16_t port) {
    rondo::http::exchange_options options;
    options.via = std::make_shared<rondo::http::proxy const>(
        rondo::http::parse_proxy(std::string{login} + "127.0.0.1:" + std::to_string(port)).value());
    return options;
  }

  /// Plays a proxy and every origin behind it.
  scripted_server::script tunnel() {
    return [this](peer& p) -> awaitable<void> {
      co_await p.read_until("\r\n\r\n");
      co_await p.write("HTTP/1.1 200 OK\r\n\r\n");
      co_await answer(p);
    };
  }
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(http_limits, limits_fixture)

BOOST_AUTO_TEST_CASE(who_came_first_gets_the_connection_that_becomes_idle) {
  limit_origin(2);
  scripted_server server{context, gated()};
  auto const to = url_of("http", "127.0.0.1", server.port());
  for (auto const* const target : {"/a", "/b", "/c", "/d", "/e"}) {
    start(to, target);
  }
  until_arrived(2);
  BOOST_TEST(client->active_connections() == 2);
  open_gate("/b");
  until_arrived(3);
  open_gate("/a");
  until_arrived(4);
  open_gate("/c");
  until_arrived(5);
  BOOST_TEST(arrived == (strings{"/a", "/b", "/c", "/d", "/e"}));
  open_gate("/d");
  open_gate("/e");
  until([&] { return ended.size() == 5; });
  for (auto const& [target, ec] : ended) {
    BOOST_TEST(!ec, target << " " << ec.message());
  }
  BOOST_TEST(server.accepted() == 2);
  BOOST_TEST(client->idle_connections() == 2);
}

BOOST_AUTO_TEST_CASE(a_connection_that_dies_makes_room_for_a_new_one) {
  limit_origin(1);
  scripted_server server{context, gated()};
  auto const to = url_of("http", "127.0.0.1", server.port());
  start(to, "/a");
  start(to, "/b");
  until_arrived(1);
  broken["/a"] = true;
  open_gate("/a");
  open_gate("/b");
  until_ended("/b");
  BOOST_TEST((ended["/a"] == rondo::error::connection_lost));
  BOOST_TEST(!ended["/b"]);
  BOOST_TEST(server.accepted() == 2);
}

BOOST_AUTO_TEST_CASE(a_connection_that_cannot_be_made_gives_its_place_on) {
  limit_origin(1);
  auto const to = url_of("http", "127.0.0.1", [&] { return scripted_server{context, gated()}.port(); }());
  start(to, "/a");
  start(to, "/b");
  start(to, "/c");
  until([&] { return ended.size() == 3; });
  for (auto const& [target, ec] : ended) {
    BOOST_TEST((ec == rondo::error::connect_failed), target << " " << ec.message());
  }
}

BOOST_AUTO_TEST_CASE(waiting_ends_with_the_deadline) {
  limit_origin(1);
  scripted_server server{context, gated()};
  auto const to = url_of("http", "127.0.0.1", server.port());
  start(to, "/a");
  until_arrived(1);
  auto const request = request_of(verb::post);
  rondo::http::exchange_options options;
  options.deadline = std::chrono::steady_clock::now() + 500ms;
  auto const got = run(client->send(to, request, options));
  BOOST_TEST_REQUIRE(!got.has_value());
  BOOST_TEST((got.error().ec == rondo::error::connections_busy), got.error().ec.message());
  BOOST_TEST((got.error().who == rondo::blame::nobody && !got.error().written));
  BOOST_TEST((got.error().ec == rondo::condition::retryable));
  start(to, "/b"); // comes after one who has gone
  open_gate("/a");
  open_gate("/b");
  until_ended("/b");
  BOOST_TEST(!ended["/b"]);
  BOOST_TEST(server.accepted() == 1);
}

BOOST_AUTO_TEST_CASE(cancelled_waiters_lose_no_place) {
  for (auto const broken_first : {false, true}) {
    for (auto steps = 0;; ++steps) {
      arrived.clear();
      ended.clear();
      gates.clear();
      broken["/a"] = broken_first;
      limit_origin(1);
      scripted_server server{context, gated()};
      auto const to = url_of("http", "127.0.0.1", server.port());
      boost::asio::cancellation_signal signal;
      start(to, "/a");
      client->async_send(
          to, request_of(verb::post, "/b"), {},
          boost::asio::bind_cancellation_slot(
              signal.slot(), [&](rondo::error_code ec, rondo::http::response const&) { ended["/b"] = ec; }));
      start(to, "/c");
      until_arrived(1);
      for (auto const* const target : {"/a", "/b", "/c"}) {
        open_gate(target);
      }
      context.restart();
      for (auto i = 0; i < steps && !ended.contains("/b"); ++i) {
        context.run_one();
      }
      auto const over = ended.contains("/b");
      signal.emit(boost::asio::cancellation_type::terminal);
      until([&] { return ended.size() == 3; });
      BOOST_TEST_REQUIRE(ended.size() == 3U);
      BOOST_TEST(!ended["/c"], steps << " steps: " << ended["/c"].message());
      BOOST_TEST(client->active_connections() == 0);
      BOOST_TEST(client->idle_connections() == 1);
      if (over) {
        BOOST_TEST(steps > 3);
        break;
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(who_is_cancelled_while_a_connection_is_on_its_way_sends_nothing) {
  limit_origin(1);
  scripted_server server{context, gated()};
  auto const to = url_of("http", "127.0.0.1", server.port());
  boost::asio::cancellation_signal stop;
  client->async_send(to, request_of(verb::post, "/a"), {}, [&](rondo::error_code ec, rondo::http::response const&) {
    ended["/a"] = ec;
    stop.emit(boost::asio::cancellation_type::terminal); // the connection has been handed to /b
  });
  until([&] { return arrived.size() == 1; });
  client->async_send(to, request_of(verb::post, "/b"), {},
                     boost::asio::bind_cancellation_slot(
                         stop.slot(), [&](rondo::error_code ec, rondo::http::response const&) { ended["/b"] = ec; }));
  settle();
  open_gate("/a");
  until([&] { return ended.size() == 2; });
  BOOST_TEST(!ended["/a"]);
  BOOST_TEST((ended["/b"] == boost::asio::error::operation_aborted));
  settle();
  BOOST_TEST(arrived == strings{"/a"}, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(nothing_idle_is_kept_but_what_somebody_waits_for) {
  rondo::http::client_options options;
  options.max_per_origin = 1;
  options.max_idle = 0;
  use_client(options);
  scripted_server server{context, gated()};
  auto const to = url_of("http", "127.0.0.1", server.port());
  start(to, "/a");
  start(to, "/b");
  open_gate("/a");
  open_gate("/b");
  until([&] { return ended.size() == 2; });
  BOOST_TEST((!ended["/a"] && !ended["/b"]));
  BOOST_TEST(server.accepted() == 1);
  BOOST_TEST(client->idle_connections() == 0);
}

BOOST_AUTO_TEST_CASE(idle_connections_of_other_origins_make_room_in_a_proxy) {
  limit_proxy(2);
  scripted_server proxy{context, tunnel()};
  auto const via = through("http://", proxy.port());
  for (auto const* const target : {"/a", "/b", "/c"}) {
    open_gate(target);
    start(url_of("http", "127.0.0.1", static_cast<std::uint16_t>(1000 + target[1])), target, via);
    until_ended(target);
    BOOST_TEST(!ended[target]);
  }
  BOOST_TEST(proxy.accepted() == 3);
  BOOST_TEST(client->idle_connections() == 2);
  start(url_of("http", "127.0.0.1", 1000 + 'b'), "/d", via); // the one that was idle longest had to go, not this
  open_gate("/d");
  until_ended("/d");
  BOOST_TEST(proxy.accepted() == 3);
}

BOOST_AUTO_TEST_CASE(the_line_of_a_proxy_is_one_for_all_origins) {
  limit_proxy(1);
  scripted_server proxy{context, tunnel()};
  auto const via = through("http://", proxy.port());
  auto const one = url_of("http", "127.0.0.1", 1001);
  auto const two = url_of("http", "127.0.0.1", 1002);
  start(one, "/a", via);
  until_arrived(1);
  start(two, "/b", via);
  start(one, "/c", via); // could have the connection of the first, but came later
  settle();
  for (auto const* const target : {"/a", "/b", "/c"}) {
    open_gate(target);
  }
  until([&] { return ended.size() == 3; });
  BOOST_TEST(arrived == (strings{"/a", "/b", "/c"}));
  BOOST_TEST(proxy.accepted() == 3);
  BOOST_TEST(proxy.open() == 1);
}

BOOST_AUTO_TEST_CASE(another_user_is_another_proxy_and_direct_is_none) {
  limit_proxy(1);
  scripted_server proxy{context, tunnel()};
  scripted_server origin{context, gated()};
  auto const to = url_of("http", "127.0.0.1", origin.port());
  start(to, "/a", through("http://a:x@", proxy.port()));
  start(to, "/b", through("http://b:x@", proxy.port()));
  start(to, "/c");
  start(to, "/d");
  until_arrived(4);
  start(to, "/e", through("http://a:x@", proxy.port()));
  settle();
  BOOST_TEST(proxy.accepted() == 2);
  BOOST_TEST(origin.accepted() == 2);
  for (auto const* const target : {"/a", "/b", "/c", "/d", "/e"}) {
    open_gate(target);
  }
  until([&] { return ended.size() == 5; });
  BOOST_TEST(proxy.accepted() == 2);
}

BOOST_AUTO_TEST_CASE(an_origin_is_counted_through_all_proxies) {
  limit_origin(1);
  scripted_server proxy{context, tunnel()};
  auto const to = url_of("http", "127.0.0.1", 1001);
  start(to, "/a", through("http://a:x@", proxy.port()));
  until_arrived(1);
  start(to, "/b", through("http://b:x@", proxy.port()));
  settle();
  BOOST_TEST(proxy.accepted() == 1);
  open_gate("/a");
  open_gate("/b");
  until_ended("/b");
  BOOST_TEST(!ended["/b"]);
  BOOST_TEST(proxy.accepted() == 2);
  BOOST_TEST(client->idle_connections() == 1); // the first had to go
}

BOOST_AUTO_TEST_CASE(who_waits_in_two_lines_keeps_his_turn) {
  for (auto const dies : {false, true}) {
    arrived.clear();
    ended.clear();
    gates.clear();
    rondo::http::client_options options;
    options.max_per_origin = 1;
    options.max_per_proxy = 1;
    use_client(options);
    scripted_server proxy{context, tunnel()};
    auto const to = url_of("http", "127.0.0.1", 1001);
    auto const one = through("http://a:x@", proxy.port());
    start(to, "/a", one);
    until_arrived(1);
    start(to, "/b", through("http://b:x@", proxy.port()));
    start(to, "/c", one); // comes first in the line of its proxy, but not in that of the origin
    settle();
    broken["/a"] = dies;
    for (auto const* const target : {"/a", "/b", "/c"}) {
      open_gate(target);
    }
    until([&] { return ended.size() == 3; });
    BOOST_TEST(arrived == (strings{"/a", "/b", "/c"}));
  }
}

BOOST_AUTO_TEST_CASE(the_replacement_of_a_stale_connection_needs_no_place_of_its_own) {
  limit_origin(1);
  auto closed = false;
  scripted_server server{context, [&](peer& p) -> awaitable<void> {
                           if (p.number() == 0) {
                             co_await p.read_request();
                             co_await p.write(ok);
                             co_await p.read_request();
                             closed = true;
                           } else {
                             co_await answer(p);
                           }
                         }};
  auto const to = url_of("http", "127.0.0.1", server.port());
  auto const request = request_of(verb::get);
  BOOST_TEST(run(client->send(to, request)).has_value());
  open_gate("/b");
  client->async_send(to, request_of(verb::get, "/a"), {},
                     [&](rondo::error_code ec, rondo::http::response const&) { ended["/a"] = ec; });
  start(to, "/b");
  until_arrived(1);
  BOOST_TEST(closed);
  open_gate("/a");
  until([&] { return ended.size() == 2; });
  BOOST_TEST((!ended["/a"] && !ended["/b"]));
  BOOST_TEST(arrived == (strings{"/a", "/b"}));
  BOOST_TEST(server.accepted() == 2);
}

BOOST_AUTO_TEST_CASE(a_client_or_a_context_may_go_while_somebody_waits) {
  limit_origin(1);
  scripted_server server{context, gated()};
  auto const to = url_of("http", "127.0.0.1", server.port());
  start(to, "/a");
  start(to, "/b");
  until_arrived(1);
  client.reset();
  open_gate("/a");
  open_gate("/b");
  until([&] { return ended.size() == 2; });
  BOOST_TEST((!ended["/a"] && !ended["/b"]));

  auto doomed = std::make_unique<boost::asio::io_context>();
  rondo::http::client_options options;
  options.max_per_origin = 1;
  auto other = std::make_unique<rondo::http::client>(doomed->get_executor(), options);
  auto completed = 0;
  for (auto i = 0; i < 3; ++i) {
    other->async_send(to, request_of(verb::post, "/c"), {},
                      [&](rondo::error_code, rondo::http::response const&) { ++completed; });
  }
  auto const before = server.accepted();
  while (server.accepted() == before) {
    doomed->poll();
    settle();
  }
  other.reset();
  doomed.reset();
  BOOST_TEST(completed == 0);
}

BOOST_AUTO_TEST_SUITE_END()
