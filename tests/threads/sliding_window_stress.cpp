// SPDX-License-Identifier: BSL-1.0
#include <rondo/detail/sliding_window.hpp>

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <random>
#include <shared_mutex>
#include <thread>
#include <utility>
#include <vector>

using rondo::detail::tick;

BOOST_AUTO_TEST_SUITE(sliding_window_stress)

// All threads share one clock that one of them moves. Grants are logged with the time at which they were asked for,
// and the log is judged afterwards.
BOOST_AUTO_TEST_CASE(threads_together_never_exceed_the_limit_in_any_interval) {
  constexpr tick second = 1'000'000'000;
  constexpr std::uint32_t limit = 40;
  for (unsigned seed = 1; seed <= 20; ++seed) {
    rondo::detail::sliding_window<> window{limit, second};
    tick clock = 100 * second;
    std::shared_mutex moving;
    std::mutex mutex;
    std::vector<std::pair<tick, std::uint32_t>> log;
    {
      std::vector<std::jthread> crew;
      for (unsigned t = 0; t < 3; ++t) {
        crew.emplace_back([&, t] {
          std::mt19937 random{seed * 100 + t};
          std::vector<std::pair<tick, std::uint32_t>> mine;
          for (int i = 0; i < 20'000; ++i) {
            if (t == 0) {
              std::lock_guard const still{moving};
              clock += static_cast<tick>(random() % 2'000'000);
            }
            // a thread that is held up for long after it read the clock would be judged by a time that is over
            std::shared_lock const still{moving};
            auto const now = clock;
            auto const n = 1 + static_cast<std::uint32_t>(random() % 4);
            if (window.try_take(n, now, false)) {
              if (random() % 4 == 0) {
                window.give_back(n, now);
              } else {
                mine.emplace_back(now, n);
              }
            }
          }
          std::lock_guard const lock{mutex};
          log.insert(log.end(), mine.begin(), mine.end());
        });
      }
    }
    std::sort(log.begin(), log.end());
    std::uint64_t in_window = 0;
    std::size_t oldest = 0;
    for (auto const& [at, n] : log) {
      in_window += n;
      while (log[oldest].first <= at - second) {
        in_window -= log[oldest++].second;
      }
      BOOST_REQUIRE_LE(in_window, limit);
    }
    BOOST_TEST(log.size() > limit, "seed " << seed << " granted next to nothing");
    // nothing is stranded for good
    BOOST_TEST(window.try_take(limit, clock + 3 * second, false));
  }
}

BOOST_AUTO_TEST_SUITE_END()
