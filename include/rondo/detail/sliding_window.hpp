// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/detail/tick.hpp>

#include <boost/config.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <limits>

namespace rondo::detail {

/// What a window has counted.
struct units_in_use {
  std::uint32_t started = 0;
  std::uint32_t unstarted = 0; ///< taken for later

  [[nodiscard]] friend constexpr units_in_use operator-(units_in_use a, units_in_use b) noexcept {
    return {a.started - std::min(a.started, b.started), a.unstarted - std::min(a.unstarted, b.unstarted)};
  }
};

/// At most `limit` units in *every* interval of the length of a period.
///
/// The period is cut into 16 parts, and units are counted by the part they were granted in. They leave the window
/// when the whole part is a period and a guard in the past, so up to 1/16 of the period is given away, and nothing is
/// ever granted too early. The guard (1 % of the period, at most 1 s) is there because arrival at the provider
/// jitters.
///
/// The part that goes on is counted in `current_`, which is all that most grants write; parts that are over stand in
/// the ring, and `older_` is their sum. Units that go from one word to another are added there before they are taken
/// away here: between the two there are too many, never too few. A thread that stalls in between strands its units for
/// another period at worst.
///
/// All functions: any thread.
template <template <class> class Atomic = std::atomic> class sliding_window {
public:
  /// Of all limits, so that no window grants a request of more units than can be counted.
  static constexpr std::uint32_t largest = std::numeric_limits<std::uint32_t>::max() - 1;

  /// `limit` 0 = no limit: units are counted, so that a later limit knows of them.
  sliding_window(std::uint32_t limit, tick period) noexcept : limit_{std::min(limit, largest)}, part_{period / parts} {}

  [[nodiscard]] std::uint32_t limit() const noexcept { return limit_.load(); }
  void set_limit(std::uint32_t limit) noexcept { limit_.store(std::min(limit, largest)); }

  /// Takes `n` units, which count from `now`; with `later` they count for ever, until `start` gives them a beginning.
  [[nodiscard]] BOOST_FORCEINLINE bool try_take(std::uint32_t n, tick now, bool later) noexcept {
    if (now >= settled_until_.load()) [[unlikely]] {
      catch_up(now);
    }
    return later ? take_later(n) : take(n);
  }

  /// Units taken with `later` count from `now`.
  void start(std::uint32_t n, tick now) noexcept {
    force(n, now);
    shrink(n, 0);
  }

  /// Counts units that were used without having been granted; the window may stand above its limit afterwards.
  void force(std::uint32_t n, tick now) noexcept {
    begin(part_at(now));
    count(n);
  }

  /// Gives back units that count from `since`; those that have left the window already are not given back twice.
  void give_back(std::uint32_t n, tick since) noexcept {
    auto current = current_.load();
    auto const into_part = static_cast<std::uint64_t>(since - began_at(epoch_of(current))); // huge if before
    if (into_part < static_cast<std::uint64_t>(part_) &&
        current_.compare_exchange_strong(current, current - std::min(n, count_of(current)))) [[likely]] {
      return; // most requests end in the part in which they began
    }
    give_back_to(part_at(since), n);
  }

  /// Gives back units that were taken with `later` and never started.
  void give_back_unstarted(std::uint32_t n) noexcept { shrink(n, 0); }

  /// Units in the window at `now`.
  [[nodiscard]] units_in_use used(tick now) noexcept {
    catch_up(now);
    units_in_use out{count_of(current_.load()), count_of(older_.load())};
    for (auto const& over : ring_) { // what is in the sum and in no part has not started
      auto const n = std::min(count_of(over.load()), out.unstarted);
      out.unstarted -= n;
      out.started += std::min(n, ~out.started);
    }
    return out;
  }
  /// Counts units that another window has counted until now.
  void carry(units_in_use const& more, tick now) noexcept {
    force(more.started, now);
    static_cast<void>(grow(more.unstarted));
  }

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
    auto const current = current_.load(); // before the sum of the others, which grows first
    auto const used = std::uint64_t{count_of(current)} + count_of(older_.load());
    if (used + n <= most) {
      return now;
    }
    auto missing = used + n - most;
    std::array<std::uint64_t, ring + 1> counted{};
    std::transform(ring_.begin(), ring_.end(), counted.begin(), [](auto const& part) { return part.load(); });
    counted.back() = current;
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

  // All words: number of a part in the upper half, units in the lower. In the sum of the older parts the number is that
  // of the newest part that has left the window.
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
  [[nodiscard]] tick guard() const noexcept { return std::min<tick>(part_ * parts / 100, one_second); }
  /// The newest part that has left the window at `t`, which is in `part`: the guard is shorter than a part.
  [[nodiscard]] std::uint32_t expired_at(tick t, std::uint32_t part) const noexcept {
    return part - (t - began_at(part) >= guard() ? parts + 1 : parts + 2);
  }
  [[nodiscard]] tick began_at(std::uint32_t part) const noexcept { return (tick{part} - 32) * part_; }
  [[nodiscard]] tick leaves_at(std::uint32_t part) const noexcept {
    return (tick{part} - 32 + parts + 1) * part_ + guard();
  }

  /// Units in the window above `most`, when the part that goes on has `current`.
  [[nodiscard]] bool exceeds(std::uint32_t most, std::uint64_t current, std::uint32_t more) const noexcept {
    return most != 0 && std::uint64_t{count_of(older_.load())} + count_of(current) + more > most;
  }

  [[nodiscard]] BOOST_FORCEINLINE bool take(std::uint32_t n) noexcept {
    auto const most = limit();
    if (most == 0) [[unlikely]] {
      count(n);
      return true;
    }
    auto current = current_.load();
    for (;;) {
      auto const older = older_.load();
      if (std::uint64_t{count_of(older)} + count_of(current) + n > most) [[unlikely]] {
        return false;
      }
      if (!current_.compare_exchange_weak(current, current + n)) [[unlikely]] {
        continue;
      }
      if (older_.load() == older || !exceeds(most, current, n)) [[likely]] {
        return true;
      }
      give_back_to(epoch_of(current), n); // somebody took for later in the same moment
      current = current_.load();
    }
  }

  /// As far as there is room.
  BOOST_NOINLINE void count(std::uint32_t n) noexcept {
    auto current = current_.load();
    while (!current_.compare_exchange_weak(current, current + std::min(n, ~count_of(current)))) {
    }
  }

  [[nodiscard]] BOOST_NOINLINE bool take_later(std::uint32_t n) noexcept {
    auto const most = limit();
    for (;;) {
      if (exceeds(most, current_.load(), n)) {
        return false;
      }
      auto const taken = grow(n);
      if (!exceeds(most, current_.load(), 0)) {
        return true;
      }
      shrink(taken, 0);
    }
  }

  /// Begins the part of this moment, lets those that are over leave the window, and notes until when nothing of that is
  /// to be done again: the next part begins then, or the guard of one that is over ends. A time that was noted late, by
  /// a thread that was held up, is an earlier one.
  BOOST_NOINLINE void catch_up(tick now) noexcept {
    auto const part = part_at(now);
    begin(part); // before it is noted
    if (auto const last = expired_at(now, part); last > epoch_of(older_.load())) {
      expire(last);
    }
    auto const guard_ends = began_at(part) + guard();
    settled_until_.store(now < guard_ends ? guard_ends : began_at(part + 1));
  }

  /// Makes `part` the one that goes on, unless a later one does.
  BOOST_NOINLINE void begin(std::uint32_t part) noexcept {
    auto current = current_.load();
    while (epoch_of(current) < part) {
      auto const moved = grow(count_of(current));
      if (current_.compare_exchange_weak(current, pack(part, 0))) {
        record(epoch_of(current), moved);
        return;
      }
      shrink(moved, 0);
    }
  }

  void give_back_to(std::uint32_t number, std::uint32_t n) noexcept {
    auto current = current_.load();
    while (epoch_of(current) == number) {
      if (current_.compare_exchange_weak(current, current - std::min(n, count_of(current)))) {
        return;
      }
    }
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

  /// Notes a part that is over; it may have left the window meanwhile.
  void record(std::uint32_t part, std::uint32_t n) noexcept {
    if (n != 0) {
      add_to_ring(part, n);
      if (auto const last = epoch_of(older_.load()); part <= last) {
        shrink(collect(last), 0);
      }
    }
  }

  void add_to_ring(std::uint32_t part, std::uint32_t n) noexcept {
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

  /// Lets the parts up to `last` leave the window.
  BOOST_NOINLINE void expire(std::uint32_t last) noexcept {
    shrink(collect(last), last);
    shrink(collect(last), 0); // whoever notes an old part from here on sees that it should have left
  }

  /// Empties the parts up to `last`, and returns what was in them.
  [[nodiscard]] std::uint32_t collect(std::uint32_t last) noexcept {
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
    return freed;
  }

  /// Returns how many there was room for: fewer only if there are billions of them.
  std::uint32_t grow(std::uint32_t n) noexcept {
    auto older = older_.load();
    std::uint32_t added = 0;
    do {
      added = std::min(n, ~count_of(older));
    } while (added != 0 && !older_.compare_exchange_weak(older, older + added));
    return added;
  }

  void shrink(std::uint32_t n, std::uint32_t expired) noexcept {
    auto older = older_.load();
    std::uint64_t next = 0;
    do {
      next = pack(std::max(epoch_of(older), expired), count_of(older) - std::min(n, count_of(older)));
    } while (next != older && !older_.compare_exchange_weak(older, next));
  }

  // most grants read nothing but what stands before the ring
  Atomic<std::uint64_t> current_{0};
  Atomic<std::uint64_t> older_{0};
  /// See `catch_up`; never later than the end of the part that goes on.
  Atomic<tick> settled_until_{std::numeric_limits<tick>::min()};
  Atomic<std::uint32_t> limit_;
  tick part_;
  std::array<Atomic<std::uint64_t>, ring> ring_{};
};

} // namespace rondo::detail
