// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/capability.hpp>
#include <rondo/clock.hpp>
#include <rondo/detail/failure_guard.hpp>
#include <rondo/detail/jitter.hpp>
#include <rondo/detail/lanes.hpp>
#include <rondo/detail/rotor.hpp>
#include <rondo/detail/slot_table.hpp>
#include <rondo/detail/tick.hpp>
#include <rondo/detail/wait_line.hpp>
#include <rondo/error.hpp>
#include <rondo/event.hpp>
#include <rondo/outcome.hpp>
#include <rondo/strategy.hpp>

#include <boost/config.hpp>
#include <boost/container/static_vector.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

namespace rondo::detail {

/// How a pool behaves; times in ns.
struct core_options {
  rondo::strategy strategy = rondo::strategy::round_robin;
  tick cooldown = 60'000'000'000;
  tick most_cooldown = 3'600'000'000'000;
  std::uint32_t most_failures = 0; ///< within `failure_period`: then a slot is held back for as long; 0 = any number
  tick failure_period = 30'000'000'000;
  clock_source const* clock = &system_clocks();
  std::uint64_t seed = 0;
};

/// What all acquires and settles have to heed, in one word; 0 if there is nothing.
namespace concern {
inline constexpr std::uint64_t strategy = 7; ///< bits 0-2: how slots are picked; 0 = they take turns
static_assert(static_cast<std::uint64_t>(strategy::round_robin) == 0);
inline constexpr std::uint64_t grants = 8;                    ///< somebody wants to hear of every grant
inline constexpr std::uint64_t of_takers = strategy | grants; ///< what settles need not heed
inline constexpr std::uint64_t charges = 16;                  ///< somebody wants to hear of what is spent
inline constexpr std::uint64_t waiter = 1U << 8;              ///< bits 8-63: those who wait
} // namespace concern

/// A slot that is kept for the head of the line.
struct earmark {
  std::uint32_t slot = candidates::none;
  lane const* in = nullptr; ///< when only those of this lane could delay him

  [[nodiscard]] bool covers(std::uint32_t i, lane const* where) const noexcept {
    return i == slot && (!in || in == where);
  }
};

/// One slot table, the rotor that picks from it, and the line of those who wait for it: what keys and proxies share.
///
/// Waiting. Requests wait in the order they came. Whenever capacity comes back, the line is served from its head. If
/// what others take could delay the head, the slot that will be able to serve it first is kept for it; from the other
/// slots those behind are served in order as far as they can be. So a large request is not starved by small ones, and
/// small ones are not held up by a large one that waits for another slot, or for a time that they cannot put off.
///
/// Owned by its front until `close`, then by the leases that are still out: the last one deletes it.
class pool_core {
public:
  using slot_type = slot<std::atomic>;
  using table_type = slot_table<std::atomic>;

  explicit pool_core(core_options const& options)
      : concerns_{static_cast<std::uint64_t>(options.strategy)}, system_time_{options.clock == &system_clocks()},
        lanes_{*options.clock}, table_{*options.clock}, options_{options}, cooldown_{options.cooldown},
        failure_guard_{options.most_failures, options.failure_period}, jitter_{options.seed} {}
  pool_core(pool_core const&) = delete;
  pool_core& operator=(pool_core const&) = delete;

  [[nodiscard]] clock_source const& clock() const noexcept { return *options_.clock; }
  [[nodiscard]] tick now() const noexcept { return to_tick(options_.clock->steady_now()); }
  [[nodiscard]] table_type& table() noexcept { return table_; }
  [[nodiscard]] detail::lanes& lanes() noexcept { return lanes_; }

  // --- taking

  /// Takes from a slot that can serve now, none of `avoid`, and never past a waiter who could be served.
  ///
  /// \param out as it was made; not looked at after a refusal
  [[nodiscard]] bool try_take(demand const& want, grant& out, std::span<std::uint32_t const> avoid = {}) {
    auto const plain = want.in == &lanes_.unnamed() && !want.unsent && want.needs.empty() && want.affinity == 0;
    return plain && avoid.empty() ? try_take_on(take_quickly(want.tokens), want, out)
                                  : try_take_with_care(want, out, avoid);
  }

  enum class answer : std::uint8_t { taken, refused, unclear };
  /// How far a quick attempt got.
  enum class progress : std::uint8_t {
    taken,
    to_turn,    ///< taken, and nothing is left in its block
    to_count,   ///< taken, but for the rates
    in_doubt,   ///< see `slot_table::attempt`
    contended,  ///< the same
    nowhere,    ///< nothing was taken
    none_ready, ///< nor is there anything to be taken
  };
  struct quick_grant {
    slot_type* from = nullptr;
    progress how = progress::nowhere;
  };
  /// What else a grant says that was nearly as simple.
  struct timed_grant {
    slot_type* from = nullptr;
    std::uint8_t counted = 0;
    tick taken = 0;
  };

  /// The same for a demand of nothing but tokens, if nobody waits, nothing is due, and the next slot in turn is free:
  /// in as few instructions as it takes, and without a call. Unless it was `taken`, `take_on` must be called with the
  /// answer.
  [[nodiscard]] BOOST_FORCEINLINE quick_grant take_quickly(std::int64_t tokens) noexcept {
    if (!gate::fits_unasked(tokens) || !is_quiet(~concern::charges)) [[unlikely]] {
      return {};
    }
    auto& wheel = turn_.mine_or_idle();
    auto* const s = wheel.slot();
    if (!s) [[unlikely]] {
      return {};
    }
    auto const word = s->gate.load();
    auto const change = table_.next_change(*s, word);
    if (change != never && !(system_time_ && is_clearly_ahead(change))) [[unlikely]] {
      return {};
    }
    return try_quickly(wheel, *s, word, tokens);
  }

  /// `try_take` for a demand of nothing but tokens, where `take_quickly` stopped at `begun`.
  [[nodiscard]] bool try_take_on(quick_grant const& begun, demand const& want, grant& out) {
    timed_grant got;
    auto const how = take_on(want.tokens, begun, got);
    if (how == answer::unclear) {
      return try_take_with_care(want, out, {});
    }
    out.from = got.from;
    out.in = want.in;
    out.tokens = want.tokens;
    out.counted = got.counted;
    out.taken = out.counted_since = got.taken;
    return how == answer::taken;
  }

