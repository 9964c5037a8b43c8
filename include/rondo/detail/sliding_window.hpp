// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/detail/tick.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>

namespace rondo::detail {

/// At most `limit` units in *every* interval of the length of a period.
///
/// The period is cut into 16 parts, and units are counted by the part they were granted in. They leave the window
/// when the whole part is a period and a guard in the past, so up to 1/16 of the period is given away, and nothing is
/// ever granted too early. The guard (1 % of the period, at most 1 s) is there because arrival at the provider
/// jitters.
///
/// `used` grows before a part does and shrinks after it: between the two it is too large, never too small. A thread
/// that stalls in between strands its units for another period at worst.
///
/// All functions: any thread.
template <template <class> class Atomic = std::atomic> class sliding_window {
public:
  /// `limit` 0 = no limit: units are counted, so that a later limit knows of them.
  sliding_window(std::uint32_t limit, tick period) noexcept
      : limit_{limit}, part_{period / parts}, guard_{std::min<tick>(period / 100, one_second)} {}

  [[nodiscard]] std::uint32_t limit() const noexcept { return limit_.load(); }
  void set_limit(std::uint32_t limit) noexcept { limit_.store(limit); }

  /// Takes `n` units, which count from `now`; with `later` they count for ever, until `start` gives them a beginning.
  [[nodiscard]] bool try_take(std::uint32_t n, tick now, bool later) noexcept {
    auto const most = limit();
    auto const part = part_at(now);
    auto head = head_.load();
    if (expired_at(now, part) > epoch_of(head)) {
      expire(now);
      head = head_.load();
    }
    auto taken = n;
    do {
      if (most == 0) {
        taken = std::min(n, ~count_of(head)); // without a limit nobody is refused: counted as far as there is room
      } else if (std::uint64_t{count_of(head)} + n > most) {
        return false;
      }
    } while (!head_.compare_exchange_weak(head, head + taken));
    if (!later) {
      record(part, taken);
    }
    return true;
  }

  /// Units taken with `later` count from `now`.
  void start(std::uint32_t n, tick now) noexcept { record(part_at(now), n); }

  /// Counts units that were used without having been granted; the window may stand above its limit afterwards.
  void force(std::uint32_t n, tick now) noexcept {
    auto head = head_.load();
    std::uint32_t added = 0;
    do {
      added = std::min(n, ~count_of(head));
    } while (!head_.compare_exchange_weak(head, head + added));
    record(part_at(now), added);
  }

  /// Gives back units that count from `since`; those that have left the window already are not given back twice.
  void give_back(std::uint32_t n, tick since) noexcept {
    auto const number = part_at(since);
    auto& part = ring_[number % ring];
    auto seen = part.load();
    std::uint32_t back = 0;
    do {
      if (epoch_of(seen) != number) {
        return;
      }
      back = std::min(n, count_of(seen));
    } while (back != 0 && !part.compare_exchange_weak(seen, seen - back));
    shrink(back, 0);
  }

  /// Gives back units that were taken with `later` and never started.
  void give_back_unstarted(std::uint32_t n) noexcept { shrink(n, 0); }

  /// When `n` units can be had: `now` or before, a later time, or `never` if that depends on units that have not
  /// started or if `n` is above the limit.
  [[nodiscard]] tick available_at(std::uint32_t n, tick now) const noexcept {
    auto const most = limit();
    if (most == 0) {
      return now;
    }
    if (n > most) {
      return never;
    }
    auto const used = std::uint64_t{count_of(head_.load())};
    if (used + n <= most) {
      return now;
    }
    auto missing = used + n - most;
    std::array<std::uint64_t, ring> counted{};
    std::transform(ring_.begin(), ring_.end(), counted.begin(), [](auto const& part) { return part.load(); });
    std::sort(counted.begin(), counted.end()); // the part's number stands in the upper half
    for (auto const part : counted) {
      if (count_of(part) >= missing) {
        return std::max(now, leaves_at(epoch_of(part)));
      }
      missing -= count_of(part);
    }
    return never;
  }

private:
  static constexpr std::uint32_t parts = 16;
  // 17 parts are alive, one more while the guard runs; the rest lets a stalled thread find its part untouched
  static constexpr std::uint32_t ring = 20;
  static constexpr tick one_second = 1'000'000'000;

  // Both words: number of a part in the upper half, units in the lower. In the head the number is that of the newest
  // part that has left the window.
  [[nodiscard]] static constexpr std::uint32_t epoch_of(std::uint64_t word) noexcept {
    return static_cast<std::uint32_t>(word >> 32);
  }
  [[nodiscard]] static constexpr std::uint32_t count_of(std::uint64_t word) noexcept {
    return static_cast<std::uint32_t>(word);
  }
  [[nodiscard]] static constexpr std::uint64_t pack(std::uint32_t epoch, std::uint32_t count) noexcept {
    return std::uint64_t{epoch} << 32 | count;
  }

  // The first part has number 32, so that the arithmetic below never goes under zero. With parts of 62.5 ms (one
  // second) the numbers last for 8 years of uptime.
  [[nodiscard]] std::uint32_t part_at(tick t) const noexcept {
    constexpr tick of_second = one_second / parts;
    constexpr tick of_minute = 60 * of_second;
    constexpr tick of_day = 24 * 60 * of_minute;
    auto const whole = part_ == of_minute   ? t / of_minute // by constants, which costs a third
                       : part_ == of_day    ? t / of_day
                       : part_ == of_second ? t / of_second
                                            : t / part_;
    return static_cast<std::uint32_t>(whole + 32);
  }
  [[nodiscard]] std::uint32_t expired_at(tick t) const noexcept { return expired_at(t, part_at(t)); }
  /// The same when the part is known: the guard is shorter than a part.
  [[nodiscard]] std::uint32_t expired_at(tick t, std::uint32_t part) const noexcept {
    auto const began = (tick{part} - 32) * part_;
    return part - (t - began >= guard_ ? parts + 1 : parts + 2);
  }
  [[nodiscard]] tick leaves_at(std::uint32_t part) const noexcept {
    return (tick{part} - 32 + parts + 1) * part_ + guard_;
  }

  void record(std::uint32_t part, std::uint32_t n) noexcept {
    auto& here = ring_[part % ring];
    auto seen = here.load();
    for (;;) {
      auto const number = epoch_of(seen);
      if (number < part) {
        // the place still holds a part that left the window long ago
        if (here.compare_exchange_weak(seen, pack(part, n))) {
          shrink(count_of(seen), 0);
          return;
        }
      } else if (here.compare_exchange_weak(seen, seen + std::min(n, ~count_of(seen)))) {
        return; // if this thread was so late that the place is a newer part's, its units stay longer
      }
    }
  }

  void expire(tick now) noexcept {
    auto const last = expired_at(now);
    std::uint32_t freed = 0;
    for (auto& part : ring_) {
      auto seen = part.load();
      while (epoch_of(seen) <= last && count_of(seen) != 0) {
        if (part.compare_exchange_weak(seen, pack(epoch_of(seen), 0))) {
          freed += count_of(seen);
          break;
        }
      }
    }
    shrink(freed, last);
  }

  void shrink(std::uint32_t n, std::uint32_t expired) noexcept {
    auto head = head_.load();
    std::uint64_t next = 0;
    do {
      next = pack(std::max(epoch_of(head), expired), count_of(head) - std::min(n, count_of(head)));
    } while (next != head && !head_.compare_exchange_weak(head, next));
  }

  Atomic<std::uint64_t> head_{0};
  Atomic<std::uint32_t> limit_;
  tick part_;
  tick guard_;
  std::array<Atomic<std::uint64_t>, ring> ring_{};
};

} // namespace rondo::detail
