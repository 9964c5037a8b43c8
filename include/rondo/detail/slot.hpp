// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/clock.hpp>
#include <rondo/detail/day_calendar.hpp>
#include <rondo/detail/sliding_window.hpp>
#include <rondo/detail/tick.hpp>
#include <rondo/limits.hpp>
#include <rondo/renewal.hpp>

#include <boost/config.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

namespace rondo::detail {

/// A rate of a slot: a window, which slides or is emptied as a calendar says. Refers to both.
template <template <class> class Atomic> class rate {
public:
  rate(sliding_window<Atomic>* units, day_calendar<Atomic>* days) noexcept : units_{units}, days_{days} {}

  /// False when the rate never had a limit.
  [[nodiscard]] explicit operator bool() const noexcept { return units_ != nullptr; }

  // see sliding_window

  [[nodiscard]] std::uint32_t limit() const noexcept { return units_->limit(); }
  [[nodiscard]] BOOST_FORCEINLINE bool try_take(std::uint32_t n, tick now, bool later) const noexcept {
    return units_->try_take(n, time_at(now), later);
  }
  void start(std::uint32_t n, tick now) const noexcept { units_->start(n, time_at(now)); }
  void force(std::uint32_t n, tick now) const noexcept { units_->force(n, time_at(now)); }
  void give_back(std::uint32_t n, tick since) const noexcept {
    units_->give_back(n, days_ ? days_->time_of(since) : since);
  }
  void give_back_unstarted(std::uint32_t n) const noexcept { units_->give_back_unstarted(n); }
  [[nodiscard]] tick available_at(std::uint32_t n, tick now) const noexcept {
    if (!days_) [[likely]] {
      return units_->available_at(n, now);
    }
    auto const here = days_->time_at(now);
    auto const at = units_->available_at(n, here);
    return at == never ? never : at <= here ? now : days_->end();
  }
  [[nodiscard]] units_in_use used(tick now) const noexcept { return units_->used(time_at(now)); }
  void carry(units_in_use const& more, tick now) const noexcept { units_->carry(more, time_at(now)); }

private:
  [[nodiscard]] tick time_at(tick now) const noexcept { return days_ ? days_->time_at(now) : now; }

  sliding_window<Atomic>* units_;
  day_calendar<Atomic>* days_;
};

/// The rates of a slot; a slot without rates has none of them.
template <template <class> class Atomic> class slot_rates {
public:
  enum kind : std::size_t {
    requests_per_second,
    requests_per_minute,
    tokens_per_minute,
    requests_per_day,
    tokens_per_day
  };
  static constexpr std::size_t kinds = 5;

  slot_rates() = default;
  slot_rates(slot_rates const&) = delete;
  slot_rates& operator=(slot_rates const&) = delete;
  ~slot_rates() {
    for (auto& c : counters_) {
      delete c.load();
    }
  }

  /// Has the memory that `limits` needs, and changes no limit. One thread at a time. What was counted stays counted,
  /// also when the limits begin or cease to say when a day begins; but for one request of each thread that takes in the
  /// moment of that change.
  void prepare(limits const& l, clock_source const& clock) {
    for_each_limit(l, [&](kind k, std::uint32_t limit) {
      auto const day = day_of(k, l);
      auto* const known = counters_[k].load();
      if (known && (day == renewal{}) != !known->days) {
        auto fresh = std::make_unique<counter>(known->units.limit(), period(k), day, clock);
        replace(k, *known, std::move(fresh), to_tick(clock.steady_now()));
      } else if (!known && limit != 0) {
        counters_[k].store(new counter{0, period(k), day, clock}, std::memory_order_release); // pairs with of()
      }
    });
  }

  /// After `prepare`. One thread at a time.
  void set_limits(limits const& l) noexcept {
    for_each_limit(l, [&](kind k, std::uint32_t limit) {
      if (auto* const known = counters_[k].load()) {
        known->units.set_limit(limit);
        if (auto const day = day_of(k, l); known->days && known->days->how() != day) {
          known->days->set(day);
        }
      }
    });
  }
  [[nodiscard]] static bool any_in(limits const& l) noexcept {
    auto any = false;
    for_each_limit(l, [&](kind, std::uint32_t limit) { any = any || limit != 0; });
    return any;
  }

  [[nodiscard]] BOOST_FORCEINLINE rate<Atomic> operator[](std::size_t k) const noexcept {
    return of(counters_[k].load(), k);
  }

  /// Where the rates are counted, null for what never had a limit; most grants touch the first line of each only.
  [[nodiscard]] BOOST_FORCEINLINE void const* memory_of(std::size_t k) const noexcept { return counters_[k].load(); }

  [[nodiscard]] static constexpr bool counts_tokens(std::size_t k) noexcept {
    return k == tokens_per_minute || k == tokens_per_day;
  }

private:
  /// A window and the days that it goes by, for good: their times have nothing to do with those of a window that
  /// slides.
  struct alignas(64) counter {
    counter(std::uint32_t limit, tick period, renewal const& how, clock_source const& clock) : units{limit, period} {
      if (how != renewal{}) {
        days = std::make_unique<day_calendar<Atomic>>(how, clock);
      }
    }

    std::unique_ptr<day_calendar<Atomic>> days; ///< null: it slides
    sliding_window<Atomic> units;
  };

  [[nodiscard]] static constexpr bool counts_days(std::size_t k) noexcept { return k >= requests_per_day; }

  template <class Function> static void for_each_limit(limits const& l, Function&& f) {
    f(requests_per_second, l.requests_per_second);
    f(requests_per_minute, l.requests_per_minute);
    f(tokens_per_minute, l.tokens_per_minute);
    f(requests_per_day, l.requests_per_day);
    f(tokens_per_day, l.tokens_per_day);
  }
  /// When the day of a rate begins; the default: it slides.
  [[nodiscard]] static renewal day_of(kind k, limits const& l) noexcept {
    return counts_days(k) ? l.day_renewal : renewal{};
  }

  [[nodiscard]] BOOST_FORCEINLINE static rate<Atomic> of(counter* c, std::size_t k) noexcept {
    return {c ? &c->units : nullptr, c && counts_days(k) ? c->days.get() : nullptr};
  }

  [[nodiscard]] static constexpr tick period(kind k) noexcept {
    using std::chrono::nanoseconds;
    switch (k) {
    case requests_per_second: return nanoseconds{std::chrono::seconds{1}}.count();
    case requests_per_minute:
    case tokens_per_minute: return nanoseconds{std::chrono::minutes{1}}.count();
    default: return nanoseconds{std::chrono::hours{24}}.count();
    }
  }

  void replace(kind k, counter& old, std::unique_ptr<counter> fresh, tick now) {
    replaced_.reserve(replaced_.size() + 1); // nothing has changed if there is no memory
    auto const before = of(&old, k);
    auto const after = of(fresh.get(), k);
    auto const used = before.used(now);
    after.carry(used, now);
    counters_[k].store(fresh.release(), std::memory_order_release); // pairs with of()
    after.carry(before.used(now) - used, now);                      // what was taken meanwhile
    replaced_.emplace_back(&old);                                   // somebody may still be using it
  }

  std::array<Atomic<counter*>, kinds> counters_{};
  std::vector<std::unique_ptr<counter>> replaced_;
};

/// The word that decides most acquires: leases and tokens are taken and given back together, by one atomic operation.
namespace gate {
inline constexpr std::uint64_t lease = 1;                   ///< bits 0-15: leases out
inline constexpr std::uint64_t lease_mask = (1U << 16) - 1; ///< at most 65,535 at once
inline constexpr std::uint64_t off = 1U << 16;              ///< no usable key
inline constexpr std::uint64_t parked = 1U << 17;           ///< not in the ready index: who frees capacity puts it back
inline constexpr std::uint64_t watched = 1U << 18;          ///< a waiter was refused: who frees capacity looks for him
inline constexpr std::uint64_t probation = 1U << 19;        ///< rests, or has rested: one request at a time
inline constexpr std::uint64_t probing = 1U << 20;          ///< that request is under way
inline constexpr std::uint64_t metered = 1U << 21;          ///< has a quota
inline constexpr std::uint64_t rated = 1U << 22;            ///< has rates
inline constexpr std::uint64_t adapting = 1U << 23;         ///< its cap was lowered by refusals and grows again
inline constexpr std::uint64_t closed = 1U << 24;           ///< the pool is gone; the last lease cleans up
inline constexpr std::uint64_t retired = 1U << 25;          ///< removed keys wait for the last lease to be wiped
inline constexpr std::uint64_t renewed = 1U << 26;          ///< its quota comes back at a known time
inline constexpr unsigned reserved_at = 27;                 ///< bits 27-63: tokens reserved by leases
/// Of all leases together, where anybody asks. Above it there is room for as many leases as there may be of which
/// nobody does.
inline constexpr std::int64_t most_reserved = (std::int64_t{1} << 36) - 1;
inline constexpr std::int64_t most_unasked = (std::int64_t{1} << 20) - 1; ///< tokens of such a lease
static_assert(most_reserved + most_unasked * std::int64_t{lease_mask} < std::int64_t{1} << (64 - reserved_at));

/// What can be taken of this slot takes more than a look at the word to know.
inline constexpr std::uint64_t special = off | parked | probation;

/// Somebody else is concerned when a lease of this slot ends.
inline constexpr std::uint64_t attention = parked | watched | closed | retired;

[[nodiscard]] constexpr std::uint32_t leases(std::uint64_t word) noexcept {
  return static_cast<std::uint32_t>(word & lease_mask);
}
[[nodiscard]] constexpr std::int64_t reserved(std::uint64_t word) noexcept {
  return static_cast<std::int64_t>(word >> reserved_at);
}
/// Not negative, and so few that they can be reserved without a look at what is reserved already.
[[nodiscard]] constexpr bool fits_unasked(std::int64_t tokens) noexcept {
  return static_cast<std::uint64_t>(tokens) <= static_cast<std::uint64_t>(most_unasked);
}
/// What is left of the quota must not be spent after a known time.
[[nodiscard]] constexpr bool will_return(std::uint64_t word) noexcept {
  return (word & renewed) != 0 && (word & metered) != 0;
}
/// One lease of so many tokens.
[[nodiscard]] constexpr std::uint64_t lease_of(std::int64_t tokens) noexcept {
  return (static_cast<std::uint64_t>(tokens) << reserved_at) + lease;
}
} // namespace gate

/// What requests have cost, and how many there were, in one word. It is emptied into the books long before it is full.
namespace expense {
inline constexpr std::int64_t most_tokens = 1 << 30; ///< of one request; what costs more goes to the books at once
inline constexpr std::int64_t most_booked = std::int64_t{1} << 61; ///< far beyond what all requests cost
inline constexpr std::uint64_t request_mask = (1U << 24) - 1;      ///< bits 0-23: requests
inline constexpr unsigned tokens_at = 24;                          ///< bits 24-63: tokens
inline constexpr std::uint64_t half_full = std::uint64_t{1} << 63 | std::uint64_t{1} << 23;

/// Not negative, and not too large for the word.
[[nodiscard]] constexpr bool fits(std::int64_t tokens) noexcept {
  return static_cast<std::uint64_t>(tokens) < static_cast<std::uint64_t>(most_tokens);
}
[[nodiscard]] constexpr std::int64_t tokens(std::uint64_t word) noexcept {
  return static_cast<std::int64_t>(word >> tokens_at);
}
[[nodiscard]] constexpr std::uint64_t requests(std::uint64_t word) noexcept {
  return word & request_mask;
}
[[nodiscard]] constexpr bool is_half_full(std::uint64_t word) noexcept {
  return (word & half_full) != 0;
}
/// One request of so many tokens.
[[nodiscard]] constexpr std::uint64_t request_of(std::int64_t tokens) noexcept {
  return (static_cast<std::uint64_t>(tokens) << tokens_at) + 1;
}
/// The word, whatever the requests, when so many tokens are spent; one that is never reached where they do not fit.
[[nodiscard]] constexpr std::uint64_t mark_at(std::int64_t tokens) noexcept {
  constexpr auto most = std::int64_t{1} << (64 - tokens_at);
  return tokens >= most ? ~std::uint64_t{0}
                        : static_cast<std::uint64_t>(std::max<std::int64_t>(tokens, 0)) << tokens_at;
}
/// Whether `cost` brings the word from below the mark to it, or beyond.
[[nodiscard]] constexpr bool passes(std::uint64_t mark, std::uint64_t before, std::uint64_t cost) noexcept {
  return before + cost - mark < cost; // wraps below the mark
}
} // namespace expense

/// A quota or a balance, as it is counted: small enough that sums with all that was booked do not wrap.
[[nodiscard]] constexpr std::int64_t counted_quota(std::int64_t tokens) noexcept {
  constexpr std::int64_t most = 1'000'000'000'000'000'000;
  return std::clamp(tokens, -most, most);
}

/// Stands in place of the time of a reset while it is carried out or changed; whoever put it there owns the terms.
inline constexpr tick renewing = 1;

/// How a quota comes back, by the wall clock; a slot whose quota never did has none.
template <template <class> class Atomic> struct quota_terms {
  Atomic<std::int64_t> next{0};         ///< in ns since 1970; the same moment as `slot::quota_reset`, 0 = unknown
  wall_time renewed = wall_time::min(); ///< up to here all renewals have come
  std::optional<wall_time> first;       ///< as the limits say, as what follows
  renewal how;
};

/// What a cooldown came from; decides the status that is shown, and whether a balance ends it.
enum class rest_kind : std::uint8_t { rate_limited, exhausted };

/// The state of one account, of one lane of an account, or of one proxy. The first line is all that an acquire and its
/// settle touch when nothing special is going on.
///
/// Of the quota is left what `base` says, less what was spent since, less what leases have reserved.
template <template <class> class Atomic> struct alignas(64) slot {
  Atomic<std::uint64_t> gate{gate::off | gate::parked};
  Atomic<std::uint64_t> spent{0};                            ///< since `base` was last corrected, see `expense`
  Atomic<std::int64_t> base{0};                              ///< quota left when nothing was spent
  Atomic<std::uint64_t> near_limit{expense::mark_at(never)}; ///< when `spent` passes it, 80 % of the quota are spent
  Atomic<tick> cool_until{0};                                ///< 0 = neither cooling nor on probation
  Atomic<std::uintptr_t> owner{0};                           ///< the front's own: whom the slot belongs to
  Atomic<std::uint32_t> cap{gate::lease_mask};               ///< most leases at once
  Atomic<std::uint32_t> barred{0};                           ///< capabilities that none of its usable keys has
  std::uint32_t index = 0;
  Atomic<bool> followed{false}; ///< the next slot of its turn stands right behind it, see slot_table::block

  alignas(64) Atomic<std::int64_t> quota{0}; ///< 0 = none
  Atomic<tick> quota_reset{0};               ///< 0 = unknown; `renewing` while somebody is at work on the books
  Atomic<quota_terms<Atomic>*> terms{nullptr};
  Atomic<slot_rates<Atomic>*> rates{nullptr};
  Atomic<std::int64_t> booked_tokens{0};    ///< what was spent before `base` was last corrected
  Atomic<std::uint64_t> booked_requests{0}; ///< the requests that did it
  Atomic<std::uint64_t> failures{0};
  Atomic<std::uint64_t> recent_failures{0};     ///< see `failure_guard`
  Atomic<tick> learn_after{0};                  ///< when the learned cap may grow by one
  Atomic<std::uint64_t> virtual_start{0};       ///< its next turn under `strategy::weighted`
  Atomic<tick> limited_until{0};                ///< how long it rests for other reasons than exhaustion
  Atomic<std::uint32_t> concurrency{0};         ///< the cap that was set; 0 = no limit
  Atomic<std::uint32_t> learned_concurrency{0}; ///< the cap that the provider made us learn; 0 = nothing learned
  Atomic<std::uint32_t> barred_for_several{0};  ///< the same for who needs several capabilities at once
  Atomic<std::uint32_t> weight{1};
  Atomic<std::uint16_t> setbacks{0}; ///< cooldowns since the last success: the exponent of the next

  Atomic<bool> queued{false}; ///< this and what follows is owned by the return queue
  std::uint32_t heap_position = ~std::uint32_t{0};
  slot* queue_next = nullptr;
  Atomic<tick> return_at{never};

  slot() = default;
  slot(slot const&) = delete;
  slot& operator=(slot const&) = delete;
  ~slot() {
    delete rates.load();
    delete terms.load();
  }

  /// Quota that is left when all that is reserved is given back; for a moment too little while the books are corrected.
  [[nodiscard]] BOOST_FORCEINLINE std::int64_t unspent() const noexcept {
    auto const word = spent.load(); // before `base`, see slot_table::correct_books()
    return base.load() - expense::tokens(word);
  }
  /// Quota that is left when the gate word is `word`.
  [[nodiscard]] BOOST_FORCEINLINE std::int64_t room(std::uint64_t word) const noexcept {
    return unspent() - gate::reserved(word);
  }

  /// Rests, or has rested, longer than for other reasons.
  [[nodiscard]] bool exhausted() const noexcept { return cool_until.load() > limited_until.load(); }

  /// Tokens ever spent.
  [[nodiscard]] std::int64_t charged() const noexcept { return booked_tokens.load() + expense::tokens(spent.load()); }
  /// Leases ever given and not refunded.
  [[nodiscard]] std::uint64_t granted() const noexcept {
    return booked_requests.load() + expense::requests(spent.load()) + gate::leases(gate.load());
  }
};

} // namespace rondo::detail
