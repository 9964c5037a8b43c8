// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/affinity.hpp>
#include <rondo/detail/pool_core.hpp>
#include <rondo/detail/proxy_demand.hpp>
#include <rondo/detail/proxy_record.hpp>
#include <rondo/detail/proxy_turns.hpp>
#include <rondo/detail/proxy_waiter.hpp>
#include <rondo/detail/stable_array.hpp>
#include <rondo/detail/sticky_table.hpp>
#include <rondo/error.hpp>
#include <rondo/outcome.hpp>
#include <rondo/proxy_params.hpp>
#include <rondo/proxy_strategy.hpp>

#include <boost/asio/error.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

namespace rondo {

/// One proxy at the moment of a snapshot.
struct proxy_state {
  std::string name;
  bool resting = false;
  std::uint32_t in_flight = 0;
  std::uint64_t requests = 0;
  std::uint64_t failures = 0;
  std::uint32_t tier = 0;
  /// How long requests through it waited for their answers lately; zero when nothing is known.
  std::chrono::steady_clock::duration latency{};
};

namespace detail {

/// The proxies behind the slots, and those who wait for one. The slots, their rests and their ends are those of every
/// pool; which one is picked, and who waits for it, are matters of its own: strategies, tags and tiers are not known
/// to keys.
///
/// A lane is an origin here: a proxy that is refused there rests for that origin only.
class proxy_ring final : public pool_core {
public:
  proxy_ring(core_options const& options, proxy_strategy how) : pool_core{options}, how_{how}, turns_{options.seed} {}

  // --- administration

  void add(proxy_params params) {
    if (params.name.empty() || params.url.empty() || params.tier > most_tier || params.tunnel_age.count() < 0) {
      throw boost::system::system_error{error::invalid_argument, "proxy '" + params.name + "'"};
    }
    {
      std::lock_guard const lock{admin_};
      if (by_name_.contains(params.name)) {
        throw boost::system::system_error{error::duplicate_name, "proxy '" + params.name + "'"};
      }
      auto const index = table().size();
      records_.grow_to(index);
      auto& record = records_[index];
      record.tags = proxy_filter{params.tags};
      record.hash = affinity{params.name}.hash();
      record.params = std::move(params);
      by_name_.emplace(record.params.name, index);
      auto& s = add_slot();
      limits l;
      l.concurrency = record.params.concurrency;
      table().set_limits(s, l, false, [](std::int64_t left) { return left; });
      set_population(by_name_.size());
      if (highest_tier_.load() < record.params.tier) {
        highest_tier_.store(record.params.tier);
      }
      table().set_off(s, false);
    }
    health_changed();
  }

  bool remove(std::string_view name) {
    {
      std::lock_guard const lock{admin_};
      auto const at = by_name_.find(name);
      if (at == by_name_.end()) {
        return false;
      }
      records_[at->second].removed = true;
      auto& s = table()[at->second];
      table().set_off(s, true);
      s.gate.fetch_or(gate::retired);
      wipe_if_unused(s);
      by_name_.erase(at);
      set_population(by_name_.size());
    }
    health_changed();
    return true;
  }

  [[nodiscard]] lane& origin_of(std::string_view name) {
    if (auto* const known = lanes().find(name)) [[likely]] {
      return *known;
    }
    std::lock_guard const lock{admin_};
    return lanes().find_or_add(name, [](lane&) {});
  }

  void set_proxy_strategy(proxy_strategy how) noexcept { how_.store(how); }

  /// While somebody checks what has rested, nobody else gets it before it has passed.
  void add_checker() noexcept { checkers_.fetch_add(1); }
  void remove_checker() {
    checkers_.fetch_sub(1);
    health_changed();
  }

  [[nodiscard]] proxy_params const& params(std::uint32_t index) const noexcept { return records_[index].params; }

  [[nodiscard]] std::size_t size() {
    std::lock_guard const lock{admin_};
    return by_name_.size();
  }

  [[nodiscard]] std::vector<proxy_state> snapshot() {
    std::lock_guard const lock{admin_};
    auto const at = now();
    std::vector<proxy_state> out;
    for (std::uint32_t i = 0, n = table().size(); i < n; ++i) {
      auto const& record = records_[i];
      if (!record.removed) {
        auto const& s = table()[i];
        auto const latency = std::chrono::nanoseconds{record.latency.get(at)};
        out.push_back({record.params.name, s.cool_until.load() > at, gate::leases(s.gate.load()), s.granted(),
                       s.failures.load(), record.params.tier,
                       std::chrono::duration_cast<std::chrono::steady_clock::duration>(latency)});
      }
    }
    return out;
  }

