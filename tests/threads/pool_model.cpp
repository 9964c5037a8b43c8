// SPDX-License-Identifier: BSL-1.0
// Random programs, one thread, clocks moved by hand: after every step the pool is compared with what providers would
// have seen. A run depends on its seed alone. One that fails names its seed and shows its last steps; to repeat it, or
// to search for longer:
//
//   RONDO_SEED=17 RONDO_STEPS=100000 ./threads_tests --run_test=pool_model
//
// The rules beside those of `usage`:
// - Nobody waits in vain for a key that could serve him: no key can serve the head of the line, and at most one key,
//   the one that is kept for the head, can serve any of the others.
// - Nobody fails before his deadline while a key could serve him by then, or a lease that ends could bring it.
// - Nobody is overtaken by one who wants the same kind and no fewer tokens.
#include "provider_model.hpp"
#include "support/manual_clock.hpp"
#include "support/pool_alarm.hpp"
#include <rondo/key_pool.hpp>
#include <rondo/renewal.hpp>
#include <rondo/time_zone.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/test/unit_test.hpp>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <list>
#include <optional>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace asio = boost::asio;
using namespace rondo::test;
using rondo::error;
using rondo::outcome;
using std::chrono::nanoseconds;

namespace {

/// How large a world is.
struct shape {
  std::size_t accounts;
  std::size_t keys; ///< of an account, at most
  std::size_t lanes;
  bool by_days = false; ///< limits of a day by the calendar alone, soon used up
};

struct demand {
  std::int64_t tokens = 0;
  std::string lane;
  rondo::capability_set needs;
  bool unsent = false;
};

class pool_run {
public:
  pool_run(shape const& size, std::uint64_t seed) : size_{size}, random_{seed} { begin(); }
  pool_run(pool_run const&) = delete;
  pool_run& operator=(pool_run const&) = delete;

  void step() {
    pass(anything_from(1'000, 50'000));
    act();
    settle_down();
    check_line();
    if (one_in(16)) {
      check_books();
    }
  }

  /// Ends everything; what waits must be told.
  void finish() {
    check_books();
    end_pool();
    orphans_.clear();
  }

  [[nodiscard]] std::string last_steps() const {
    std::string out;
    for (auto const& line : log_) {
      out += "\n  " + line;
    }
    return out;
  }

private:
  struct held {
    std::uint64_t id;
    rondo::lease lease;
    std::size_t account;
    std::uint64_t key;
    demand want;
    bool shared; ///< counted by the account's share of the lane too
    std::uint64_t rests_before;
    std::uint64_t rests_of_share_before;
    std::uint64_t periods_before;
  };
  struct waiting {
    std::uint64_t id;
    demand want;
    moment deadline;
    asio::cancellation_signal signal;
    bool cancelled = false;
  };
  struct completion {
    std::uint64_t waiter;
    rondo::error_code ec;
    rondo::lease lease;
  };

  // --- chance

  std::uint64_t below(std::uint64_t n) { return random_() % n; }
  bool one_in(std::uint64_t n) { return below(n) == 0; }
  std::int64_t anything_from(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(below(static_cast<std::uint64_t>(high - low + 1)));
  }
  template <class Container> auto& any_of(Container& c) {
    return *std::next(c.begin(), static_cast<long>(below(c.size())));
  }

