// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/clock.hpp>

#include <chrono>
#include <cstdint>
#include <limits>

namespace rondo::detail {

/// A moment of the steady clock in nanoseconds: fits an atomic word.
using tick = std::int64_t;

/// Later than every moment.
inline constexpr tick never = std::numeric_limits<tick>::max();

[[nodiscard]] inline tick to_tick(steady_time t) noexcept {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(t.time_since_epoch()).count();
}

/// The moment `length` after `start`; saturates at `never`, a negative length counts as zero.
[[nodiscard]] constexpr tick after(tick start, tick length) noexcept {
  if (length <= 0) {
    return start;
  }
  return length >= never - start ? never : start + length;
}

/// Reads the clock when it is first asked, and only then: the clock costs more than the rest of an acquire.
class lazy_now {
public:
  explicit lazy_now(clock_source const& clock) noexcept : clock_{&clock} {}
  [[nodiscard]] tick operator()() noexcept {
    if (value_ == unread) {
      value_ = to_tick(clock_->steady_now());
    }
    return value_;
  }

private:
  static constexpr tick unread = std::numeric_limits<tick>::min();
  clock_source const* clock_;
  tick value_ = unread;
};

} // namespace rondo::detail
