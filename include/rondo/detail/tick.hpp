// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/clock.hpp>

#include <boost/config.hpp>

#include <chrono>
#include <cstdint>
#include <limits>
#if defined(__x86_64__) || defined(__i386__)
#include <x86intrin.h>
#define RONDO_CYCLE_COUNTER
#elif defined(__aarch64__)
#define RONDO_CYCLE_COUNTER
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

#if defined(RONDO_CYCLE_COUNTER)
[[nodiscard]] inline std::uint64_t cycle_counter() noexcept {
#if defined(__aarch64__)
  std::uint64_t cycles = 0;
  asm volatile("mrs %0, cntvct_el0" : "=r"(cycles));
  return cycles;
#else
  return __rdtsc();
#endif
}

/// What the clock said when a thread last looked at it, and the counter.
struct clock_reading {
#if defined(__aarch64__)
  static constexpr std::uint64_t good_for = 1'000; // counts at 24 MHz to 1 GHz
#else
  static constexpr std::uint64_t good_for = 40'000; // counts at 1 to 5 GHz
#endif
  std::uint64_t cycles = 0;
  tick at = 0;

  /// Also not when the counter went back, as it may on another processor.
  [[nodiscard]] bool is_good_at(std::uint64_t now) const noexcept { return now - cycles <= good_for; }
  /// That of this thread.
  [[nodiscard]] static clock_reading& last() noexcept {
    static constinit thread_local clock_reading it{};
    return it;
  }
};
#endif

/// The system's steady clock, at most some 40 us behind: asks the processor's cycle counter, which costs a third of the
/// clock, whether the last reading of this thread is still good. Too early is safe everywhere: a rest lasts longer, and
/// the guard of the windows is far above it.
///
/// Where no counter is known, it reads the clock.
[[nodiscard]] inline tick recent_now() noexcept {
#if defined(RONDO_CYCLE_COUNTER)
  auto const cycles = cycle_counter();
  auto& last = clock_reading::last();
  if (!last.is_good_at(cycles)) {
    last = {cycles, to_tick(std::chrono::steady_clock::now())};
  }
  return last.at;
#else
  return to_tick(std::chrono::steady_clock::now());
#endif
}

/// `t > recent_now()` where the last reading is still good, else false: does without the clock.
[[nodiscard]] BOOST_FORCEINLINE bool is_clearly_ahead(tick t) noexcept {
#if defined(RONDO_CYCLE_COUNTER)
  auto const& last = clock_reading::last();
  return t > last.at && last.is_good_at(cycle_counter());
#else
  static_cast<void>(t);
  return false;
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
