// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/capability.hpp>
#include <rondo/clock.hpp>
#include <rondo/detail/jitter.hpp>
#include <rondo/detail/lanes.hpp>
#include <rondo/detail/slot_table.hpp>
#include <rondo/detail/tick.hpp>
#include <rondo/error.hpp>
#include <rondo/event.hpp>
#include <rondo/outcome.hpp>
#include <rondo/strategy.hpp>

#include <boost/container/static_vector.hpp>
#include <boost/intrusive/list.hpp>
#include <boost/intrusive/set.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <utility>

namespace rondo::detail {

/// A request as the core sees it: a plain value.
struct demand {
  std::int64_t tokens = 0;
  std::uint32_t lane = 0;
  capability_set needs;
  bool unsent = false;   ///< rates count from the mark, see `pool_core::mark_sent`
  tick patience = never; ///< longest wait in ns
};

/// What a slot gave for a demand; must be handed to exactly one of settle, refund and report.
struct grant {
  slot<std::atomic>* from = nullptr;
  claim what;
  tick taken = 0; ///< 0 if no clock had to be read: then the slot was neither resting nor rated
  tick counted_since = 0;
  std::uint32_t lane = 0;
  std::uint32_t serial = 0; ///< how many leases the slot had given before, modulo 2^28
};

/// A parked request. The pool's queue refers to it until `complete` is called or `cancel` returned true.
class waiter {
public:
  demand want;
  // the answer: a grant, or an error and when to come back
  grant got;
  error_code ec;
  bool aborted = false;
  std::optional<tick> back_in;

  /// Called once, without any lock held, by whichever thread freed the capacity. Must not block.
  virtual void complete() noexcept = 0;

protected:
  waiter() = default;
  ~waiter() = default;

private:
  friend class pool_core;
  tick deadline_ = never;
  waiter* next_done_ = nullptr;
  boost::intrusive::list_member_hook<> in_line_;
  boost::intrusive::set_member_hook<> by_deadline_;
};

/// How a pool behaves; times in ns.
struct core_options {
  rondo::strategy strategy = rondo::strategy::round_robin;
  tick cooldown = 60'000'000'000;
  tick most_cooldown = 3'600'000'000'000;
  clock_source const* clock = &system_clocks();
  std::uint64_t seed = 0;
};

/// One slot table, the rotor that picks from it, and the queue of those who wait for it: what keys and proxies share.
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
      : options_{options}, strategy_{options.strategy}, cooldown_{options.cooldown}, jitter_{options.seed} {}
  pool_core(pool_core const&) = delete;
  pool_core& operator=(pool_core const&) = delete;

  [[nodiscard]] clock_source const& clock() const noexcept { return *options_.clock; }
  [[nodiscard]] tick now() const noexcept { return to_tick(options_.clock->steady_now()); }
  [[nodiscard]] std::uint32_t lane_id(std::string_view name) { return lanes_.find(name); }
  [[nodiscard]] tick longest_lane_rest(slot_type const& s) const noexcept { return lanes_.longest_rest(s.index); }
  [[nodiscard]] table_type& table() noexcept { return table_; }
  [[nodiscard]] table_type const& table() const noexcept { return table_; }

  // --- taking

  /// Takes from a slot that can serve now, none of `avoid`, and never past a waiter who could be served.
  [[nodiscard]] bool try_take(demand const& want, grant& out, std::span<std::uint32_t const> avoid = {}) {
    if (waiting_.load(std::memory_order_seq_cst) == 0) {
      lazy_now now{clock()};
      bool disturbed = false;
      auto const served = take(want, out, now, avoid, ready_index<>::npos, disturbed);
      if (disturbed && waiting_.load(std::memory_order_seq_cst) != 0) {
        changed_.store(true, std::memory_order_seq_cst);
        wake();
      }
      return served;
    }
    waiter* done = nullptr;
    bool served = false;
    {
      std::lock_guard const lock{mutex_};
      serve_line(done);
      lazy_now now{clock()};
      bool disturbed = false;
      served = take(want, out, now, avoid, line_.empty() ? ready_index<>::npos : earmark_, disturbed);
    }
    complete_all(done);
    return served;
  }

