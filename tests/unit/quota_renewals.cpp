// SPDX-License-Identifier: BSL-1.0
// When quotas return, whatever happens to limits and clocks meanwhile.
#include "pool_steps.hpp"
#include <rondo/key_pool.hpp>
#include <rondo/renewal.hpp>
#include <rondo/time_zone.hpp>

#include <boost/test/unit_test.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

using namespace rondo::test;
using rondo::limits;
using rondo::renewal;
using rondo::time_zone;

namespace {

/// An account, or its share of a lane, which has 100 tokens a day.
struct quota_fixture : pool_fixture {
  static constexpr renewal daily = renewal::daily(time_zone::utc());

  limits allowed{.quota = 100, .quota_renewal = daily};
  std::string lane;

  void begin(std::string in) {
    reset({});
    lane = std::move(in);
    pool->add(key("a", lane.empty() ? allowed : limits{}));
    set_limits(allowed);
  }
  void set_limits(limits const& l) {
    if (lane.empty()) {
      pool->set_limits("a", l);
    } else {
      pool->set_lane_limits("a", lane, l);
    }
  }
  /// The same limits but for something that has nothing to do with the quota.
  void change_something_else() {
    ++allowed.concurrency;
    set_limits(allowed);
  }
  void change_all_lanes() {
    ++allowed.concurrency;
    pool->set_lane_limits("a", {{lane, allowed}}, {});
  }
  void add_again() {
    auto k = key("a", lane.empty() ? allowed : limits{});
    if (!lane.empty()) {
      k.lanes[lane] = allowed;
    }
    pool->remove("a");
    pool->add(std::move(k));
  }

  /// What is served at once, ten tokens at a time.
  std::int64_t served() {
    std::int64_t sum = 0;
    while (auto l = pool->try_acquire({.tokens = 10, .lane = lane})) {
      l->settle(10);
      sum += 10;
    }
    return sum;
  }
  std::chrono::nanoseconds rest_of_day() const {
    return time_zone::utc().next_midnight(clock.wall_now()) - clock.wall_now();
  }