  /// Goes on where `take_quickly` stopped, as far as that is simple: `unclear` if it is not, and nothing has been taken
  /// then, but `try_take` knows more.
  ///
  /// \param out as it was made
  [[nodiscard]] BOOST_FORCEINLINE answer take_on(std::int64_t tokens, quick_grant begun, timed_grant& out) noexcept {
    if (begun.how == progress::nowhere) {
      begun = take_next_in_turn(tokens);
    }
    switch (begun.how) {
    case progress::taken: break;
    case progress::to_turn: turn_to_next_block(turn_.mine(), *begun.from); break;
    case progress::in_doubt:
      if (give_back_if_overdrawn(*begun.from, tokens)) {
        return answer::unclear;
      }
      [[fallthrough]];
    case progress::to_count:
      if ((begun.from->gate.load() & gate::rated) != 0 && !count_in_rates(*begun.from, tokens, out)) {
        return answer::unclear;
      }
      turn_beyond(turn_.mine(), *begun.from);
      break;
    case progress::contended: go_elsewhere(*begun.from); return answer::unclear;
    case progress::nowhere: return answer::unclear;
    case progress::none_ready: return answer::refused;
    }
    out.from = begun.from;
    return answer::taken;
  }

  /// When the first slot that rests until a known time comes back; `never` if there is none.
  [[nodiscard]] tick next_return() noexcept {
    auto const at = table_.next_return();
    if (at == never) {
      return never;
    }
    if (auto const* const first = table_.returns().who_returns(at); first && !is_away(*first)) {
      return at;
    }
    return table_.returns().visit([](slot_type const& s, tick) { return is_away(s); });
  }

  /// Puts a request in the line, for so many ns at most; it may be completed before this returns.
  /// \throws std::bad_alloc, and is not in it then
  void wait(waiter& w, tick patience = never) {
    waiter* done = nullptr;
    {
      std::lock_guard const lock{mutex_};
      auto const deadline = patience == never ? never : after(now(), patience);
      auto& kind = class_of(w.want); // may throw; what follows does not
      line_.push_back(w, kind, deadline);
      if (most_wanted_.load() < w.want.tokens) {
        most_wanted_.store(w.want.tokens);
      }
      // from here on whoever frees capacity sees that somebody waits; what was freed before, serve_line sees
      concerns_.fetch_add(concern::waiter);
      serve_line(done, &w);
    }
    wait_line::complete_all(done);
  }

  /// Takes a request out of the line. False if its completion is already on its way.
  bool cancel(waiter& w) {
    waiter* done = nullptr;
    {
      std::lock_guard const lock{mutex_};
      if (!wait_line::has(w)) {
        return false;
      }
      if (&w == &line_.front()) {
        changed_.store(true); // others may have the slot that was kept for it
      }
      leave_line(w);
      serve_line(done);
    }
    wait_line::complete_all(done);
    return true;
  }

  /// Serves whoever can be served now. To be called when an injected clock was moved.
  void wake() {
    if (!anybody_waits()) {
      return;
    }
    waiter* done = nullptr;
    {
      std::lock_guard const lock{mutex_};
      serve_line(done);
    }
    wait_line::complete_all(done);
  }

  /// The same when the timer has gone off. By an injected clock that may be too early: then it is set again, but never
  /// for less than 1 ms, or a clock that stands still would keep a thread busy.
  void alarm_went_off() {
    if (!anybody_waits()) {
      return;
    }
    waiter* done = nullptr;
    {
      std::lock_guard const lock{mutex_};
      auto const before = alarm_;
      serve_line(done);
      if (alarm_ == before && alarm_ != never) {
        set_alarm(std::max(alarm_, after(now(), pause)));
      }
    }
    wait_line::complete_all(done);
  }

  // --- ending

  /// The request of a grant that was taken `unsent` leaves now.
  void mark_sent(grant& g) noexcept {
    if (count_from_now(g) && anybody_waits()) {
      changed_.store(true); // a time is known where none was
      wake();
    }
  }

  BOOST_FORCEINLINE void settle(grant& g, std::int64_t actual) noexcept {
    auto const word = g.from->gate.load();
    auto const simple = table_type::is_simple(word) && (word & gate::rated) == 0;
    if (!simple || !g.is_simple() || g.in->cool_until.load() != 0 || !expense::fits(actual)) [[unlikely]] {
      settle_on(g, actual);
      return;
    }
    charge_and_finish(g, actual, word);
  }

  void refund(grant& g) noexcept {
    table_.give_back(*g.from, g.what(), g.counted_since);
    if (g.special.in_lane) {
      lane_slots(g).give_back(slot_in_lane(g), g.what_of_lane(), g.counted_since);
    }
    if (anybody_waits()) {
      changed_.store(true); // rates have got units back: what is wanted of them may be there sooner
    }
    finish(g);
  }

  void report(grant& g, outcome const& what) noexcept {
    using kind = outcome::kind;
    auto& s = *g.from;
    auto const began = count_from_now(g);
    lazy_now at{clock()};
    table_.charge(s, g.what(), 0, g.counted_since, at);
    if (g.special.in_lane) {
      lane_slots(g).charge(slot_in_lane(g), g.what_of_lane(), 0, g.counted_since, at);
    }
    if (began) {
      note_delay();
    }
    if (what.what() != kind::rejected && what.what() != kind::too_large) {
      s.failures.fetch_add(1);
    }
    if (what.what() != kind::transport_error) {
      guard_against_storms(g);
    }
    switch (what.what()) {
    case kind::rate_limited: rate_limited(g, what); break;
    case kind::exhausted: exhausted(g, what); break;
    case kind::concurrency_limited: shrink_concurrency(s); break;
    case kind::overloaded: overloaded(g); break;
    case kind::invalid_key: // concerns the key, of which the core knows nothing
    case kind::too_large:
    case kind::rejected:
    case kind::transport_error: break;
    }
    finish_with_care(g); // who can no longer make his deadline because of it is told
  }

  /// The provider said how many requests may be under way at once; 0 to forget it.
  void learn_concurrency(slot_type& s, std::uint32_t most) noexcept {
    auto const before = s.learned_concurrency.load();
    s.gate.fetch_and(~gate::adapting); // what is known need not be found out
    table_.learn_concurrency(s, most);
    if (before != most) {
      freed(s);
    }
  }

  // --- administration: one thread at a time, the front locks

  /// How many keys or proxies there are, usable or not: with none, waiting is pointless.
  void set_population(std::size_t count) noexcept { population_.store(count); }

  [[nodiscard]] slot_type& add_slot() {
    lanes_.grow_to(table_.size() + 1);
    return table_.add();
  }

  /// Limits, a balance or the on/off state of a slot have changed.
  void freed(slot_type& s) noexcept {
    changed_.store(true);
    if ((s.gate.load() & gate::parked) != 0) {
      table_.reconsider(s, now());
    }
    wake();
  }

