// SPDX-License-Identifier: BSL-1.0
#include "client_fixture.hpp"
#include <rondo/client.hpp>
#include <rondo/proxy_checker.hpp>

#include <boost/asio/detached.hpp>
#include <boost/test/unit_test.hpp>

#include <array>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

using namespace rondo::test;
using namespace std::chrono_literals;
using rondo::error;
using rondo::when_no_proxy;

namespace {

struct proxied : client_fixture {
  void run_until(auto&& done) {
    context.restart();
    while (!done() && context.run_one() > 0) {
    }
  }
  rondo::proxy_state state_of(scripted_proxy const& p) {
    for (auto const& each : proxies.snapshot()) {
      if (each.name == p.name) {
        return each;
      }
    }
    return {};
  }
};

constexpr auto refusal = "HTTP/1.1 403 Forbidden\r\ncontent-length: 28\r\n\r\nunusual traffic from your IP";

} // namespace

BOOST_FIXTURE_TEST_SUITE(client_proxies, proxied)

BOOST_AUTO_TEST_CASE(a_proxy_is_in_use_until_the_last_byte_and_others_wait_for_it) {
  add("k1");
  scripted_proxy one{*this, tunnel, {.concurrency = 1}};
  behaviour["secret-k1"] = [](std::string const&) {
    return std::string{"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nbeginning"};
  };
  make_client({}, true);
  std::optional<rondo::reply> first;
  asio::co_spawn(
      context,
      [&]() -> asio::awaitable<void> {
        auto message = post();
        auto opening = client->open(std::move(message));
        auto got = co_await std::move(opening);
        first = std::move(*got);
      },
      asio::detached);
  run_until([&] { return first.has_value(); });
  BOOST_TEST(state_of(one).in_flight == 1U);
  behaviour.clear();
  std::optional<outcome> second;
  asio::co_spawn(context, exchange(post(), second), asio::detached);
  context.poll();
  BOOST_TEST(!second.has_value());
  BOOST_TEST(seen.size() == 1U);
  first.reset();
  run_until([&] { return second.has_value(); });
  BOOST_TEST(second->status == 200U);
  BOOST_TEST(second->proxy == one.name);
  BOOST_TEST(state_of(one).in_flight == 0U);
  BOOST_TEST(!state_of(one).resting);
}

BOOST_AUTO_TEST_CASE(when_all_rest_it_can_wait_for_one) {
  add("k1");
  scripted_proxy one{*this, tunnel};
  proxies.try_acquire()->fail();
  options.when_no_proxy = when_no_proxy::wait;
  make_client({}, true);
  std::optional<outcome> got;
  asio::co_spawn(context, exchange(post(), got), asio::detached);
  context.poll();
  BOOST_TEST(!got.has_value());
  clock.advance(6s);
  proxies.wake();
  run_until([&] { return got.has_value(); });
  BOOST_TEST(got->status == 200U);
  BOOST_TEST(got->proxy == one.name);
}

BOOST_AUTO_TEST_CASE(waiting_for_a_proxy_ends_at_the_deadline) {
  add("k1", {.concurrency = 1});
  scripted_proxy one{*this, tunnel, {.concurrency = 1}};
  auto const held = proxies.try_acquire();
  make_client({.deadline = 1s}, true);
  std::optional<outcome> got;
  asio::co_spawn(context, exchange(post(), got), asio::detached);
  context.poll();
  BOOST_TEST(!got.has_value());
  clock.advance(1100ms);
  proxies.wake();
  run_until([&] { return got.has_value(); });
  BOOST_TEST_REQUIRE(got.has_value());
  BOOST_TEST((got->failure.ec == error::proxies_unavailable));
  BOOST_TEST((got->failure.who == rondo::blame::proxy));
  BOOST_TEST(state("k1").in_flight == 0U);
  BOOST_TEST(state("k1").requests == 0U);
}

BOOST_AUTO_TEST_CASE(it_goes_direct_only_when_that_is_written) {
  add("k1");
  scripted_proxy closes{*this, drop};
  for (auto const how : {when_no_proxy::fail, when_no_proxy::direct}) {
    options.when_no_proxy = how;
    make_client({}, true);
    auto const got = send(post());
    BOOST_TEST(server.accepted() == (how == when_no_proxy::direct ? 1U : 0U));
    BOOST_TEST(got.status == (how == when_no_proxy::direct ? 200U : 0U));
    BOOST_TEST(got.proxy == "");
  }
}

BOOST_AUTO_TEST_CASE(who_is_refused_for_its_address_rests_for_that_origin_and_the_key_does_not) {
  add("k1");
  scripted_proxy refused{*this, tunnel, {}, refusal};
  scripted_proxy good{*this, tunnel};
  options.address_refusals = {{403, "unusual traffic"}};
  make_client({}, true);
  auto const got = send(post());
  BOOST_TEST(got.status == 200U);
  BOOST_TEST(got.attempts == 2U);
  BOOST_TEST(got.proxy == good.name);
  BOOST_TEST((state("k1").status == rondo::key_status::active));
  BOOST_TEST(state("k1").failures == 0U);
  for (int i = 0; i < 4; ++i) {
    BOOST_TEST(send(post()).proxy == good.name);
  }
  BOOST_TEST(!state_of(refused).resting); // elsewhere it may serve
  std::string elsewhere;
  for (int i = 0; i < 2; ++i) {
    elsewhere += proxies.try_acquire({.origin = "another"})->name();
  }
  BOOST_TEST(elsewhere.find(refused.name) != std::string::npos);
}

