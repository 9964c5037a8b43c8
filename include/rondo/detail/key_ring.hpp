// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/balance.hpp>
#include <rondo/capability.hpp>
#include <rondo/detail/alarm.hpp>
#include <rondo/detail/pool_core.hpp>
#include <rondo/detail/stable_array.hpp>
#include <rondo/error.hpp>
#include <rondo/event.hpp>
#include <rondo/limits.hpp>
#include <rondo/pool_snapshot.hpp>
#include <rondo/secret.hpp>
#include <rondo/subscription.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/post.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace rondo {

/// A key to be added to a pool.
struct key_params {
  std::string name{};     ///< unique in the pool, not empty; appears in status and logs
  rondo::secret secret{}; ///< not empty
  std::string account{};  ///< whose limits, balance and cooldown it shares; empty = an account of its own
  rondo::limits limits{}; ///< of the account; must be the same for all keys that name it
  std::optional<std::int64_t> remaining{};    ///< tokens left now; without a quota it is taken as the quota too
  std::optional<wall_time> exhausted_until{}; ///< rests until then, as if the provider had said so
  capability_set barred{};                    ///< what it cannot be used for
  bool disabled = false;                      ///< not offered until `set_disabled(name, false)`
};

namespace detail {

struct key_record {
  key_params params;
  std::uint32_t slot = 0;
  std::string masked;
  std::atomic<bool> invalid{false};
  std::atomic<bool> disabled{false};
  std::atomic<std::uint32_t> barred{0};
  std::atomic<std::uint64_t> requests{0};
  std::atomic<std::uint64_t> failures{0};

  [[nodiscard]] bool usable() const noexcept {
    return !invalid.load(std::memory_order_relaxed) && !disabled.load(std::memory_order_relaxed);
  }
};

using key_list = std::vector<key_record*>;

struct account_record {
  std::string name;
  rondo::limits limits;
  bool metered_by_balance = false; ///< has no quota of its own, but a balance
  std::optional<wall_time> balance_set;
  key_list members;
  /// What `members` was when it last had any. Replaced, never changed; who holds a lease may read it.
  std::atomic<key_list const*> keys{nullptr};
  std::vector<std::unique_ptr<key_list const>> lists;
  std::vector<std::unique_ptr<key_record>> retired; ///< wiped when no lease is out
};

/// Delivers events in order on the pool's executor.
class event_queue : public std::enable_shared_from_this<event_queue> {
public:
  explicit event_queue(boost::asio::any_io_executor executor) : executor_{std::move(executor)} {}

  [[nodiscard]] bool wanted() const noexcept { return subscribers_.any(); }
  [[nodiscard]] subscription add(std::function<void(event const&)> f) { return subscribers_.add(std::move(f)); }

  void push(event e) {
    std::lock_guard const lock{mutex_};
    if (executor_) {
      pending_.push_back(std::move(e));
      if (pending_.size() == 1) {
        post_next();
      }
    }
  }

  /// What is under way is still delivered; leases may outlive the context, and must not keep anything of it.
  void close() {
    std::lock_guard const lock{mutex_};
    executor_.reset();
  }

private:
  void post_next() {
    boost::asio::post(*executor_, [self = shared_from_this()] { self->deliver(); });
  }

  /// One event a handler: one that throws does not take the others with it.
  void deliver() {
    event next;
    {
      std::lock_guard const lock{mutex_};
      next = std::move(pending_.front());
      pending_.pop_front();
      if (!pending_.empty() && executor_) {
        post_next();
      }
    }
    subscribers_.call(next);
  }

  std::optional<boost::asio::any_io_executor> executor_;
  subscribers<event const&> subscribers_;
  std::mutex mutex_;
  std::deque<event> pending_;
};

/// The keys behind the slots: names, secrets, who shares what.
class key_ring final : public pool_core {
public:
  key_ring(boost::asio::any_io_executor const& executor, core_options const& options, std::string name)
      : pool_core{options}, name_{std::move(name)}, executor_{executor},
        alarm_{std::make_shared<detail::alarm>(executor, *this)}, events_{std::make_shared<event_queue>(executor)} {}

  [[nodiscard]] boost::asio::any_io_executor get_executor() const { return *executor_; }
  [[nodiscard]] event_queue& events() noexcept { return *events_; }
  [[nodiscard]] subscribers<>& changes() noexcept { return changes_; }

  void shut_down() {
    alarm_->detach();
    events_->close();
    executor_.reset();
    close();
  }