  /// The front goes away. Waiters are aborted; leases stay usable, and the last one of them deletes the core.
  void close() {
    waiter* done = nullptr;
    {
      std::lock_guard const lock{mutex_};
      while (!line_.empty()) {
        auto& w = line_.front();
        w.how = waiter::end::aborted;
        leave_line(w);
        wait_line::push_done(w, done);
      }
    }
    wait_line::complete_all(done);
    // Leases that end from here on let go of the core, each at its own time: none of them may be the last one before
    // all have been counted.
    constexpr std::uint64_t counting = std::uint64_t{1} << 40;
    holders_.fetch_add(counting);
    std::uint64_t leases = 0;
    for (std::uint32_t i = 0, n = table_.size(); i < n; ++i) {
      leases += table_.close(table_[i]);
    }
    holders_.fetch_add(leases - counting);
    let_go();
  }

  /// Keeps the core alive until `let_go`, beyond `close` too.
  void hold() noexcept { holders_.fetch_add(1); }
  void let_go() noexcept {
    if (holders_.fetch_sub(1) == 1) {
      delete this;
    }
  }

  void set_strategy(strategy s) noexcept {
    auto word = concerns_.load();
    while (!concerns_.compare_exchange_weak(word, (word & ~concern::strategy) | static_cast<std::uint64_t>(s))) {
    }
  }
  void set_cooldown(tick base) noexcept { cooldown_.store(base); }

protected:
  virtual ~pool_core() = default;

  /// Call `alarm_went_off` at `at`; replaces what was set before, `never` means not at all. Called with the line's lock
  /// held.
  virtual void set_alarm(tick at) noexcept = 0;
  virtual void note(event_kind kind, grant const& g) noexcept = 0;
  /// A lease was settled, or a rest became longer: what stores keep has changed. Not called before `expect_charges`.
  virtual void charged() noexcept = 0;
  void expect_charges() noexcept { concerns_.fetch_or(concern::charges); }
  [[nodiscard]] bool expects_charges() const noexcept { return (concerns_.load() & concern::charges) != 0; }
  /// From now on no grant is taken by `take_quickly` alone.
  void expect_grants() noexcept { concerns_.fetch_or(concern::grants); }
  /// The last lease of a slot with retired keys has ended.
  virtual void retire(slot_type& s) noexcept = 0;

private:
  /// Which slots a taker leaves alone, and whether he waits.
  struct manners {
    std::span<std::uint32_t const> avoid;
    earmark except; ///< kept for somebody else
    on_refusal refused;

    [[nodiscard]] bool pass_over(std::uint32_t i, lane const* in) const noexcept {
      return except.covers(i, in) || (!avoid.empty() && std::find(avoid.begin(), avoid.end(), i) != avoid.end());
    }
  };

  /// When a request could be served if nobody else came.
  struct outlook {
    tick at = never;       ///< the earliest known moment
    tick event_at = never; ///< from then on a lease that ends may bring it
    earmark keep;          ///< what others must leave alone meanwhile
    tick keep_at = never;  ///< when that one can serve

    /// The earliest moment of which it is known that it will not be before.
    [[nodiscard]] tick return_at(tick now) const noexcept { return event_at > now ? std::min(at, event_at) : at; }
    /// The earliest moment at which it might be served.
    [[nodiscard]] tick hope() const noexcept { return std::min(at, event_at); }
    [[nodiscard]] bool in_vain(tick deadline) const noexcept { return hope() == never || hope() > deadline; }
  };

  [[nodiscard]] bool anybody_waits() const noexcept { return concerns_.load() >= concern::waiter; }
  [[nodiscard]] strategy how_to_pick() const noexcept {
    return static_cast<strategy>(concerns_.load() & concern::strategy);
  }
  [[nodiscard]] tick recent_tick() const noexcept { return system_time_ ? recent_now() : now(); }
  [[nodiscard]] lazy_now recent() const noexcept { return system_time_ ? lazy_now{} : lazy_now{clock()}; }

  [[nodiscard]] static bool bars(slot_type const& s, capability_set needs) noexcept {
    if (needs.empty()) [[likely]] {
      return false;
    }
    // several needs at once: the key that is picked has to have them all
    auto const several = (needs.bits() & (needs.bits() - 1)) != 0;
    auto const& barred = several ? s.barred_for_several : s.barred;
    return needs.intersects(capability_set::from_bits(barred.load()));
  }

protected:
  /// Whether a slot has left, or come back, before its time.
  [[nodiscard]] static bool is_away(slot_type const& s) noexcept {
    auto const word = s.gate.load();
    return (word & gate::off) != 0 || (word & gate::parked) == 0;
  }

  [[nodiscard]] static lane_table* table_of(lane const& l) noexcept {
    return l.table.load(); // pairs with lanes::table_of()
  }
  // of a grant in a lane that has a table
  [[nodiscard]] static table_type& lane_slots(grant const& g) noexcept { return table_of(*g.in)->slots; }
  [[nodiscard]] static slot_type& slot_in_lane(grant const& g) noexcept { return lane_slots(g)[g.from->index]; }

  void run_due(table_type& t, lazy_now& now, bool& disturbed) noexcept {
    if (auto const due = t.next_return(); due != never && due <= now()) {
      t.run_due(now());
      disturbed = true;
    }
  }

private:
  [[nodiscard]] bool take(demand const& want, grant& out, lazy_now& now, manners const& how, bool& disturbed) noexcept {
    run_due(table_, now, disturbed);
    if (auto const rest = want.in->cool_until.load(); rest != 0 && now() < rest) [[unlikely]] {
      return false;
    }
    auto* const lane = table_of(*want.in);
    if (lane) [[unlikely]] {
      run_due(lane->slots, now, disturbed);
    }
    auto& turn = lane ? lane->turn : turn_;
    auto const one = [&](std::uint32_t i, bool& contended) {
      auto& s = table_[i];
      if (how.pass_over(i, want.in) || bars(s, want.needs)) [[unlikely]] {
        return false;
      }
      return take_from(s, lane, want, out, now, how.refused, disturbed, contended);
    };
    return turn.pick(how_to_pick(), {table_, lane ? &lane->slots : nullptr}, want.affinity, want.tokens, one);
  }

protected:
  // a front that picks slots itself takes them so