  /// Puts a request in the line; it may be completed before this returns.
  void wait(waiter& w) {
    waiter* done = nullptr;
    {
      std::lock_guard const lock{mutex_};
      w.deadline_ = w.want.patience == never ? never : after(now(), w.want.patience);
      line_.push_back(w);
      if (w.deadline_ != never) {
        deadlines_.insert(w);
      }
      // from here on whoever frees capacity sees that somebody waits; what was freed before, serve_line sees
      waiting_.fetch_add(1, std::memory_order_seq_cst);
      serve_line(done, &w);
    }
    complete_all(done);
  }

  /// Takes a request out of the line. False if its completion is already on its way.
  bool cancel(waiter& w) {
    waiter* done = nullptr;
    {
      std::lock_guard const lock{mutex_};
      if (!w.in_line_.is_linked()) {
        return false;
      }
      leave_line(w);
      serve_line(done); // it may have been the head, for which a slot was kept
    }
    complete_all(done);
    return true;
  }

  /// Serves whoever can be served now. To be called when the alarm goes off, or an injected clock was moved.
  void wake() {
    if (waiting_.load(std::memory_order_seq_cst) == 0) {
      return;
    }
    waiter* done = nullptr;
    {
      std::lock_guard const lock{mutex_};
      serve_line(done);
    }
    complete_all(done);
  }

  /// When a request could be served if nobody else came.
  struct outlook {
    tick at = never;                          ///< the earliest known moment
    tick event_at = never;                    ///< from then on a lease that ends may bring it
    bool sooner = false;                      ///< one that ends now may bring it too
    std::uint32_t keep = ready_index<>::npos; ///< the slot that others must leave alone meanwhile
    bool too_large = true;                    ///< for every slot that is in use
    bool any = false;                         ///< there is a slot in use

    /// The earliest moment of which it is known that it will not be before.
    [[nodiscard]] tick return_at(tick now) const noexcept { return event_at > now ? std::min(at, event_at) : at; }
  };

  /// \param kept a slot that is kept for somebody else: what it has comes free when he is served
  [[nodiscard]] outlook look(demand const& want, tick now, std::uint32_t kept = ready_index<>::npos) noexcept {
    outlook out;
    auto const& whole_lane = lanes_[want.lane];
    auto const lane_rest = whole_lane.everywhere.cool_until.load(std::memory_order_acquire);
    auto first = never;
    for (std::uint32_t i = 0, n = table_.size(); i < n; ++i) {
      auto& s = table_[i];
      if ((s.gate.load(std::memory_order_acquire) & gate::off) != 0 || bars(s, want.needs)) {
        continue;
      }
      out.any = true;
      if (table_.too_large(s, want.tokens)) {
        continue;
      }
      out.too_large = false;
      auto seen = table_.available(s, std::max<std::int64_t>(want.tokens, 1), now);
      if (seen.at == never) {
        continue;
      }
      seen.at = std::max(seen.at, lane_rest);
      if (want.lane != 0) {
        seen.at = std::max(seen.at, whole_lane.slots[i].cool_until.load(std::memory_order_acquire));
      }
      if (seen.on_event || i == kept) {
        out.event_at = std::min(out.event_at, seen.at);
      } else {
        out.at = std::min(out.at, seen.at);
      }
      out.sooner = out.sooner || seen.sooner;
      if (seen.at < first) {
        first = seen.at;
        out.keep = seen.shared ? i : ready_index<>::npos;
      }
    }
    return out;
  }

  // --- ending

  /// The request of a grant that was taken `unsent` leaves now.
  void mark_sent(grant& g) noexcept {
    if (g.what.unsent) {
      g.what.unsent = false;
      g.counted_since = now();
      table_.start(*g.from, g.what, g.counted_since);
      if (waiting_.load(std::memory_order_seq_cst) != 0) {
        changed_.store(true, std::memory_order_seq_cst); // a time is known where none was
        wake();
      }
    }
  }

