// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>

namespace sim {

/// An exact log of what happened within the last `period`: no buckets, no rounding. That is what a judge needs; it
/// costs memory for every entry, which a client under test would not want to pay.
///
/// Time is given by the caller and must not go backwards. An entry at T counts in every interval that ends before
/// T + period.
class sliding_window {
public:
  using duration = std::chrono::steady_clock::duration;
  using time = std::chrono::steady_clock::time_point;

  explicit sliding_window(duration period) : period_{period} {}

  void add(time now, std::int64_t amount) {
    forget(now);
    entries_.push_back({now, amount});
    sum_ += amount;
    greatest_ = std::max(greatest_, sum_);
  }

  [[nodiscard]] std::int64_t sum(time now) {
    forget(now);
    return sum_;
  }

  /// The greatest sum that any interval of this length ever held.
  [[nodiscard]] std::int64_t greatest() const noexcept { return greatest_; }

  /// How long from `now` until `amount` fits below `limit`; the whole period if it never does.
  [[nodiscard]] duration wait(time now, std::int64_t amount, std::int64_t limit) {
    forget(now);
    auto left = sum_;
    if (left + amount <= limit) {
      return duration::zero();
    }
    for (auto const& e : entries_) {
      left -= e.amount;
      if (left + amount <= limit) {
        return e.at + period_ - now;
      }
    }
    return period_;
  }

  /// How long from `now` until nothing is counted any more.
  [[nodiscard]] duration until_empty(time now) {
    forget(now);
    return entries_.empty() ? duration::zero() : entries_.back().at + period_ - now;
  }

private:
  struct entry {
    time at;
    std::int64_t amount;
  };

  void forget(time now) {
    while (!entries_.empty() && now - entries_.front().at >= period_) {
      sum_ -= entries_.front().amount;
      entries_.pop_front();
    }
  }

  duration period_;
  std::deque<entry> entries_;
  std::int64_t sum_ = 0;
  std::int64_t greatest_ = 0;
};

} // namespace sim