  [[nodiscard]] bool take_from(slot_type& s, lane_table* lane, demand const& want, grant& out, lazy_now& now,
                               on_refusal refused, bool& disturbed, bool& contended) noexcept {
    claim what{.tokens = want.tokens, .unsent = want.unsent};
    while (!table_.reserve(s, what, now, disturbed, contended)) {
      disturbed = true;
      if (table_.refuse(s, refused, now)) {
        retire_if_unused(s);
        return false;
      }
    }
    out.special.in_lane = false;
    if (lane) [[unlikely]] {
      auto& in_lane = lane->slots[s.index];
      claim in_that{.tokens = want.tokens, .unsent = want.unsent};
      while (!lane->slots.reserve(in_lane, in_that, now, disturbed, contended)) {
        disturbed = true;
        if (lane->slots.refuse(in_lane, refused, now)) {
          table_.give_back(s, what, now());
          table_.undo(s, what, now);
          retire_if_unused(s);
          return false;
        }
      }
      out.set_lane(in_that);
    }
    out.set(what);
    out.from = &s;
    out.in = want.in;
    // a slot on probation or with rates wants to know when; the others need no clock
    auto const timed = out.counted != 0 || out.special.probe || lane;
    out.taken = timed ? now() : 0;
    out.counted_since = out.taken;
    return true;
  }

private:
  [[nodiscard]] BOOST_NOINLINE bool try_take_with_care(demand const& want, grant& out,
                                                       std::span<std::uint32_t const> avoid) {
    if (anybody_waits()) {
      return try_take_behind_the_line(want, out, avoid);
    }
    auto now = recent();
    bool disturbed = false;
    auto const served = take(want, out, now, {avoid, {}, on_refusal::forget}, disturbed);
    if (disturbed && anybody_waits()) {
      look_for_waiters();
    }
    return served;
  }

  /// None of these concerns, and the unnamed lane was not overloaded since it last served.
  [[nodiscard]] BOOST_FORCEINLINE bool is_quiet(std::uint64_t concerns) noexcept {
    return (concerns_.load() & concerns) == 0 && lanes_.unnamed().cool_until.load() == 0;
  }
  [[nodiscard]] bool is_over(tick t) const noexcept { return t != never && t <= recent_tick(); }

  /// The next slot in turn, null if none is ready. The wheel is turned to it: a block has had its turn only when the
  /// slots in it were tried.
  [[nodiscard]] BOOST_NOINLINE slot_type* find_next(rotor::wheel& wheel) noexcept {
    auto const i = turn_.next_in_turn(wheel, table_.ready(), table_.size());
    if (i == candidates::none) {
      return nullptr;
    }
    wheel.turn_to(table_[i]);
    return &table_[i];
  }

  /// Nothing is left in the block of `taken`: finds what comes next before it is wanted, so that its line has the time
  /// to get here.
  void turn_to_next_block(rotor::wheel& wheel, slot_type const& taken) noexcept {
    auto const i = turn_.first_of_next_block(table_.ready(), table_.size());
    if (i == candidates::none) {
      wheel.turn_to(taken.index + 1);
      return;
    }
    auto& next = table_[i];
    wheel.turn_to(next);
    table_type::prefetch_next(taken, next);
  }

  /// Another thread was at the slot whose turn it is.
  void go_elsewhere(slot_type const& s) noexcept { turn_.mine().turn_to(rotor::elsewhere(s.index, table_.size())); }

  /// A grant that is in doubt: true if there was not enough for it, and nothing has been taken then.
  [[nodiscard]] bool give_back_if_overdrawn(slot_type& s, std::int64_t tokens) noexcept {
    if (!table_type::is_overdrawn(s)) [[likely]] {
      return false;
    }
    give_back(s, tokens);
    return true;
  }

  [[nodiscard]] BOOST_FORCEINLINE quick_grant try_quickly(rotor::wheel& wheel, slot_type& s, std::uint64_t word,
                                                          std::int64_t tokens) const noexcept {
    table_type::prefetch_after(s);
    switch (table_type::reserve_quickly(s, tokens, word)) {
    case table_type::attempt::taken: break;
    case table_type::attempt::in_doubt: return {&s, progress::in_doubt};
    case table_type::attempt::contended: return {&s, progress::contended};
    case table_type::attempt::unclear: return {};
    }
    if ((word & gate::rated) != 0) [[unlikely]] {
      return {&s, progress::to_count};
    }
    auto* const next = table_.successor(s);
    if (!next) [[unlikely]] {
      return {&s, progress::to_turn};
    }
    wheel.turn_to(*next);
    return {&s, progress::taken};
  }

  /// What `take_quickly` does, after a look at the clock, and also where somebody hears of grants. A slot in turn that
  /// is not at hand or not ready gives way to the next one that is.
  [[nodiscard]] BOOST_NOINLINE quick_grant take_next_in_turn(std::int64_t tokens) noexcept {
    if (!gate::fits_unasked(tokens) || !is_quiet(~(concern::charges | concern::grants)) ||
        is_over(table_.next_return())) {
      return {};
    }
    auto& wheel = turn_.mine();
    auto* s = wheel.slot();
    if (!s || (s->gate.load() & gate::parked) != 0) {
      s = find_next(wheel);
      if (!s) {
        return {nullptr, progress::none_ready};
      }
    }
    auto const word = s->gate.load();
    if (gate::will_return(word) && is_over(s->quota_reset.load())) {
      return {};
    }
    return try_quickly(wheel, *s, word, tokens);
  }

  void turn_beyond(rotor::wheel& wheel, slot_type& taken) noexcept {
    if (auto* const next = table_.successor(taken)) {
      wheel.turn_to(*next);
    } else {
      turn_to_next_block(wheel, taken);
    }
  }

  /// What was taken counts in the rates, or is given back. Units are out of sight while they leave a window, and
  /// between two of its words.
  [[nodiscard]] BOOST_FORCEINLINE bool count_in_rates(slot_type& s, std::int64_t tokens, timed_grant& out) noexcept {
    table_type::prefetch_rates_after(s);
    auto const at = recent_tick();
    claim what{.tokens = tokens};
    if (!table_.take_rates(s, what, at)) [[unlikely]] {
      give_back(s, tokens);
      return false;
    }
    if (anybody_waits()) [[unlikely]] {
      look_for_waiters();
    }
    out.counted = what.counted;
    out.taken = what.counted != 0 ? at : 0;
    return true;
  }

  /// A grant that was not complete.
  BOOST_NOINLINE void give_back(slot_type& s, std::int64_t tokens) noexcept {
    auto now = recent();
    table_.undo(s, {.tokens = tokens}, now);
    retire_if_unused(s);
    if (anybody_waits()) {
      look_for_waiters();
    }
  }

  /// Capacity was out of sight for a moment: others may have been refused because of it.
  BOOST_NOINLINE void look_for_waiters() noexcept {
    changed_.store(true);
    wake();
  }

  /// A lease that was taken for a moment may have been the one whose end others waited for.
  void retire_if_unused(slot_type& s) noexcept {
    auto const word = s.gate.load();
    if ((word & gate::retired) != 0 && gate::leases(word) == 0) {
      retire(s);
    }
  }

