// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <atomic>
#include <thread>

namespace rondo::test {

/// Runs two functions at the same moment, again and again: `round(i)` prepares, then `left(i)` and `right(i)` run
/// against each other on two threads that start as close together as the machine allows, then `judge(i)` looks at the
/// result. A race that is a few instructions wide shows within some ten thousand rounds.
template <class Round, class Left, class Right, class Judge>
void duel(int rounds, Round round, Left left, Right right, Judge judge) {
  std::atomic<int> started{0};
  std::atomic<int> finished{0};
  std::jthread other{[&] {
    for (int i = 1; i <= rounds; ++i) {
      for (int spins = 0; started.load() != i; ++spins) {
        if (spins > 1000) {
          std::this_thread::yield(); // the machine may have one core only
        }
      }
      right(i);
      finished.store(i);
    }
  }};
  for (int i = 1; i <= rounds; ++i) {
    round(i);
    started.store(i);
    for (std::atomic<int> delay{i % 64}; delay > 0; --delay) { // meet at different places
    }
    left(i);
    while (finished.load() != i) {
      std::this_thread::yield();
    }
    judge(i);
  }
}

} // namespace rondo::test
