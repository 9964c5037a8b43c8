// SPDX-License-Identifier: BSL-1.0
// Threads take from a limit of a day while one midnight after the other passes.
#include "support/manual_clock.hpp"
#include <rondo/key_pool.hpp>
#include <rondo/renewal.hpp>
#include <rondo/time_zone.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/test/unit_test.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <thread>

BOOST_AUTO_TEST_SUITE(daily_rates_stress)

BOOST_AUTO_TEST_CASE(no_day_grants_more_than_its_limit) {
  using namespace std::chrono_literals;
  constexpr std::uint32_t limit = 5;
  constexpr std::uint64_t days = 200;
  rondo::test::manual_clock clock;
  boost::asio::io_context context;
  rondo::key_pool pool{context.get_executor(), {.clock = &clock, .seed = 1}};
  pool.add({.name = "a",
            .secret = rondo::secret{"secret"},
            .limits = {.requests_per_day = limit, .day_renewal = rondo::renewal::daily(rondo::time_zone::utc())}});
  std::atomic<std::uint64_t> granted{0};
  std::atomic<bool> over{false};
  auto const take = [&] {
    while (!over) {
      if (auto l = pool.try_acquire(1)) {
        ++granted;
        l->settle(1);
      }
    }
  };
  {
    std::array threads{std::jthread{take}, std::jthread{take}};
    for (std::uint64_t day = 1; day <= days; ++day) {
      while (granted < day * limit) { // all of a day is granted, sooner or later
        std::this_thread::yield();
      }
      BOOST_TEST(granted == day * limit);
      clock.advance(24h);
    }
    over = true;
  }
  while (auto l = pool.try_acquire(1)) {
    ++granted;
    l->settle(1);
  }
  BOOST_TEST(granted == (days + 1) * limit);
}

// What threads take while the kind of the day changes is counted: but for one request of each in each of the moments.
BOOST_AUTO_TEST_CASE(a_change_of_the_kind_of_day_forgets_nothing) {
  constexpr std::uint32_t limit = 20'000;
  constexpr unsigned changes = 40;
  constexpr unsigned takers = 2;
  rondo::limits const sliding{.requests_per_day = limit};
  rondo::limits const daily{.requests_per_day = limit, .day_renewal = rondo::renewal::daily(rondo::time_zone::utc())};
  for (int round = 0; round < 10; ++round) {
    rondo::test::manual_clock clock;
    boost::asio::io_context context;
    rondo::key_pool pool{context.get_executor(), {.clock = &clock, .seed = 1}};
    pool.add({.name = "a", .secret = rondo::secret{"secret"}, .limits = sliding});
    std::atomic<std::uint64_t> granted{0};
    std::atomic<bool> over{false};
    auto const take = [&] {
      while (!over) {
        if (auto l = pool.try_acquire(1)) {
          ++granted;
          l->settle(1);
        }
      }
    };
    {
      std::array<std::jthread, takers> threads{std::jthread{take}, std::jthread{take}};
      for (unsigned n = 1; n <= changes; ++n) {
        while (granted < std::uint64_t{n} * limit / (changes + 1)) {
          std::this_thread::yield();
        }
        pool.set_limits("a", n % 2 == 0 ? sliding : daily);
      }
      over = true;
    }
    BOOST_TEST(granted <= limit + takers * changes);
  }
}

BOOST_AUTO_TEST_SUITE_END()