  [[nodiscard]] bool try_take_behind_the_line(demand const& want, grant& out, std::span<std::uint32_t const> avoid) {
    waiter* done = nullptr;
    bool served = false;
    {
      std::lock_guard const lock{mutex_};
      serve_line(done);
      lazy_now now{clock()};
      bool disturbed = false;
      auto const except = line_.empty() ? earmark{} : earmark_;
      served = take(want, out, now, {avoid, except, on_refusal::forget}, disturbed);
    }
    wait_line::complete_all(done);
    return served;
  }

  // --- prospects

  /// \param kept a slot that is kept for somebody else: what it has comes free when he is served
  [[nodiscard]] outlook look(demand const& want, tick now, earmark const& kept = {}) noexcept {
    outlook out;
    auto* const lane = table_of(*want.in);
    auto const consider = [&](std::uint32_t i) {
      consider_slot(out, table_[i], lane ? &lane->slots : nullptr, want, now, kept);
    };
    auto const before = table_.transitions();
    auto const before_in_lane = lane ? lane->slots.transitions() : 0;
    candidates const ready{table_, lane ? &lane->slots : nullptr};
    for (auto i = ready.next(0); i != candidates::none; i = ready.next(i + 1)) {
      consider(i);
    }
    auto const seen_all =
        look_at_parked(table_, out, consider) && (!lane || look_at_parked(lane->slots, out, consider));
    if (!seen_all || table_.transitions() != before || (lane && lane->slots.transitions() != before_in_lane)) {
      for (std::uint32_t i = 0, n = table_.size(); i < n; ++i) { // one may have slipped from one set to another
        consider(i);
      }
    }
    return out;
  }

  /// Those that wait for a lease to end, and as many of those that return at a known time as matter. False if it gave
  /// up, because none of many is enough.
  template <class Consider> static bool look_at_parked(table_type& t, outlook& out, Consider const& consider) noexcept {
    for (auto i = t.pending().next(0); i != candidates::none; i = t.pending().next(i + 1)) {
      consider(i);
    }
    auto const not_seen = t.returns().visit([&](slot_type const& s, tick at) {
      if (at >= out.at) {
        return false; // this one and those behind it come later
      }
      consider(s.index);
      return true;
    });
    return not_seen >= out.at;
  }

  void consider_slot(outlook& out, slot_type& s, table_type* lane, demand const& want, tick now,
                     earmark const& kept) noexcept {
    if ((s.gate.load() & gate::off) != 0 || bars(s, want.needs)) {
      return;
    }
    auto const tokens = std::max<std::int64_t>(want.tokens, 1);
    auto const of_account = table_.available(s, tokens, now);
    auto seen = of_account;
    if (lane) {
      seen = of_account & lane->available((*lane)[s.index], tokens, now);
    }
    if (seen.at == never) {
      return;
    }
    seen.at = std::max(seen.at, want.in->cool_until.load());
    if (seen.on_event || kept.covers(s.index, want.in)) {
      out.event_at = std::min(out.event_at, seen.at);
    } else {
      out.at = std::min(out.at, seen.at);
    }
    out.event_at = std::min(out.event_at, seen.sooner_at);
    if (seen.at < out.keep_at) {
      out.keep_at = seen.at;
      out.keep = {seen.shared ? s.index : candidates::none, of_account.shared ? nullptr : want.in};
    }
  }

  /// No slot that is in use could ever grant it, while there are such slots.
  [[nodiscard]] bool too_large(demand const& want) const noexcept {
    auto* const lane = table_of(*want.in);
    auto any = false;
    for (std::uint32_t i = 0, n = table_.size(); i < n; ++i) {
      auto& s = table_[i];
      if ((s.gate.load() & gate::off) != 0 || bars(s, want.needs)) {
        continue;
      }
      if (!table_.too_large(s, want.tokens) && !(lane && lane->slots.too_large(lane->slots[i], want.tokens))) {
        return false;
      }
      any = true;
    }
    return any;
  }

  [[nodiscard]] error why_not(demand const& want, outlook const& seen, tick now) const noexcept {
    if (population_.load() == 0) {
      return error::no_keys;
    }
    if (seen.return_at(now) != never) {
      return error::would_miss_deadline;
    }
    return too_large(want) ? error::too_large : error::exhausted;
  }

  // --- the line; mutex_ is held

  /// A request that was refused in this pass: who asks for the same kind and no fewer tokens would be refused too.
  using refusals = boost::container::static_vector<demand, 16>;

  /// Serves whom it can. When something became later or impossible, or the moment has come for which the alarm was set,
  /// it also looks whether somebody waits in vain.
  void serve_line(waiter*& done, waiter* fresh = nullptr) noexcept {
    lazy_now now{clock()};
    if (line_.first_deadline() != never) {
      expire_line(now(), done);
    }
    run_due_for_line(now);
    auto const rung = alarm_ != never && alarm_ <= now();
    auto const delayed = delayed_.exchange(false);
    auto const looked_just_now = delayed && now() < after(last_look_, pause);
    auto full = changed_.exchange(false) || rung || (delayed && !looked_just_now);
    auto alarm = full ? never : alarm_;
    if (full) {
      head_ = nullptr;
      last_look_ = now();
    } else if (delayed) {
      alarm = std::min(alarm, after(last_look_, pause));
    }
    serve_in_order(now, alarm, full, done);
    if (!full && !line_.empty() && !table_.ready().empty()) {
      // what is left is not enough for those who wait: only a look can tell when it will be
      full = true;
      alarm = never;
      head_ = nullptr;
      serve_in_order(now, alarm, full, done);
    }
    while (full && fail_the_hopeless(now(), alarm, done)) {
      serve_in_order(now, alarm, full, done);
    }
    if (!full && fresh && wait_line::has(*fresh) && head_ != fresh) {
      auto const seen = look(fresh->want, now(), earmark_);
      alarm = std::min(alarm, seen.at);
      if (seen.in_vain(wait_line::deadline(*fresh))) {
        fail(*fresh, seen, now(), done);
      }
    }
    if (line_.empty()) {
      head_ = nullptr;
      most_wanted_.store(1);
      set_alarm_if_new(never, rung);
      return;
    }
    alarm = std::min({alarm, line_.first_deadline(), table_.next_return()});
    for (auto const& kind : line_.used_classes()) {
      if (auto const rest = kind.in->cool_until.load(); rest != 0 && rest > now()) {
        alarm = std::min(alarm, rest); // meanwhile none of its slots is tried, and so none is watched
      }
      if (auto* const lane = table_of(*kind.in)) {
        alarm = std::min(alarm, lane->slots.next_return());
      }
    }
    set_alarm_if_new(alarm, rung);
  }

