// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/detail/ready_index.hpp>
#include <rondo/detail/return_queue.hpp>
#include <rondo/detail/slot.hpp>
#include <rondo/detail/stable_array.hpp>
#include <rondo/detail/tick.hpp>
#include <rondo/limits.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>

namespace rondo::detail {

/// What is asked of one slot, and what was taken for it.
struct claim {
  std::int64_t tokens = 0;
  bool unsent = false;      ///< rates count from `slot_table::start`, not from the acquire
  bool probe = false;       ///< it is the one request of a probation
  std::uint8_t counted = 0; ///< the rates that counted it: one that was added later must not give it back
};

/// When a slot can serve.
struct availability {
  tick at = never;       ///< not before; `never` = no time is known
  bool on_event = false; ///< from then on it takes a lease that ends
  bool sooner = false;   ///< a lease that ends may bring it before `at`
  bool shared = false;   ///< what others take meanwhile makes it later

  [[nodiscard]] bool ready(tick now) const noexcept { return !on_event && at <= now; }
};

/// All slots, which of them are worth a try, and when the others come back.
///
/// Lock-free but for `add`, `set_limits` and `set_off`, which one thread at a time may call. A slot that cannot serve
/// even one token is *parked*: out of the ready index. Three parties bring it back: whoever ends a lease or changes a
/// limit (it sees the flag in the gate word), and the return queue when a known time has come. The one that parks sets
/// the flag first and then looks at the slot's state again; the one that frees changes the state first and then looks
/// at the flag. All of these are sequentially consistent, so one of the two sees the other.
template <template <class> class Atomic = std::atomic> class slot_table {
public:
  using slot_type = slot<Atomic>;
  using rates_type = slot_rates<Atomic>;

  /// A new slot, switched off.
  slot_type& add() {
    auto const index = size_.load(std::memory_order_relaxed);
    slots_.grow_to(index);
    ready_.grow_to(index);
    returns_.reserve(std::size_t{index} + 1);
    slots_[index].index = index;
    size_.store(index + 1, std::memory_order_release); // pairs with size()
    return slots_[index];
  }

  [[nodiscard]] std::uint32_t size() const noexcept { return size_.load(std::memory_order_acquire); }
  [[nodiscard]] slot_type& operator[](std::uint32_t index) const noexcept { return slots_[index]; }
  [[nodiscard]] ready_index<Atomic> const& ready() const noexcept { return ready_; }

  /// Takes one lease and `c.tokens` tokens, and notes in `c` what it took. On refusal nothing is taken. `disturbed`
  /// tells that capacity was out of sight for a moment, so that others may have been refused because of it: waiters
  /// must be looked at again.
  [[nodiscard]] bool reserve(slot_type& s, claim& c, lazy_now& now, bool& disturbed) noexcept {
    auto word = s.gate.load(std::memory_order_acquire);
    std::uint64_t next = 0;
    do {
      if ((word & gate::off) != 0) {
        return false;
      }
      auto const cool = s.cool_until.load(std::memory_order_acquire);
      if (cool != 0 && now() < cool) {
        return false;
      }
      next = word + gate::lease + gate::grant;
      c.probe = (word & gate::probation) != 0;
      if (c.probe) {
        if ((word & gate::probing) != 0) {
          return false;
        }
        next |= gate::probing;
      }
      auto const cap = s.cap();
      auto const out = gate::leases(word);
      if ((cap != 0 && out >= cap) || out == gate::lease_mask) {
        return false;
      }
    } while (!s.gate.compare_exchange_weak(word, next, std::memory_order_seq_cst));

    c.counted = 0;
    if (!take_tokens(s, c.tokens, (word & gate::metered) != 0, now)) {
      undo(s, c, now);
      disturbed = true;
      return false;
    }
    if ((word & gate::rated) != 0) {
      auto const taken = take_rates(s, c, now());
      disturbed = true; // units are out of sight while they leave the window, and between two of its words
      if (!taken) {
        s.remaining.fetch_add(c.tokens, std::memory_order_seq_cst);
        undo(s, c, now);
        return false;
      }
      if ((s.gate.load(std::memory_order_seq_cst) & gate::parked) != 0) {
        reconsider(s, now());
      }
    }
    return true;
  }

  /// The request that took `c` leaves now: its rates count from here.
  void start(slot_type& s, claim const& c, tick now) noexcept {
    for_each_counted(s, c, [&](auto& window, std::size_t k) { window.start(units(c.tokens, k), now); });
    if ((s.gate.load(std::memory_order_seq_cst) & gate::parked) != 0) {
      reconsider(s, now); // when the window has room again is known only now
    }
  }

  /// Gives back `tokens` of what `c` took but did not use, `since` being the moment from which rates count them. Not
  /// enough to end a lease.
  void give_back_tokens(slot_type& s, claim const& c, std::int64_t tokens, tick since) noexcept {
    if (tokens > 0) {
      s.remaining.fetch_add(tokens, std::memory_order_seq_cst);
      for_each_counted(s, c, [&](auto& window, std::size_t k) {
        if (rates_type::counts_tokens(k)) {
          window.give_back(units(tokens, k), since);
        }
      });
    }
  }

  /// Charges tokens that were used without having been taken.
  void take_more_tokens(slot_type& s, std::int64_t tokens, lazy_now& now) noexcept {
    if (tokens > 0) {
      s.remaining.fetch_sub(tokens, std::memory_order_seq_cst);
      for_each_rate(s, [&](auto& window, std::size_t k) {
        if (rates_type::counts_tokens(k)) {
          window.force(units(tokens, k), now());
        }
      });
    }
  }

  /// Gives back everything `c` took, the request count too, except the lease itself.
  void give_back(slot_type& s, claim const& c, tick since) noexcept {
    s.remaining.fetch_add(c.tokens, std::memory_order_seq_cst);
    for_each_counted(s, c, [&](auto& window, std::size_t k) {
      if (c.unsent) {
        window.give_back_unstarted(units(c.tokens, k));
      } else {
        window.give_back(units(c.tokens, k), since);
      }
    });
  }

  /// Frees the place of a lease; everything else that it frees was freed before. Returns the gate word as it was, for
  /// the flags in it. Until `end_finished` the table stays: see `close`.
  std::uint64_t end_lease(slot_type& s, claim const& c) noexcept {
    if (!c.probe) {
      return s.gate.fetch_add(gate::ending - gate::lease, std::memory_order_seq_cst);
    }
    auto word = s.gate.load(std::memory_order_relaxed);
    while (!s.gate.compare_exchange_weak(word, (word & ~gate::probing) + gate::ending - gate::lease,
                                         std::memory_order_seq_cst)) {
    }
    return word;
  }

  /// Whoever ended a lease will not touch the table again. True if it was closed meanwhile.
  [[nodiscard]] bool end_finished(slot_type& s) noexcept {
    return (s.gate.fetch_sub(gate::ending, std::memory_order_seq_cst) & gate::closed) != 0;
  }

  /// Gives no more leases. Returns how many are out or just ending: as many times `end_finished` will say true.
  [[nodiscard]] std::uint32_t close(slot_type& s) noexcept {
    auto const word = s.gate.fetch_or(gate::closed | gate::off, std::memory_order_seq_cst);
    return gate::leases(word) + gate::endings(word);
  }

  /// No offer before `until`, then one request to probe. Returns false if the slot rests at least as long already.
  bool cool(slot_type& s, rest_kind kind, tick until, tick now) noexcept {
    auto old = s.cool_until.load(std::memory_order_relaxed);
    do {
      if (old >= until) {
        return false;
      }
    } while (!s.cool_until.compare_exchange_weak(old, until, std::memory_order_seq_cst));
    s.resting_for.store(kind, std::memory_order_relaxed);
    s.gate.fetch_or(gate::probation, std::memory_order_seq_cst);
    park(s, now);
    return true;
  }

  /// The slot is well again: a request that began after the cooldown that ended at `judged` was served. False if it was
  /// sent to rest again meanwhile.
  bool restore(slot_type& s, tick judged) noexcept {
    if (!s.cool_until.compare_exchange_strong(judged, 0, std::memory_order_seq_cst)) {
      return false;
    }
    s.setbacks.store(0, std::memory_order_relaxed);
    s.gate.fetch_and(~gate::probation, std::memory_order_seq_cst);
    if (s.cool_until.load(std::memory_order_seq_cst) != 0) {
      s.gate.fetch_or(gate::probation, std::memory_order_seq_cst); // it began to rest between the two
    }
    return true;
  }

  /// Takes a slot that cannot serve one token out of the ready index.
  void park(slot_type& s, tick now) noexcept {
    s.gate.fetch_or(gate::parked, std::memory_order_seq_cst);
    ready_.clear(s.index);
    if ((s.gate.load(std::memory_order_seq_cst) & gate::parked) == 0) {
      ready_.set(s.index); // somebody brought it back before we took it out
    } else {
      reconsider(s, now);
    }
  }

  void unpark(slot_type& s) noexcept {
    s.gate.fetch_and(~gate::parked, std::memory_order_seq_cst);
    ready_.set(s.index);
  }

  /// Something about a parked slot has changed: puts it back, or notes when to look again. True if it is back.
  bool reconsider(slot_type& s, tick now) noexcept {
    auto seen = available(s, 1, now);
    for (;;) {
      if (seen.ready(now)) {
        unpark(s);
        return true;
      }
      if (seen.on_event || seen.at == never) {
        return false;
      }
      returns_.push(s, seen.at);
      auto const again = available(s, 1, now); // another thread may have written a later time meanwhile
      if (!again.ready(now) && (again.on_event || again.at >= seen.at)) {
        return false;
      }
      seen = again;
    }
  }

  /// The earliest moment at which a parked slot may be back.
  [[nodiscard]] tick next_return() const noexcept { return returns_.next(); }

  /// Puts slots back whose time has come.
  void run_due(tick now) noexcept {
    returns_.run_due(now, [&](slot_type& s) {
      if ((s.gate.load(std::memory_order_seq_cst) & gate::parked) == 0) {
        return never;
      }
      auto const seen = available(s, 1, now);
      if (seen.ready(now)) {
        unpark(s);
        return never;
      }
      return seen.on_event ? never : seen.at;
    });
  }

  /// When `s` can serve a request of `tokens`, which must be 1 at least.
  [[nodiscard]] availability available(slot_type& s, std::int64_t tokens, tick now) noexcept {
    auto const word = s.gate.load(std::memory_order_seq_cst);
    if ((word & gate::off) != 0) {
      return {};
    }
    availability out{std::max(now, s.cool_until.load(std::memory_order_seq_cst))};
    auto const cap = s.cap();
    out.on_event = (word & gate::probing) != 0 || (cap != 0 && gate::leases(word) >= cap);
    out.shared = out.on_event;
    if ((word & gate::metered) != 0) {
      renew_quota(s, now);
      if (s.remaining.load(std::memory_order_seq_cst) < tokens) {
        auto const reset = s.quota_reset.load(std::memory_order_seq_cst);
        auto const lent = s.unspent() >= tokens; // who holds the rest of what is not spent may give it back
        if (reset != renewing && tokens > s.quota.load(std::memory_order_relaxed)) {
          return {};
        }
        if (reset != 0) {
          out.at = std::max(out.at, reset);
          out.sooner = lent;
        } else if (lent) {
          out.on_event = true;
        } else {
          return {};
        }
        out.shared = out.shared || lent;
      }
    }
    bool impossible = false;
    for_each_rate(s, [&](auto& window, std::size_t k) {
      auto const n = units(tokens, k);
      auto const at = window.available_at(n, now);
      if (at == never && n > window.limit()) {
        impossible = true;
      } else if (at == never) {
        out.on_event = true; // full of units whose requests have not left yet
      } else {
        out.at = std::max(out.at, at);
      }
      out.shared = out.shared || at > now;
    });
    return impossible ? availability{} : out;
  }

  /// True if a request of `tokens` is larger than the slot could ever grant.
  [[nodiscard]] bool too_large(slot_type& s, std::int64_t tokens) const noexcept {
    auto const word = s.gate.load(std::memory_order_acquire);
    auto const quota = s.quota.load(std::memory_order_relaxed);
    auto large =
        (word & gate::metered) != 0 && quota != 0 && tokens > quota; // 0: nothing is known but that it is used up
    for_each_rate(s, [&](auto& window, std::size_t k) {
      large = large || (window.limit() != 0 && units(tokens, k) > window.limit());
    });
    return large;
  }

  /// Gives the whole quota back once its reset time has passed. Meanwhile `renewing` keeps others from believing that
  /// nothing will come back.
  void renew_quota(slot_type& s, tick now) noexcept {
    auto reset = s.quota_reset.load(std::memory_order_acquire);
    if (reset > renewing && now >= reset &&
        s.quota_reset.compare_exchange_strong(reset, renewing, std::memory_order_seq_cst)) {
      s.quota_reset_wall.store(0, std::memory_order_relaxed);
      move_balance(s, s.quota.load(std::memory_order_relaxed) - s.unspent());
      auto mine = renewing; // a new time may have been set already
      s.quota_reset.compare_exchange_strong(mine, 0, std::memory_order_seq_cst);
    }
  }

  /// Sets limits; `unspent` is what is left of the quota, `reset` when it returns (0 = unknown). A quota that is
  /// `metered` counts, even if it is 0. Leases out stay.
  void set_limits(slot_type& s, limits const& l, bool metered, std::int64_t unspent, tick reset) {
    using r = rates_type;
    s.concurrency.store(l.concurrency, std::memory_order_relaxed);
    s.quota.store(l.quota, std::memory_order_relaxed);
    s.quota_reset.store(reset, std::memory_order_seq_cst);
    move_balance(s, unspent - s.unspent());
    auto const any_rate = l.requests_per_second != 0 || l.requests_per_minute != 0 || l.tokens_per_minute != 0 ||
                          l.requests_per_day != 0 || l.tokens_per_day != 0;
    auto* rates = s.rates.load(std::memory_order_relaxed);
    if (!rates && any_rate) {
      rates = new r;
      s.rates.store(rates, std::memory_order_release); // pairs with for_each_rate()
    }
    if (rates) {
      rates->set_limit(r::requests_per_second, l.requests_per_second);
      rates->set_limit(r::requests_per_minute, l.requests_per_minute);
      rates->set_limit(r::tokens_per_minute, l.tokens_per_minute);
      rates->set_limit(r::requests_per_day, l.requests_per_day);
      rates->set_limit(r::tokens_per_day, l.tokens_per_day);
      s.gate.fetch_or(gate::rated, std::memory_order_seq_cst);
    }
    if (metered) {
      s.gate.fetch_or(gate::metered, std::memory_order_seq_cst);
    } else {
      s.gate.fetch_and(~gate::metered, std::memory_order_seq_cst);
    }
    unpark(s); // an acquire that finds it wanting parks it again
  }

  void set_off(slot_type& s, bool off) noexcept {
    if (off) {
      s.gate.fetch_or(gate::off, std::memory_order_seq_cst);
    } else {
      s.gate.fetch_and(~gate::off, std::memory_order_seq_cst);
      unpark(s);
    }
  }

  /// Adds to what is left of the quota, in all books alike.
  void move_balance(slot_type& s, std::int64_t delta) noexcept {
    s.base.fetch_add(delta, std::memory_order_relaxed);
    s.remaining.fetch_add(delta, std::memory_order_seq_cst);
  }

private:
  [[nodiscard]] static std::uint32_t units(std::int64_t tokens, std::size_t rate) noexcept {
    if (!rates_type::counts_tokens(rate)) {
      return 1;
    }
    return static_cast<std::uint32_t>(std::min<std::int64_t>(tokens, std::numeric_limits<std::uint32_t>::max()));
  }

  template <class Function> static void for_each_rate(slot_type& s, Function&& function) noexcept {
    if (auto* const rates = s.rates.load(std::memory_order_acquire)) {
      for (std::size_t k = 0; k < rates_type::kinds; ++k) {
        if (auto* const window = (*rates)[k]) {
          function(*window, k);
        }
      }
    }
  }

  template <class Function> static void for_each_counted(slot_type& s, claim const& c, Function&& function) noexcept {
    if (c.counted != 0) {
      for_each_rate(s, [&](auto& window, std::size_t k) {
        if ((c.counted >> k & 1) != 0) {
          function(window, k);
        }
      });
    }
  }

  /// A quota that is used up serves nothing, not even what is free.
  [[nodiscard]] bool take_tokens(slot_type& s, std::int64_t tokens, bool metered, lazy_now& now) noexcept {
    if (!metered) { // booked all the same: a quota that comes later finds the books in order
      if (tokens != 0) {
        s.remaining.fetch_sub(tokens, std::memory_order_relaxed);
      }
      return true;
    }
    auto const needed = std::max<std::int64_t>(tokens, 1);
    auto left = s.remaining.load(std::memory_order_acquire);
    if (left < needed && s.quota_reset.load(std::memory_order_acquire) != 0) {
      renew_quota(s, now());
      left = s.remaining.load(std::memory_order_acquire);
    }
    do {
      if (left < needed) {
        return false;
      }
    } while (!s.remaining.compare_exchange_weak(left, left - tokens, std::memory_order_seq_cst));
    return true;
  }

  [[nodiscard]] bool take_rates(slot_type& s, claim& c, tick now) noexcept {
    auto& rates = *s.rates.load(std::memory_order_acquire);
    for (std::size_t k = 0; k < rates_type::kinds; ++k) {
      auto* const window = rates[k];
      if (!window) {
        continue;
      }
      if (!window->try_take(units(c.tokens, k), now, c.unsent)) {
        for_each_counted(s, c, [&](auto& taken, std::size_t other) {
          if (c.unsent) {
            taken.give_back_unstarted(units(c.tokens, other));
          } else {
            taken.give_back(units(c.tokens, other), now);
          }
        });
        return false;
      }
      c.counted = static_cast<std::uint8_t>(c.counted | 1U << k);
    }
    return true;
  }

  void undo(slot_type& s, claim const& c, lazy_now& now) noexcept {
    auto const clear = c.probe ? gate::probing : 0;
    auto word = s.gate.load(std::memory_order_relaxed);
    while (
        !s.gate.compare_exchange_weak(word, (word & ~clear) - gate::lease - gate::grant, std::memory_order_seq_cst)) {
    }
    if ((word & gate::parked) != 0) {
      reconsider(s, now());
    }
  }

  stable_array<slot_type, Atomic> slots_;
  ready_index<Atomic> ready_;
  return_queue<Atomic> returns_;
  Atomic<std::uint32_t> size_{0};
};

} // namespace rondo::detail