  // --- taking

  /// Never past a waiter who could be served.
  [[nodiscard]] bool try_take(proxy_demand const& want, grant& out) {
    if (waiting_.load() != 0) {
      serve_line();
    }
    return take(want, out);
  }

  /// One that has rested and whose time has come, for the one request that tells whether it is well again.
  [[nodiscard]] bool try_take_rested(grant& out) {
    lazy_now at{clock()};
    bool disturbed = false;
    run_due(table(), at, disturbed);
    auto const& ready = table().ready();
    for (auto i = ready.next(0); i != ready_index<>::npos; i = ready.next(i + 1)) {
      if ((table()[i].gate.load() & gate::probation) != 0 && take_one(i, lanes().unnamed(), out, at)) {
        return true;
      }
    }
    return false;
  }

  /// Puts a request in the line, or completes it before this returns.
  void wait(proxy_waiter& w) {
    proxy_waiter::list done;
    {
      std::lock_guard const lock{line_mutex_};
      line_.push_back(w);
      w.looked_at_ = health_.load() - 1;
      // from here on whoever frees a proxy sees that somebody waits; what was freed before, serve() sees
      waiting_.fetch_add(1);
      serve(done);
    }
    complete(done);
  }

  /// Takes a request out of the line. False if its completion is already on its way.
  bool cancel(proxy_waiter& w) {
    std::lock_guard const lock{line_mutex_};
    if (!w.hook_.is_linked()) {
      return false;
    }
    leave(w);
    return true;
  }

  /// A waiter's timer went off, or an injected clock was moved.
  void on_time() {
    if (waiting_.load() != 0) {
      serve_line(true);
    }
  }

  // --- the ends of a lease

  /// An answer came through it: ends a probation at once, and the lease goes on.
  void confirm(grant& g, std::optional<tick> latency) {
    auto const at = now();
    if (latency) {
      records_[g.from->index].latency.add(std::max<tick>(*latency, 1), at);
    }
    if (auto& doubts = records_[g.from->index].doubts; doubts.load() != 0) {
      doubts.store(0);
    }
    auto const well = end_probation(*g.from, table(), g.special.probe, g.taken);
    if (g.special.in_lane) {
      auto const well_there = end_probation(slot_in_lane(g), lane_slots(g), g.special.probes_lane, g.taken);
      if (well || well_there) {
        health_changed();
      }
    } else if (well) {
      health_changed();
    }
  }

  void succeed(grant& g) {
    end([&] { settle(g, 0); });
  }
  void release(grant& g) {
    end([&] { refund(g); });
  }

  /// The proxy is to blame: it rests for everybody.
  void fail(grant& g) {
    if (g.special.in_lane) { // what follows concerns the proxy, not its way to one origin
      auto& t = lane_slots(g);
      auto& s = slot_in_lane(g);
      g.special.in_lane = false;
      if ((t.end_lease(s, g.what_of_lane()) & gate::parked) != 0) {
        t.reconsider(s, now());
      }
    }
    g.in = &lanes().unnamed();
    end_badly(g, outcome::rate_limited());
  }

  /// It may be to blame: it is, if it may have been before.
  void doubt(grant& g) {
    if (records_[g.from->index].doubts.fetch_add(1) == 0) {
      release(g);
    } else {
      fail(g);
    }
  }

  /// The origin refuses the address of the proxy: it rests for that origin.
  void refused_there(grant& g, std::optional<outcome::duration> rest) {
    end_badly(g, rest ? outcome::rate_limited(*rest) : outcome::rate_limited());
  }

  /// The front goes away. Who waits is aborted.
  void shut_down() {
    proxy_waiter::list done;
    {
      std::lock_guard const lock{line_mutex_};
      while (!line_.empty()) {
        auto& w = line_.front();
        w.ec = boost::asio::error::operation_aborted;
        leave(w, done);
      }
    }
    complete(done);
    close();
  }

private:
  static constexpr std::uint32_t most_tier = 15;

  /// The proxies of one tier that are selected alike, for one origin.
  struct sticky_group {
    sticky_table table;
    std::uint64_t health = 0; ///< when those that live were found
    tick valid_until = 0;     ///< then another one has rested
  };

  ~proxy_ring() override = default;

  void set_alarm(tick) noexcept override {} // nobody is in the core's own line
  void note(event_kind, grant const&) noexcept override {}
  void charged() noexcept override {}

  void retire(slot_type& s) noexcept override {
    std::lock_guard const lock{admin_};
    wipe_if_unused(s);
  }

