// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/detail/mixing.hpp>
#include <rondo/detail/ready_index.hpp>
#include <rondo/proxy_strategy.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <random>

namespace rondo::detail {

/// Picks the next proxy by a strategy that looks at nothing but the proxies. Any thread; lock-free.
///
/// Those who ask for different subsets turn different wheels, or each would make the others skip some.
class proxy_turns {
public:
  /// `seed` 0 takes one from the system.
  explicit proxy_turns(std::uint64_t seed) : state_{seed != 0 ? seed : std::random_device{}()} {}

  /// Calls `take(number)` for one candidate after the other, the best first, until it returns true.
  ///
  /// \param suits whether a proxy may be picked at all
  /// \param score of a proxy: the lowest is the best; for the strategies that compare
  template <class Suits, class Score, class Take>
  bool pick(proxy_strategy how, std::uint64_t subset, ready_index<> const& ready, std::uint32_t size, Suits&& suits,
            Score&& score, Take&& take) noexcept {
    auto& turning = wheels_[subset % wheels_.size()];
    switch (how) {
    case proxy_strategy::sticky:
    case proxy_strategy::round_robin: break;
    case proxy_strategy::random: {
      if (auto const one = any(ready, size, suits); one != none && take(one)) {
        return true;
      }
      break;
    }
    case proxy_strategy::latency: {
      auto one = any(ready, size, suits);
      if (one == none) {
        break; // one may come back in this moment: the walk finds it
      }
      auto other = any(ready, size, [&](std::uint32_t i) { return i != one && suits(i); });
      if (other != none && score(other) < score(one)) {
        std::swap(one, other);
      }
      if (take(one) || (other != none && take(other))) {
        return true;
      }
      break;
    }
    case proxy_strategy::least_loaded:
      if (pick_lowest(turning, ready, suits, score, take)) {
        return true;
      }
      break;
    }
    return walk(turning, ready, suits, take);
  }

private:
  using wheel = std::atomic<std::uint32_t>;
  static constexpr auto none = ready_index<>::npos;
  static constexpr std::size_t most_compared = 32;

  [[nodiscard]] std::uint64_t random() noexcept {
    constexpr std::uint64_t step = 0x9e3779b97f4a7c15;
    return mixed(state_.fetch_add(step) + step);
  }

  /// One that is ready and suits, all with the same probability.
  template <class Suits>
  [[nodiscard]] std::uint32_t any(ready_index<> const& ready, std::uint32_t size, Suits&& suits) noexcept {
    for (int tries = 0; tries < 8 && size != 0; ++tries) {
      auto const i = static_cast<std::uint32_t>(random() % size);
      if (ready.test(i) && suits(i)) {
        return i;
      }
    }
    auto out = none; // few of many: each one seen takes the place of the one before with its fair probability
    std::uint64_t seen = 0;
    for (auto i = ready.next(0); i != none; i = ready.next(i + 1)) {
      if (suits(i) && random() % ++seen == 0) {
        out = i;
      }
    }
    return out;
  }

  template <class Suits, class Score, class Take>
  bool pick_lowest(wheel& w, ready_index<> const& ready, Suits&& suits, Score&& score, Take&& take) noexcept {
    struct candidate {
      std::int64_t score;
      std::size_t turn;
      std::uint32_t index;
    };
    std::array<candidate, most_compared> seen;
    std::size_t count = 0;
    auto const start = w.load();
    auto const compare = [&](std::uint32_t first, std::uint32_t end) {
      for (auto i = ready.next(first); i < end && count < seen.size(); i = ready.next(i + 1)) {
        if (suits(i)) {
          seen[count] = {score(i), count, i};
          ++count;
        }
      }
    };
    compare(start, none);
    compare(0, start);
    auto const end = seen.begin() + static_cast<std::ptrdiff_t>(count);
    std::sort(seen.begin(), end,
              [](auto const& a, auto const& b) { return a.score != b.score ? a.score < b.score : a.turn < b.turn; });
    return std::any_of(seen.begin(), end, [&](auto const& c) {
      if (!take(c.index)) {
        return false;
      }
      w.store(c.index + 1);
      return true;
    });
  }

  /// Once around, from behind the one that was taken last.
  template <class Suits, class Take>
  static bool walk(wheel& w, ready_index<> const& ready, Suits&& suits, Take&& take) noexcept {
    auto const start = w.load();
    auto const try_all = [&](std::uint32_t first, std::uint32_t end) {
      for (auto i = ready.next(first); i < end; i = ready.next(i + 1)) {
        if (suits(i) && take(i)) {
          w.store(i + 1);
          return true;
        }
      }
      return false;
    };
    return try_all(start, none) || try_all(0, start);
  }

  std::array<wheel, 16> wheels_{};
  std::atomic<std::uint64_t> state_;
};

} // namespace rondo::detail