  /// The key that a fresh grant is for.
  [[nodiscard]] key_record& choose(grant const& g, capability_set needs) noexcept {
    auto const& keys = *accounts_[g.from->index].keys.load(std::memory_order_seq_cst); // pairs with publish()
    auto* chosen = keys.front();
    if (keys.size() > 1) {
      chosen = keys[g.serial % keys.size()];
      for (std::size_t i = 0; i < keys.size(); ++i) {
        auto* const candidate = keys[(g.serial + i) % keys.size()];
        auto const barred = capability_set::from_bits(candidate->barred.load(std::memory_order_relaxed));
        if (candidate->usable() && !barred.intersects(needs)) {
          chosen = candidate;
          break;
        }
      }
    }
    chosen->requests.fetch_add(1, std::memory_order_relaxed);
    if (events_->wanted()) {
      all_unavailable_.store(false, std::memory_order_relaxed);
      if (last_key_.exchange(chosen, std::memory_order_relaxed) != chosen) {
        events_->push({event_kind::key_rotated, chosen->params.name, accounts_[g.from->index].name});
      }
    }
    return *chosen;
  }

  [[nodiscard]] std::string_view account_name(std::uint32_t slot) const noexcept { return accounts_[slot].name; }

  /// Nothing could be taken; tells the observers once, if that is because all are resting.
  void found_nothing() noexcept {
    if (!events_->wanted() || all_unavailable_.load(std::memory_order_relaxed)) {
      return;
    }
    auto const at = now();
    for (std::uint32_t i = 0, n = table().size(); i < n; ++i) {
      auto const& s = table()[i];
      auto const off = (s.gate.load(std::memory_order_relaxed) & gate::off) != 0;
      if (!off && s.cool_until.load(std::memory_order_relaxed) <= at) {
        return;
      }
    }
    if (!all_unavailable_.exchange(true, std::memory_order_relaxed)) {
      events_->push({event_kind::all_unavailable, {}, {}});
    }
  }

  /// Something that stores keep has changed.
  void note_change() noexcept {
    if (changes_.any() && !dirty_.exchange(true, std::memory_order_acq_rel)) {
      changes_.call();
    }
  }

  // --- administration

  void add(key_params params) {
    if (params.name.empty() || params.secret.empty() || params.limits.quota < 0 || params.remaining.value_or(0) < 0) {
      throw boost::system::system_error{error::invalid_argument, "key '" + params.name + "'"};
    }
    std::unique_lock lock{admin_};
    if (keys_.contains(params.name)) {
      throw boost::system::system_error{error::duplicate_name, "key '" + params.name + "'"};
    }
    // an account that was not named must not be taken for one that was
    auto const id = params.account.empty() ? "key\n" + params.name : "account\n" + params.account;
    auto const known = account_ids_.find(id);
    auto const fresh = known == account_ids_.end();
    if (!fresh && !accounts_[known->second].members.empty() && accounts_[known->second].limits != params.limits) {
      throw boost::system::system_error{error::conflicting_limits, "account '" + params.account + "'"};
    }
    auto const index = fresh ? new_account(id, params) : known->second;
    auto& account = accounts_[index];
    auto& s = table()[index];
    if (fresh) {
      account.limits = params.limits;
      apply_limits(index, params.remaining.value_or(params.limits.quota), params.remaining.has_value());
    } else if (account.members.empty()) {
      change_limits(index, params.limits); // what was spent stays spent
      if (params.remaining) {
        apply_limits(index, *params.remaining, true);
      }
    } else if (params.remaining && *params.remaining < s.unspent()) {
      table().move_balance(s, *params.remaining - s.unspent());
    }
    auto record = std::make_unique<key_record>();
    record->slot = index;
    record->masked = params.secret.masked();
    record->barred.store(params.barred.bits(), std::memory_order_relaxed);
    record->disabled.store(params.disabled, std::memory_order_relaxed);
    record->params = std::move(params);
    auto* const key = record.get();
    order_.push_back(key);
    keys_.emplace(key->params.name, std::move(record));
    account.members.push_back(key);
    publish(account);
    if (key->params.exhausted_until && *key->params.exhausted_until > clock().wall_now()) {
      auto const rest = std::chrono::nanoseconds{*key->params.exhausted_until - clock().wall_now()}.count();
      table().cool(s, rest_kind::exhausted, after(now(), rest), now());
    }
    update(index);
    lock.unlock();
    freed(s);
    note_change();
  }

