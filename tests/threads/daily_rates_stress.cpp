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
#include <thread>

namespace {

/// One key on a clock that stands still until it is moved, and threads that take from it until they are told to stop.
class contest {
public:
  explicit contest(rondo::limits const& l) { pool.add({.name = "a", .secret = rondo::secret{"secret"}, .limits = l}); }

  /// Calls `meanwhile`, and takes what is left after it.
  template <class Function> void run(Function&& meanwhile) {
    {
      std::array<std::jthread, takers> const threads{std::jthread{[this] { take(); }},
                                                     std::jthread{[this] { take(); }}};
      meanwhile();
      over_ = true;
    }
    while (take_one()) {
    }
  }
  void wait_until_granted(std::uint64_t count) const {
    while (granted < count) {
      std::this_thread::yield();
    }
  }

  static constexpr unsigned takers = 2;
  rondo::test::manual_clock clock;
  boost::asio::io_context context;
  rondo::key_pool pool{context.get_executor(), {.clock = &clock, .seed = 1}};
  std::atomic<std::uint64_t> granted{0};

private:
  void take() {
    while (!over_) {
      take_one();
    }
  }
  bool take_one() {
    auto l = pool.try_acquire(1);
    if (l) {
      ++granted;
      l->settle(1);
    }
    return l.has_value();
  }

  std::atomic<bool> over_{false};
};

rondo::limits per_day(std::uint32_t most, rondo::renewal const& how = {}) {
  return {.requests_per_day = most, .day_renewal = how};
}

constexpr auto daily = rondo::renewal::daily(rondo::time_zone::utc());

} // namespace

BOOST_AUTO_TEST_SUITE(daily_rates_stress)

BOOST_AUTO_TEST_CASE(no_day_grants_more_than_its_limit) {
  constexpr std::uint32_t limit = 5;
  constexpr std::uint64_t days = 200;
  contest c{per_day(limit, daily)};
  c.run([&] {
    for (std::uint64_t day = 1; day <= days; ++day) {
      c.wait_until_granted(day * limit); // all of a day is granted, sooner or later
      BOOST_TEST(c.granted == day * limit);
      c.clock.advance(std::chrono::hours{24});
    }
  });
  BOOST_TEST(c.granted == (days + 1) * limit);
}

// What threads take while the kind of the day changes is counted: but for one request of each in each of the moments.
BOOST_AUTO_TEST_CASE(a_change_of_the_kind_of_day_forgets_nothing) {
  constexpr std::uint32_t limit = 20'000;
  constexpr unsigned changes = 40;
  for (int round = 0; round < 10; ++round) {
    contest c{per_day(limit)};
    c.run([&] {
      for (unsigned n = 1; n <= changes; ++n) {
        c.wait_until_granted(std::uint64_t{n} * limit / (changes + 1));
        c.pool.set_limits("a", n % 2 == 0 ? per_day(limit) : per_day(limit, daily));
      }
    });
    BOOST_TEST(c.granted <= limit + contest::takers * changes);
  }
}

BOOST_AUTO_TEST_SUITE_END()
