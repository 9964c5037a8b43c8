// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/detail/mixing.hpp>
#include <rondo/detail/slot.hpp>
#include <rondo/detail/slot_table.hpp>
#include <rondo/detail/tick.hpp>
#include <rondo/strategy.hpp>

#include <boost/config.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace rondo::detail {

/// The slots that are worth a try: those of an account, and if the request names a lane that has a table of its own,
/// also those of the lane.
struct candidates {
  slot_table<std::atomic> const& accounts;
  slot_table<std::atomic> const* lane;

  static constexpr std::uint32_t none = ready_index<>::npos;

  /// The first one that is not below `from`, or `none`.
  [[nodiscard]] std::uint32_t next(std::uint32_t from) const noexcept {
    auto at = accounts.ready().next(from);
    if (lane) [[unlikely]] {
      while (at != none) {
        auto const also = lane->ready().next(at);
        if (also == at) {
          break;
        }
        at = also == none ? none : accounts.ready().next(also);
      }
    }
    return at;
  }
  [[nodiscard]] bool contain(std::uint32_t i) const noexcept {
    return accounts.ready().test(i) && (!lane || lane->ready().test(i));
  }
};

/// Picks the next slot by a strategy. Remembers where it stands, and nothing about the slots.
///
/// Any thread. Threads that turned one wheel would pass its cache line to and fro on every pick, so there are several;
/// when two of them meet at one slot, one goes away, or they would march in step from then on.
class rotor {
  using slot_type = slot<std::atomic>;

public:
  /// Where the next pick starts to look: a hint, on which nobody relies.
  class alignas(64) wheel {
  public:
    /// The slot itself, if it was at hand when the wheel was turned; else null.
    [[nodiscard]] BOOST_FORCEINLINE slot_type* slot() const noexcept { return slot_.load(); } // pairs with turn_to()
    [[nodiscard]] std::uint32_t at() const noexcept {
      auto const* const s = slot();
      return s ? s->index : at_.load();
    }

    /// \param s what is to be tried next
    BOOST_FORCEINLINE void turn_to(slot_type& s) noexcept {
      slot_.store(&s, std::memory_order_release); // pairs with slot()
    }
    void turn_to(std::uint32_t at) noexcept {
      // both pair with nothing: where another thread sees one without the other, it begins somewhere else
      at_.store(at, std::memory_order_relaxed);
      slot_.store(nullptr, std::memory_order_relaxed);
    }

  private:
    std::atomic<slot_type*> slot_{nullptr};
    std::atomic<std::uint32_t> at_{0};
  };
  /// The wheel of this thread under `strategy::round_robin`.
  [[nodiscard]] wheel& mine() noexcept { return wheels_[my_number()]; }
  /// The same; of a thread that has never asked for its own, one that nobody turns.
  [[nodiscard]] BOOST_FORCEINLINE wheel& mine_or_idle() noexcept { return wheels_[number()]; }

  /// Calls `take(slot number, contended)` for one candidate after the other, the best first, until it returns true.
  /// Every candidate gets its chance.
  template <class Take>
  bool pick(strategy how, candidates const& from, std::uint64_t affinity, std::int64_t tokens, Take&& take) noexcept {
    if (affinity != 0) [[unlikely]] {
      return pick_by_affinity(from, affinity, take);
    }
    switch (how) {
    case strategy::round_robin: return walk(mine(), from, 1, take);
    case strategy::fill_first: return walk(wheels_.front(), from, 0, take);
    case strategy::most_remaining:
      return pick_best(from, take, [](slot_type const& s) {
        auto const word = s.gate.load();
        return (word & gate::metered) != 0 ? -s.room(word) : std::numeric_limits<std::int64_t>::min();
      });
    case strategy::least_loaded:
      return pick_best(from, take, [](slot_type const& s) { return std::int64_t{gate::leases(s.gate.load())}; });
    case strategy::soonest_reset:
      return pick_best(from, take, [tokens](slot_type const& s) {
        auto const reset = s.quota_reset.load();
        return reset > renewing && s.room(s.gate.load()) >= tokens ? reset : never;
      });
    case strategy::weighted:
      return pick_best(
          from,
          [&](std::uint32_t i, bool& contended) { return take(i, contended) && (spend_turn(from.accounts[i]), true); },
          [this](slot_type const& s) {
            return static_cast<std::int64_t>(std::max(s.virtual_start.load(), virtual_time_.load()));
          });
    }
    return false;
  }

  /// The next candidate, wherever the wheel stands; `none` if there is none at all. Threads rotate through blocks of 64
  /// slots, and take one block after the other from all: so each slot has its turn, and seldom two threads at once.
  [[nodiscard]] std::uint32_t next_in_turn(wheel const& w, ready_index<> const& ready, std::uint32_t slots) noexcept {
    auto const at = w.at();
    auto const within = at % block != 0 || w.slot(); // a block of which the thread has already taken the turn
    auto const i = within ? ready.next_near(at) : candidates::none;
    return i != candidates::none ? i : first_of_next_block(ready, slots);
  }

  /// The first candidate of the block whose turn it is; `none` if there is none at all.
  [[nodiscard]] std::uint32_t first_of_next_block(ready_index<> const& ready, std::uint32_t slots) noexcept {
    if (ready.empty()) {
      return candidates::none;
    }
    if (slots <= block) {
      return ready.next(0);
    }
    if (auto const i = ready.first_of_only_word(); i != candidates::none) {
      return i; // all turns are this block's, and need not be counted
    }
    auto const mine = next_block_.fetch_add(1) % ((slots - 1) / block + 1);
    auto const near = ready.next(mine * block);
    auto const i = near != candidates::none ? near : ready.next(0);
    if (i / block != mine) { // those between are empty, and need not be looked at again in this round
      next_block_.store(i == candidates::none ? 0 : i / block + 1);
    }
    return i;
  }