  bool remove(std::string_view name) {
    std::unique_lock lock{admin_};
    auto const at = keys_.find(name);
    if (at == keys_.end()) {
      return false;
    }
    auto const index = at->second->slot;
    auto& account = accounts_[index];
    std::erase(account.members, at->second.get());
    std::erase(order_, at->second.get());
    last_key_.store(nullptr, std::memory_order_relaxed);
    account.retired.push_back(std::move(at->second));
    keys_.erase(at);
    update(index); // before the list changes: with its last key gone the slot is off, and nobody reads the list
    publish(account);
    table()[index].gate.fetch_or(gate::retired, std::memory_order_seq_cst);
    wipe_retired(index);
    lock.unlock();
    freed(table()[index]);
    note_change();
    return true;
  }

  void set_limits(std::string_view key, limits const& l) {
    std::unique_lock lock{admin_};
    auto const index = find(key).slot;
    change_limits(index, l);
    update(index);
    lock.unlock();
    freed(table()[index]);
  }

  void set_disabled(std::string_view name, bool disabled) {
    change_key(name, [&](key_record& k) { k.disabled.store(disabled, std::memory_order_relaxed); });
  }

  void revive(std::string_view name) {
    change_key(name, [&](key_record& k) { k.invalid.store(false, std::memory_order_relaxed); });
  }

  void set_barred(key_record& k, capability_set what) {
    {
      std::lock_guard const lock{admin_};
      k.barred.fetch_or(what.bits(), std::memory_order_relaxed);
      update(k.slot);
    }
    freed(table()[k.slot]); // who waits for what no key can do any more must be told
    note_change();
  }

  [[nodiscard]] std::uint32_t slot_of(std::string_view key) {
    std::lock_guard const lock{admin_};
    return find(key).slot;
  }
  [[nodiscard]] secret secret_of(std::string_view key) {
    std::lock_guard const lock{admin_};
    return find(key).params.secret;
  }
  [[nodiscard]] std::int64_t charged_to(std::string_view key) {
    return table()[slot_of(key)].charged.load(std::memory_order_seq_cst);
  }

  void set_balance(std::string_view key, balance const& b, std::optional<std::int64_t> charged_before) {
    set_balance(slot_of(key), b, charged_before);
  }
  void set_balance(std::uint32_t index, balance const& b, std::optional<std::int64_t> charged_before) {
    std::unique_lock lock{admin_};
    correct_balance(index, b, charged_before);
    lock.unlock();
    freed(table()[index]);
    note_change();
  }

  [[nodiscard]] pool_snapshot snapshot() {
    dirty_.store(false, std::memory_order_release);
    std::lock_guard const lock{admin_};
    auto const steady = now();
    auto const wall = clock().wall_now();
    std::vector<key_state> out;
    out.reserve(order_.size());
    for (auto const* key : order_) {
      out.push_back(describe(*key, steady, wall));
    }
    std::int64_t total = 0;
    for (auto const& [id, index] : account_ids_) {
      auto const& s = table()[index];
      auto const metered = (s.gate.load(std::memory_order_relaxed) & gate::metered) != 0;
      total += metered && !accounts_[index].members.empty() ? std::max<std::int64_t>(s.unspent(), 0) : 0;
    }
    return {name_, std::move(out), total};
  }

private:
  ~key_ring() override = default;

  void set_alarm(tick at) noexcept override { alarm_->set(at, now()); }

  void note(event_kind kind, grant const& g) noexcept override {
    if (kind != event_kind::near_limit) {
      note_change();
    }
    if (kind == event_kind::recovered) {
      all_unavailable_.store(false, std::memory_order_relaxed);
    }
    if (events_->wanted()) {
      events_->push({kind, {}, accounts_[g.from->index].name});
    }
  }

  void charged() noexcept override { note_change(); }

  void retire(slot_type& s) noexcept override {
    std::lock_guard const lock{admin_};
    wipe_retired(s.index);
  }

  void wipe_retired(std::uint32_t index) noexcept {
    auto& s = table()[index];
    if (gate::leases(s.gate.load(std::memory_order_seq_cst)) != 0) {
      return; // the lease that ends last comes here again
    }
    s.gate.fetch_and(~gate::retired, std::memory_order_seq_cst);
    accounts_[index].retired.clear();
    auto const* current = accounts_[index].keys.load(std::memory_order_relaxed);
    std::erase_if(accounts_[index].lists, [&](auto const& list) { return list.get() != current; });
  }

public:
  /// The provider does not know the key of a lease.
  void invalidate(key_record& k) noexcept {
    if (k.invalid.exchange(true, std::memory_order_relaxed)) {
      return;
    }
    {
      std::lock_guard const lock{admin_};
      update(k.slot);
    }
    if (events_->wanted()) {
      events_->push({event_kind::invalid, k.params.name, accounts_[k.slot].name});
    }
    note_change();
    freed(table()[k.slot]);
  }

private:
  [[nodiscard]] key_record& find(std::string_view name) {
    auto const at = keys_.find(name);
    if (at == keys_.end()) {
      throw boost::system::system_error{error::unknown_name, "key '" + std::string{name} + "'"};
    }
    return *at->second;
  }