  /// Also in lanes that nobody may try, because they rest or all accounts do: what is due there would set the alarm
  /// again and again.
  void run_due_for_line(lazy_now& now) noexcept {
    bool disturbed = false;
    run_due(table_, now, disturbed);
    for (auto const& kind : line_.used_classes()) {
      if (auto* const lane = table_of(*kind.in)) {
        run_due(lane->slots, now, disturbed);
      }
    }
  }

  void serve_in_order(lazy_now& now, tick& alarm, bool full, waiter*& done) noexcept {
    refusals refused_before;
    for (auto it = line_.in_order().begin(); it != line_.in_order().end();) {
      auto& w = *it++;
      auto const first = &w == &line_.front();
      if (first && head_ != &w) {
        earmark_ = {};
      }
      bool disturbed = false;
      manners const how{{}, first ? earmark{} : earmark_, on_refusal::watch};
      if (!is_refused(refused_before, w.want) && take(w.want, w.got, now, how, disturbed)) {
        leave_line(w);
        wait_line::push_done(w, done);
        continue;
      }
      if (nothing_left() && !full) {
        break; // and nothing to keep for the head, whose prospects are as they were
      }
      if (first && head_ != &w) {
        auto const seen = look(w.want, now());
        if (seen.in_vain(wait_line::deadline(w))) {
          fail(w, seen, now(), done);
          continue;
        }
        head_ = &w;
        earmark_ = seen.keep;
        alarm = std::min(alarm, seen.at);
      }
      if (refused_before.size() < refused_before.capacity()) {
        refused_before.push_back(w.want);
      }
      if (nothing_left()) {
        break;
      }
    }
  }

  [[nodiscard]] static bool is_refused(refusals const& before, demand const& want) noexcept {
    return std::any_of(before.begin(), before.end(), [&](demand const& r) {
      return r.in == want.in && r.needs == want.needs && r.tokens <= want.tokens;
    });
  }

  /// Nobody but the head could be served.
  [[nodiscard]] bool nothing_left() const noexcept {
    auto const first = table_.ready().next(0);
    return first == candidates::none ||
           (first == earmark_.slot && !earmark_.in && table_.ready().next(first + 1) == candidates::none);
  }

  /// Whoever wants more waits longer: if the one of a class who wants most has hope before anybody's deadline, all of
  /// them have. True if the head was among those who had none, so that others may have what was kept for it.
  [[nodiscard]] bool fail_the_hopeless(tick now, tick& alarm, waiter*& done) noexcept {
    auto const* const head = head_;
    auto const urgent = line_.first_deadline();
    auto& classes = line_.used_classes();
    for (auto it = classes.begin(); it != classes.end();) {
      auto& kind = *it++; // gone from the list when its last waiter fails
      alarm = std::min(alarm, look(kind.waiters.begin()->want, now, earmark_).at);
      outlook seen;
      std::int64_t seen_for = -1;
      for (auto w = kind.waiters.end(); w != kind.waiters.begin();) {
        --w;
        if (w->want.tokens != seen_for) {
          seen = look(w->want, now, &*w == head ? earmark{} : earmark_);
          seen_for = w->want.tokens;
        }
        if (!seen.in_vain(urgent)) {
          break;
        }
        if (seen.in_vain(wait_line::deadline(*w))) {
          auto& hopeless = *w++;
          fail(hopeless, seen, now, done);
          if (!kind.among_used_.is_linked()) {
            break;
          }
        }
      }
    }
    return head && head_ != head && !line_.empty();
  }

  void expire_line(tick now, waiter*& done) noexcept {
    for (auto* w = line_.first_to_expire(); w && wait_line::deadline(*w) <= now; w = line_.first_to_expire()) {
      bool disturbed = false;
      lazy_now again{clock()};
      manners const how{{}, {}, on_refusal::forget};
      if (w == &line_.front() && take(w->want, w->got, again, how, disturbed)) {
        changed_.store(true); // for those behind him
        leave_line(*w);       // the capacity and the deadline came together
        wait_line::push_done(*w, done);
      } else {
        fail(*w, look(w->want, now), now, done);
      }
    }
  }

  void fail(waiter& w, outlook const& seen, tick now, waiter*& done) noexcept {
    auto const back_at = seen.return_at(now);
    w.how = waiter::end::failed;
    w.why = why_not(w.want, seen, now);
    w.got.taken = back_at == never ? never : std::max<tick>(back_at - now, 0);
    leave_line(w);
    wait_line::push_done(w, done);
  }

  void leave_line(waiter& w) noexcept {
    if (head_ == &w) {
      head_ = nullptr;
    }
    line_.erase(w, class_of(w.want));
    concerns_.fetch_sub(concern::waiter);
  }

  [[nodiscard]] wait_class& class_of(demand const& want) {
    return want.needs.empty() ? want.in->waiters : line_.class_of(want.in, want.needs);
  }

  /// One that went off may have to be set for the same moment again.
  void set_alarm_if_new(tick at, bool rung) noexcept {
    if (at != alarm_ || rung) {
      alarm_ = at;
      set_alarm(at);
    }
  }

  // --- the ends of a lease

  static void start(slot_type& s, table_type& t, claim const& c, tick at) noexcept {
    if (c.counted != 0) {
      t.start(s, c, at);
    }
  }

  /// A request that ends without a mark was sent now at the latest. Waiters are not told before it is charged. True if
  /// its rates count from now on.
  [[nodiscard]] bool count_from_now(grant& g) noexcept {
    if (!g.special.unsent) {
      return false;
    }
    g.counted_since = now();
    g.special.unsent = false;
    start(*g.from, table_, g.what(), g.counted_since);
    if (g.special.in_lane) {
      start(slot_in_lane(g), lane_slots(g), g.what_of_lane(), g.counted_since);
    }
    return true;
  }

  /// What `settle` leaves to others: rates, or what needs care.
  BOOST_NOINLINE void settle_on(grant& g, std::int64_t actual) noexcept {
    auto& s = *g.from;
    auto const word = s.gate.load();
    auto const simple = table_type::is_simple(word) && actual <= g.tokens;
    if (!simple || !g.is_simple() || g.in->cool_until.load() != 0 || !expense::fits(actual)) [[unlikely]] {
      settle_with_care(g, actual);
      return;
    }
    table_type::give_back_rest(s, g.counted, g.tokens - actual, g.counted_since);
    charge_and_finish(g, actual, word);
  }