  /// Where a thread goes on that met another one at a slot: with the next block, or if there is but one, somewhere in
  /// it.
  [[nodiscard]] BOOST_NOINLINE static std::uint32_t elsewhere(std::uint32_t here, std::uint32_t slots) noexcept {
    return slots > block ? (here | (block - 1)) + 1
                         : static_cast<std::uint32_t>(mixed(here ^ std::uint64_t{my_number()} << 32) % slots);
  }

private:
  /// Threads are numbered as they come, so that a few of them never share a wheel.
  [[nodiscard]] static std::uint32_t my_number() noexcept {
    auto& mine = number();
    if (mine == wheels) [[unlikely]] {
      static constinit std::atomic<std::uint32_t> threads{0};
      mine = threads.fetch_add(1) % wheels;
    }
    return mine;
  }
  [[nodiscard]] BOOST_FORCEINLINE static std::uint32_t& number() noexcept {
    static constinit thread_local std::uint32_t it = wheels;
    return it;
  }

  /// Once around, from where the wheel stands; it goes `step` beyond the one that was taken.
  template <class Take> static bool walk(wheel& w, candidates const& from, std::uint32_t step, Take& take) noexcept {
    auto const start = w.at();
    for (auto i = from.next(start); i != candidates::none; i = from.next(i + 1)) {
      if (take_and_turn(w, start, i, step, from, take)) {
        return true;
      }
    }
    for (auto i = from.next(0); i < start; i = from.next(i + 1)) {
      if (take_and_turn(w, start, i, step, from, take)) {
        return true;
      }
    }
    return false;
  }

  template <class Take>
  static bool take_and_turn(wheel& w, std::uint32_t start, std::uint32_t i, std::uint32_t step, candidates const& from,
                            Take& take) noexcept {
    bool contended = false;
    if (!take(i, contended)) {
      return false;
    }
    auto next = i + step;
    if (contended && step != 0) [[unlikely]] {
      next = elsewhere(i, from.accounts.size());
    }
    if (next != start) {
      w.turn_to(next);
    }
    return true;
  }

  /// The one with the lowest score of the next `most_compared`; among equals, the next. Then whoever else is there.
  template <class Take, class Score> bool pick_best(candidates const& from, Take&& take, Score&& score) noexcept {
    struct candidate {
      std::int64_t score;
      std::uint32_t index;
    };
    std::array<candidate, most_compared> seen;
    std::size_t count = 0;
    auto& w = mine();
    auto const start = w.at();
    auto const compare = [&](std::uint32_t first, std::uint32_t end) {
      for (auto i = from.next(first); i < end && count < most_compared; i = from.next(i + 1)) {
        seen[count++] = {score(from.accounts[i]), i};
      }
    };
    compare(start, candidates::none);
    compare(0, start);
    auto const all_seen = count < most_compared;
    while (count != 0) {
      auto const best = std::min_element(seen.begin(), seen.begin() + static_cast<std::ptrdiff_t>(count),
                                         [](auto const& a, auto const& b) { return a.score < b.score; });
      if (bool contended = false; take(best->index, contended)) {
        w.turn_to(best->index + 1);
        return true;
      }
      std::copy(best + 1, seen.begin() + static_cast<std::ptrdiff_t>(count), best);
      --count;
    }
    return !all_seen && walk(w, from, 1, take);
  }

  /// Start-time fair queueing: a slot's next turn is due when it has waited for as long as its weight tells, in the
  /// time that passes with the turns of all. One that was away does not make up for the turns it missed.
  void spend_turn(slot_type& s) noexcept {
    constexpr std::uint64_t whole = std::uint64_t{1} << 24;
    auto const weight = std::clamp(s.weight.load(), 1U, 1'000'000U);
    auto const now = virtual_time_.load();
    auto start = s.virtual_start.load();
    std::uint64_t turn = 0;
    do {
      turn = std::max(start, now);
    } while (!s.virtual_start.compare_exchange_weak(start, turn + whole / weight));
    if (turn > now) {
      // pairs with nothing: a lost update only makes the next turns a little uneven
      virtual_time_.store(turn, std::memory_order_relaxed);
    }
  }

  /// A few choices of its own for every affinity, always in the same order; then whoever comes after the first of them.
  template <class Take>
  static bool pick_by_affinity(candidates const& from, std::uint64_t affinity, Take& take) noexcept {
    constexpr std::uint64_t choices = 8;
    auto const size = from.accounts.size();
    if (size == 0) {
      return false;
    }
    for (std::uint64_t n = 0; n < choices; ++n) {
      auto const i = bucket_of(mixed(affinity + n), size);
      if (bool contended = false; from.contain(i) && take(i, contended)) {
        return true;
      }
    }
    wheel first;
    first.turn_to(bucket_of(mixed(affinity + choices), size));
    return walk(first, from, 0, take);
  }

  static constexpr std::size_t most_compared = 32;
  static constexpr std::uint32_t wheels = 16;
  static constexpr std::uint32_t block = slot_table<std::atomic>::block;

  std::array<wheel, wheels + 1> wheels_; ///< the last one is never turned
  alignas(64) std::atomic<std::uint32_t> next_block_{0};
  std::atomic<std::uint64_t> virtual_time_{0};
};

} // namespace rondo::detail