  /// For an account, and for its share of a lane.
  void for_both(std::function<void()> const& test) {
    for (auto const* const in : {"", "tts"}) {
      BOOST_TEST_CONTEXT("lane '" << in << "'") {
        allowed = {.quota = 100, .quota_renewal = daily};
        begin(in);
        test();
      }
    }
  }
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(quota_renewals, quota_fixture)

BOOST_AUTO_TEST_CASE(limits_that_are_set_bring_no_renewal_twice_after_the_wall_clock_was_set_back) {
  for_both([&] {
    BOOST_TEST(served() == 100);
    advance(rest_of_day() + 1min);
    BOOST_TEST(served() == 100);
    clock.set_wall_by(-10min);
    change_something_else();
    advance(15min);
    BOOST_TEST(served() == 0);
    clock.set_wall_by(-15min);
    add_again();
    advance(20min);
    BOOST_TEST(served() == 0);
    advance(24h);
    BOOST_TEST(served() == 100);
  });
}

BOOST_AUTO_TEST_CASE(limits_that_are_set_lose_no_renewal_after_the_wall_clock_was_set_forward) {
  for_both([&] {
    BOOST_TEST(served() == 100);
    advance(rest_of_day() - 1min);
    clock.set_wall_by(2min);
    change_something_else();
    BOOST_TEST(served() == 0);
    advance(1min); // it comes when it was to come
    BOOST_TEST(served() == 100);
    change_something_else();
    advance(rest_of_day() - 1s);
    BOOST_TEST(served() == 0);
    advance(1s);
    BOOST_TEST(served() == 100);
  });
}

BOOST_AUTO_TEST_CASE(limits_for_all_lanes_bring_no_renewal_twice_and_lose_none) {
  begin("tts");
  BOOST_TEST(served() == 100);
  advance(rest_of_day() - 1min);
  clock.set_wall_by(2min);
  change_all_lanes();
  advance(1min);
  BOOST_TEST(served() == 100);
  clock.set_wall_by(-10min);
  change_all_lanes();
  advance(15min);
  BOOST_TEST(served() == 0);
}

BOOST_AUTO_TEST_CASE(a_reset_that_was_named_comes_once_whatever_the_wall_clock_says) {
  for_both([&] {
    allowed = {.quota = 100, .quota_reset = clock.wall_now() + 1h};
    set_limits(allowed);
    BOOST_TEST(served() == 100);
    clock.set_wall_by(2h);
    change_something_else();
    BOOST_TEST(served() == 0);
    advance(1h);
    BOOST_TEST(served() == 100);
    clock.set_wall_by(-3h);
    change_something_else();
    advance(4h);
    BOOST_TEST(served() == 0);
    allowed.quota_reset = clock.wall_now() + 1h; // a new one
    set_limits(allowed);
    advance(1h);
    BOOST_TEST(served() == 100);
  });
}

BOOST_AUTO_TEST_CASE(another_renewal_begins_after_the_last_one_that_came) {
  for_both([&] {
    BOOST_TEST(served() == 100);
    advance(rest_of_day() + 1min);
    BOOST_TEST(served() == 100);
    clock.set_wall_by(-10min);
    allowed.quota_renewal = renewal::monthly(clock.wall_now() + 9min); // the instant that was renewed at
    set_limits(allowed);
    advance(1h);
    BOOST_TEST(served() == 0);
    allowed.quota_renewal = renewal::daily(time_zone::pacific());
    set_limits(allowed);
    advance(time_zone::pacific().next_midnight(clock.wall_now()) - clock.wall_now());
    BOOST_TEST(served() == 100);
    allowed.quota_renewal = {};
    set_limits(allowed);
    advance(24h * 40);
    BOOST_TEST(served() == 0);
  });
}

BOOST_AUTO_TEST_CASE(a_larger_quota_returns_when_the_smaller_one_would_have) {
  for_both([&] {
    BOOST_TEST(served() == 100);
    advance(1h);
    allowed.quota = 150;
    set_limits(allowed);
    BOOST_TEST(served() == 50);
    advance(rest_of_day());
    BOOST_TEST(served() == 150);
  });
}

BOOST_AUTO_TEST_CASE(limits_that_do_not_name_a_reset_leave_the_one_that_the_provider_named) {
  auto const in_an_hour = clock.wall_now() + 1h;
  pool->add(key("a"));
  pool->set_balance("a", {.limit = 100, .remaining = 0, .reset = in_an_hour});
  pool->set_limits("a", {.requests_per_minute = 60});
  BOOST_TEST((state("a").next_reset == in_an_hour));
  auto const waiting = start({.tokens = 1});
  advance(1h);
  BOOST_TEST(waiting->key() == "a");
  waiting->lease.refund();
  BOOST_TEST(*state("a").remaining == 100);
  pool->set_limits("a", {.requests_per_minute = 70});
  BOOST_TEST(served() == 100);
  advance(24h);
  BOOST_TEST(served() == 0);
}

BOOST_AUTO_TEST_CASE(a_balance_above_the_quota_is_not_taken_for_it_whatever_changes) {
  auto const changes = std::vector<std::function<void()>>{
      [&] { static_cast<void>(state("a")); },
      [&] { pool->set_limits("a", {.requests_per_minute = 60}); },
      [&] {
        pool->remove("a");
        pool->add(key("a"));
      },
  };
  for (auto const& change : changes) {
    reset({});
    pool->add(key("a"));
    pool->set_balance("a", {.limit = 10, .remaining = 10, .reset = clock.wall_now() + 1h});
    pool->set_balance("a", {.remaining = 25});
    change();
    BOOST_TEST(*state("a").remaining == 25);
    BOOST_TEST(state("a").character_limit == 10);
    advance(1h);
    change();
    BOOST_TEST(served() == 10);
    BOOST_TEST(state("a").character_limit == 10);
  }
}

BOOST_AUTO_TEST_CASE(the_same_limits_once_more_leave_the_reset_that_the_provider_named) {
  for (auto const& l : {limits{.quota = 100}, limits{.quota = 100, .quota_renewal = daily},
                        limits{.quota = 100, .quota_reset = clock.wall_now() + 5h}}) {
    reset({});
    auto const in_an_hour = clock.wall_now() + 1h;
    pool->add(key("a", l));
    pool->set_balance("a", {.limit = 100, .remaining = 0, .reset = in_an_hour});
    pool->set_limits("a", l);
    BOOST_TEST((state("a").next_reset == in_an_hour));
    pool->remove("a");
    pool->add(key("a", l));
    BOOST_TEST((state("a").next_reset == in_an_hour));
  }
}

BOOST_AUTO_TEST_CASE(a_reset_that_the_provider_named_goes_with_the_quota) {
  pool->add(key("a", {.quota = 100}));
  pool->set_balance("a", {.limit = 100, .remaining = 0, .reset = clock.wall_now() + 1h});
  pool->set_limits("a", {});
  BOOST_TEST(!state("a").next_reset);
  pool->set_limits("a", {.quota = 50});
  BOOST_TEST(served() == 50);
  advance(2h);
  BOOST_TEST(served() == 0);
}

BOOST_AUTO_TEST_CASE(who_has_no_quota_looks_at_no_clock_for_its_return) {
  pool->add(key("a", {.quota_renewal = daily}));
  pool->try_acquire(1)->settle(1);
  for (auto const later : {0h, 48h}) {
    advance(later);
    auto const before = clock.readings();
    for (int i = 0; i < 10; ++i) {
      pool->try_acquire(1)->settle(1);
    }
    BOOST_TEST(clock.readings() == before);
  }
}

BOOST_AUTO_TEST_SUITE_END()