  // a slot is not used again, so nothing can take a lease on it any more
  void wipe_if_unused(slot_type& s) noexcept {
    if (gate::leases(s.gate.load()) == 0) {
      records_[s.index].params.url.wipe();
    }
  }

  /// Some proxy lives that did not, or the other way round.
  void health_changed() {
    health_.fetch_add(1);
    if (waiting_.load() != 0) {
      serve_line();
    }
  }

  // --- picking

  [[nodiscard]] bool take(proxy_demand const& want, grant& out) {
    lazy_now at{clock()};
    bool disturbed = false;
    run_due(table(), at, disturbed);
    if (auto* const there = table_of(*want.origin)) {
      run_due(there->slots, at, disturbed);
    }
    auto const how = how_.load();
    for (std::uint32_t tier = 0, last = highest_tier_.load(); tier <= last; ++tier) {
      if (how == proxy_strategy::sticky && want.affinity != 0) {
        if (auto const taken = take_sticky(want, tier, out, at)) {
          return *taken;
        }
      } else if (take_in_turn(how, want, tier, out, at)) {
        return true;
      }
    }
    return false;
  }

  [[nodiscard]] bool take_in_turn(proxy_strategy how, proxy_demand const& want, std::uint32_t tier, grant& out,
                                  lazy_now& at) {
    auto const subset = tier + (want.only ? want.only->hash() : 0);
    auto const score = [&](std::uint32_t i) -> std::int64_t {
      return how == proxy_strategy::latency ? records_[i].latency.get(at()) : gate::leases(table()[i].gate.load());
    };
    return turns_.pick(
        how, subset, table().ready(), table().size(),
        [&](std::uint32_t i) { return suits(i, want, tier) && !contains(want.avoid, i); }, score,
        [&](std::uint32_t i) { return take_one(i, *want.origin, out, at); });
  }

  /// Empty if no proxy of the tier lives.
  [[nodiscard]] std::optional<bool> take_sticky(proxy_demand const& want, std::uint32_t tier, grant& out,
                                                lazy_now& at) {
    std::vector<std::uint32_t> others;
    {
      std::lock_guard const lock{sticky_mutex_};
      auto& group = sticky_[{want.only ? want.only->hash() : 0, want.origin, tier}];
      if (group.health != health_.load() || group.valid_until <= at()) {
        find_living(group, want, tier, at());
      }
      auto const own = group.table.find(want.affinity, at());
      if (own == sticky_table::none) {
        return {};
      }
      if (!contains(want.avoid, own)) {
        if (take_one(own, *want.origin, out, at)) {
          return true;
        }
        if ((table()[own].gate.load() & gate::probation) == 0) {
          return false; // it is full: a moment's wait is better than another address
        }
      }
      others = group.table.order_of(want.affinity);
    }
    // a detour, for this time
    return std::any_of(others.begin(), others.end(),
                       [&](std::uint32_t i) { return !contains(want.avoid, i) && take_one(i, *want.origin, out, at); });
  }

  void find_living(sticky_group& group, proxy_demand const& want, std::uint32_t tier, tick at) {
    group.health = health_.load();
    group.valid_until = never;
    std::vector<sticky_place> living;
    for (std::uint32_t i = 0, n = table().size(); i < n; ++i) {
      if (!suits(i, want, tier)) {
        continue;
      }
      if (auto const until = rests_until(i, *want.origin); until > at) {
        group.valid_until = std::min(group.valid_until, until);
      } else if ((table()[i].gate.load() & gate::off) == 0) {
        living.push_back({i, records_[i].hash});
      }
    }
    group.table.set_living(std::move(living));
  }

  [[nodiscard]] bool suits(std::uint32_t i, proxy_demand const& want, std::uint32_t tier) noexcept {
    auto const& record = records_[i];
    return record.params.tier == tier && (!want.only || want.only->selects(record.tags)) && !is_held_back(i);
  }
  [[nodiscard]] static bool contains(std::span<std::uint32_t const> list, std::uint32_t i) noexcept {
    return std::find(list.begin(), list.end(), i) != list.end();
  }
  /// It is for the checker to find out whether it is well.
  [[nodiscard]] bool is_held_back(std::uint32_t i) noexcept {
    return checkers_.load() != 0 && (table()[i].gate.load() & gate::probation) != 0;
  }
  [[nodiscard]] tick rests_until(std::uint32_t i, lane const& origin) noexcept {
    auto const* const there = table_of(origin);
    auto const until = table()[i].cool_until.load();
    return there ? std::max(until, there->slots[i].cool_until.load()) : until;
  }

