// SPDX-License-Identifier: BSL-1.0
#include <boost/test/unit_test.hpp>

#include <chrono>
#include <cstdint>
#include <random>
#include <vector>

#include <provider/sliding_window.hpp>

using namespace std::chrono_literals;

BOOST_AUTO_TEST_SUITE(simulated_window)

using window = sim::sliding_window;
using nanoseconds = std::chrono::nanoseconds;

BOOST_AUTO_TEST_CASE(an_entry_counts_until_one_period_later_and_no_longer) {
  window w{1s};
  window::time const start{};
  w.add(start, 3);
  BOOST_TEST(w.sum(start + 1s - 1ns) == 3);
  BOOST_TEST(w.sum(start + 1s) == 0);
}

BOOST_AUTO_TEST_CASE(the_greatest_sum_stays_known) {
  window w{1s};
  window::time const start{};
  w.add(start, 2);
  w.add(start + 900ms, 2);
  w.add(start + 1100ms, 1);
  BOOST_TEST(w.greatest() == 4);
  w.add(start + 10s, 1);
  BOOST_TEST(w.sum(start + 10s) == 1);
  BOOST_TEST(w.greatest() == 4);
}

BOOST_AUTO_TEST_CASE(the_wait_ends_when_enough_has_left) {
  window w{1s};
  window::time const start{};
  w.add(start, 2);
  w.add(start + 300ms, 3);
  auto const now = start + 400ms;
  BOOST_TEST((w.wait(now, 1, 6) == 0s));
  BOOST_TEST((w.wait(now, 1, 5) == 600ms));
  BOOST_TEST((w.wait(now, 3, 5) == 900ms));
  BOOST_TEST((w.wait(now, 6, 5) == 1s)); // never: a whole period
  BOOST_TEST((w.until_empty(now) == 900ms));
}

// The window against the definition: no interval of the period's length may hold more than `greatest`.
BOOST_AUTO_TEST_CASE(agrees_with_counting_every_interval) {
  std::mt19937 random{7};
  std::uniform_int_distribution<int> gap{0, 400};
  std::uniform_int_distribution<int> amount{0, 9};
  window w{1s};
  struct entry {
    window::time at;
    std::int64_t amount;
  };
  std::vector<entry> all;
  window::time now{};
  std::int64_t greatest = 0;
  for (int i = 0; i < 2000; ++i) {
    now += std::chrono::milliseconds{gap(random)};
    all.push_back({now, amount(random)});
    w.add(all.back().at, all.back().amount);
    std::int64_t expected = 0;
    for (auto const& e : all) {
      expected += now - e.at < 1s ? e.amount : 0;
    }
    greatest = std::max(greatest, expected);
    BOOST_REQUIRE_EQUAL(w.sum(now), expected);
  }
  BOOST_TEST(w.greatest() == greatest);
}

BOOST_AUTO_TEST_SUITE_END()
