// SPDX-License-Identifier: BSL-1.0
// Limits of a day that return when the calendar says so.
#include "pool_steps.hpp"
#include <rondo/key_pool.hpp>
#include <rondo/renewal.hpp>
#include <rondo/time_zone.hpp>

#include <boost/test/unit_test.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

using namespace rondo::test;
using rondo::error;
using rondo::renewal;
using rondo::time_zone;

namespace {

struct daily_fixture : pool_fixture {
  static constexpr renewal pacific = renewal::daily(time_zone::pacific());

  /// To the next midnight in California.
  std::chrono::nanoseconds rest_of_day() const {
    return time_zone::pacific().next_midnight(clock.wall_now()) - clock.wall_now();
  }
  /// What is served at once, at one token each.
  int served() {
    int n = 0;
    while (auto l = pool->try_acquire(1)) {
      l->settle(1);
      ++n;
    }
    return n;
  }
  std::optional<std::chrono::steady_clock::duration> refused_for() {
    auto const p = start({.tokens = 1, .timeout = 0s});
    BOOST_TEST_REQUIRE(p->done);
    BOOST_TEST((p->ec == error::would_miss_deadline));
    return p->lease.retry_after();
  }
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(daily_rates, daily_fixture)

BOOST_AUTO_TEST_CASE(all_of_it_returns_at_midnight_of_the_zone) {
  pool->add(key("a", {.requests_per_day = 3, .day_renewal = pacific}));
  for (int day = 0; day < 3; ++day) {
    advance(rest_of_day() / 2);
    BOOST_TEST(served() == 3);
    BOOST_TEST((refused_for() == rest_of_day()));
    advance(rest_of_day() - 1s);
    BOOST_TEST(served() == 0);
    advance(1s);
  }
  BOOST_TEST(served() == 3);
  advance(24h * 9 + 5h); // days that nobody looked at
  BOOST_TEST(served() == 3);
}

BOOST_AUTO_TEST_CASE(without_a_calendar_each_use_returns_after_a_day) {
  pool->add(key("a", {.requests_per_day = 3}));
  advance(rest_of_day() - 1h);
  BOOST_TEST(served() == 3);
  advance(2h);
  BOOST_TEST(served() == 0);
  advance(24h);
  BOOST_TEST(served() == 3);
}

BOOST_AUTO_TEST_CASE(who_waits_is_served_at_midnight) {
  pool->add(key("a", {.requests_per_day = 1, .day_renewal = pacific}));
  BOOST_TEST(served() == 1);
  auto const first = start({.tokens = 1});
  auto const second = start({.tokens = 1, .timeout = 24h * 3});
  advance(rest_of_day() - 1s);
  BOOST_TEST(!first->done);
  advance(1s);
  BOOST_TEST(first->key() == "a");
  BOOST_TEST(!second->done);
  advance(rest_of_day());
  BOOST_TEST(second->key() == "a");
}

BOOST_AUTO_TEST_CASE(tokens_are_given_back_to_the_day_that_counted_them) {
  pool->add(key("a", {.tokens_per_day = 100, .day_renewal = pacific}));
  auto same_day = take(*this, {.tokens = 100});
  same_day.settle(40);
  auto over_midnight = take(*this, {.tokens = 60});
  BOOST_TEST(served() == 0);
  advance(rest_of_day());
  auto next_day = take(*this, {.tokens = 90});
  over_midnight.settle(1); // 59 of yesterday are nothing to today
  BOOST_TEST(served() == 10);
  next_day.refund();
  BOOST_TEST(served() == 90);
}

BOOST_AUTO_TEST_CASE(a_request_that_leaves_after_midnight_counts_then) {
  pool->add(key("a", {.requests_per_day = 2, .day_renewal = pacific}));
  auto l = take(*this, {.tokens = 1, .unsent = true});
  advance(rest_of_day() + 1h);
  BOOST_TEST(served() == 1); // that one may still leave today
  l.mark_sent();
  l.settle(1);
  BOOST_TEST(served() == 0);
  advance(rest_of_day());
  BOOST_TEST(served() == 2);
}

BOOST_AUTO_TEST_CASE(a_wall_clock_that_is_set_back_brings_no_day_twice) {
  pool->add(key("a", {.requests_per_day = 2, .day_renewal = pacific}));
  BOOST_TEST(served() == 2);
  advance(rest_of_day() - 1min);
  clock.set_wall_by(-2h);
  advance(1min); // the day ends when it was to end
  BOOST_TEST(served() == 2);
  advance(rest_of_day()); // that midnight by the clock that was set back
  BOOST_TEST(served() == 0);
  advance(24h);
  BOOST_TEST(served() == 2);
}

BOOST_AUTO_TEST_CASE(a_wall_clock_that_is_set_forward_brings_no_day_early) {
  pool->add(key("a", {.requests_per_day = 2, .day_renewal = pacific}));
  BOOST_TEST(served() == 2);
  auto const rest = rest_of_day();
  clock.set_wall_by(rest + 1h);
  pool->wake();
  BOOST_TEST(served() == 0);
  advance(rest);
  BOOST_TEST(served() == 2);
}

BOOST_AUTO_TEST_CASE(what_was_counted_stays_counted_when_the_kind_of_day_changes) {
  rondo::limits sliding{.requests_per_day = 3};
  rondo::limits calendar{.requests_per_day = 3, .day_renewal = pacific};
  pool->add(key("a", sliding));
  take(*this, {.tokens = 1}).settle(1);
  pool->set_limits("a", calendar);
  take(*this, {.tokens = 1}).settle(1);
  pool->set_limits("a", sliding);
  BOOST_TEST(served() == 1);
  advance(23h);
  BOOST_TEST(served() == 0);
  pool->set_limits("a", calendar);
  BOOST_TEST(served() == 0);
  advance(rest_of_day());
  BOOST_TEST(served() == 3);
  calendar.day_renewal = renewal::daily(time_zone::utc());
  pool->set_limits("a", calendar);
  BOOST_TEST(served() == 0);
  advance(24h);
  BOOST_TEST(served() == 3);
}

BOOST_AUTO_TEST_CASE(what_is_due_comes_before_another_kind_of_day) {
  rondo::limits const sliding{.requests_per_day = 3};
  rondo::limits const in_california{.requests_per_day = 3, .day_renewal = pacific};
  rondo::limits const in_greenwich{.requests_per_day = 3, .day_renewal = renewal::daily(time_zone::utc())};
  for (auto const& [from, to] :
       {std::pair{sliding, in_california}, std::pair{in_california, sliding}, std::pair{in_greenwich, in_california}}) {
    auto const name = "k" + std::to_string(clock.wall_now().time_since_epoch().count()); // a new account each time
    pool->add(key(name, from));
    BOOST_TEST(served() == 3);
    clock.advance(24h * 3); // nobody looks
    pool->set_limits(name, to);
    BOOST_TEST(served() == 3);
    pool->remove(name);
  }
}

BOOST_AUTO_TEST_CASE(a_request_that_has_not_left_counts_once_when_the_kind_of_day_changes) {
  pool->add(key("a", {.requests_per_day = 3}));
  auto left_later = take(*this, {.tokens = 1, .unsent = true});
  auto never_left = take(*this, {.tokens = 1, .unsent = true});
  pool->set_limits("a", {.requests_per_day = 3, .day_renewal = pacific});
  left_later.mark_sent();
  left_later.settle(1);
  never_left.refund();
  BOOST_TEST(served() == 2);
}

BOOST_AUTO_TEST_CASE(a_wall_clock_that_was_years_ahead_does_not_stop_the_days) {
  clock.set_wall_by(24h * 365 * 4);
  pool->add(key("a", {.requests_per_day = 3, .day_renewal = pacific}));
  BOOST_TEST(served() == 3);
  clock.set_wall_by(-24h * 365 * 4);
  advance(24h * 2); // the day that was begun ends
  BOOST_TEST(served() == 3);
  advance(rest_of_day());
  BOOST_TEST(served() == 3);
  advance(rest_of_day());
  BOOST_TEST(served() == 3);
}

BOOST_AUTO_TEST_CASE(lanes_have_days_of_their_own) {
  auto k = key("a");
  k.lanes["flash"] = {.requests_per_day = 2, .day_renewal = pacific};
  pool->add(std::move(k));
  for (int i = 0; i < 2; ++i) {
    take(*this, {.tokens = 1, .lane = "flash"}).settle(1);
  }
  BOOST_TEST(!pool->try_acquire({.tokens = 1, .lane = "flash"}).has_value());
  BOOST_TEST(pool->try_acquire({.tokens = 1, .lane = "pro"}).has_value());
  auto const p = start({.tokens = 1, .lane = "flash"});
  advance(rest_of_day());
  BOOST_TEST(p->key() == "a");
}

BOOST_AUTO_TEST_SUITE_END()
