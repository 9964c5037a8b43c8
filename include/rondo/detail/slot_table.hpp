// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/clock.hpp>
#include <rondo/detail/ready_index.hpp>
#include <rondo/detail/return_queue.hpp>
#include <rondo/detail/slot.hpp>
#include <rondo/detail/stable_array.hpp>
#include <rondo/detail/tick.hpp>
#include <rondo/limits.hpp>
#include <rondo/renewal.hpp>

#include <boost/config.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <utility>

namespace rondo::detail {

/// What is asked of one slot, and what was taken for it.
struct claim {
  std::int64_t tokens = 0;
  std::uint8_t counted = 0; ///< the rates that counted it: one that was added later must not give it back
  bool unsent = false;      ///< rates count from `slot_table::start`, not from the acquire
  bool probe = false;       ///< it is the one request of a probation
};

/// When a slot can serve.
struct availability {
  tick at = never;        ///< not before; `never` = no time is known
  bool on_event = false;  ///< from then on it takes a lease that ends
  tick sooner_at = never; ///< from then on a lease that ends may bring it before `at`
  bool shared = false;    ///< what others take meanwhile makes it later

  [[nodiscard]] bool ready(tick now) const noexcept { return !on_event && at <= now; }

  /// When both can serve.
  [[nodiscard]] friend availability operator&(availability a, availability b) noexcept {
    auto const both = std::max(a.at, b.at);
    auto const sooner = std::max(std::min(a.at, a.sooner_at), std::min(b.at, b.sooner_at));
    return {both, a.on_event || b.on_event, sooner < both ? sooner : never, a.shared || b.shared};
  }
};

/// Who tries to take from a slot and is refused.
enum class on_refusal : std::uint8_t {
  forget, ///< he asks again
  watch,  ///< he waits: whoever frees something on the slot from then on looks for him
};

/// All slots, which of them are worth a try, and when the others come back.
///
/// Lock-free but for `add`, `set_limits` and `set_off`, which one thread at a time may call. A slot that cannot serve
/// even one token is *parked*: out of the ready index. Three parties bring it back: whoever ends a lease or changes a
/// limit (it sees the flag in the gate word), and the return queue when a known time has come. A slot that could serve
/// something, but not what a waiter wants, is *watched*.
///
/// The one that parks or watches sets the flag first and then looks at the slot's state again; the one that frees
/// changes the state first and then looks at the flag. All of these are sequentially consistent, so one of the two sees
/// the other.
template <template <class> class Atomic = std::atomic> class slot_table {
public:
  using slot_type = slot<Atomic>;
  using rates_type = slot_rates<Atomic>;
  using slots_type = stable_array<slot_type, Atomic>;

  /// So many slots, a word of the ready index, are gone through by one thread at a time as far as possible.
  static constexpr std::uint32_t block = 64;

  explicit slot_table(clock_source const& clock = system_clocks()) noexcept : clock_{&clock} {}

  /// A new slot, switched off.
  slot_type& add() {
    auto const index = size_.load();
    slots_.grow_to(index);
    ready_.grow_to(index);
    pending_.grow_to(index);
    returns_.reserve(std::size_t{index} + 1);
    slots_[index].index = index;
    size_.store(index + 1, std::memory_order_release); // pairs with size()
    if (index % block != 0 && slots_type::are_neighbours(index - 1, index)) {
      slots_[index - 1].followed.store(true, std::memory_order_release); // pairs with follower()
    }
    return slots_[index];
  }

  [[nodiscard]] std::uint32_t size() const noexcept { return size_.load(); }
  [[nodiscard]] BOOST_FORCEINLINE slot_type& operator[](std::uint32_t index) const noexcept { return slots_[index]; }
  /// The next slot of the same block, where it is found without a search; else null.
  [[nodiscard]] BOOST_FORCEINLINE static slot_type* follower(slot_type& s) noexcept {
    return s.followed.load() ? &s + 1 : nullptr;
  }
  /// The next slot of the same block that is worth a try; null if there is none.
  [[nodiscard]] BOOST_FORCEINLINE slot_type* successor(slot_type& s) const noexcept {
    if (auto* const next = follower(s); next && (next->gate.load() & gate::parked) == 0) [[likely]] {
      return next;
    }
    auto const from = s.index + 1;
    auto const i = from % block != 0 ? ready_.next_near(from) : ready_index<Atomic>::npos;
    if (i == ready_index<Atomic>::npos) {
      return nullptr;
    }
    prefetch(&slots_[i]);
    return &slots_[i];
  }
  /// Has the line of a slot fetched that will be wanted soon, in time even if another processor has it: not beyond the
  /// end of the block; what follows may be another thread's.
  BOOST_FORCEINLINE static void prefetch_after(slot_type const& s) noexcept {
    if (s.index % block < block - distance) {
      prefetch(&s + distance);
    }
  }
  /// The same for a slot that is the next one after `taken`, though it does not follow it; in another block, for those
  /// behind it too.
  static void prefetch_next(slot_type const& taken, slot_type const& next) noexcept {
    auto const enters = next.index / block != taken.index / block;
    auto const most = enters ? std::min(distance, block - next.index % block) : 1U;
    for (std::uint32_t n = 0; n < most; ++n) {
      prefetch(&next + n);
    }
  }
  /// The same for the windows of the slot that follows one with rates, and for what leads to those behind it.
  BOOST_FORCEINLINE static void prefetch_rates_after(slot_type& s) noexcept {
    prefetch(&(&s + distance)->rates);
    auto* const next = follower(s);
    if (!next) {
      return;
    }
    if (auto const* const rates = next->rates.load()) {
      static_assert(rates_type::kinds == 5);
      prefetch(rates->memory_of(0)); // one by one: a loop costs as much again
      prefetch(rates->memory_of(1));
      prefetch(rates->memory_of(2));
      prefetch(rates->memory_of(3));
      prefetch(rates->memory_of(4));
    }
    if (auto const* const second = follower(*next)) {
      prefetch(second->rates.load());
    }
  }
  /// The slots that are worth a try.
  [[nodiscard]] ready_index<Atomic> const& ready() const noexcept { return ready_; }
  /// At least those parked slots which the end of a lease may bring back.
  [[nodiscard]] ready_index<Atomic> const& pending() const noexcept { return pending_; }
  [[nodiscard]] return_queue<Atomic>& returns() noexcept { return returns_; }
  /// The same number before and after a look at all three: no slot went from one to another meanwhile. A different one
  /// each time as long as a slot is on its way.
  [[nodiscard]] std::uint64_t transitions() noexcept {
    auto const seen = transitions_.load();
    return (seen & under_way) == 0 ? seen : transitions_.fetch_add(finished);
  }

  /// Takes one lease and `c.tokens` tokens, and notes in `c` what it took. On refusal nothing is taken.
  ///
  /// \param disturbed set when capacity was out of sight for a moment, so that others may have been refused because of
  ///   it: waiters must be looked at again
  /// \param contended set when another thread was at the slot in the same moment
  [[nodiscard]] bool reserve(slot_type& s, claim& c, lazy_now& now, bool& disturbed, bool& contended) noexcept {
    auto word = s.gate.load();
    std::uint64_t next = 0;
    for (;;) {
      if ((word & gate::off) != 0 || full(s, word, c.tokens) || short_of(s, c.tokens, word, now)) {
        return false;
      }
      c.probe = (word & gate::probation) != 0 || s.cool_until.load() != 0;
      if (c.probe && ((word & gate::probing) != 0 || now() < s.cool_until.load())) {
        return false;
      }
      next = word + gate::lease_of(c.tokens) + (c.probe ? gate::probing : 0);
      if (s.gate.compare_exchange_weak(word, next)) {
        break;
      }
      contended = true;
    }
    if ((word & gate::metered) != 0 && s.room(next) < 0) {
      undo(s, c, now);
      disturbed = true;
      return false;
    }
    if ((word & gate::rated) != 0) {
      disturbed = true; // units are out of sight while they leave the window, and between two of its words
      if (!take_rates(s, c, now())) {
        undo(s, c, now);
        return false;
      }
    }
    return true;
  }

  /// How a quick attempt went.
  enum class attempt : std::uint8_t {
    taken,
    unclear,   ///< `reserve` would know; nothing was taken, as in the one that follows
    contended, ///< another thread was at the slot in the same moment
    in_doubt,  ///< taken, but what is left of the quota has changed in the same moment: see `is_overdrawn`
  };

  /// The earliest moment that may change what the slot, as the gate word says it is, can serve: when a parked slot
  /// returns, or what is left of its quota must no longer be spent. `never` if there is none.
  [[nodiscard]] BOOST_FORCEINLINE tick next_change(slot_type const& s, std::uint64_t word) const noexcept {
    auto const next = next_return();
    return gate::will_return(word) ? std::min(next, s.quota_reset.load()) : next;
  }

  /// What `reserve` does but for the rates, for a slot that neither rests nor has rested and before `next_change`, in
  /// as few instructions as it takes.
  ///
  /// What was spent may grow between the look at the quota and the exchange without the gate word looking any different
  /// afterwards. Therefore it is looked at again when the tokens are taken.
  ///
  /// \param tokens such as fit unasked
  /// \param word the gate word as it was just now
  [[nodiscard]] BOOST_FORCEINLINE static attempt reserve_quickly(slot_type& s, std::int64_t tokens,
                                                                 std::uint64_t word) noexcept {
    if ((word & gate::special) != 0 || s.cool_until.load() != 0 || gate::leases(word) >= s.cap.load()) [[unlikely]] {
      return attempt::unclear;
    }
    auto const metered = (word & gate::metered) != 0;
    auto const unspent = metered ? s.unspent() : 0;
    if (metered) {
      auto const left = unspent - gate::reserved(word);
      if (left == 0 || left < tokens) [[unlikely]] {
        return attempt::unclear;
      }
    }
    if (!s.gate.compare_exchange_strong(word, word + gate::lease_of(tokens))) [[unlikely]] {
      return attempt::contended;
    }
    return metered && s.unspent() != unspent ? attempt::in_doubt : attempt::taken;
  }
  /// More is reserved than is left: who has just taken something in doubt must call `undo`.
  [[nodiscard]] static bool is_overdrawn(slot_type const& s) noexcept {
    auto const word = s.gate.load(); // first: what ends meanwhile counts twice then, and never not at all
    return (word & gate::metered) != 0 && s.room(word) < 0;
  }
  /// Counts in the rates what was taken, and notes in `c` which did. False if one of them refuses: then none of them
  /// has, and `undo` must be called.
  [[nodiscard]] BOOST_FORCEINLINE bool take_rates(slot_type& s, claim& c, tick now) noexcept {
    auto taken = c;
    if (!take_each_rate(*s.rates.load(), taken, now, std::make_index_sequence<rates_type::kinds>{})) [[unlikely]] {
      auto const missed = taken; // `taken` itself shall live in registers
      give_back(s, missed, now);
      return false;
    }
    c.counted = taken.counted;
    if ((s.gate.load() & gate::parked) != 0) [[unlikely]] {
      reconsider(s, now);
    }
    return true;
  }

  /// Refused: parks the slot if it cannot serve anybody, and else, if somebody waits, has it watched. False if the slot
  /// has come free meanwhile and is worth another try.
  bool refuse(slot_type& s, on_refusal what, lazy_now& clock) noexcept {
    auto const now = time_for(s, clock);
    if (!available(s, 1, now).ready(now)) {
      park(s, now);
      return (s.gate.load() & gate::parked) != 0;
    }
    return what == on_refusal::forget || (s.gate.fetch_or(gate::watched) & gate::watched) != 0;
  }

  /// The request that took `c` leaves now: its rates count from here.
  void start(slot_type& s, claim const& c, tick now) noexcept {
    for_each_counted(s, c, [&](auto const& window, std::size_t k) { window.start(units(c.tokens, k), now); });
    if ((s.gate.load() & gate::parked) != 0) {
      reconsider(s, now); // when the window has room again is known only now
    }
  }

  /// The request that took `c` cost `actual` tokens. `since` is the moment from which rates count it. Not enough to end
  /// a lease. True if 80 % of the quota were reached by it.
  bool charge(slot_type& s, claim const& c, std::int64_t actual, tick since, lazy_now& now) noexcept {
    auto const rest = c.tokens - actual;
    if (rest >= 0) {
      give_back_rest(s, c.counted, rest, since);
    } else if ((s.gate.load() & gate::rated) != 0) {
      for_each_rate(s, [&](auto const& window, std::size_t k) {
        if (rates_type::counts_tokens(k)) {
          window.force(units(-rest, k), now());
        }
      });
    }
    if (actual >= expense::most_tokens) [[unlikely]] {
      return charge_to_the_books(s, actual);
    }
    auto const before = charge_quickly(s, actual);
    auto const near = comes_near_limit(s, before, actual);
    if (expense::is_half_full(before)) {
      correct_books(s);
    }
    return near;
  }
  /// Nothing but the books is concerned when a lease of this slot ends well, and the rates if it has some.
  [[nodiscard]] static bool is_simple(std::uint64_t word) noexcept {
    return (word & (gate::attention | gate::probation | gate::adapting)) == 0;
  }
  /// Charges a cost that fits, but not the rates: returns what was spent before. If that is half full, the books must
  /// be corrected.
  BOOST_FORCEINLINE static std::uint64_t charge_quickly(slot_type& s, std::int64_t actual) noexcept {
    return s.spent.fetch_add(expense::request_of(actual));
  }
  /// True if 80 % of the quota were reached by it.
  [[nodiscard]] BOOST_FORCEINLINE static bool comes_near_limit(slot_type const& s, std::uint64_t before,
                                                               std::int64_t actual) noexcept {
    return expense::passes(s.near_limit.load(), before, expense::request_of(actual));
  }
  /// Moves what was spent into the books, unless somebody is at work on them: then the next one does. Tokens are taken
  /// from `base` first: for a moment they count twice, and never not at all, for whoever reads `spent` before `base`.
  BOOST_NOINLINE void correct_books(slot_type& s) noexcept {
    auto reset = s.quota_reset.load();
    if (reset == renewing || !s.quota_reset.compare_exchange_strong(reset, renewing)) {
      return;
    }
    auto const tokens = expense::tokens(s.spent.load());
    s.base.fetch_sub(tokens);
    s.spent.fetch_sub(static_cast<std::uint64_t>(tokens) << expense::tokens_at);
    auto const requests = expense::requests(s.spent.load());
    s.spent.fetch_sub(requests);
    s.booked_tokens.fetch_add(tokens);
    s.booked_requests.fetch_add(requests);
    update_near_limit(s);
    s.quota_reset.store(reset);
  }

  /// Gives back to the rates of tokens that have counted a request what it did not cost. Not enough to end a lease.
  BOOST_FORCEINLINE static void give_back_rest(slot_type& s, std::uint8_t counted, std::int64_t rest,
                                               tick since) noexcept {
    if (counted == 0 || rest == 0) {
      return;
    }
    auto const& rates = *s.rates.load();
    give_back_to<rates_type::tokens_per_minute>(rates, counted, rest, since); // a loop takes more instructions
    give_back_to<rates_type::tokens_per_day>(rates, counted, rest, since);
  }

  /// Gives back what rates have counted of a request that never left. Not enough to end a lease.
  BOOST_NOINLINE void give_back(slot_type& s, claim const& c, tick since) noexcept {
    for_each_counted(s, c, [&](auto const& window, std::size_t k) {
      if (c.unsent) {
        window.give_back_unstarted(units(c.tokens, k));
      } else {
        window.give_back(units(c.tokens, k), since);
      }
    });
  }

  /// Frees the place of a lease and the tokens it has reserved, if that concerns nobody else. Everything else that it
  /// frees was freed before. Then the table is not touched again: the lease was what kept it alive. False if
  /// `end_lease` must be called.
  ///
  /// \param word the gate word as it was when it was last looked at, and asked for no attention
  [[nodiscard]] BOOST_FORCEINLINE static bool end_quietly(slot_type& s, std::int64_t tokens,
                                                          std::uint64_t word) noexcept {
    while (!s.gate.compare_exchange_weak(word, word - gate::lease_of(tokens))) {
      if ((word & gate::attention) != 0) [[unlikely]] {
        return false;
      }
    }
    return true;
  }

  /// The same whoever is concerned; returns the gate word as it was, for the flags in it. The slot is no longer
  /// watched: the caller looks for the watchers.
  std::uint64_t end_lease(slot_type& s, claim const& c) noexcept { return leave(s, c, gate::watched); }

  /// The same for a lease that nobody got to see, because something else was refused. The watchers stay.
  std::uint64_t undo(slot_type& s, claim const& c, lazy_now& now) noexcept {
    auto const word = leave(s, c, 0);
    if ((word & gate::parked) != 0) {
      reconsider(s, time_for(s, now));
    }
    return word;
  }

  /// Gives no more leases. Returns how many are out.
  [[nodiscard]] std::uint32_t close(slot_type& s) noexcept {
    return gate::leases(s.gate.fetch_or(gate::closed | gate::off));
  }

  /// No offer before `until`, then one request to probe. Returns false if the slot rests at least as long already.
  bool cool(slot_type& s, rest_kind kind, tick until, tick now) noexcept {
    if (kind != rest_kind::exhausted) {
      static_cast<void>(raise(s.limited_until, until)); // before `cool_until`, see end_exhaustion()
    }
    if (!raise(s.cool_until, until)) {
      return false;
    }
    s.gate.fetch_or(gate::probation);
    park(s, now);
    return true;
  }

  /// Something is left: the slot rests only as long as it would if it had not been exhausted; one request probes it.
  void end_exhaustion(slot_type& s, tick now) noexcept {
    auto old = s.cool_until.load();
    auto const until = std::max(s.limited_until.load(), now);
    if (old <= until || !s.cool_until.compare_exchange_strong(old, until)) {
      return;
    }
    if (auto const later = s.limited_until.load(); later > until) { // who set it may have seen the longer rest
      cool(s, rest_kind::rate_limited, later, now);
    }
  }

  /// The slot is well again: a request that began after the cooldown that ended at `judged` was served. False if it was
  /// sent to rest again meanwhile.
  bool restore(slot_type& s, tick judged) noexcept {
    if (!s.cool_until.compare_exchange_strong(judged, 0)) {
      return false;
    }
    s.setbacks.store(0);
    s.gate.fetch_and(~gate::probation);
    if (s.cool_until.load() != 0) {
      s.gate.fetch_or(gate::probation); // it began to rest between the two
    }
    return true;
  }

  /// Takes a slot that cannot serve one token out of the ready index; before, it is noted when to look at it again, so
  /// that it is always to be found somewhere.
  void park(slot_type& s, tick now) noexcept {
    transition const here{transitions_};
    s.gate.fetch_or(gate::parked);
    if (look_again(s, now)) {
      return;
    }
    ready_.clear(s.index);
    if ((s.gate.load() & gate::parked) == 0) {
      ready_.set(s.index); // somebody brought it back before we took it out
    }
  }

  void unpark(slot_type& s) noexcept {
    transition const here{transitions_};
    bring_back(s);
  }

  /// Something about a parked slot has changed: puts it back, or notes when to look again. True if it is back.
  bool reconsider(slot_type& s, tick now) noexcept {
    transition const here{transitions_}; // what two threads note at once is not to be found before both are done
    return look_again(s, now);
  }

  /// True if a parked slot has no lease to give and is to be found among those of which one may end: nothing needs to
  /// be done about it before one does.
  [[nodiscard]] bool waits_for_lease(slot_type const& s) const noexcept {
    auto const word = s.gate.load();
    return (word & gate::parked) != 0 && full(s, word, 1) && pending_.test(s.index);
  }

  /// What is to be handed to the functions that want to know the time: a slot that has to do with none makes do
  /// without.
  [[nodiscard]] static tick time_for(slot_type const& s, lazy_now& now) noexcept {
    constexpr auto timed = gate::probation | gate::rated;
    auto const any = (s.gate.load() & timed) != 0 || s.cool_until.load() != 0 || s.quota_reset.load() != 0;
    return any ? now() : 0;
  }

  /// The earliest moment at which a parked slot may be back.
  [[nodiscard]] tick next_return() const noexcept { return returns_.next(); }

  /// Puts slots back whose time has come.
  void run_due(tick now) noexcept {
    returns_.run_due(now, [&](slot_type& s) {
      if ((s.gate.load() & gate::parked) == 0) {
        return never;
      }
      auto const seen = available(s, 1, now);
      if (seen.ready(now)) {
        unpark(s);
        return never;
      }
      if (seen.on_event || seen.sooner_at != never) {
        pending_.set(s.index);
      }
      return seen.on_event ? never : seen.at;
    });
  }

  /// When `s` can serve a request of `tokens`, which must be 1 at least.
  [[nodiscard]] availability available(slot_type& s, std::int64_t tokens, tick now) noexcept {
    auto const word = s.gate.load();
    if ((word & gate::off) != 0) {
      return {};
    }
    if (tokens > gate::most_reserved) {
      return {};
    }
    availability out{std::max(now, s.cool_until.load())};
    out.on_event = (word & gate::probing) != 0 || full(s, word, tokens);
    out.shared = out.on_event;
    auto reset_at = now;
    auto lent = false; // who holds the rest of what is not spent may give it back
    if ((word & gate::metered) != 0) {
      renew_quota(s, now);
      auto const reset = s.quota_reset.load(); // before what is left, as it changes after that
      if (auto const left = s.unspent(); left - gate::reserved(word) < tokens) {
        auto const enough = reset == renewing || tokens <= s.quota.load();
        lent = left >= tokens;
        if (reset != 0 && enough) {
          reset_at = reset;
        } else if (lent) {
          out.on_event = true;
        } else {
          return {};
        }
        out.shared = out.shared || lent;
      }
    }
    bool impossible = false;
    for_each_rate(s, [&](auto const& window, std::size_t k) {
      auto const n = units(tokens, k);
      auto const at = window.available_at(n, now);
      if (at == never && window.limit() != 0 && n > window.limit()) {
        impossible = true;
      } else if (at == never) {
        out.on_event = true; // full of units whose requests have not left yet
      } else {
        out.at = std::max(out.at, at);
      }
      out.shared = out.shared || at > now;
    });
    if (impossible) {
      return {};
    }
    if (reset_at > out.at) {
      out.sooner_at = lent ? out.at : never;
      out.at = reset_at;
    }
    return out;
  }

  /// True if a request of `tokens` is larger than the slot could ever grant.
  [[nodiscard]] bool too_large(slot_type& s, std::int64_t tokens) const noexcept {
    auto const word = s.gate.load();
    auto const quota = s.quota.load();
    auto large = tokens > gate::most_reserved;
    if ((word & gate::metered) != 0 && quota != 0) { // 0: nothing is known but that it is used up
      large = large || tokens > std::max(quota, s.unspent());
    }
    for_each_rate(s, [&](auto const& window, std::size_t k) {
      large = large || (window.limit() != 0 && units(tokens, k) > window.limit());
    });
    return large;
  }

  /// Gives the whole quota back once its reset time has passed. Meanwhile `renewing` keeps others from believing that
  /// nothing will come back.
  void renew_quota(slot_type& s, tick now) noexcept {
    auto reset = s.quota_reset.load();
    if (reset > renewing && now >= reset && s.quota_reset.compare_exchange_strong(reset, renewing)) {
      auto& terms = *s.terms.load();
      return_quota(s, terms);
      set_next_reset(s, terms, terms.how.next(terms.renewed), now);
    }
  }

  /// When the quota returns as far as is known, by the wall clock.
  [[nodiscard]] static std::optional<wall_time> next_reset(slot_type const& s) noexcept {
    auto const* const terms = s.terms.load();
    auto const at = terms ? terms->next.load() : 0;
    return at != 0 ? std::optional{from_ns(at)} : std::nullopt;
  }

  /// The provider named the next return; what follows it stays.
  void set_reset(slot_type& s, wall_time next) {
    auto& terms = terms_of(s);
    static_cast<void>(lock_books(s));
    set_next_reset(s, terms, next, to_tick(clock_->steady_now()));
  }

  /// Sets limits; what is left of the quota becomes what `balance(now left)` says, if it says something. What is
  /// `metered` without a quota in these limits keeps the one that it had, or gets a larger one that holds the balance.
  /// Leases out stay. \throws std::bad_alloc, and has set none then.
  template <class Balance> void set_limits(slot_type& s, limits const& l, bool metered, Balance&& balance) {
    using rates = rates_type;
    auto* known = s.rates.load();
    if (!known && rates::any_in(l)) {
      known = new rates;
      s.rates.store(known, std::memory_order_release); // pairs with for_each_rate()
    }
    if (known) {
      known->prepare(l, *clock_);
    }
    auto const returns = l.quota_reset || l.quota_renewal != renewal{};
    auto* const terms = returns ? &terms_of(s) : s.terms.load();
    s.concurrency.store(l.concurrency);
    update_cap(s);
    set_quota(s, terms, l, metered, balance);
    if (known) {
      known->set_limits(l);
      s.gate.fetch_or(gate::rated);
    }
    unpark(s); // an acquire that finds it wanting parks it again
  }

  void set_metered(slot_type& s, bool metered) noexcept {
    if (metered) {
      s.gate.fetch_or(gate::metered);
    } else {
      s.gate.fetch_and(~gate::metered);
    }
    update_near_limit(s);
  }

  void set_off(slot_type& s, bool off) noexcept {
    if (off) {
      s.gate.fetch_or(gate::off);
    } else {
      s.gate.fetch_and(~gate::off);
      unpark(s);
    }
  }

  /// What is left of the quota becomes what `balance(now left)` says; nobody else who sets it so is at work meanwhile.
  template <class Balance> void set_balance(slot_type& s, Balance&& balance) {
    auto const reset = lock_books(s);
    auto const left = s.unspent();
    move_balance(s, balance(left) - left);
    s.quota_reset.store(reset);
  }
  /// Adds to what is left of the quota.
  void move_balance(slot_type& s, std::int64_t delta) noexcept {
    s.base.fetch_add(delta);
    update_near_limit(s);
  }

  /// What the provider made us learn, 0 to forget it.
  void learn_concurrency(slot_type& s, std::uint32_t most) noexcept {
    s.learned_concurrency.store(most);
    update_cap(s);
  }

private:
  static constexpr std::uint64_t finished = std::uint64_t{1} << 32; ///< transitions that are over
  static constexpr std::uint64_t under_way = finished - 1;
  static constexpr std::uint32_t distance = 8; ///< of a slot whose line is fetched from the one that is taken

  BOOST_FORCEINLINE static void prefetch(void const* s) noexcept { // past the last one it does no harm
#if defined(__GNUC__) && defined(__x86_64__)
    asm volatile("prefetchw %0" : : "m"(*reinterpret_cast<char const*>(s))); // to be written, unlike the built-in
#elif defined(__GNUC__)
    __builtin_prefetch(s, 1);
#else
    static_cast<void>(s);
#endif
  }

  class transition {
  public:
    explicit transition(Atomic<std::uint64_t>& count) noexcept : count_{count} { count_.fetch_add(1); }
    ~transition() { count_.fetch_add(finished - 1); }
    transition(transition const&) = delete;
    transition& operator=(transition const&) = delete;

  private:
    Atomic<std::uint64_t>& count_;
  };

  [[nodiscard]] static wall_time from_ns(std::int64_t ns) noexcept {
    return wall_time{std::chrono::duration_cast<wall_time::duration>(std::chrono::nanoseconds{ns})};
  }

  /// False if it was so late already.
  [[nodiscard]] static bool raise(Atomic<tick>& moment, tick to) noexcept {
    auto old = moment.load();
    do {
      if (old >= to) {
        return false;
      }
    } while (!moment.compare_exchange_weak(old, to));
    return true;
  }

  void bring_back(slot_type& s) noexcept {
    s.gate.fetch_and(~gate::parked);
    if (pending_.test(s.index)) {
      pending_.clear(s.index);
      if ((s.gate.load() & gate::parked) != 0) {
        pending_.set(s.index); // parked again meanwhile, perhaps for a lease to end
      }
    }
    ready_.set(s.index);
  }

  [[nodiscard]] bool look_again(slot_type& s, tick now) noexcept {
    auto seen = available(s, 1, now);
    for (;;) {
      if (seen.ready(now)) {
        bring_back(s);
        return true;
      }
      if (seen.on_event || seen.sooner_at != never) {
        pending_.set(s.index);
      }
      if (seen.on_event || seen.at == never) {
        return false;
      }
      returns_.push(s, seen.at);
      auto const again = available(s, 1, now); // another thread may have written a later time meanwhile
      if (again.on_event || again.sooner_at != never) {
        pending_.set(s.index);
      }
      if (!again.ready(now) && (again.on_event || again.at >= seen.at)) {
        return false;
      }
      seen = again;
    }
  }

  /// Returns the time of the reset, for which `renewing` stands until it is put back. Held for moments only.
  [[nodiscard]] static tick lock_books(slot_type& s) noexcept {
    for (;;) {
      if (auto const reset = s.quota_reset.exchange(renewing); reset != renewing) {
        return reset;
      }
    }
  }

  [[nodiscard]] static quota_terms<Atomic>& terms_of(slot_type& s) {
    auto* terms = s.terms.load();
    if (!terms) {
      terms = new quota_terms<Atomic>;
      s.terms.store(terms, std::memory_order_release); // pairs with the loads of it
    }
    return *terms;
  }

  /// Quota, what is left of it, and when it returns change together, and not before what is due has come.
  ///
  /// Limits that say the same of when it returns as before change nothing about that, if the slot is `metered`: what is
  /// pending follows from the last renewal, or the provider named it.
  template <class Balance>
  void set_quota(slot_type& s, quota_terms<Atomic>* terms, limits const& l, bool metered, Balance&& balance) noexcept {
    if (!metered) {
      set_metered(s, false); // before it is forgotten when the quota returns: some may be waiting for that
    }
    auto const reset = lock_books(s);
    auto const now = to_tick(clock_->steady_now());
    auto const due = reset > renewing && now >= reset;
    if (due) {
      return_quota(s, *terms);
    }
    auto const left = s.unspent();
    std::optional<std::int64_t> const said = balance(left);
    auto const then = said.value_or(left);
    if (l.quota != 0 || !metered) {
      s.quota.store(counted_quota(l.quota));
    } else if (said && then > s.quota.load()) {
      s.quota.store(then);
    }
    move_balance(s, then - left);
    if (metered) {
      set_metered(s, true);
    }
    auto const same = terms && metered && terms->first == l.quota_reset && terms->how == l.quota_renewal;
    if (!terms || (same && !due)) {
      s.quota_reset.store(reset);
      return;
    }
    terms->first = l.quota_reset;
    terms->how = l.quota_renewal;
    auto const wall = clock_->wall_now();
    auto const coming = !same && terms->first && *terms->first > wall; // one that is past has been in force
    set_next_reset(s, *terms, coming ? terms->first : terms->how.next(std::max(terms->renewed, wall)), now);
  }

  /// The moment has come. The next one follows from it, or from the wall clock if that is ahead: one that was set back
  /// does not make the same return come again. The caller owns the terms.
  void return_quota(slot_type& s, quota_terms<Atomic>& terms) noexcept {
    move_balance(s, s.quota.load() - s.unspent());
    terms.renewed = std::max(from_ns(terms.next.load()), clock_->wall_now());
  }

  /// Ends what `renewing` began.
  void set_next_reset(slot_type& s, quota_terms<Atomic>& terms, std::optional<wall_time> next, tick now) noexcept {
    using std::chrono::nanoseconds;
    auto const wall = clock_->wall_now();
    terms.next.store(next ? nanoseconds{next->time_since_epoch()}.count() : 0);
    s.quota_reset.store(next ? std::max(after(now, nanoseconds{*next - wall}.count()), renewing + 1) : 0);
    if (next) {
      s.gate.fetch_or(gate::renewed);
    } else {
      s.gate.fetch_and(~gate::renewed);
    }
  }

  [[nodiscard]] static std::uint32_t units(std::int64_t tokens, std::size_t rate) noexcept {
    if (!rates_type::counts_tokens(rate)) {
      return 1;
    }
    return static_cast<std::uint32_t>(std::min<std::int64_t>(tokens, std::numeric_limits<std::uint32_t>::max()));
  }

  template <std::size_t... K>
  [[nodiscard]] BOOST_FORCEINLINE static bool take_each_rate(rates_type const& rates, claim& c, tick now,
                                                             std::index_sequence<K...> /*all*/) noexcept {
    return (take_rate<K>(rates, c, now) && ...);
  }

  /// True if there is no such rate.
  template <std::size_t K>
  [[nodiscard]] BOOST_FORCEINLINE static bool take_rate(rates_type const& rates, claim& c, tick now) noexcept {
    auto const window = rates[K];
    if (!window) {
      return true;
    }
    if (!window.try_take(units(c.tokens, K), now, c.unsent)) [[unlikely]] {
      return false;
    }
    c.counted = static_cast<std::uint8_t>(c.counted | 1U << K);
    return true;
  }

  template <std::size_t K>
  BOOST_FORCEINLINE static void give_back_to(rates_type const& rates, std::uint8_t counted, std::int64_t tokens,
                                             tick since) noexcept {
    if ((counted >> K & 1) != 0) {
      rates[K].give_back(units(tokens, K), since);
    }
  }

  template <class Function> static void for_each_rate(slot_type& s, Function&& function) noexcept {
    if (auto* const rates = s.rates.load()) {
      for (std::size_t k = 0; k < rates_type::kinds; ++k) {
        if (auto const window = (*rates)[k]) {
          function(window, k);
        }
      }
    }
  }

  template <class Function> static void for_each_counted(slot_type& s, claim const& c, Function&& function) noexcept {
    if (c.counted != 0) {
      for_each_rate(s, [&](auto const& window, std::size_t k) {
        if ((c.counted >> k & 1) != 0) {
          function(window, k);
        }
      });
    }
  }

  /// No more leases, or not of so many tokens, until one ends.
  [[nodiscard]] static bool full(slot_type const& s, std::uint64_t word, std::int64_t tokens) noexcept {
    auto const fits = gate::fits_unasked(tokens) || tokens <= gate::most_reserved - gate::reserved(word);
    return gate::leases(word) >= s.cap.load() || !fits;
  }

  /// A quota that is used up serves nothing, not even what is free.
  [[nodiscard]] bool short_of(slot_type& s, std::int64_t tokens, std::uint64_t word, lazy_now& now) noexcept {
    auto const needed = std::max<std::int64_t>(tokens, 1);
    if ((word & gate::metered) == 0) {
      return false;
    }
    if ((word & gate::renewed) != 0) {
      renew_quota(s, now());
    }
    return s.room(word) < needed;
  }

  BOOST_NOINLINE bool charge_to_the_books(slot_type& s, std::int64_t actual) noexcept {
    auto const before = expense::tokens(s.spent.load());
    auto const known = s.near_limit.load();
    auto const mark = known == expense::mark_at(never) ? near_limit_of(s) : expense::tokens(known);
    auto const near = before < mark && mark - before <= actual;
    if (s.base.load() > -expense::most_booked) { // or absurd costs would make it wrap
      s.base.fetch_sub(actual);
    }
    if (s.booked_tokens.load() < expense::most_booked) {
      s.booked_tokens.fetch_add(actual);
    }
    s.booked_requests.fetch_add(1);
    update_near_limit(s);
    return near;
  }

  /// Gives back lease and tokens, and clears flags besides.
  std::uint64_t leave(slot_type& s, claim const& c, std::uint64_t cleared) noexcept {
    cleared |= c.probe ? gate::probing : 0;
    auto word = s.gate.load();
    while (!s.gate.compare_exchange_weak(word, (word & ~cleared) - gate::lease_of(c.tokens))) {
    }
    return word;
  }

  static void update_cap(slot_type& s) noexcept {
    auto const most = static_cast<std::uint32_t>(gate::lease_mask);
    for (;;) { // until both were the same before and after
      auto const set = s.concurrency.load();
      auto const learned = s.learned_concurrency.load();
      s.cap.store(std::min({set != 0 ? set : most, learned != 0 ? learned : most, most}));
      if (s.concurrency.load() == set && s.learned_concurrency.load() == learned) {
        return;
      }
    }
  }

  /// When so many tokens are spent of `base`, 80 % of the quota are.
  [[nodiscard]] static std::int64_t near_limit_of(slot_type const& s) noexcept {
    auto const quota = s.quota.load();
    auto const metered = (s.gate.load() & gate::metered) != 0;
    auto const base = s.base.load();
    return !metered ? never : base <= 0 ? 0 : base - quota / 5;
  }
  static void update_near_limit(slot_type& s) noexcept { s.near_limit.store(expense::mark_at(near_limit_of(s))); }

  clock_source const* clock_;
  slots_type slots_;
  ready_index<Atomic> ready_;
  ready_index<Atomic> pending_;
  return_queue<Atomic> returns_;
  Atomic<std::uint64_t> transitions_{0};
  Atomic<std::uint32_t> size_{0};
};

} // namespace rondo::detail
