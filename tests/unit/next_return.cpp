// SPDX-License-Identifier: BSL-1.0
#include "pool_steps.hpp"
#include <rondo/key_pool.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/test/unit_test.hpp>

#include <chrono>
#include <string>

using namespace rondo::test;
using rondo::outcome;

BOOST_FIXTURE_TEST_SUITE(next_return, pool_fixture)

BOOST_AUTO_TEST_CASE(there_is_none_while_no_key_rests) {
  BOOST_TEST(!pool->next_return().has_value());
  add_keys(*this, 3);
  BOOST_TEST(!pool->next_return().has_value());
  order(*this, 5, {.tokens = 1});
  BOOST_TEST(!pool->next_return().has_value());
}

BOOST_AUTO_TEST_CASE(it_is_the_earliest_of_all_keys_that_rest) {
  add_keys(*this, 4);
  for (auto const rest : {300s, 100s, 200s}) {
    take(*this, {.tokens = 1}).report(outcome::rate_limited(rest));
  }
  auto const first = pool->next_return();
  BOOST_TEST_REQUIRE(first.has_value());
  BOOST_TEST((*first >= clock.steady_now() + 100s && *first <= clock.steady_now() + 105s));
  advance(105s);
  take(*this, {.tokens = 1}).settle(1);
  take(*this, {.tokens = 1}).settle(1);
  auto const second = pool->next_return();
  BOOST_TEST_REQUIRE(second.has_value());
  BOOST_TEST((*second >= clock.steady_now() + 95s && *second <= clock.steady_now() + 100s));
}

BOOST_AUTO_TEST_CASE(it_follows_a_rest_that_grows) {
  pool->add(key("a"));
  auto one = take(*this, {.tokens = 1});
  auto two = take(*this, {.tokens = 1});
  one.report(outcome::rate_limited(10s));
  two.report(outcome::rate_limited(100s));
  auto const at = pool->next_return();
  BOOST_TEST_REQUIRE(at.has_value());
  BOOST_TEST((*at >= clock.steady_now() + 100s));
}

BOOST_AUTO_TEST_CASE(there_is_none_when_nobody_knows_when_a_key_returns) {
  pool->add(key("a", {.quota = 10}));
  pool->add(key("b", {.concurrency = 1}));
  pool->add(key("c"));
  auto const held = take_all(*this, {.tokens = 10}, 3);
  BOOST_TEST_REQUIRE(held.size() == 3U);
  pool->set_disabled("c", true);
  BOOST_TEST(!pool->try_acquire(1));
  BOOST_TEST(!pool->next_return().has_value());
}

BOOST_AUTO_TEST_CASE(a_quota_and_a_rate_that_return_are_known_once_somebody_was_refused) {
  pool->add(key("a", {.quota = 10, .quota_reset = clock.wall_now() + 1h}));
  BOOST_TEST(serve(*this, {.tokens = 10}) == "a");
  BOOST_TEST(!pool->try_acquire(1));
  BOOST_TEST((pool->next_return() == clock.steady_now() + 1h));
  pool->add(key("b", {.requests_per_minute = 1}));
  BOOST_TEST(serve(*this, {.tokens = 10}) == "b");
  BOOST_TEST(!pool->try_acquire(1));
  auto const at = pool->next_return();
  BOOST_TEST_REQUIRE(at.has_value());
  BOOST_TEST((*at > clock.steady_now() + 60s && *at < clock.steady_now() + 66s));
}

BOOST_AUTO_TEST_CASE(it_is_past_no_longer_once_the_key_is_back) {
  pool->add(key("a"));
  take(*this, {.tokens = 1}).report(outcome::rate_limited(10s));
  clock.advance(20s);
  take(*this, {.tokens = 1}).settle(1);
  BOOST_TEST(!pool->next_return().has_value());
}

BOOST_AUTO_TEST_CASE(a_key_that_left_before_its_rest_was_over_does_not_return) {
  pool->add(key("a"));
  take(*this, {.tokens = 1}).report(outcome::rate_limited(10s));
  pool->remove("a");
  BOOST_TEST(!pool->next_return().has_value());
}

BOOST_AUTO_TEST_CASE(a_rest_that_a_balance_ended_is_no_return) {
  pool->add(key("a", {.quota = 100}));
  take(*this, {.tokens = 1}).report(outcome::exhausted(1h));
  pool->set_balance("a", {.limit = 100, .remaining = 50});
  BOOST_TEST(pool->try_acquire(1).has_value());
  BOOST_TEST(!pool->next_return().has_value());
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(next_return_by_the_clock_of_the_system)

BOOST_AUTO_TEST_CASE(a_key_comes_back_while_another_one_serves) {
  asio::io_context ctx; // never run: no timer helps
  rondo::key_pool pool{ctx.get_executor()};
  pool.add(key("a"));
  pool.add(key("b"));
  auto first = pool.try_acquire(1);
  BOOST_TEST_REQUIRE(first.has_value());
  std::string const resting{first->key_name()};
  first->report(outcome::rate_limited(1ms));
  auto const give_up = std::chrono::steady_clock::now() + 60s; // it takes a few ms
  std::string served;
  while (served != resting && std::chrono::steady_clock::now() < give_up) {
    for (int i = 0; i < 100 && served != resting; ++i) {
      auto l = pool.try_acquire(1);
      BOOST_TEST_REQUIRE(l.has_value());
      served = l->key_name();
      l->settle(1);
    }
  }
  BOOST_TEST(served == resting);
}

BOOST_AUTO_TEST_SUITE_END()