  template <class Change> void change_key(std::string_view name, Change&& change) {
    std::unique_lock lock{admin_};
    auto& k = find(name);
    auto const index = k.slot;
    change(k);
    update(index);
    lock.unlock();
    freed(table()[index]);
    note_change();
  }

  [[nodiscard]] std::uint32_t new_account(std::string const& id, key_params const& params) {
    auto const index = table().size();
    accounts_.grow_to(index);
    accounts_[index].name = params.account.empty() ? params.name : params.account;
    static_cast<void>(add_slot());
    account_ids_.emplace(id, index);
    return index;
  }

  static void publish(account_record& account) {
    if (account.members.empty()) {
      return;
    }
    account.lists.push_back(std::make_unique<key_list const>(account.members));
    account.keys.store(account.lists.back().get(), std::memory_order_seq_cst); // pairs with choose()
  }

  /// What was spent stays spent, and a balance without a quota stays what it is.
  void change_limits(std::uint32_t index, limits const& l) {
    auto& account = accounts_[index];
    auto const left = table()[index].unspent();
    auto const keep = l.quota == 0 && account.metered_by_balance;
    auto const unspent = account.limits.quota != 0 ? left + l.quota - account.limits.quota : l.quota;
    account.limits = l;
    for (auto* const k : account.members) {
      k->params.limits = l;
    }
    apply_limits(index, keep ? left : unspent, keep);
  }

  void apply_limits(std::uint32_t index, std::int64_t unspent, bool metered_by_balance) {
    auto& account = accounts_[index];
    auto l = account.limits;
    account.metered_by_balance = metered_by_balance && l.quota == 0;
    if (account.metered_by_balance) {
      l.quota = std::max(unspent, table()[index].quota.load(std::memory_order_relaxed));
    }
    auto const coming = l.quota_reset && *l.quota_reset > clock().wall_now(); // one that is past has been in force
    auto const reset = coming ? to_steady(*l.quota_reset) : 0;
    table()[index].quota_reset_wall.store(coming ? to_ms(*l.quota_reset) : 0, std::memory_order_relaxed);
    table().set_limits(table()[index], l, account.metered_by_balance || l.quota != 0, unspent, reset);
  }

  void correct_balance(std::uint32_t index, balance const& b, std::optional<std::int64_t> charged_before) {
    auto& account = accounts_[index];
    auto& s = table()[index];
    account.balance_set = clock().wall_now();
    if ((s.gate.load(std::memory_order_relaxed) & gate::metered) == 0) {
      // so far nothing was known of a quota
      account.metered_by_balance = true;
      s.quota.store(std::max(b.limit, b.remaining), std::memory_order_relaxed);
      table().move_balance(s, b.remaining - s.unspent());
      s.gate.fetch_or(gate::metered, std::memory_order_seq_cst);
    } else {
      if (b.limit > 0) {
        s.quota.store(b.limit, std::memory_order_relaxed);
      }
      // Requests that were under way when the provider looked may be in its figure or not. Any figure between "all of
      // them" and "none" agrees with our books; only what lies outside is news.
      auto const base = s.base.load(std::memory_order_seq_cst);
      auto const highest = base - charged_before.value_or(s.charged.load(std::memory_order_seq_cst));
      auto const lowest = charged_before ? s.remaining.load(std::memory_order_seq_cst) : highest;
      if (b.remaining > highest) {
        table().move_balance(s, b.remaining - highest);
      } else if (b.remaining < lowest) {
        table().move_balance(s, b.remaining - lowest);
      }
    }
    if (b.reset && *b.reset > clock().wall_now()) {
      s.quota_reset.store(to_steady(*b.reset), std::memory_order_seq_cst);
      s.quota_reset_wall.store(to_ms(*b.reset), std::memory_order_relaxed);
    }
    auto cool = s.cool_until.load(std::memory_order_relaxed);
    if (b.remaining > 0 && cool > now() && s.resting_for.load(std::memory_order_relaxed) == rest_kind::exhausted) {
      s.cool_until.compare_exchange_strong(cool, now(), std::memory_order_seq_cst); // one request probes what was said
    }
  }