  void settle(grant& g, std::int64_t actual) noexcept {
    auto& s = *g.from;
    begin_end(g);
    auto const before = s.charged.fetch_add(actual, std::memory_order_seq_cst);
    if (actual < g.what.tokens) {
      table_.give_back_tokens(s, g.what, g.what.tokens - actual, g.counted_since);
    } else if (actual > g.what.tokens) {
      lazy_now at{clock()};
      table_.take_more_tokens(s, actual - g.what.tokens, at);
    }
    auto const word = s.gate.load(std::memory_order_acquire);
    if ((word & gate::metered) != 0) {
      auto const quota = s.quota.load(std::memory_order_relaxed);
      auto const threshold = quota - quota / 5;
      auto const spent = quota - (s.base.load(std::memory_order_relaxed) - before);
      if (spent < threshold && spent + actual >= threshold) {
        note(event_kind::near_limit, g);
      }
    }
    bool recovered = false;
    if ((word & gate::probation) != 0) {
      auto const cool = s.cool_until.load(std::memory_order_acquire);
      recovered = cool != 0 && g.taken >= cool && table_.restore(s, cool);
    }
    if (waiting_.load(std::memory_order_seq_cst) != 0) {
      changed_.store(true, std::memory_order_seq_cst); // what was lent is spent: some who hoped for it wait in vain
    }
    grow_concurrency(s);
    if (auto& l = lanes_[g.lane]; l.everywhere.setbacks.load(std::memory_order_relaxed) != 0) {
      l.everywhere.setbacks.store(0, std::memory_order_relaxed);
    }
    if (g.lane != 0) {
      auto& rest = lanes_[g.lane].slots[s.index];
      if (rest.setbacks.load(std::memory_order_relaxed) != 0 &&
          g.taken >= rest.cool_until.load(std::memory_order_relaxed)) {
        rest.setbacks.store(0, std::memory_order_relaxed);
      }
    }
    if (recovered) {
      note(event_kind::recovered, g);
    }
    charged();
    finish(g);
  }

  void refund(grant& g) noexcept {
    table_.give_back(*g.from, g.what, g.counted_since);
    g.from->gate.fetch_sub(gate::grant, std::memory_order_relaxed);
    finish(g);
  }

  void report(grant& g, outcome const& what) noexcept {
    auto& s = *g.from;
    begin_end(g);
    table_.give_back_tokens(s, g.what, g.what.tokens, g.counted_since);
    if (what.what() != outcome::kind::rejected && what.what() != outcome::kind::too_large) {
      s.failures.fetch_add(1, std::memory_order_relaxed);
    }
    switch (what.what()) {
    case outcome::kind::rate_limited: rate_limited(g, what); break;
    case outcome::kind::exhausted: exhausted(g, what); break;
    case outcome::kind::concurrency_limited: shrink_concurrency(s); break;
    case outcome::kind::overloaded: overloaded(g); break;
    case outcome::kind::invalid_key: // concerns the key, of which the core knows nothing
    case outcome::kind::too_large:
    case outcome::kind::rejected:
    case outcome::kind::transport_error: break;
    }
    finish(g);
  }

  /// The provider said how many requests may be under way at once.
  void learn_concurrency(slot_type& s, std::uint32_t most) noexcept {
    auto const before = s.learned_concurrency.exchange(most, std::memory_order_seq_cst);
    s.learn_after.store(never, std::memory_order_relaxed); // what is known need not be found out
    if (before != most) {
      freed(s);
    }
  }

  // --- administration: one thread at a time, the front locks

  /// How many keys or proxies there are, usable or not: with none, waiting is pointless.
  void set_population(std::size_t count) noexcept { population_.store(count, std::memory_order_relaxed); }

  [[nodiscard]] slot_type& add_slot() {
    lanes_.add_slot(table_.size());
    return table_.add();
  }

  /// Limits, a balance or the on/off state of a slot have changed.
  void freed(slot_type& s) noexcept {
    changed_.store(true, std::memory_order_seq_cst);
    if ((s.gate.load(std::memory_order_seq_cst) & gate::parked) != 0) {
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
        w.aborted = true;
        leave_line(w);
        push_done(w, done);
      }
    }
    complete_all(done);
    // Leases that end from here on let go of the core, each at its own time: none of them may be the last one before
    // all have been counted.
    constexpr std::uint64_t counting = std::uint64_t{1} << 40;
    holders_.fetch_add(counting, std::memory_order_acq_rel);
    std::uint64_t leases = 0;
    for (std::uint32_t i = 0, n = table_.size(); i < n; ++i) {
      leases += table_.close(table_[i]);
    }
    holders_.fetch_add(leases - counting, std::memory_order_acq_rel);
    let_go();
  }

  /// Keeps the core alive until `let_go`, beyond `close` too.
  void hold() noexcept { holders_.fetch_add(1, std::memory_order_relaxed); }
  void let_go() noexcept {
    if (holders_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      delete this;
    }
  }

  void set_strategy(strategy s) noexcept { strategy_.store(s, std::memory_order_relaxed); }
  void set_cooldown(tick base) noexcept { cooldown_.store(base, std::memory_order_relaxed); }

