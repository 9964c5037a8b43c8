// SPDX-License-Identifier: BSL-1.0
#include "pool_steps.hpp"
#include <rondo/key_pool.hpp>

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <utility>
#include <vector>

using namespace rondo::test;
using rondo::key_status;
using rondo::outcome;

namespace {
/// Reports as many failures as it takes until the key rests, `each` apart; 0 if `most` are not enough.
int failures_until_rest(pool_fixture& f, int most, std::chrono::nanoseconds each = 0ns) {
  for (int i = 1; i <= most; ++i) {
    take(f, {.tokens = 1}).report(outcome::rejected());
    if (f.state("a").status != key_status::active) {
      return i;
    }
    f.advance(each);
  }
  return 0;
}
} // namespace

BOOST_FIXTURE_TEST_SUITE(failure_guard, pool_fixture)

BOOST_AUTO_TEST_CASE(the_guard_is_off_unless_asked_for) {
  pool->add(key("a"));
  BOOST_TEST(failures_until_rest(*this, 500) == 0);
}

BOOST_AUTO_TEST_CASE(a_key_rests_exactly_at_its_limit_of_failures) {
  for (auto const most : {1U, 2U, 5U, 14U, 15U, 16U, 20U, 50U, 300U}) {
    reset({.most_failures = most});
    pool->add(key("a"));
    BOOST_TEST(failures_until_rest(*this, 1000) == static_cast<int>(most));
  }
}

BOOST_AUTO_TEST_CASE(failures_at_any_time_within_the_period_count_together) {
  for (auto const most : {4U, 20U, 50U}) {
    reset({.most_failures = most, .failure_period = 30s});
    pool->add(key("a"));
    BOOST_TEST(failures_until_rest(*this, 1000, 29s / most) == static_cast<int>(most));
  }
}

BOOST_AUTO_TEST_CASE(old_failures_are_forgotten) {
  reset({.most_failures = 3, .failure_period = 30s});
  pool->add(key("a"));
  BOOST_TEST(failures_until_rest(*this, 2) == 0);
  advance(34s); // the period and the part of it that is under way
  BOOST_TEST(failures_until_rest(*this, 2) == 0);
  advance(1000h);
  BOOST_TEST(failures_until_rest(*this, 3) == 3);
}

BOOST_AUTO_TEST_CASE(failures_that_come_slowly_do_no_harm) {
  reset({.most_failures = 3, .failure_period = 30s});
  pool->add(key("a"));
  BOOST_TEST(failures_until_rest(*this, 200, 18s) == 0); // never three within 30 s
}

BOOST_AUTO_TEST_CASE(the_key_is_held_back_for_a_period_and_then_starts_anew) {
  reset({.most_failures = 3, .failure_period = 30s});
  pool->add(key("a"));
  BOOST_TEST(failures_until_rest(*this, 3) == 3);
  auto const rest = *state("a").cooldown_until - clock.wall_now();
  BOOST_TEST((rest >= 30s - 1us && rest <= 33s));
  BOOST_TEST((state("a").status == key_status::rate_limited));
  BOOST_TEST(!pool->try_acquire(1));
  advance(rest);
  take(*this, {.tokens = 1}).settle(1);
  BOOST_TEST(failures_until_rest(*this, 3) == 3);
}

BOOST_AUTO_TEST_CASE(transport_errors_and_successes_do_not_count) {
  reset({.most_failures = 3, .failure_period = 30s});
  pool->add(key("a"));
  for (int i = 0; i < 50; ++i) {
    take(*this, {.tokens = 1}).report(outcome::transport_error());
    take(*this, {.tokens = 1}).settle(1);
    take(*this, {.tokens = 1}).refund();
  }
  BOOST_TEST(failures_until_rest(*this, 3) == 3);
}

BOOST_AUTO_TEST_CASE(every_answer_but_success_counts) {
  for (auto const& o :
       {outcome::rejected(), outcome::too_large(), outcome::overloaded(), outcome::concurrency_limited()}) {
    reset({.most_failures = 2, .failure_period = 30s});
    pool->add(key("a"));
    take(*this, {.tokens = 1, .lane = "m"}).report(o);
    BOOST_TEST((state("a").status == key_status::active));
    take(*this, {.tokens = 1, .lane = "n"}).report(o);
    BOOST_TEST((state("a").status == key_status::rate_limited), to_string(o.what()));
  }
}

BOOST_AUTO_TEST_CASE(each_account_counts_its_own_and_its_keys_count_together) {
  reset({.most_failures = 3, .failure_period = 30s});
  pool->add(key("a1", {}, "team"));
  pool->add(key("a2", {}, "team"));
  pool->add(key("b"));
  for (int i = 0; i < 4; ++i) {
    take(*this, {.tokens = 1}).report(outcome::rejected());
  }
  BOOST_TEST((state("a1").status == key_status::active)); // two of the four were b's
  std::vector<std::uint32_t> const avoid{[&] {
    auto l = take(*this, {.tokens = 1});
    while (l.key_name() != "b") {
      auto next = take(*this, {.tokens = 1});
      l = std::move(next);
    }
    return l.account_id();
  }()};
  pool->try_acquire({.tokens = 1}, avoid)->report(outcome::rejected());
  BOOST_TEST((state("a1").status == key_status::rate_limited));
  BOOST_TEST((state("a2").status == key_status::rate_limited));
  BOOST_TEST((state("b").status == key_status::active));
}

BOOST_AUTO_TEST_SUITE_END()