  [[nodiscard]] bool take_one(std::uint32_t i, lane& origin, grant& out, lazy_now& at) {
    demand want;
    want.in = &origin;
    bool disturbed = false;
    bool contended = false;
    return take_from(table()[i], table_of(origin), want, out, at, on_refusal::forget, disturbed, contended);
  }

  // --- waiting

  void serve_line(bool rung = false) {
    proxy_waiter::list done;
    {
      std::lock_guard const lock{line_mutex_};
      serve(done, rung);
    }
    complete(done);
  }

  /// In the order they came. Who can no longer hope is told. The line's lock is held.
  void serve(proxy_waiter::list& done, bool rung = false) {
    auto const at = now();
    for (auto it = line_.begin(); it != line_.end();) {
      auto& w = *it++;
      if (take(w.want, w.got)) {
        leave(w, done);
        continue;
      }
      auto const health = health_.load();
      if (!rung && std::exchange(w.looked_at_, health) == health) {
        continue; // nothing has come nearer or gone
      }
      auto const next = prospect(w.want, at);
      if (at >= w.want.deadline || next == never) {
        w.ec = error::proxies_unavailable;
        leave(w, done);
      } else if (auto const wake = std::min(next, w.want.deadline); wake != w.timer_at_ || rung) {
        w.timer_at_ = wake;
        w.set_timer(wake);
      }
    }
  }

  /// When it is worth another look: `never` if it would be in vain, the deadline if nothing but an event can help.
  [[nodiscard]] tick prospect(proxy_demand const& want, tick at) {
    auto busy = false;
    auto next = never;
    for (std::uint32_t i = 0, n = table().size(); i < n; ++i) {
      auto const word = table()[i].gate.load();
      auto const& record = records_[i];
      if ((word & gate::off) != 0 || contains(want.avoid, i) || (want.only && !want.only->selects(record.tags))) {
        continue;
      }
      auto const until = rests_until(i, *want.origin);
      auto const checked = is_held_back(i);
      if (until > at || checked) {
        next = std::min(next, until > at ? until : never);
        busy = busy || (checked && want.wait_for_resting);
      } else {
        busy = true;
      }
    }
    if (busy) {
      return std::min(next, want.deadline == never ? never - 1 : want.deadline);
    }
    return want.wait_for_resting && next <= want.deadline ? next : never;
  }

  void leave(proxy_waiter& w) noexcept {
    line_.erase(line_.iterator_to(w));
    waiting_.fetch_sub(1);
  }

  void leave(proxy_waiter& w, proxy_waiter::list& done) noexcept {
    leave(w);
    if (w.keep()) {
      done.push_back(w);
    }
  }

  static void complete(proxy_waiter::list& done) noexcept {
    while (!done.empty()) {
      auto& w = done.front();
      done.pop_front();
      w.complete();
    }
  }

  // --- ending

  /// Ends a lease, after which the ring may be gone, and serves who waited for it.
  template <class Function> void end(Function&& how) {
    hold();
    how();
    if (waiting_.load() != 0) {
      serve_line();
    }
    let_go();
  }

  void end_badly(grant& g, outcome const& what) {
    hold();
    report(g, what);
    health_changed();
    let_go();
  }

  /// True if the slot is well again.
  bool end_probation(slot_type& s, table_type& t, bool& probes, tick taken) {
    if ((s.gate.load() & gate::probation) == 0) {
      return false;
    }
    auto const cool = s.cool_until.load();
    auto const well = cool != 0 && taken >= cool && t.restore(s, cool);
    if (std::exchange(probes, false)) {
      s.gate.fetch_and(~gate::probing);
    }
    if ((s.gate.load() & gate::parked) != 0) {
      t.reconsider(s, now());
    }
    return well;
  }

  stable_array<proxy_record> records_;
  std::atomic<proxy_strategy> how_;
  std::atomic<std::uint32_t> highest_tier_{0};
  std::atomic<std::uint32_t> checkers_{0};
  std::atomic<std::uint64_t> health_{1}; ///< counts the times when a proxy came, went, began to rest or was well again
  std::atomic<std::uint32_t> waiting_{0};
  proxy_turns turns_;

  std::mutex line_mutex_;
  proxy_waiter::list line_;

  std::mutex sticky_mutex_; ///< taken while line_mutex_ is held, never the other way round
  std::map<std::tuple<std::uint64_t, lane*, std::uint32_t>, sticky_group> sticky_;

  std::mutex admin_; ///< taken while the others are held, never the other way round
  std::map<std::string, std::uint32_t, std::less<>> by_name_;
};

} // namespace detail
} // namespace rondo
