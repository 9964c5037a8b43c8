// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/clock.hpp>

#include <chrono>
#include <cstdint>
#include <limits>
#if defined(__x86_64__) || defined(__i386__)
#include <x86intrin.h>
#endif

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

/// The system's steady clock, at most some 40 us behind: asks the processor's cycle counter, which costs a third of the
/// clock, whether the last reading of this thread is still good. Too early is safe everywhere: a rest lasts longer, and
/// the guard of the windows is far above it.
///
/// Where no counter is known, it reads the clock.
[[nodiscard]] inline tick recent_now() noexcept {
#if defined(__x86_64__) || defined(__i386__) || defined(__aarch64__)
#if defined(__aarch64__)
  constexpr std::uint64_t good_for = 1'000; // counts at 24 MHz to 1 GHz
  std::uint64_t cycles = 0;
  asm volatile("mrs %0, cntvct_el0" : "=r"(cycles));
#else
  constexpr std::uint64_t good_for = 40'000; // counts at 1 to 5 GHz
  auto const cycles = static_cast<std::uint64_t>(__rdtsc());
#endif
  struct reading {
    std::uint64_t cycles = 0;
    tick at = 0;
  };
  static constinit thread_local reading last{};
  if (cycles - last.cycles > good_for) { // also when the counter went back, as it may on another processor
    last = {cycles, to_tick(std::chrono::steady_clock::now())};
  }
  return last.at;
#else
  return to_tick(std::chrono::steady_clock::now());
#endif
}

/// Reads the clock when it is first asked, and only then: the clock costs more than the rest of an acquire.
class lazy_now {
public:
  /// Exact.
  explicit lazy_now(clock_source const& clock) noexcept : clock_{&clock} {}
  /// The system's steady clock, as `recent_now` knows it.
  lazy_now() noexcept = default;

  [[nodiscard]] tick operator()() noexcept {
    if (value_ == unread) {
      value_ = clock_ ? to_tick(clock_->steady_now()) : recent_now();
    }
    return value_;
  }

private:
  static constexpr tick unread = std::numeric_limits<tick>::min();
  clock_source const* clock_ = nullptr;
  tick value_ = unread;
};

} // namespace rondo::detail
