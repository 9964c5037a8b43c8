// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/clock.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <mutex>

namespace rondo {

/// How many repeats requests may cause.
struct retry_budget_options {
  /// Repeats for each request of the window; 0.2 = 20 %. Default 0.2; a negative share means no bound.
  double share = 0.2;
  std::uint32_t floor = 100; ///< repeats that each window has besides, so that a quiet client can fail over, too
  std::chrono::steady_clock::duration window = std::chrono::seconds{10}; ///< a sliding one, more than zero
};

/// Keeps an outage from becoming a storm: when nearly everything fails, nearly nothing is repeated.
///
/// Knows no clock: the callers say what time it is. Any thread; one object may serve several clients. Locks briefly.
class retry_budget {
public:
  explicit retry_budget(retry_budget_options const& options = {})
      : options_{options}, part_{std::max<duration>(options.window / parts, duration{1})} {}

  /// A request has come.
  void add_request(steady_time now) noexcept {
    std::lock_guard const lock{mutex_};
    turn(now);
    ++requests_[at_];
  }

  /// Whether one more repeat is within the budget; if so, it is counted.
  [[nodiscard]] bool try_spend(steady_time now) noexcept {
    std::lock_guard const lock{mutex_};
    turn(now);
    auto const allowed = options_.share * static_cast<double>(sum(requests_)) + options_.floor;
    if (options_.share >= 0 && static_cast<double>(sum(repeats_)) + 1 > allowed) {
      ++refused_;
      return false;
    }
    ++repeats_[at_];
    return true;
  }

  /// Repeats that were not made, ever.
  [[nodiscard]] std::uint64_t refused() const noexcept {
    std::lock_guard const lock{mutex_};
    return refused_;
  }

private:
  using duration = std::chrono::steady_clock::duration;
  static constexpr std::size_t parts = 10;
  using counts = std::array<std::uint64_t, parts>;

  [[nodiscard]] static std::uint64_t sum(counts const& c) noexcept {
    std::uint64_t out = 0;
    for (auto const each : c) {
      out += each;
    }
    return out;
  }

  /// Forgets what is older than the window.
  void turn(steady_time now) noexcept {
    auto const number = now.time_since_epoch() / part_;
    auto const passed = number - number_;
    if (passed <= 0) {
      return;
    }
    for (std::int64_t i = 0; i < std::min<std::int64_t>(passed, parts); ++i) {
      at_ = (at_ + 1) % parts;
      requests_[at_] = 0;
      repeats_[at_] = 0;
    }
    number_ = number;
  }

  retry_budget_options const options_;
  duration const part_;
  mutable std::mutex mutex_; // guards what follows
  counts requests_{};
  counts repeats_{};
  std::size_t at_ = 0;
  std::int64_t number_ = 0; ///< of the part that `at_` stands for
  std::uint64_t refused_ = 0;
};

} // namespace rondo