  /// On if one key is usable; barred from what all usable keys are barred from.
  void update(std::uint32_t index) {
    auto& s = table()[index];
    auto usable = false;
    auto barred = ~std::uint32_t{0};
    std::uint32_t barred_somewhere = 0;
    for (auto const* k : accounts_[index].members) {
      if (k->usable()) {
        usable = true;
        barred &= k->barred.load(std::memory_order_relaxed);
        barred_somewhere |= k->barred.load(std::memory_order_relaxed);
      }
    }
    s.barred.store(barred, std::memory_order_release);
    s.barred_somewhere.store(barred_somewhere, std::memory_order_release);
    if (usable == ((s.gate.load(std::memory_order_relaxed) & gate::off) != 0)) {
      table().set_off(s, !usable);
    }
    set_population(keys_.size());
  }

  [[nodiscard]] static std::int64_t to_ms(wall_time t) noexcept {
    return std::chrono::duration_cast<std::chrono::milliseconds>(t.time_since_epoch()).count();
  }
  [[nodiscard]] static wall_time from_ms(std::int64_t ms) noexcept { return wall_time{std::chrono::milliseconds{ms}}; }
  [[nodiscard]] tick to_steady(wall_time t) const noexcept {
    return after(now(), std::chrono::nanoseconds{t - clock().wall_now()}.count());
  }

  [[nodiscard]] key_state describe(key_record const& key, tick steady, wall_time wall) {
    auto& s = table()[key.slot];
    auto const& account = accounts_[key.slot];
    table().renew_quota(s, steady);
    auto const word = s.gate.load(std::memory_order_relaxed);
    auto const metered = (word & gate::metered) != 0;
    auto const quota = s.quota.load(std::memory_order_relaxed);
    auto const unspent = s.unspent();
    auto const whole = s.cool_until.load(std::memory_order_relaxed);
    auto const cool = std::max(whole, longest_lane_rest(s));
    auto const reset = s.quota_reset_wall.load(std::memory_order_relaxed);
    key_state out;
    out.name = key.params.name;
    out.short_key = key.masked;
    out.account = account.name;
    // a balance may be anything the provider says
    if (!metered) {
      out.character_count = s.charged.load(std::memory_order_relaxed);
    } else if (unspent < 0 && quota > std::numeric_limits<std::int64_t>::max() + unspent) {
      out.character_count = std::numeric_limits<std::int64_t>::max();
    } else {
      out.character_count = quota - unspent;
    }
    out.in_flight = gate::leases(word);
    out.requests = key.requests.load(std::memory_order_relaxed);
    out.failures = key.failures.load(std::memory_order_relaxed);
    out.barred = capability_set::from_bits(key.barred.load(std::memory_order_relaxed));
    out.balance_set = account.balance_set;
    if (metered) {
      out.character_limit = quota;
      out.remaining = std::max<std::int64_t>(unspent, 0);
      auto const used = quota > 0 ? 100.0 * static_cast<double>(out.character_count) / static_cast<double>(quota) : 100;
      out.usage_percentage = std::clamp(used, 0.0, 100.0);
      out.is_over_limit = unspent <= 0;
      out.is_near_limit = out.usage_percentage >= 80;
    }
    if (reset != 0) {
      out.next_reset = from_ms(reset);
    }
    auto const cooling = cool > steady;
    if (cooling) {
      auto const rest = std::chrono::duration_cast<wall_time::duration>(std::chrono::nanoseconds{cool - steady});
      out.cooldown_until = wall + std::min(rest, wall_time::max() - wall);
    }
    auto const exhausted = whole > steady && s.resting_for.load(std::memory_order_relaxed) == rest_kind::exhausted;
    out.status = key.disabled.load(std::memory_order_relaxed)  ? key_status::disabled
                 : key.invalid.load(std::memory_order_relaxed) ? key_status::invalid
                 : exhausted || out.is_over_limit              ? key_status::exhausted
                 : cooling                                     ? key_status::rate_limited
                                                               : key_status::active;
    return out;
  }

  std::string const name_;
  std::optional<boost::asio::any_io_executor> executor_; ///< gone with the pool, though leases may stay
  std::shared_ptr<detail::alarm> alarm_;
  std::shared_ptr<event_queue> events_;
  subscribers<> changes_;
  std::atomic<bool> dirty_{false};
  std::atomic<key_record*> last_key_{nullptr};
  std::atomic<bool> all_unavailable_{false};
  stable_array<account_record> accounts_;

  std::mutex admin_; // guards what follows, and everything in an account but its list of keys
  std::map<std::string, std::unique_ptr<key_record>, std::less<>> keys_;
  std::map<std::string, std::uint32_t, std::less<>> account_ids_;
  std::vector<key_record*> order_;
};

} // namespace detail
} // namespace rondo