BOOST_AUTO_TEST_CASE(without_such_a_rule_a_403_is_about_the_key) {
  add("k1");
  scripted_proxy one{*this, tunnel, {}, refusal};
  make_client({.max_attempts = 1}, true);
  BOOST_TEST(send(post()).status == 403U);
  BOOST_TEST((state("k1").status != rondo::key_status::active));
}

BOOST_AUTO_TEST_CASE(each_key_keeps_its_proxy) {
  proxies.set_strategy(rondo::proxy_strategy::sticky);
  for (auto const* name : {"k1", "k2", "k3", "k4", "k5", "k6"}) {
    add(name);
  }
  scripted_proxy one{*this, tunnel};
  scripted_proxy two{*this, tunnel};
  scripted_proxy three{*this, tunnel};
  make_client({}, true);
  std::map<std::string, std::string> home;
  std::map<std::string, int> load;
  for (int i = 0; i < 18; ++i) {
    auto const got = send(post());
    auto const [at, fresh] = home.try_emplace(got.key, got.proxy);
    BOOST_TEST(at->second == got.proxy);
    load[got.proxy] += fresh ? 1 : 0;
  }
  BOOST_TEST(home.size() == 6U);
  for (auto const& [proxy, count] : load) {
    BOOST_TEST(count <= 3);
  }
}

BOOST_AUTO_TEST_CASE(tags_choose_among_the_proxies) {
  add("k1");
  scripted_proxy de{*this, tunnel, {.tags = {{"country", "de"}}}};
  scripted_proxy us{*this, tunnel, {.tags = {{"country", "us"}}}};
  std::array const tags{rondo::proxy_tag{"country", "us"}};
  options.proxies = rondo::proxy_filter{tags};
  make_client({}, true);
  for (int i = 0; i < 3; ++i) {
    BOOST_TEST(send(post()).proxy == us.name);
  }
}

BOOST_AUTO_TEST_CASE(a_rotating_gateway_gets_a_tunnel_for_as_many_requests_as_told) {
  add("k1");
  scripted_proxy one{*this, tunnel, {.requests_per_tunnel = 2}};
  make_client({}, true);
  for (int i = 0; i < 4; ++i) {
    BOOST_TEST(send(post()).status == 200U);
  }
  BOOST_TEST(one.server.accepted() == 2U);
}

BOOST_AUTO_TEST_CASE(one_bad_entry_of_a_list_breaks_no_request) {
  add("k1");
  proxies.add({.name = "typo", .url = rondo::secret{"htp:/nowhere"}});
  scripted_proxy good{*this, tunnel};
  make_client({}, true);
  for (int i = 0; i < 3; ++i) {
    BOOST_TEST(send(post()).proxy == good.name);
  }
  BOOST_TEST(proxies.snapshot()[0].resting);
}

BOOST_AUTO_TEST_CASE(who_cuts_what_others_carry_rests_the_second_time) {
  for (auto const* name : {"k1", "k2"}) {
    add(name);
  }
  scripted_proxy cuts{*this, tunnel, {}, std::string{scripted_proxy::cut}};
  scripted_proxy good{*this, tunnel};
  make_client({}, true);
  auto const first = send(get());
  BOOST_TEST(first.status == 200U);
  BOOST_TEST(first.attempts == 2U);
  BOOST_TEST(!state_of(cuts).resting); // it may have been an old connection
  while (cuts.server.accepted() < 2) {
    BOOST_TEST(send(get()).status == 200U);
  }
  BOOST_TEST(state_of(cuts).resting);
  BOOST_TEST(!state_of(good).resting);
}

BOOST_AUTO_TEST_CASE(an_origin_that_drops_requests_through_all_proxies_rests_none) {
  add("k1");
  answers("k1", drop);
  scripted_proxy one{*this, tunnel};
  scripted_proxy two{*this, tunnel};
  scripted_proxy three{*this, tunnel};
  make_client({.max_attempts = 6}, true);
  auto const got = send(get());
  BOOST_TEST((got.failure.ec == error::connection_lost));
  BOOST_TEST(got.attempts == 6U);
  for (auto const& each : proxies.snapshot()) {
    BOOST_TEST(!each.resting);
    BOOST_TEST(each.in_flight == 0U);
  }
}

BOOST_AUTO_TEST_CASE(a_checker_finds_out_before_anybody_is_offered_a_rested_proxy) {
  add("k1");
  auto const shared = std::make_shared<rondo::proxy_rotator>(std::move(proxies));
  auto works = false;
  scripted_server flaky{context, [&](peer& p) -> asio::awaitable<void> {
                          co_await p.read_until("\r\n\r\n");
                          if (works) {
                            co_await p.write(tunnel);
                            co_await p.read_until("\r\n\r\n");
                            co_await p.write("HTTP/1.1 204 No Content\r\n\r\n");
                          }
                        }};
  shared->add({.name = "p", .url = rondo::secret{"http://127.0.0.1:" + std::to_string(flaky.port())}});
  shared->try_acquire()->fail();
  rondo::proxy_check_options how;
  how.target = rondo::http::parse_url("http://127.0.0.1:" + std::to_string(server.port())).value();
  how.interval = 1ms;
  rondo::proxy_checker checker{context.get_executor(), shared, how};
  clock.advance(6s);
  run_until([&] { return flaky.accepted() == 1 && shared->snapshot()[0].resting; });
  BOOST_TEST(!shared->try_acquire());
  works = true;
  clock.advance(11s);
  BOOST_TEST(!shared->try_acquire());
  run_until([&] { return flaky.accepted() == 2 && shared->snapshot()[0].in_flight == 0; });
  BOOST_TEST(shared->try_acquire().has_value());
  checker.stop();
  flaky.close();
  proxies = rondo::proxy_rotator{};
}

BOOST_AUTO_TEST_SUITE_END()