  moment some_time() {
    switch (below(8)) {
    case 0: return anything_from(1, hour);
    case 1:
    case 2: return anything_from(1, 70 * second);
    case 3:
    case 4: return anything_from(1, 2 * second);
    default: return anything_from(1, 100 * millisecond);
    }
  }
  std::int64_t some_tokens() {
    return one_in(40) ? anything_from(0, 5'000) : one_in(5) ? anything_from(0, 100) : anything_from(0, 20);
  }
  std::string some_lane() {
    auto const n = below(size_.lanes + 1);
    return n == 0 ? std::string{} : "lane" + std::to_string(n);
  }
  rondo::capability_set some_needs() {
    auto const user = [](unsigned n) { return static_cast<rondo::capability>(24 + n); };
    switch (below(12)) {
    case 0: return user(0);
    case 1: return user(1);
    case 2: return {user(0), user(1)};
    default: return {};
    }
  }
  demand some_demand() { return {some_tokens(), some_lane(), some_needs(), one_in(6)}; }

  rondo::limits some_limits(rondo::renewal const& days, bool of_lane) {
    rondo::limits out{.day_renewal = days};
    auto const chance = of_lane ? 6U : 3U;
    auto const maybe = [&](auto& limit, std::int64_t low, std::int64_t high) {
      if (one_in(chance)) {
        limit = static_cast<std::remove_reference_t<decltype(limit)>>(anything_from(low, high));
      }
    };
    if (size_.by_days) {
      maybe(out.requests_per_day, 1, 6);
      maybe(out.tokens_per_day, 20, 60);
      return out;
    }
    maybe(out.requests_per_second, 1, 5);
    maybe(out.requests_per_minute, 1, 12);
    maybe(out.tokens_per_minute, 20, 300);
    if (days != rondo::renewal{} || one_in(3)) {
      maybe(out.requests_per_day, 10, 60);
      maybe(out.tokens_per_day, 200, 2'000);
    }
    maybe(out.concurrency, 1, 4);
    maybe(out.quota, 50, 2'000);
    if (out.quota != 0 && one_in(2)) {
      out.quota_reset =
          clock_.wall_now() + std::chrono::duration_cast<rondo::wall_time::duration>(nanoseconds{some_time()});
    }
    return out;
  }

  rondo::renewal some_days() {
    using rondo::renewal, rondo::time_zone;
    return !size_.by_days && one_in(2) ? renewal::none()
                                       : renewal::daily(one_in(2) ? time_zone::utc() : time_zone::pacific());
  }

  // --- time

  [[nodiscard]] moment now() const { return nanoseconds{clock_.steady_now().time_since_epoch()}.count(); }
  [[nodiscard]] moment alarm() const {
    auto const at = alarm_of(*pool_);
    return at ? nanoseconds{at->time_since_epoch()}.count() : forever;
  }

  void move_clock_to(moment t) {
    if (t > now()) {
      clock_.advance(nanoseconds{t - now()});
      for (auto& a : accounts_) {
        a.whole.pass(t, clock_.wall_now());
        for (auto& [name, share] : a.shares) {
          share.pass(t, clock_.wall_now());
        }
      }
    }
  }

  /// Time goes by as it does for a pool with a timer: it is woken when its alarm goes off, and at no other moment.
  void pass(moment length) {
    auto const end = now() + length;
    for (auto next = next_event(); next <= end; next = next_event()) {
      move_clock_to(next);
      if (alarm() <= now()) {
        ring();
      }
      check_line();
    }
    move_clock_to(end);
  }

  /// When the alarm goes off, or should have gone off for the head of the line.
  [[nodiscard]] moment next_event() {
    auto at = alarm();
    for (auto const& a : accounts_) {
      if (auto const p = line_.empty() ? prospect{forever} : outlook(a, line_.front().want); !p.event && p.at > now()) {
        at = std::min(at, p.at);
      }
    }
    return at;
  }

  void ring() {
    note("alarm " + std::to_string(alarm()) + " at " + std::to_string(now()));
    pool_->wake();
    run_handlers();
    require(alarm() > now() || rings_ < 3, "the alarm goes off again and again");
    rings_ = alarm() > now() ? 0 : rings_ + 1;
  }

  void settle_down() {
    run_handlers();
    while (alarm() <= now()) {
      ring();
    }
  }

  // --- steps

  void act() {
    auto const n = below(100);
    if (n < 20) {
      try_acquire();
    } else if (n < 38) {
      wait();
    } else if (n < 66) {
      end_some_lease();
    } else if (n < 72) {
      mark_some_sent();
    } else if (n < 76) {
      cancel_somebody();
    } else if (n < 79) {
      end_and_cancel();
    } else if (n < 88) {
      auto const length = one_in(size_.by_days ? 3 : 12) ? anything_from(1, 14 * hour) : some_time();
      note("pass " + std::to_string(length / millisecond) + " ms");
      pass(length);
    } else {
      administer();
    }
  }

  void administer() {
    switch (below(12)) {
    case 0:
    case 1: add_some_key(); break;
    case 2: remove_some_key(); break;
    case 3: switch_some_key(); break;
    case 4:
    case 5: revive_some_key(); break;
    case 6: change_limits(); break;
    case 7: change_lane_limits(); break;
    case 8:
    case 9: change_balance(); break;
    case 10:
      pool_->set_strategy(static_cast<rondo::strategy>(below(6)));
      note("strategy");
      set_wall_clock();
      break;
    default:
      if (one_in(12)) {
        note("new pool");
        end_pool();
        begin();
      } else {
        bar_or_teach();
      }
    }
  }

  void set_wall_clock() {
    for (auto const& a : accounts_) {
      if (a.whole.has_unseen_day() || std::any_of(a.shares.begin(), a.shares.end(),
                                                  [](auto const& share) { return share.second.has_unseen_day(); })) {
        return; // when that day ends would depend on who looks when
      }
    }
    auto const by = anything_from(-hour, hour);
    note("wall clock by " + std::to_string(by / second) + " s");
    clock_.set_wall_by(nanoseconds{by});
  }

  void try_acquire() {
    auto const want = some_demand();
    note("try_acquire " + text(want));
    auto got =
        pool_->try_acquire({.tokens = want.tokens,
                            .lane = want.lane,
                            .needs = want.needs,
                            .affinity = static_cast<int>(below(4)) == 0 ? rondo::affinity{below(5)} : rondo::affinity{},
                            .unsent = want.unsent});
    touch(want.lane);
    run_handlers();
    if (got) {
      for (auto const& w : line_) {
        require(!same_kind(w.want, want) || w.want.tokens > want.tokens,
                "waiter " + std::to_string(w.id) + " was overtaken");
      }
      accept(std::move(*got), want);
      return;
    }
    auto const able = who_can_serve(want);
    require(able.size() <= (line_.empty() ? 0U : 1U), "refused, though " + list(able) + " could serve");
  }

  void wait() {
    if (line_.size() >= 12) {
      return;
    }
    auto& w = line_.emplace_back();
    w.id = ++ids_;
    w.want = some_demand();
    auto const timeout = one_in(2) ? forever : one_in(6) ? 0 : some_time();
    w.deadline = timeout == forever ? forever : now() + timeout;
    note("wait " + text(w.want) + " as " + std::to_string(w.id) +
         (timeout == forever ? "" : " for " + std::to_string(timeout / millisecond) + " ms"));
    pool_->async_acquire(
        {.tokens = w.want.tokens,
         .lane = w.want.lane,
         .timeout = nanoseconds{timeout},
         .needs = w.want.needs,
         .unsent = w.want.unsent},
        asio::bind_cancellation_slot(
            w.signal.slot(),
            asio::bind_executor(handlers_.get_executor(), [this, id = w.id](rondo::error_code ec, rondo::lease l) {
              completed_.push_back({id, ec, std::move(l)});
            })));
    touch(w.want.lane);
    require(completed_.empty(), "a handler ran inside the initiating function");
  }

  void cancel_somebody() {
    if (line_.empty()) {
      return;
    }
    auto& w = any_of(line_);
    constexpr std::array types{asio::cancellation_type::terminal, asio::cancellation_type::partial,
                               asio::cancellation_type::total};
    note("cancel " + std::to_string(w.id));
    w.cancelled = true;
    w.signal.emit(any_of(types));
  }

  /// The lease that ends may serve the one who is cancelled before his handler has run.
  void end_and_cancel() {
    end_some_lease();
    cancel_somebody();
  }

  void mark_some_sent() {
    if (leases_.empty()) {
      return;
    }
    auto& h = any_of(leases_);
    note("mark_sent " + std::to_string(h.id));
    h.lease.mark_sent();
    sent(h);
  }

  void end_some_lease() {
    if (!orphans_.empty() && one_in(4)) {
      require(orphans_.back().secret() == "secret", "a lease lost its secret");
      note("end an orphan");
      end_orphan();
      return;
    }
    if (leases_.empty()) {
      return;
    }
    auto const at = std::next(leases_.begin(), static_cast<long>(below(leases_.size())));
    switch (below(12)) {
    case 0:
    case 1:
    case 2: refund(*at); break;
    case 3:
    case 4: report(*at); break;
    default: settle(*at);
    }
    leases_.erase(at);
  }

  void end_orphan() {
    auto l = std::move(orphans_.back());
    orphans_.pop_back();
    switch (below(4)) {
    case 0: l.refund(); break;
    case 1: l.report(outcome::invalid_key()); break;
    case 2: l.report(outcome::rate_limited()); break;
    default: break;
    }
  }

  void settle(held& h) {
    auto& a = accounts_[h.account];
    auto actual = h.want.tokens;
    switch (below(12)) {
    case 0:
    case 1:
    case 2:
    case 3: actual = anything_from(0, actual); break;
    case 4:
    case 5: actual += anything_from(1, 50); break;
    case 6:
      actual = one_in(10) && !a.whole.rated() && !(h.shared && a.shares[h.want.lane].rated())
                   ? std::int64_t{1} << anything_from(29, 41)
                   : actual;
      break;
    default: break;
    }
    auto const dropped = actual == h.want.tokens && one_in(2);
    note((dropped ? "drop " : "settle ") + std::to_string(h.id) + " at " + std::to_string(actual));
    sent(h);
    charge(h, actual);
    succeed(a.whole, h.rests_before);
    if (h.shared) {
      succeed(a.shares[h.want.lane], h.rests_of_share_before);
    }
    auto& lane = lanes_[h.want.lane];
    lane.overloads = lane.most_overloads = 0;
    if (dropped) {
      h.lease = rondo::lease{};
    } else {
      h.lease.settle(actual);
    }
  }

  void refund(held& h) {
    note("refund " + std::to_string(h.id));
    auto& a = accounts_[h.account];
    a.whole.refund(h.id);
    if (h.shared) {
      a.shares[h.want.lane].refund(h.id);
    }
    if (auto* const k = key_of(h)) {
      --k->requests;
    }
    h.lease.refund();
  }

  void report(held& h) {
    auto& a = accounts_[h.account];
    auto& lane = lanes_[h.want.lane];
    auto* const key = key_of(h);
    auto const leases = a.whole.out.size();
    auto const length = one_in(8) ? some_time() : anything_from(0, 2 * second);
    auto const in = std::chrono::duration_cast<outcome::duration>(nanoseconds{length});
    auto const until = clock_.wall_now() + std::chrono::duration_cast<rondo::wall_time::duration>(in);
    auto const said = below(3); // nothing, a length, an instant
    auto what = outcome::rejected();
    sent(h);
    charge(h, 0);
    auto failure = true;
    switch (below(10)) {
    case 0:
    case 1:
    case 2: {
      what = said == 0 ? outcome::rate_limited() : said == 1 ? outcome::rate_limited(in) : outcome::rate_limited(until);
      auto& u = h.want.lane.empty() ? a.whole : share_of(a, h.want.lane);
      u.begin_rest(said == 0 ? margin{now() + cooldown, margin::of_rest(now(), hour).latest}
                             : margin::of_rest(now(), length),
                   rest_reason::rate_limited);
      break;
    }
    case 3:
      what = said == 0 ? outcome::exhausted() : said == 1 ? outcome::exhausted(in) : outcome::exhausted(until);
      a.whole.begin_rest(said == 0 ? margin{now() + hour, margin::of_rest(now(), 24 * hour).latest}
                                   : margin::of_rest(now(), length),
                         rest_reason::exhausted);
      break;
    case 4:
      what = outcome::concurrency_limited();
      {
        auto const fewer = static_cast<std::uint32_t>(std::max<std::size_t>(leases, 2) - 1);
        a.whole.learned_cap = a.whole.learned_cap != 0 ? std::min(a.whole.learned_cap, fewer) : fewer;
      }
      a.whole.learn_after = now() + 10 * second;
      a.whole.adapting = true;
      break;
    case 5:
    case 6:
      what = outcome::overloaded();
      overload(lane, h.account);
      break;
    case 7:
      if (one_in(2)) {
        what = outcome::invalid_key();
        if (key) {
          key->invalid = true;
        }
        break;
      }
      [[fallthrough]];
    case 8: what = outcome::transport_error(); break;
    default: what = one_in(2) ? outcome::rejected() : outcome::too_large(); failure = false;
    }
    if (key && failure) {
      ++key->failures;
    }
    note("report " + std::to_string(h.id) + " " + std::string{to_string(what.what())} +
         (said == 0 ? "" : " " + std::to_string(length / millisecond) + " ms"));
    h.lease.report(what);
  }

  void add_some_key() {
    auto const n = below(accounts_.size());
    auto& a = accounts_[n];
    if (a.keys.size() >= size_.keys) {
      return;
    }
    rondo::key_params p;
    p.account = a.name;
    std::size_t number = 0;
    do {
      p.name = a.name + "/" + std::to_string(number++);
    } while (std::any_of(a.keys.begin(), a.keys.end(), [&](auto const& k) { return k.name == p.name; }));
    p.secret = rondo::secret{"secret"};
    p.disabled = one_in(10);
    if (one_in(4)) {
      p.barred = some_needs();
    }
    auto const fresh = !a.known;
    if (a.keys.empty()) {
      p.limits = some_limits(a.days, false);
      p.lane_limits = one_in(4) ? some_limits(a.days, true) : rondo::limits{.day_renewal = a.days};
      for (std::size_t i = 1; i <= size_.lanes; ++i) {
        if (one_in(3 * size_.lanes)) {
          p.lanes["lane" + std::to_string(i)] = some_limits(a.days, true);
        }
      }
      if (fresh && one_in(5)) {
        p.remaining = anything_from(0, 500);
      }
    } else {
      p.limits = a.whole.allowed;
      p.lanes = a.lanes;
      p.lane_limits = a.lane_limits;
    }
    note("add " + p.name + (a.keys.empty() ? " " + text(p.limits) : "") +
         (p.remaining ? " with " + std::to_string(*p.remaining) : ""));
    if (a.keys.empty()) {
      a.lanes = p.lanes;
      a.lane_limits = p.lane_limits;
      a.known = true;
      for (auto const& [lane, l] : p.lanes) {
        touch(lane);
        limit_share(a, lane, l);
      }
      for (auto const& [name, lane] : lanes_) {
        if (!name.empty() && (lane.counted || a.limits_of(name) != rondo::limits{})) {
          limit_share(a, name, a.limits_of(name));
        }
      }
      if (fresh) {
        apply_limits(a, p.limits, p.remaining.value_or(p.limits.quota), p.remaining.has_value());
      } else {
        change_limits_of(a, p.limits);
      }
    }
    a.keys.push_back({p.name, ++ids_, p.disabled, false, p.barred});
    pool_->add(std::move(p));
  }

  void remove_some_key() {
    auto& a = any_of(accounts_);
    if (a.keys.empty()) {
      return;
    }
    auto const at = std::next(a.keys.begin(), static_cast<long>(below(a.keys.size())));
    note("remove " + at->name);
    require(pool_->remove(at->name), "the key was not there");
    a.keys.erase(at);
  }

  void switch_some_key() {
    if (auto* const k = some_key()) {
      k->disabled = !k->disabled && one_in(2);
      note((k->disabled ? "disable " : "enable ") + k->name);
      pool_->set_disabled(k->name, k->disabled);
    }
  }

  void revive_some_key() {
    if (auto* const k = some_key()) {
      note("revive " + k->name);
      k->invalid = false;
      pool_->revive(k->name);
    }
  }

  void change_limits() {
    auto& a = any_of(accounts_);
    if (!a.keys.empty()) {
      auto l = some_limits(a.days, false);
      if (one_in(3)) {
        l.quota_reset = a.whole.allowed.quota_reset; // which must not come twice
      }
      note("set_limits " + a.name + " " + text(l));
      change_limits_of(a, l);
      pool_->set_limits(a.keys.front().name, l);
    }
  }

  void change_lane_limits() {
    auto& a = any_of(accounts_);
    auto const lane = some_lane();
    if (!a.keys.empty() && !lane.empty()) {
      auto l = some_limits(a.days, true);
      touch(lane);
      if (one_in(3)) {
        l.quota_reset = share_of(a, lane).allowed.quota_reset;
      }
      note("set_lane_limits " + a.name + " " + lane + " " + text(l));
      a.lanes[lane] = l;
      limit_share(a, lane, l);
      pool_->set_lane_limits(a.keys.front().name, lane, l);
    }
  }

  void change_balance() {
    auto& a = any_of(accounts_);
    if (a.keys.empty()) {
      return;
    }
    auto const& name = a.keys.front().name;
    if (!mark_ || one_in(2)) {
      mark_ = std::pair{name, pool_->begin_balance(name)};
      require(mark_->second.charged == a.whole.charged,
              "charged " + std::to_string(mark_->second.charged) + ", not " + std::to_string(a.whole.charged));
    }
    if (a.whole.least_left != a.whole.most_left) {
      check_books(); // settles what is not clear
    }
    rondo::balance b;
    b.remaining = anything_from(0, 1'000);
    b.limit = one_in(2) ? 0 : b.remaining + anything_from(0, 500);
    if (one_in(3)) {
      b.reset = clock_.wall_now() + std::chrono::duration_cast<rondo::wall_time::duration>(nanoseconds{some_time()});
    }
    auto const marked = mark_->first == name && one_in(2);
    note("set_balance " + std::string(b.reset ? "reset " + std::to_string(steady(b.reset)) : "") + name + " " +
         std::to_string(b.remaining) + " of " + std::to_string(b.limit) + (marked ? " marked" : ""));
    set_balance_of(a, b, marked ? std::optional{mark_->second.charged} : std::nullopt);
    if (marked) {
      pool_->set_balance(name, b, mark_->second);
      mark_.reset();
    } else {
      pool_->set_balance(name, b);
    }
  }

  void bar_or_teach() {
    if (leases_.empty()) {
      return;
    }
    auto& h = any_of(leases_);
    if (one_in(2)) {
      auto const what = some_needs();
      note("bar " + std::string{h.lease.key_name()});
      if (auto* const k = key_of(h)) {
        k->barred |= what;
      }
      h.lease.bar(what);
    } else {
      auto& u = accounts_[h.account].whole;
      u.learned_cap = static_cast<std::uint32_t>(below(4));
      u.adapting = false;
      note("learn_concurrency " + accounts_[h.account].name + " " + std::to_string(u.learned_cap));
      h.lease.learn_concurrency(u.learned_cap);
    }
  }

  // --- the pool's life

  void begin() {
    pool_.emplace(timers_.get_executor(), rondo::pool_options{.strategy = static_cast<rondo::strategy>(below(6)),
                                                              .cooldown = nanoseconds{cooldown},
                                                              .clock = &clock_,
                                                              .seed = 1 + below(1000)});
    accounts_.assign(size_.accounts, {});
    for (std::size_t i = 0; i < accounts_.size(); ++i) {
      accounts_[i].name = "a" + std::to_string(i);
      accounts_[i].days = some_days();
    }
    lanes_.clear();
    touch("");
    mark_.reset();
    for (std::size_t i = 0; i < size_.accounts; ++i) {
      add_some_key();
    }
  }

  void end_pool() {
    settle_down();
    pool_.reset();
    handlers_.restart();
    handlers_.poll();
    require(completed_.size() == line_.size(), "who waited was not told of the end");
    for (auto const& c : completed_) {
      require(c.ec == asio::error::operation_aborted, "who waited was told " + c.ec.message());
    }
    completed_.clear();
    line_.clear();
    for (auto& h : leases_) {
      orphans_.push_back(std::move(h.lease));
    }
    leases_.clear();
    while (orphans_.size() > 20) {
      orphans_.erase(orphans_.begin());
    }
  }

  // --- the model's part of it

  key_model* some_key() {
    auto& a = any_of(accounts_);
    return a.keys.empty() ? nullptr : &any_of(a.keys);
  }
  key_model* key_of(held const& h) {
    auto& keys = accounts_[h.account].keys;
    auto const at = std::find_if(keys.begin(), keys.end(), [&](auto const& k) { return k.id == h.key; });
    return at == keys.end() ? nullptr : &*at;
  }
  static bool same_kind(demand const& a, demand const& b) { return a.lane == b.lane && a.needs == b.needs; }

  /// The pool has heard of this lane.
  void touch(std::string const& lane) {
    auto const fresh = lanes_.try_emplace(lane).second;
    if (fresh && !lane.empty()) {
      for (auto& a : accounts_) {
        if (a.limits_of(lane) != rondo::limits{}) {
          limit_share(a, lane, a.limits_of(lane));
        }
      }
    }
  }
  usage& share_of(account_model& a, std::string const& lane) {
    lanes_[lane].counted = true;
    return a.shares[lane];
  }
  void limit_share(account_model& a, std::string const& lane, rondo::limits const& l) {
    auto& u = share_of(a, lane);
    auto const spent = u.quota - u.least_left;
    auto const unclear = u.most_left - u.least_left;
    u.metered = l.quota != 0;
    limit_reset(u, l);
    u.set_limits(l, now(), clock_.wall_now());
    u.quota = l.quota;
    u.least_left = l.quota - spent;
    u.most_left = u.least_left + unclear;
  }
  /// What limits say once more changes nothing.
  void limit_reset(usage& u, rondo::limits const& l) {
    if (!u.metered || l.quota_reset != u.allowed.quota_reset) {
      u.reset = steady(l.quota_reset);
    }
  }

  moment steady(std::optional<rondo::wall_time> t) const {
    return t && *t > clock_.wall_now() ? now() + nanoseconds{*t - clock_.wall_now()}.count() : 0;
  }

  void apply_limits(account_model& a, rondo::limits const& l, std::int64_t left, bool by_balance) {
    auto& u = a.whole;
    a.metered_by_balance = by_balance && l.quota == 0;
    u.metered = a.metered_by_balance || l.quota != 0;
    limit_reset(u, l);
    u.set_limits(l, now(), clock_.wall_now());
    u.quota = a.metered_by_balance ? std::max(left, u.quota) : l.quota;
    u.most_left += left - u.least_left;
    u.least_left = left;
  }
  void change_limits_of(account_model& a, rondo::limits const& l) {
    auto const& u = a.whole;
    auto const keep = l.quota == 0 && a.metered_by_balance;
    auto const left = u.allowed.quota != 0 ? u.least_left + l.quota - u.allowed.quota : l.quota;
    auto const quota = keep ? u.quota : l.quota;
    apply_limits(a, l, keep ? u.least_left : left, keep);
    a.whole.quota = quota;
  }

  void set_balance_of(account_model& a, rondo::balance const& b, std::optional<std::int64_t> charged_before) {
    auto& u = a.whole;
    auto left = u.least_left;
    if (!u.metered) {
      u.metered = a.metered_by_balance = true;
      u.quota = std::max(b.limit, b.remaining);
      left = b.remaining;
    } else {
      u.quota = b.limit > 0 ? b.limit : u.quota;
      auto const highest = charged_before ? left + u.charged - *charged_before : left;
      auto const lowest = charged_before ? left - u.reserved() : left;
      left += std::max<std::int64_t>(b.remaining - highest, 0) + std::min<std::int64_t>(b.remaining - lowest, 0);
    }
    u.least_left = u.most_left = left;
    if (b.reset) {
      u.reset = steady(b.reset);
    }
    if (b.remaining > 0 && u.on_probation) {
      u.rest.earliest = std::min(u.rest.earliest, std::max(now(), u.limited.earliest));
      u.rest.latest = std::min(u.rest.latest, std::max(now(), u.limited.latest));
    }
  }

  void accept(rondo::lease l, demand const& want) {
    auto const at =
        std::find_if(accounts_.begin(), accounts_.end(), [&](auto const& a) { return a.name == l.account(); });
    require(at != accounts_.end(), "a lease of no account");
    auto& a = *at;
    auto const key = std::find_if(a.keys.begin(), a.keys.end(), [&](auto const& k) { return k.name == l.key_name(); });
    auto const id = ++ids_;
    note("  -> " + std::string{l.key_name()} + " as lease " + std::to_string(id));
    require(key != a.keys.end(), "a lease of a key that was removed");
    require(key->usable(), "a lease of a key that is out of use");
    require(!key->barred.intersects(want.needs), "a lease of a key that cannot do the work");
    require(l.tokens() == want.tokens && l.secret() == "secret", "a lease of something else");
    auto& lane = lanes_[want.lane];
    require(now() >= lane.rest.earliest, "a lease in a lane that rests");
    auto const refused = a.whole.forbids(want.tokens, now());
    require(refused.empty(), "over a limit: " + refused);
    auto* const share = lane.counted ? &a.shares[want.lane] : nullptr;
    if (share) {
      auto const refused_there = share->forbids(want.tokens, now());
      require(refused_there.empty(), "over a limit of the lane: " + refused_there);
      share->grant(id, want.tokens, want.unsent, now());
    }
    a.whole.grant(id, want.tokens, want.unsent, now());
    ++key->requests;
    leases_.push_back({id, std::move(l), static_cast<std::size_t>(at - accounts_.begin()), key->id, want,
                       share != nullptr, a.whole.rests, share ? share->rests : 0, a.whole.periods});
  }

  void sent(held const& h) {
    auto& a = accounts_[h.account];
    a.whole.mark_sent(h.id, now());
    if (h.shared) {
      a.shares[h.want.lane].mark_sent(h.id, now());
    }
  }
  void charge(held const& h, std::int64_t actual) {
    auto& a = accounts_[h.account];
    a.whole.charge(h.id, actual, a.whole.periods != h.periods_before, now());
    if (h.shared) {
      a.shares[h.want.lane].charge(h.id, actual, true, now());
    }
  }
  void succeed(usage& u, std::uint64_t rests_before) {
    if (u.adapting && now() >= u.learn_after) {
      u.learn_after = now() + 10 * second;
      if (u.learned_cap == 0 || (u.allowed.concurrency != 0 && u.learned_cap + 1 >= u.allowed.concurrency)) {
        u.adapting = false;
        u.learned_cap = 0;
      } else {
        ++u.learned_cap;
      }
    }
    if (u.on_probation && u.rests == rests_before) {
      u.restore();
    }
  }
  void overload(lane_model& lane, std::size_t account) {
    auto const other =
        lane.last_at >= 0 && lane.last_account != account && now() / millisecond - lane.last_at / millisecond <= 5'000;
    lane.last_account = account;
    lane.last_at = now();
    if (!other || now() < lane.rest.earliest) {
      return;
    }
    auto const length = [](std::uint32_t n) { return std::min(second << std::min(n, 6U), 60 * second); };
    auto const sure = now() >= lane.rest.latest;
    auto const until =
        margin{now() + length(lane.overloads), margin::of_rest(now(), length(lane.most_overloads)).latest};
    lane.rest = {sure ? until.earliest : lane.rest.earliest, std::max(lane.rest.latest, until.latest)};
    lane.overloads += sure ? 1 : 0;
    ++lane.most_overloads;
  }

  // --- checks

  void run_handlers() {
    handlers_.restart();
    handlers_.poll();
    for (auto& c : std::exchange(completed_, {})) {
      auto const at = std::find_if(line_.begin(), line_.end(), [&](auto const& w) { return w.id == c.waiter; });
      require(at != line_.end(), "a waiter completed twice");
      note("  " + std::to_string(c.waiter) + (c.ec ? ": " + c.ec.message() : " is served"));
      if (!c.ec) {
        for (auto w = line_.begin(); w != at; ++w) {
          require(!same_kind(w->want, at->want) || w->want.tokens > at->want.tokens,
                  "waiter " + std::to_string(w->id) + " was overtaken");
        }
        accept(std::move(c.lease), at->want);
      } else {
        judge_failure(*at, c.ec);
      }
      line_.erase(at);
    }
  }

  void judge_failure(waiting const& w, rondo::error_code ec) {
    if (ec == asio::error::operation_aborted) {
      require(w.cancelled, "nobody cancelled it");
      return;
    }
    auto const any_key = std::any_of(accounts_.begin(), accounts_.end(), [](auto const& a) { return !a.keys.empty(); });
    require((ec == error::no_keys) == !any_key, "there are keys, or there are not");
    require(ec == error::no_keys || ec == error::would_miss_deadline || ec == error::exhausted ||
                ec == error::too_large,
            "not an error of waiting");
    require(ec != error::would_miss_deadline || w.deadline != forever, "it has no deadline");
    for (auto const& a : accounts_) {
      require(ec != error::too_large || !a.can_do(w.want.needs) || a.whole.too_large(w.want.tokens) ||
                  (lanes_[w.want.lane].counted && a.shares.contains(w.want.lane) &&
                   a.shares.at(w.want.lane).too_large(w.want.tokens)),
              "it is not too large for " + a.name);
      auto const p = outlook(a, w.want);
      require(w.deadline <= now() || p.hopeless() || p.at > w.deadline,
              "failed, though " + a.name + " could serve in time");
    }
  }

  [[nodiscard]] prospect outlook(account_model const& a, demand const& want) {
    if (!a.can_do(want.needs)) {
      return {forever};
    }
    auto const tokens = std::max<std::int64_t>(want.tokens, 1); // a key that cannot give one token serves nobody
    auto const& lane = lanes_[want.lane];
    auto p = a.whole.when(tokens, now());
    auto const share = a.shares.find(want.lane);
    if (lane.counted && share != a.shares.end()) {
      p = p & share->second.when(tokens, now());
    }
    return p & prospect{lane.rest.latest};
  }

  [[nodiscard]] std::set<std::string> who_can_serve(demand const& want) {
    std::set<std::string> out;
    for (auto const& a : accounts_) {
      if (outlook(a, want).now(now())) {
        out.insert(a.name);
      }
    }
    return out;
  }

  void check_line() {
    if (line_.empty()) {
      return;
    }
    auto const for_head = who_can_serve(line_.front().want);
    require(for_head.empty(), "the head of the line sleeps, though " + list(for_head) + " could serve");
    std::set<std::string> for_others;
    for (auto const& w : line_) {
      for_others.merge(who_can_serve(w.want));
      require(for_others.size() <= 1,
              "waiter " + std::to_string(w.id) + " sleeps, though one of " + list(for_others) + " could serve");
      require(w.deadline > now(), "waiter " + std::to_string(w.id) + " sleeps beyond the deadline");
    }
  }

  void check_books() {
    auto const shown = pool_->snapshot();
    std::size_t keys = 0;
    for (auto& a : accounts_) {
      auto& u = a.whole;
      for (auto const& k : a.keys) {
        ++keys;
        auto const* const s = shown.find(k.name);
        require(s != nullptr, k.name + " is not shown");
        auto const equal = [&](char const* what, auto is, auto should_be) {
          require(is == should_be,
                  k.name + ": " + what + " " + std::to_string(is) + ", not " + std::to_string(should_be));
        };
        equal("in_flight", std::uint64_t{s->in_flight}, std::uint64_t{u.out.size()});
        equal("requests", s->requests, k.requests);
        equal("failures", s->failures, k.failures);
        require(s->barred == k.barred, k.name + ": barred");
        if (u.metered) {
          equal("quota", s->character_limit, u.quota);
          auto const left = s->character_limit - s->character_count;
          require(u.least_left <= left && left <= u.most_left, k.name + ": " + std::to_string(left) + " left, not " +
                                                                   std::to_string(u.least_left) + " to " +
                                                                   std::to_string(u.most_left));
          u.least_left = u.most_left = left;
        } else {
          equal("spent", s->character_count, u.charged);
        }
        auto const out_of_use = s->status == rondo::key_status::disabled || s->status == rondo::key_status::invalid;
        require(out_of_use != k.usable(), k.name + ": status");
      }
    }
    require(keys == shown.size(), "keys are shown that were removed");
  }

  void require(bool promise, std::string const& otherwise) const {
    if (!promise) {
      throw std::runtime_error{otherwise};
    }
  }

  // --- words

  void note(std::string line) {
    if (log_.size() == 60) {
      log_.pop_front();
    }
    log_.push_back(std::to_string((now() - start_) / 1000) + " us: " + std::move(line));
  }
  static std::string text(demand const& d) {
    return std::to_string(d.tokens) + (d.lane.empty() ? "" : " in " + d.lane) +
           (d.needs.empty() ? "" : " needing " + std::to_string(d.needs.bits() >> 24)) + (d.unsent ? " unsent" : "");
  }
  static std::string text(rondo::limits const& l) {
    std::string out;
    for (auto const& r : usage::rates) {
      out += std::to_string(l.*r.limit) + " ";
    }
    return "{" + out + "c" + std::to_string(l.concurrency) + " q" + std::to_string(l.quota) +
           (l.quota_reset ? " resets}" : "}");
  }
  static std::string list(std::set<std::string> const& names) {
    std::string out;
    for (auto const& n : names) {
      out += (out.empty() ? "" : ", ") + n;
    }
    return out;
  }

  static constexpr moment cooldown = 5 * second;

  shape const size_;
  std::mt19937_64 random_;
  manual_clock clock_;
  std::list<waiting> line_;    ///< signals must outlive the handlers that listen to them
  asio::io_context timers_{1}; ///< never runs: real time has no part in this
  asio::io_context handlers_{1};
  std::optional<rondo::key_pool> pool_;

  std::vector<account_model> accounts_;
  std::map<std::string, lane_model> lanes_;
  std::list<held> leases_;
  std::vector<completion> completed_;
  std::vector<rondo::lease> orphans_; ///< their pools are gone
  std::optional<std::pair<std::string, rondo::balance_mark>> mark_;
  std::uint64_t ids_ = 0;
  int rings_ = 0;
  moment const start_ = now();
  std::deque<std::string> log_;
};

std::uint64_t environment(char const* name, std::uint64_t otherwise) {
  auto const* const value = std::getenv(name);
  return value ? std::strtoull(value, nullptr, 10) : otherwise;
}

void run(shape const& size, std::uint64_t seeds) {
  auto const only = environment("RONDO_SEED", 0);
  auto const steps = environment("RONDO_STEPS", 1'500);
  auto const first = only != 0 ? only : 1;
  auto const last = only != 0 ? only : environment("RONDO_SEEDS", seeds);
  for (auto seed = first; seed <= last; ++seed) {
    pool_run r{size, seed};
    std::uint64_t step = 0;
    try {
      for (; step < steps; ++step) {
        r.step();
      }
      r.finish();
    } catch (std::runtime_error const& e) {
      BOOST_ERROR("RONDO_SEED=" << seed << ", step " << step << ": " << e.what() << r.last_steps());
    }
  }
}

} // namespace

BOOST_AUTO_TEST_SUITE(pool_model)

BOOST_AUTO_TEST_CASE(few_keys_keep_every_promise) {
  run({.accounts = 3, .keys = 2, .lanes = 1}, 20);
}

BOOST_AUTO_TEST_CASE(many_keys_keep_every_promise) {
  run({.accounts = 40, .keys = 3, .lanes = 2}, 6);
}

BOOST_AUTO_TEST_CASE(many_lanes_keep_every_promise) {
  run({.accounts = 4, .keys = 2, .lanes = 12}, 12);
}

BOOST_AUTO_TEST_CASE(limits_of_a_day_keep_every_promise) {
  run({.accounts = 3, .keys = 2, .lanes = 1, .by_days = true}, 12);
}

BOOST_AUTO_TEST_SUITE_END()