  /// \param word see `slot_table::end_quietly`
  BOOST_FORCEINLINE void charge_and_finish(grant& g, std::int64_t actual, std::uint64_t word) noexcept {
    auto& s = *g.from;
    auto const before = table_type::charge_quickly(s, actual);
    auto const heeded =
        (concerns_.load() & ~concern::of_takers) != 0; // after the charge, which who waits from now on sees
    auto const near = table_type::comes_near_limit(s, before, actual);
    if (heeded || near || expense::is_half_full(before)) [[unlikely]] {
      finish_charged(g, before, near);
      return;
    }
    if (!table_type::end_quietly(s, g.tokens, word)) [[unlikely]] {
      finish_with_care(g);
    } // from here on the pool may be gone
  }

  /// Ends a lease that is charged already, where there is something to heed.
  BOOST_NOINLINE void finish_charged(grant& g, std::uint64_t before, bool near) noexcept {
    if (expense::is_half_full(before)) {
      table_.correct_books(*g.from);
    }
    if (near) {
      note(event_kind::near_limit, g);
    }
    note_spending(*g.from);
    if (expects_charges()) {
      charged();
    }
    finish(g);
  }

  BOOST_NOINLINE void settle_with_care(grant& g, std::int64_t actual) noexcept {
    constexpr auto most_tokens = std::int64_t{1} << 50; // far beyond what any request costs
    actual = std::clamp<std::int64_t>(actual, 0, most_tokens);
    auto& s = *g.from;
    auto const later = count_from_now(g) || actual > g.tokens;
    lazy_now at{clock()};
    auto const near = table_.charge(s, g.what(), actual, g.counted_since, at);
    auto succeeded = succeed(s, table_, g.taken);
    if (g.special.in_lane) {
      lane_slots(g).charge(slot_in_lane(g), g.what_of_lane(), actual, g.counted_since, at);
      succeeded = succeed(slot_in_lane(g), lane_slots(g), g.taken) || succeeded;
    }
    end_overload(*g.in);
    note_spending(s);
    if (g.special.in_lane) {
      note_spending(slot_in_lane(g)); // that rates count more there is noted by `finish`
    }
    if (later && (s.gate.load() & gate::rated) != 0) {
      note_delay();
    }
    if (expects_charges()) {
      charged();
    }
    if (near) {
      note(event_kind::near_limit, g);
    }
    if (succeeded) {
      note(event_kind::recovered, g);
    }
    finish(g);
  }

  BOOST_FORCEINLINE void finish(grant& g) noexcept {
    auto const word = g.from->gate.load();
    auto const simple = !g.special.in_lane && !g.special.probe && (word & gate::attention) == 0;
    if (!simple || !table_type::end_quietly(*g.from, g.tokens, word)) [[unlikely]] {
      finish_with_care(g);
    } // from here on the pool may be gone
  }

  BOOST_NOINLINE void finish_with_care(grant& g) noexcept {
    auto& s = *g.from;
    hold();
    if (g.special.in_lane) {
      free(slot_in_lane(g), lane_slots(g), g.what_of_lane());
      changed_.store(true); // the head may no longer wait for its lane, but for the account
    }
    auto const word = table_.end_lease(s, g.what());
    if ((word & gate::closed) != 0) {
      let_go(); // in the name of the lease
    } else {
      if ((word & gate::parked) != 0 && anybody_waits()) {
        pass_on(s);
      } else {
        if ((word & gate::parked) != 0) {
          bring_back(s, table_);
        }
        wake();
      }
      if ((word & gate::retired) != 0) {
        retire_if_unused(s);
      }
    }
    let_go();
  }

  /// A lease of a slot that is parked has ended, and somebody waits.
  void pass_on(slot_type& s) noexcept {
    waiter* done = nullptr;
    {
      std::lock_guard const lock{mutex_};
      if (!give_to_head(s, done)) {
        bring_back(s, table_);
        serve_line(done);
      }
    }
    wait_line::complete_all(done);
  }

  /// Where no other slot has anything to give, what came free goes straight to the head of the line: the slot would be
  /// put among the ready ones only to be taken out again. True if that is all there was to do.
  [[nodiscard]] bool give_to_head(slot_type& s, waiter*& done) noexcept {
    auto const how = how_to_pick();
    auto const has_books = how == strategy::weighted || how == strategy::fill_first; // which a pick writes
    if (line_.empty() || has_books || changed_.load() || !table_.ready().empty()) {
      return false;
    }
    auto& head = line_.front();
    auto const& want = head.want;
    auto const word = s.gate.load();
    auto const metered = (word & gate::metered) != 0;
    if ((word & gate::rated) != 0 || (metered && s.room(word) - want.tokens < most_wanted_.load())) {
      return false; // what he takes others may now miss, and must be told
    }
    if (table_of(*want.in) || want.in->cool_until.load() != 0 || bars(s, want.needs)) {
      return false;
    }
    lazy_now now{clock()};
    bool disturbed = false;
    bool contended = false;
    if (!take_from(s, nullptr, want, head.got, now, on_refusal::watch, disturbed, contended)) {
      return false;
    }
    leave_line(head);
    wait_line::push_done(head, done);
    return table_.waits_for_lease(s) && !line_.empty();
  }

  /// What was lent is spent: some who hoped for it may wait in vain.
  BOOST_FORCEINLINE void note_spending(slot_type const& s) noexcept {
    if (anybody_waits()) [[unlikely]] {
      auto const metered = (s.gate.load() & gate::metered) != 0;
      if (metered && s.unspent() < most_wanted_.load()) {
        changed_.store(true);
      }
    }
  }

  /// Rates count more than before, or have begun to count: some may wait in vain.
  void note_delay() noexcept {
    if (anybody_waits()) {
      delayed_.store(true);
    }
  }

  /// Frees the place of a lease in its lane.
  void free(slot_type& s, table_type& t, claim const& c) noexcept {
    auto const word = t.end_lease(s, c);
    if ((word & gate::parked) != 0) {
      bring_back(s, t);
    }
  }

  void bring_back(slot_type& s, table_type& t) noexcept {
    auto at = recent();
    t.reconsider(s, table_type::time_for(s, at));
  }

  /// A request was served. True if the slot is well again because of it.
  bool succeed(slot_type& s, table_type& t, tick taken) noexcept {
    auto const word = s.gate.load();
    if ((word & (gate::probation | gate::adapting)) == 0) [[likely]] {
      return false;
    }
    if ((word & gate::adapting) != 0) {
      grow_concurrency(s);
    }
    auto const cool = s.cool_until.load();
    return cool != 0 && taken >= cool && t.restore(s, cool);
  }