protected:
  virtual ~pool_core() = default;

  /// Call `wake` at `at`; replaces what was set before, `never` means not at all. Called with the line's lock held.
  virtual void set_alarm(tick at) noexcept = 0;
  virtual void note(event_kind kind, grant const& g) noexcept = 0;
  /// A lease was settled: what stores keep has changed.
  virtual void charged() noexcept = 0;
  /// The last lease of a slot with retired keys has ended.
  virtual void retire(slot_type& s) noexcept = 0;

private:
  using line_type = boost::intrusive::list<
      waiter, boost::intrusive::member_hook<waiter, boost::intrusive::list_member_hook<>, &waiter::in_line_>,
      boost::intrusive::constant_time_size<false>>;
  struct deadline_of {
    using type = tick;
    tick operator()(waiter const& w) const noexcept { return w.deadline_; }
  };
  using deadlines_type = boost::intrusive::multiset<
      waiter, boost::intrusive::member_hook<waiter, boost::intrusive::set_member_hook<>, &waiter::by_deadline_>,
      boost::intrusive::key_of_value<deadline_of>, boost::intrusive::constant_time_size<false>>;

  struct alignas(64) cursor {
    std::atomic<std::uint32_t> at{0};
  };

  [[nodiscard]] static bool bars(slot_type const& s, capability_set needs) noexcept {
    if (needs.empty()) {
      return false;
    }
    // several needs at once: no key of the account may lack any, for the one that is picked has to have them all
    auto const several = (needs.bits() & (needs.bits() - 1)) != 0;
    auto const& barred = several ? s.barred_somewhere : s.barred;
    return needs.intersects(capability_set::from_bits(barred.load(std::memory_order_acquire)));
  }

  // Threads that turned one wheel would pass its cache line to and fro on every acquire.
  [[nodiscard]] cursor& my_cursor() noexcept {
    static thread_local char const here{};
    if (strategy_.load(std::memory_order_relaxed) == strategy::fill_first) {
      return cursors_[0];
    }
    return cursors_[(reinterpret_cast<std::uintptr_t>(&here) >> 12) * 0x9e3779b97f4a7c15 >> 61];
  }

  [[nodiscard]] bool take(demand const& want, grant& out, lazy_now& now, std::span<std::uint32_t const> avoid,
                          std::uint32_t except, bool& disturbed) noexcept {
    auto const due = table_.next_return();
    if (due != never && due <= now()) {
      table_.run_due(now());
      disturbed = true;
    }
    auto const& lane = lanes_[want.lane];
    if (auto const rest = lane.everywhere.cool_until.load(std::memory_order_acquire); rest != 0 && now() < rest) {
      return false;
    }
    auto& wheel = my_cursor();
    auto const start = wheel.at.load(std::memory_order_relaxed);
    auto low = start;
    auto high = ready_index<>::npos;
    for (int pass = 0; pass < 2; ++pass) {
      for (auto i = table_.ready().next(low); i < high; i = table_.ready().next(i + 1)) {
        auto& s = table_[i];
        if (i == except || bars(s, want.needs) ||
            (!avoid.empty() && std::find(avoid.begin(), avoid.end(), i) != avoid.end())) {
          continue;
        }
        if (want.lane != 0) {
          auto const rest = lane.slots[i].cool_until.load(std::memory_order_acquire);
          if (rest != 0 && now() < rest) {
            continue;
          }
        }
        out.what = {want.tokens, want.unsent};
        if (table_.reserve(s, out.what, now, disturbed)) {
          auto const next = strategy_.load(std::memory_order_relaxed) == strategy::fill_first ? i : i + 1;
          if (next != start) {
            wheel.at.store(next, std::memory_order_relaxed);
          }
          fill(out, s, want, now);
          return true;
        }
        if (!table_.available(s, 1, now()).ready(now())) {
          table_.park(s, now());
          disturbed = true;
        }
        if (auto const word = s.gate.load(std::memory_order_relaxed);
            (word & gate::retired) != 0 && gate::leases(word) == 0) {
          retire(s); // the lease that was taken for a moment may have been the one that others waited for
        }
      }
      low = 0;
      high = start;
    }
    return false;
  }

  void fill(grant& out, slot_type& s, demand const& want, lazy_now& now) const noexcept {
    auto const word = s.gate.load(std::memory_order_relaxed);
    out.from = &s;
    out.lane = want.lane;
    out.serial = gate::grants(word);
    // a slot on probation, with rates or with a lane's rest behind it wants to know when; the others need no clock
    auto const timed = out.what.counted != 0 || (word & gate::probation) != 0 || want.lane != 0;
    out.taken = timed ? now() : 0;
    out.counted_since = out.taken;
    out.what.unsent = want.unsent && out.what.counted != 0;
  }

  // --- the line; mutex_ is held

  /// A request that was refused in this pass. Who asks for the same kind and no fewer tokens would be refused too, and
  /// nothing that helps him comes earlier than what helps the first.
  struct refused {
    demand want;
    std::optional<outlook> seen;
  };
  using refusals = boost::container::static_vector<refused, 16>;

  /// Serves whom it can. A full pass also tells everybody his prospects; it is due when something became later or
  /// impossible, or when the moment has come for which the alarm was set.
  void serve_line(waiter*& done, waiter* fresh = nullptr) noexcept {
    lazy_now now{clock()};
    expire_line(now(), done);
    if (fresh && !fresh->in_line_.is_linked()) {
      fresh = nullptr;
    }
    auto const full = changed_.exchange(false, std::memory_order_seq_cst) || alarm_ <= now();
    auto alarm = full ? never : alarm_;
    if (full) {
      head_ = nullptr;
    }
    refusals refused_before;
    for (auto it = line_.begin(); it != line_.end();) {
      auto& w = *it++;
      auto const first = &w == &line_.front();
      if (first && head_ != &w) {
        earmark_ = ready_index<>::npos;
      }
      auto const* const worse_off = find_refused(refused_before, w.want);
      bool disturbed = false;
      if (!worse_off && take(w.want, w.got, now, {}, first ? ready_index<>::npos : earmark_, disturbed)) {
        leave_line(w);
        push_done(w, done);
        continue;
      }
      auto const wants_outlook = full || (first && head_ != &w) || &w == fresh;
      std::optional<outlook> seen;
      if (wants_outlook) {
        seen = worse_off && worse_off->seen && (worse_off->want.tokens == w.want.tokens || refused_before.size() == 16)
                   ? *worse_off->seen
                   : look(w.want, now(), first ? ready_index<>::npos : earmark_);
        if (fail_if_hopeless(w, *seen, now(), done)) {
          continue;
        }
        alarm = std::min(alarm, seen->at);
        if (first) {
          head_ = &w;
          earmark_ = seen->keep;
        }
      }
      if (!worse_off && refused_before.size() < refused_before.capacity()) {
        refused_before.push_back({w.want, seen});
      }
      if (!full && nothing_left()) {
        if (!fresh || &w == fresh) {
          break;
        }
        it = line_.iterator_to(*fresh); // it joined last, and wants to know its prospects
      }
    }
    if (line_.empty()) {
      head_ = nullptr;
      set_alarm_if_new(never);
      return;
    }
    if (!deadlines_.empty()) {
      alarm = std::min(alarm, deadlines_.begin()->deadline_);
    }
    set_alarm_if_new(std::min(alarm, table_.next_return()));
  }

  [[nodiscard]] static refused const* find_refused(refusals const& before, demand const& want) noexcept {
    auto const at = std::find_if(before.begin(), before.end(), [&](refused const& r) {
      return r.want.lane == want.lane && r.want.needs == want.needs && r.want.tokens <= want.tokens;
    });
    return at == before.end() ? nullptr : &*at;
  }

  /// Nobody but the head could be served.
  [[nodiscard]] bool nothing_left() const noexcept {
    auto const first = table_.ready().next(0);
    return first == ready_index<>::npos || (first == earmark_ && table_.ready().next(first + 1) == ready_index<>::npos);
  }

  void expire_line(tick now, waiter*& done) noexcept {
    while (!deadlines_.empty() && deadlines_.begin()->deadline_ <= now) {
      auto& w = *deadlines_.begin();
      bool disturbed = false;
      lazy_now clock_again{clock()};
      if (&w == &line_.front() && take(w.want, w.got, clock_again, {}, ready_index<>::npos, disturbed)) {
        leave_line(w); // the capacity and the deadline came together
        push_done(w, done);
        continue;
      }
      auto const seen = look(w.want, now);
      fail(w, why_not(seen, now), seen.return_at(now), now, done);
    }
  }

  [[nodiscard]] error why_not(outlook const& seen, tick now) const noexcept {
    if (population_.load(std::memory_order_relaxed) == 0) {
      return error::no_keys;
    }
    if (seen.any && seen.too_large) {
      return error::too_large;
    }
    return seen.return_at(now) == never ? error::exhausted : error::would_miss_deadline;
  }

  bool fail_if_hopeless(waiter& w, outlook const& seen, tick now, waiter*& done) noexcept {
    auto const hope = std::min(seen.at, seen.event_at);
    if (seen.sooner || (hope != never && hope <= w.deadline_)) {
      return false;
    }
    fail(w, why_not(seen, now), seen.return_at(now), now, done);
    return true;
  }

  void fail(waiter& w, error why, tick back_at, tick now, waiter*& done) noexcept {
    w.ec = why;
    if (back_at != never) {
      w.back_in = std::max<tick>(back_at - now, 0);
    }
    leave_line(w);
    push_done(w, done);
  }

  void leave_line(waiter& w) noexcept {
    if (head_ == &w) {
      head_ = nullptr;
    }
    line_.erase(line_.iterator_to(w));
    if (w.by_deadline_.is_linked()) {
      deadlines_.erase(deadlines_.iterator_to(w));
    }
    waiting_.fetch_sub(1, std::memory_order_seq_cst);
  }

  static void push_done(waiter& w, waiter*& done) noexcept {
    w.next_done_ = done;
    done = &w;
  }

  /// In the order they were served: `done` has the last one first.
  static void complete_all(waiter* done) noexcept {
    waiter* first = nullptr;
    while (done) {
      auto* const next = std::exchange(done->next_done_, first);
      first = done;
      done = next;
    }
    while (first) {
      auto* const next = first->next_done_; // a completed waiter may be gone at once
      first->complete();
      first = next;
    }
  }

  void set_alarm_if_new(tick at) noexcept {
    if (at != alarm_) {
      alarm_ = at;
      set_alarm(at);
    }
  }

  // --- the ends of a lease

  /// A request that ends without a mark was sent now at the latest.
  void begin_end(grant& g) noexcept {
    if (g.what.unsent) {
      mark_sent(g);
    }
  }

  void finish(grant& g) noexcept {
    auto& s = *std::exchange(g.from, nullptr);
    auto const word = table_.end_lease(s, g.what);
    if ((word & gate::closed) == 0) {
      if ((word & gate::parked) != 0) {
        table_.reconsider(s, now());
      }
      if ((word & gate::retired) != 0 && gate::leases(word) == 1) {
        retire(s);
      }
      wake();
    }
    if (table_.end_finished(s)) {
      let_go();
    }
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
      return std::max<tick>(duration_cast<nanoseconds>(*what.until() - clock().wall_now()).count(), 0);
    }
    return {};
  }

  /// Requests that were under way together fail together: only one that began after the last rest adds to it.
  [[nodiscard]] static std::uint32_t count_setback(std::atomic<std::uint32_t>& setbacks, tick cool_until,
                                                   tick taken) noexcept {
    if (cool_until == 0 || taken >= cool_until) {
      return setbacks.fetch_add(1, std::memory_order_relaxed);
    }
    return std::max(setbacks.load(std::memory_order_relaxed), 1U) - 1;
  }

  void rate_limited(grant const& g, outcome const& what) noexcept {
    auto& s = *g.from;
    auto const at = now();
    if (g.lane == 0) {
      auto const n = count_setback(s.setbacks, s.cool_until.load(std::memory_order_acquire), g.taken);
      auto const rest =
          asked_for(what).value_or(doubled(cooldown_.load(std::memory_order_relaxed), n, options_.most_cooldown));
      rest_slot(g, rest_kind::rate_limited, after(at, jitter_(rest)), at);
      return;
    }
    auto& lane = lanes_[g.lane].slots[s.index];
    auto cool = lane.cool_until.load(std::memory_order_acquire);
    auto const n = count_setback(lane.setbacks, cool, g.taken);
    auto const rest =
        asked_for(what).value_or(doubled(cooldown_.load(std::memory_order_relaxed), n, options_.most_cooldown));
    auto const until = after(at, jitter_(rest));
    while (cool < until && !lane.cool_until.compare_exchange_weak(cool, until, std::memory_order_seq_cst)) {
    }
    changed_.store(true, std::memory_order_seq_cst);
    note(event_kind::rate_limited, g);
  }

  void exhausted(grant const& g, outcome const& what) noexcept {
    constexpr tick hour = 3'600'000'000'000;
    auto& s = *g.from;
    auto const at = now();
    auto const n = count_setback(s.setbacks, s.cool_until.load(std::memory_order_acquire), g.taken);
    auto const rest = asked_for(what).value_or(doubled(hour, n, 24 * hour));
    rest_slot(g, rest_kind::exhausted, after(at, jitter_(rest)), at);
  }

  void rest_slot(grant const& g, rest_kind kind, tick until, tick at) noexcept {
    auto const rested = g.from->cool_until.load(std::memory_order_acquire) > at;
    if (table_.cool(*g.from, kind, until, at)) {
      changed_.store(true, std::memory_order_seq_cst);
      if (!rested) {
        note(kind == rest_kind::exhausted ? event_kind::exhausted : event_kind::rate_limited, g);
      }
    }
  }

  /// The lane rests when two accounts were told so within 5 s.
  void overloaded(grant const& g) noexcept {
    constexpr std::uint64_t time_mask = (std::uint64_t{1} << 40) - 1;
    constexpr tick base = 1'000'000'000;
    auto& lane = lanes_[g.lane];
    auto const at = now();
    auto const ms = static_cast<std::uint64_t>(at / 1'000'000) & time_mask;
    auto const mine = std::uint64_t{g.from->index} + 1;
    auto const last = lane.last_overload.exchange(mine << 40 | ms, std::memory_order_relaxed);
    if (last == 0 || last >> 40 == mine || ms - (last & time_mask) > 5000) {
      return;
    }
    auto cool = lane.everywhere.cool_until.load(std::memory_order_relaxed);
    if (cool > at) {
      return;
    }
    auto const n = lane.everywhere.setbacks.fetch_add(1, std::memory_order_relaxed);
    auto const until = after(at, jitter_(doubled(base, n, 60 * base)));
    lane.everywhere.cool_until.compare_exchange_strong(cool, until, std::memory_order_seq_cst);
    changed_.store(true, std::memory_order_seq_cst);
  }

  void shrink_concurrency(slot_type& s) noexcept {
    auto const out = gate::leases(s.gate.load(std::memory_order_relaxed)); // the one that failed is among them
    auto const cap = std::max(out, 2U) - 1;
    s.learned_concurrency.store(cap, std::memory_order_seq_cst);
    s.learn_after.store(after(now(), relearn_interval), std::memory_order_relaxed);
  }

  void grow_concurrency(slot_type& s) noexcept {
    auto const learned = s.learned_concurrency.load(std::memory_order_relaxed);
    if (learned == 0) {
      return;
    }
    auto due = s.learn_after.load(std::memory_order_relaxed);
    if (due == never) {
      return;
    }
    auto const at = now();
    if (at < due ||
        !s.learn_after.compare_exchange_strong(due, after(at, relearn_interval), std::memory_order_relaxed)) {
      return;
    }
    auto const set = s.concurrency.load(std::memory_order_relaxed);
    s.learned_concurrency.store(set != 0 && learned + 1 >= set ? 0 : learned + 1, std::memory_order_seq_cst);
  }

  static constexpr tick relearn_interval = 10'000'000'000;

  core_options const options_;
  std::atomic<strategy> strategy_;
  std::atomic<tick> cooldown_;
  jitter jitter_;
  table_type table_;
  lanes lanes_;
  std::array<cursor, 8> cursors_;

  alignas(64) std::atomic<std::uint32_t> waiting_{0};
  std::atomic<bool> changed_{false}; // something became later or impossible since the line was last looked at
  std::atomic<std::size_t> population_{0};
  std::atomic<std::uint64_t> holders_{1}; // the front, and after close() each lease that was out
  std::mutex mutex_;                      // guards what follows
  line_type line_;
  deadlines_type deadlines_;
  tick alarm_ = never;
  waiter* head_ = nullptr;                      // the head for which `earmark_` was found
  std::uint32_t earmark_ = ready_index<>::npos; // the slot kept for the head of the line
};

} // namespace rondo::detail
