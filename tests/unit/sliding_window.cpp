// SPDX-License-Identifier: BSL-1.0
#include <rondo/detail/sliding_window.hpp>

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <random>
#include <utility>

using rondo::detail::never;
using rondo::detail::tick;
using window_type = rondo::detail::sliding_window<>;

namespace {
constexpr tick ms = 1'000'000;
constexpr tick second = 1000 * ms;
constexpr tick minute = 60 * second;

bool take(window_type& w, std::uint32_t n, tick now, bool later = false) {
  return w.try_take(n, now, later);
}
} // namespace

BOOST_AUTO_TEST_SUITE(sliding_window)

BOOST_AUTO_TEST_CASE(an_idle_window_may_be_spent_at_once_and_is_back_after_a_period_and_the_guard) {
  window_type w{60, minute};
  auto const start = 1000 * minute; // the beginning of a part
  for (int i = 0; i < 60; ++i) {
    BOOST_TEST(take(w, 1, start));
  }
  BOOST_TEST(!take(w, 1, start));
  auto const back = w.available_at(1, start);
  // the part in which they were granted ends 1/16 period after its beginning; guard 0.6 s
  BOOST_TEST(back == start + minute + minute / 16 + 600 * ms);
  BOOST_TEST(!take(w, 1, back - 1));
  BOOST_TEST(take(w, 60, back));
}

BOOST_AUTO_TEST_CASE(a_clock_may_stand_before_its_zero) {
  window_type w{1, second};
  BOOST_TEST(take(w, 1, -1));
  BOOST_TEST(!take(w, 1, 0));
}

BOOST_AUTO_TEST_CASE(never_grants_more_than_the_limit_in_any_interval_of_a_period) {
  for (unsigned seed = 1; seed <= 20; ++seed) {
    std::mt19937 random{seed};
    auto const limit = 1 + random() % 50;
    window_type w{static_cast<std::uint32_t>(limit), second};
    std::deque<std::pair<tick, std::uint32_t>> granted; // the provider's log: exact
    tick now = 100 * second;
    std::uint64_t total = 0;
    for (int i = 0; i < 20'000; ++i) {
      now += static_cast<tick>(random() % static_cast<unsigned>(20 * ms));
      auto const n = static_cast<std::uint32_t>(1 + random() % std::max<std::size_t>(limit / 4, 1));
      if (take(w, n, now)) {
        granted.emplace_back(now, n);
        total += n;
      }
      while (!granted.empty() && granted.front().first <= now - second) {
        granted.pop_front();
      }
      std::uint64_t in_window = 0;
      for (auto const& g : granted) {
        in_window += g.second;
      }
      BOOST_REQUIRE_LE(in_window, limit);
    }
    // and does not strand more than 1/16 and the guard, beyond what requests that do not fit leave over
    auto const possible =
        static_cast<double>(limit) * static_cast<double>(now - 100 * second) / static_cast<double>(second);
    BOOST_TEST(static_cast<double>(total) > possible * 0.75, "seed " << seed << ": " << total << " of " << possible);
  }
}

BOOST_AUTO_TEST_CASE(what_is_given_back_can_be_taken_again_but_only_once) {
  window_type w{10, second};
  auto const now = 50 * second;
  BOOST_TEST(take(w, 10, now));
  w.give_back(4, now);
  BOOST_TEST(!take(w, 5, now));
  BOOST_TEST(take(w, 4, now));
  auto const later = w.available_at(10, now);
  BOOST_TEST(take(w, 10, later));
  w.give_back(10, now); // has left the window long ago
  BOOST_TEST(!take(w, 1, later));
}

BOOST_AUTO_TEST_CASE(units_that_start_later_count_until_a_period_after_their_start) {
  window_type w{2, second};
  auto const now = 50 * second;
  BOOST_TEST(take(w, 1, now, true));
  BOOST_TEST(take(w, 1, now));
  BOOST_TEST(take(w, 1, now + 2 * second));
  BOOST_TEST(!take(w, 1, now + 2 * second)); // the first still has not left
  BOOST_TEST(w.available_at(2, now + 10 * second) == never);
  w.start(1, now + 10 * second);
  BOOST_TEST(!take(w, 2, now + 10 * second));
  BOOST_TEST(w.available_at(2, now + 10 * second) == now + 11 * second + second / 16 + 10 * ms);
  BOOST_TEST(take(w, 2, now + 12 * second));
}

BOOST_AUTO_TEST_CASE(knows_when_a_part_of_the_units_returns) {
  window_type w{10, second};
  auto const now = 50 * second;
  BOOST_TEST(take(w, 3, now));
  BOOST_TEST(take(w, 7, now + 500 * ms));
  auto const first = now + second + second / 16 + 10 * ms;
  BOOST_TEST(w.available_at(3, now + 500 * ms) == first);
  BOOST_TEST(w.available_at(4, now + 500 * ms) == first + 500 * ms);
  BOOST_TEST(w.available_at(11, now) == never);
}

BOOST_AUTO_TEST_CASE(a_limit_that_is_switched_on_knows_what_was_granted_before) {
  window_type w{5, second};
  auto const now = 50 * second;
  w.set_limit(0);
  BOOST_TEST(take(w, 8, now));
  w.set_limit(10);
  BOOST_TEST(!take(w, 3, now));
  BOOST_TEST(take(w, 2, now));
}

BOOST_AUTO_TEST_CASE(a_forced_debit_may_exceed_the_limit_and_is_paid_off) {
  window_type w{10, second};
  auto const now = 50 * second;
  BOOST_TEST(take(w, 10, now));
  w.force(5, now);
  auto const back = w.available_at(1, now);
  BOOST_TEST(back == now + second + second / 16 + 10 * ms);
  BOOST_TEST(take(w, 10, back));
}

BOOST_AUTO_TEST_SUITE_END()