  [[nodiscard]] static constexpr tick doubled(tick base, std::uint32_t times, tick most) noexcept {
    return times >= 32 || base > (most >> times) ? most : base << times;
  }

  /// How long the provider wants the rest to be, if it said.
  [[nodiscard]] std::optional<tick> asked_for(outcome const& what) const noexcept {
    using std::chrono::duration_cast;
    using std::chrono::nanoseconds;
    if (what.rest()) {
      return std::max<tick>(duration_cast<nanoseconds>(*what.rest()).count(), 0);
    }
    if (what.until()) {
      constexpr auto longest = duration_cast<wall_time::duration>(nanoseconds::max());
      auto const wall = clock().wall_now();
      return *what.until() > wall ? nanoseconds{std::min(*what.until() - wall, longest)}.count() : 0;
    }
    return {};
  }

  /// Requests that were under way together fail together: only one that began after the last rest adds to it.
  [[nodiscard]] static std::uint32_t count_setback(slot_type& s, tick taken) noexcept {
    auto const cool = s.cool_until.load();
    if (cool == 0 || taken >= cool) {
      return s.setbacks.fetch_add(1);
    }
    return std::max<std::uint32_t>(s.setbacks.load(), 1) - 1;
  }

  /// Rests the account, or if the request named a lane, its share of that lane.
  void rate_limited(grant const& g, outcome const& what) noexcept {
    auto* const lane = g.in == &lanes_.unnamed() ? nullptr : make_table(*g.in);
    auto& t = lane ? lane->slots : table_;
    auto& s = t[g.from->index];
    auto const n = count_setback(s, g.taken);
    auto const base = cooldown_.load();
    rest(g, s, t, rest_kind::rate_limited, asked_for(what).value_or(doubled(base, n, options_.most_cooldown)));
  }

  /// Null when there is no memory for it.
  [[nodiscard]] lane_table* make_table(lane& l) noexcept {
    try {
      return &lanes_.table_of(l);
    } catch (std::bad_alloc const&) {
      return nullptr;
    }
  }

  void exhausted(grant const& g, outcome const& what) noexcept {
    constexpr tick hour = 3'600'000'000'000;
    auto const n = count_setback(*g.from, g.taken);
    rest(g, *g.from, table_, rest_kind::exhausted, asked_for(what).value_or(doubled(hour, n, 24 * hour)));
  }

  /// Holds a slot back before its provider blocks it for failing too often.
  void guard_against_storms(grant const& g) noexcept {
    if (options_.most_failures != 0 && failure_guard_.count(g.from->recent_failures, now())) {
      rest(g, *g.from, table_, rest_kind::rate_limited, options_.failure_period);
    }
  }

  void rest(grant const& g, slot_type& s, table_type& t, rest_kind kind, tick length) noexcept {
    auto const at = now();
    auto const known = s.cool_until.load() > at && s.exhausted() == (kind == rest_kind::exhausted);
    if (t.cool(s, kind, after(at, jitter_(length)), at)) {
      changed_.store(true);
      if (!known) {
        note(kind == rest_kind::exhausted ? event_kind::exhausted : event_kind::rate_limited, g);
      } else if (expects_charges()) {
        charged(); // no news, but it lasts longer
      }
    }
  }

  /// The lane rests when two accounts were told so within 5 s.
  void overloaded(grant const& g) noexcept {
    constexpr std::uint64_t time_mask = (std::uint64_t{1} << 40) - 1;
    constexpr tick base = 1'000'000'000;
    auto& l = *g.in;
    auto const at = now();
    auto const ms = static_cast<std::uint64_t>(at / 1'000'000) & time_mask;
    auto const mine = std::uint64_t{g.from->index} + 1;
    auto const last = l.last_overload.exchange(mine << 40 | ms);
    if (last == 0 || last >> 40 == mine || ms - (last & time_mask) > 5000) {
      return;
    }
    auto cool = l.cool_until.load();
    if (cool > at) {
      return;
    }
    auto const n = l.overloads.fetch_add(1);
    auto const until = after(at, jitter_(doubled(base, n, 60 * base)));
    l.cool_until.compare_exchange_strong(cool, until);
    changed_.store(true);
  }

  /// A request was served in the lane: the next overload is the first again, and who takes need not look at the clock.
  void end_overload(lane& l) noexcept {
    if (auto until = l.cool_until.load(); until != 0) {
      l.overloads.store(0);
      if (until <= now()) {
        l.cool_until.compare_exchange_strong(until, 0);
      }
    }
  }

  void shrink_concurrency(slot_type& s) noexcept {
    auto const out = gate::leases(s.gate.load()); // the one that failed is among them
    auto const fewer = std::max(out, 2U) - 1;
    auto const learned = s.learned_concurrency.load();
    table_.learn_concurrency(s, learned != 0 ? std::min(fewer, learned) : fewer);
    s.learn_after.store(after(now(), relearn_interval));
    s.gate.fetch_or(gate::adapting);
  }

  void grow_concurrency(slot_type& s) noexcept {
    auto due = s.learn_after.load();
    auto const at = now();
    if (at < due || !s.learn_after.compare_exchange_strong(due, after(at, relearn_interval))) {
      return;
    }
    auto const learned = s.learned_concurrency.load();
    auto const set = s.concurrency.load();
    if (learned == 0 || (set != 0 && learned + 1 >= set)) {
      s.gate.fetch_and(~gate::adapting);
      table_.learn_concurrency(s, 0);
    } else {
      table_.learn_concurrency(s, learned + 1);
    }
  }

  static constexpr tick relearn_interval = 10'000'000'000;

  // what every acquire and settle looks at, and hardly anything changes
  std::atomic<std::uint64_t> concerns_; ///< see `concern`
  bool const system_time_;
  detail::lanes lanes_;
  table_type table_;
  rotor turn_;

  core_options const options_;
  std::atomic<tick> cooldown_;
  failure_guard const failure_guard_;
  jitter jitter_;
  std::atomic<std::size_t> population_{0};
  alignas(64) std::atomic<std::uint64_t> holders_{1}; // the front, and after close() each lease that was out
  std::atomic<std::int64_t> most_wanted_{1};          // no waiter wants more tokens
  std::atomic<bool> changed_{false}; // something became later or impossible since the line was last looked at
  std::atomic<bool> delayed_{false}; // the same, but so often that it is looked at only after a pause

  std::mutex mutex_; // guards what follows
  wait_line line_;
  static constexpr tick pause = 1'000'000; // between looks at the line that may well be in vain
  tick alarm_ = never;
  tick last_look_ = -pause;
  waiter* head_ = nullptr; // the head for which `earmark_` was found
  earmark earmark_;
};

} // namespace rondo::detail
