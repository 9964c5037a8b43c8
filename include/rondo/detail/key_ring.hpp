// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/affinity.hpp>
#include <rondo/balance.hpp>
#include <rondo/capability.hpp>
#include <rondo/detail/alarm.hpp>
#include <rondo/detail/event_queue.hpp>
#include <rondo/detail/lanes.hpp>
#include <rondo/detail/mixing.hpp>
#include <rondo/detail/pool_core.hpp>
#include <rondo/detail/stable_array.hpp>
#include <rondo/error.hpp>
#include <rondo/event.hpp>
#include <rondo/limits.hpp>
#include <rondo/pool_snapshot.hpp>
#include <rondo/secret.hpp>
#include <rondo/subscription.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/config.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <memory_resource>
#include <mutex>
#include <new>
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
  rondo::limits limits{}; ///< of the account, over all its lanes; must be the same for all keys that name it
  /// Of single lanes, besides those of the account; must be the same for all keys of the account.
  std::map<std::string, rondo::limits> lanes{};
  rondo::limits lane_limits{}; ///< of each lane that is not in `lanes`; must be the same for all keys of the account
  /// The account's share under `strategy::weighted`, as its first key says: 1 to 1,000,000; what is beyond counts as
  /// the nearest of them.
  std::uint32_t weight = 1;
  std::optional<std::int64_t> remaining{};    ///< tokens left now; without a quota it is taken as the quota too
  std::optional<wall_time> exhausted_until{}; ///< rests until then, as if the provider had said so
  capability_set barred{};                    ///< what it cannot be used for
  bool disabled = false;                      ///< not offered until `set_disabled(name, false)`
};

namespace detail {

struct key_record {
  key_params params;
  std::uint32_t slot = 0;
  std::uint64_t id = 0; ///< from its name
  std::string masked;
  std::atomic<bool> invalid{false};
  std::atomic<bool> disabled{false};
  std::atomic<std::uint32_t> barred{0};
  std::atomic<std::uint64_t> requests{0}; ///< of the first key of an account, what the others leave of its slot's
  std::atomic<std::uint64_t> failures{0};
  std::atomic<bool> removed{false}; ///< counts its requests itself from then on, first key or not
  key_record* successor = nullptr;  ///< the key with its newest secret, if that is another; for administrative calls

  [[nodiscard]] bool usable() const noexcept { return !invalid.load() && !disabled.load(); }
  [[nodiscard]] key_record& newest() noexcept { return successor ? *successor : *this; }
};

using key_list = std::vector<key_record*>;

struct account_record {
  std::string name;
  rondo::limits limits;
  std::map<std::string, rondo::limits, std::less<>> lanes;
  rondo::limits lane_limits;
  bool metered_by_balance = false; ///< has no quota of its own, but a balance
  std::optional<wall_time> balance_set;
  key_list members;
  std::atomic<std::uint32_t> turn{0}; ///< of its keys
  std::uint64_t requests_of_wiped_keys = 0;
  /// The last of them is what `members` was when it last had any. Replaced, never changed; who holds a lease may read
  /// it.
  std::vector<std::unique_ptr<key_list const>> lists;
  std::vector<std::unique_ptr<key_record>> retired; ///< wiped when no lease is out

  /// Keys that share an account have the same limits.
  [[nodiscard]] bool agrees_with(key_params const& p) const {
    return members.empty() || (limits == p.limits && lane_limits == p.lane_limits &&
                               std::equal(lanes.begin(), lanes.end(), p.lanes.begin(), p.lanes.end()));
  }
  [[nodiscard]] rondo::limits const& limits_of(std::string_view lane) const {
    auto const at = lanes.find(lane);
    return at == lanes.end() ? lane_limits : at->second;
  }
};

/// The keys behind the slots: names, secrets, who shares what.
class key_ring final : public pool_core {
public:
  key_ring(boost::asio::any_io_executor const& executor, core_options const& options, std::string name)
      : pool_core{options}, name_{std::move(name)}, executor_{executor},
        alarm_{std::make_shared<detail::alarm>(executor, *this)}, events_{std::make_shared<event_queue>(executor)} {}

  [[nodiscard]] boost::asio::any_io_executor get_executor() const { return *executor_; }

  /// Memory for a waiter. It is used again and again: as much is kept as was needed at the worst moment.
  [[nodiscard]] void* allocate_waiter(std::size_t size) {
    std::lock_guard const lock{waiters_mutex_};
    return waiters_.allocate(size);
  }
  void deallocate_waiter(void* memory, std::size_t size) noexcept {
    std::lock_guard const lock{waiters_mutex_};
    waiters_.deallocate(memory, size);
  }

  void shut_down() {
    alarm_->detach();
    events_->close();
    executor_.reset();
    close();
  }

  struct choice {
    key_record& key;
    bool counts_requests; ///< those of a key that is alone in its account are counted by the slot
  };
  /// What `slot::owner` says of a slot that is in use.
  class slot_owner {
  public:
    explicit slot_owner(std::uintptr_t value) noexcept : value_{value} {}
    [[nodiscard]] bool is_one_key() const noexcept { return (value_ & several) == 0; }
    [[nodiscard]] key_record& key() const noexcept { return *reinterpret_cast<key_record*>(value_); }
    [[nodiscard]] key_list const& keys() const noexcept {
      return *reinterpret_cast<key_list const*>(value_ & ~several);
    }

  private:
    std::uintptr_t value_;
  };
  [[nodiscard]] BOOST_FORCEINLINE static slot_owner owner_of(slot_type const& s) noexcept {
    return slot_owner{s.owner.load()}; // pairs with publish()
  }
  /// The key that a fresh grant of `s` is for.
  [[nodiscard]] choice choose(slot_type const& s, capability_set needs, std::uint64_t affinity) noexcept {
    auto const owner = owner_of(s);
    auto& chosen = owner.is_one_key() ? owner.key() : choose_one_of(owner.keys(), s, needs, affinity);
    if (wanted_.load() != 0) [[unlikely]] {
      tell_rotation(chosen);
    }
    return {chosen, !owner.is_one_key()};
  }

  [[nodiscard]] std::string_view account_name(std::uint32_t slot) const noexcept { return accounts_[slot].name; }

  /// Nothing could be taken; tells the observers once, if that is because all are resting.
  void found_nothing() noexcept {
    if (!wanted(event_kind::all_unavailable) || all_unavailable_.load()) [[likely]] {
      return;
    }
    auto const at = now();
    for (std::uint32_t i = 0, n = table().size(); i < n; ++i) {
      auto const& s = table()[i];
      auto const off = (s.gate.load() & gate::off) != 0;
      if (!off && s.cool_until.load() <= at) {
        return;
      }
    }
    if (!all_unavailable_.exchange(true)) {
      tell(event_kind::all_unavailable, {}, {});
    }
  }

  /// \param kinds one bit for each kind that `f` wants to hear of
  [[nodiscard]] subscription on_event(std::uint32_t kinds, std::function<void(event const&)> f) {
    wanted_.fetch_or(kinds);
    if ((kinds & (bit(event_kind::key_rotated) | bit(event_kind::all_unavailable))) != 0) {
      expect_grants();
    }
    return events_->add([kinds, f = std::move(f)](event const& e) {
      if ((kinds & bit(e.kind)) != 0) { // others may want others
        f(e);
      }
    });
  }
  [[nodiscard]] static constexpr std::uint32_t bit(event_kind k) noexcept {
    return std::uint32_t{1} << static_cast<unsigned>(k);
  }
  [[nodiscard]] subscription on_change(std::function<void()> f) {
    expect_charges();
    return changes_.add(std::move(f));
  }

  /// The lane of that name; a new one gets the limits that the accounts have for lanes they do not know.
  [[nodiscard]] lane& lane_of(std::string_view name) {
    if (auto* const known = lanes().find(name)) [[likely]] {
      return *known;
    }
    std::lock_guard const lock{admin_};
    return find_or_add_lane(name);
  }

  /// Something that stores keep has changed.
  void note_change() noexcept {
    if (changes_.any() && !dirty_.exchange(true)) {
      changes_.call();
    }
  }

  // --- administration

  void add(key_params params) {
    if (params.name.empty() || params.secret.empty() || params.remaining.value_or(0) < 0) {
      throw boost::system::system_error{error::invalid_argument, "key '" + params.name + "'"};
    }
    check_quota(params.name, params.limits);
    check_quota(params.name, params.lanes, params.lane_limits);
    std::unique_lock lock{admin_};
    if (keys_.contains(params.name)) {
      throw boost::system::system_error{error::duplicate_name, "key '" + params.name + "'"};
    }
    // an account that was not named must not be taken for one that was
    auto const id = params.account.empty() ? "key\n" + params.name : "account\n" + params.account;
    auto const known = account_ids_.find(id);
    auto const fresh = known == account_ids_.end();
    if (!fresh && !accounts_[known->second].agrees_with(params)) {
      throw boost::system::system_error{error::conflicting_limits, "account '" + params.account + "'"};
    }
    name_lanes(params.lanes);
    auto const index = fresh ? new_account(id, params) : known->second;
    auto& account = accounts_[index];
    auto& s = table()[index];
    auto record = std::make_unique<key_record>();
    record->slot = index;
    record->id = affinity{params.name}.hash();
    record->masked = params.secret.masked();
    record->barred.store(params.barred.bits());
    record->disabled.store(params.disabled);
    record->params = std::move(params);
    auto* const key = record.get();
    auto members = account.members;
    members.push_back(key);
    auto list = list_of(account, members);
    make_room(order_);
    decltype(keys_) added;
    added.emplace(key->params.name, std::move(record));
    set_up_account(index, fresh, key->params);
    // nothing fails from here on
    order_.push_back(key);
    keys_.merge(added);
    account.members.swap(members);
    publish(index, std::move(list));
    wipe_retired(index); // or the lists of an account's keys would pile up
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
    auto* const key = at->second.get();
    auto const index = key->slot;
    auto& account = accounts_[index];
    auto members = account.members;
    std::erase(members, key);
    auto list = list_of(account, members);
    make_room(account.retired);
    // nothing fails from here on
    if (account.members.front() == key) { // the others have counted theirs
      key->requests.store(requests_of(*key) - requests_of_former(*key));
    }
    for_each_former(*key, [](key_record& former) {
      former.removed.store(true, std::memory_order_release); // pairs with lease::refund()
    });
    key->removed.store(true, std::memory_order_release); // pairs with lease::refund()
    account.members.swap(members);
    std::erase(order_, key);
    last_key_.store(nullptr);
    account.retired.push_back(std::move(at->second));
    keys_.erase(at);
    update(index); // before the list changes: with its last key gone the slot is off, and nobody reads the list
    publish(index, std::move(list));
    wipe_retired(index);
    lock.unlock();
    freed(table()[index]);
    note_change();
    return true;
  }

  void replace_secret(std::string_view name, secret fresh) {
    if (fresh.empty()) {
      throw boost::system::system_error{error::invalid_argument, "key '" + std::string{name} + "'"};
    }
    std::unique_lock lock{admin_};
    auto& old = find(name);
    auto const index = old.slot;
    auto& account = accounts_[index];
    auto record = std::make_unique<key_record>();
    record->slot = index;
    record->id = old.id;
    record->masked = fresh.masked();
    record->barred.store(old.barred.load());
    record->disabled.store(old.disabled.load());
    record->params = old.params;
    record->params.secret = std::move(fresh);
    auto members = account.members;
    std::replace(members.begin(), members.end(), &old, record.get());
    auto list = list_of(account, members);
    make_room(account.retired);
    // nothing fails from here on
    for_each_former(old, [&](key_record& former) { former.successor = record.get(); });
    old.successor = record.get();
    account.members.swap(members);
    std::replace(order_.begin(), order_.end(), &old, record.get());
    last_key_.store(nullptr);
    auto& place = keys_.find(name)->second;
    place.swap(record);
    account.retired.push_back(std::move(record));
    publish(index, std::move(list));
    update(index);
    wipe_retired(index);
    lock.unlock();
    freed(table()[index]);
    note_change();
  }

  void set_limits(std::string_view key, limits const& l) {
    check_quota(key, l);
    std::unique_lock lock{admin_};
    auto const index = find(key).slot;
    change_limits(index, l);
    update(index);
    lock.unlock();
    freed(table()[index]);
    note_change();
  }

  void set_lane_limits(std::string_view key, std::string_view lane, limits const& l) {
    check_quota(key, l);
    std::unique_lock lock{admin_};
    auto const index = find(key).slot;
    auto& account = accounts_[index];
    auto& named = named_lane(lane);
    account.lanes.insert_or_assign(std::string{lane}, l);
    for (auto* const k : account.members) {
      k->params.lanes.insert_or_assign(std::string{lane}, l);
    }
    apply_lane_limits(named, index, l);
    lock.unlock();
    freed(table()[index]);
    note_change();
  }

  void set_lane_limits(std::string_view key, std::map<std::string, rondo::limits> const& named, limits const& others) {
    check_quota(key, named, others);
    std::unique_lock lock{admin_};
    auto const index = find(key).slot;
    auto& account = accounts_[index];
    name_lanes(named); // before anything changes
    set_lanes(account, named, others);
    for (auto* const k : account.members) {
      k->params.lanes = named;
      k->params.lane_limits = others;
    }
    apply_lane_limits(index);
    lock.unlock();
    freed(table()[index]);
    note_change();
  }

  void set_weight(std::string_view key, std::uint32_t weight) {
    std::lock_guard const lock{admin_};
    auto const index = find(key).slot;
    for (auto* const k : accounts_[index].members) {
      k->params.weight = weight;
    }
    table()[index].weight.store(weight);
  }

  void set_disabled(std::string_view name, bool disabled) {
    change_key(name, [&](key_record& k) { k.disabled.store(disabled); });
  }

  void revive(std::string_view name) {
    change_key(name, [&](key_record& k) { k.invalid.store(false); });
  }

  void set_barred(key_record& k, capability_set what) {
    {
      std::lock_guard const lock{admin_};
      k.newest().barred.fetch_or(what.bits());
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
  [[nodiscard]] std::int64_t charged_to(std::string_view key) { return table()[slot_of(key)].charged(); }

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
    dirty_.exchange(false); // what changes from here on is announced
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
      auto const metered = (s.gate.load() & gate::metered) != 0;
      if (metered && !accounts_[index].members.empty()) {
        auto const room = std::numeric_limits<std::int64_t>::max() - total;
        total += std::clamp<std::int64_t>(s.unspent(), 0, room);
      }
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
      all_unavailable_.store(false);
    }
    if (wanted(kind)) {
      tell(kind, {}, accounts_[g.from->index].name);
    }
  }

  void charged() noexcept override { note_change(); }

  void retire(slot_type& s) noexcept override {
    std::lock_guard const lock{admin_};
    wipe_retired(s.index);
  }

  void wipe_retired(std::uint32_t index) noexcept {
    auto& s = table()[index];
    auto& account = accounts_[index];
    if (account.retired.empty() && account.lists.size() <= 1) {
      return;
    }
    s.gate.fetch_or(gate::retired);
    if (gate::leases(s.gate.load()) != 0) {
      return; // the lease that ends last comes here again
    }
    s.gate.fetch_and(~gate::retired);
    for (auto const& k : account.retired) {
      auto& newest = k->newest();
      if (newest.removed.load()) {
        account.requests_of_wiped_keys += k->requests.load();
      } else {
        newest.requests.fetch_add(k->requests.load());
        newest.failures.fetch_add(k->failures.load());
      }
    }
    account.retired.clear();
    account.lists.erase(account.lists.begin(), account.lists.end() - 1);
  }

public:
  /// The provider does not know the key of a lease.
  void invalidate(key_record& k) noexcept {
    {
      std::lock_guard const lock{admin_};
      if (k.removed.load() || k.successor || k.invalid.exchange(true)) {
        return; // no news of a key that is in use
      }
      update(k.slot);
    }
    if (wanted(event_kind::invalid)) {
      tell(event_kind::invalid, k.params.name, accounts_[k.slot].name);
    }
    note_change();
    freed(table()[k.slot]);
  }

private:
  static void check_quota(std::string_view key, limits const& l) {
    if (l.quota < 0) {
      throw boost::system::system_error{error::invalid_argument, "a negative quota for key '" + std::string{key} + "'"};
    }
  }
  static void check_quota(std::string_view key, std::map<std::string, rondo::limits> const& lanes,
                          limits const& others) {
    for (auto const& [name, l] : lanes) {
      check_quota(key, l);
    }
    check_quota(key, others);
  }

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
    decltype(account_ids_) added;
    added.emplace(id, index);
    accounts_.grow_to(index);
    accounts_[index].name = params.account.empty() ? params.name : params.account;
    static_cast<void>(add_slot());
    account_ids_.merge(added); // which cannot fail
    return index;
  }

  /// Limits and balance of an account that gets a key.
  void set_up_account(std::uint32_t index, bool fresh, key_params const& p) {
    auto& account = accounts_[index];
    auto& s = table()[index];
    auto const left = p.remaining ? std::optional{counted_quota(*p.remaining)} : std::nullopt;
    if (account.members.empty()) {
      s.weight.store(p.weight);
      set_lanes(account, p.lanes, p.lane_limits);
      apply_lane_limits(index);
    }
    if (fresh) {
      auto const whole = left.value_or(counted_quota(p.limits.quota));
      apply_limits(index, p.limits, left.has_value(), [&](std::int64_t) { return whole; });
    } else if (account.members.empty()) {
      change_limits(index, p.limits); // what was spent stays spent
      if (left) {
        apply_limits(index, p.limits, true, [&](std::int64_t) { return *left; });
      }
    } else if (left && (s.gate.load() & gate::metered) == 0) {
      apply_limits(index, p.limits, true, [&](std::int64_t) { return *left; });
    } else if (left) {
      table().set_balance(s, [&](std::int64_t now_left) { return std::min(*left, now_left); });
    }
  }

  static void set_lanes(account_record& account, std::map<std::string, limits> const& named, limits const& others) {
    decltype(account.lanes) lanes{named.begin(), named.end()};
    account.lanes.swap(lanes);
    account.lane_limits = others;
  }

  static constexpr std::uintptr_t several = 1; ///< marks in `slot::owner` a list of keys instead of a key

  /// Turns about, except that an affinity stays with its key; a key that cannot do the work is passed over.
  [[nodiscard]] BOOST_NOINLINE key_record& choose_one_of(key_list const& keys, slot_type const& s, capability_set needs,
                                                         std::uint64_t affinity) noexcept {
    auto const suits = [&](key_record const& k) {
      auto const barred = capability_set::from_bits(k.barred.load());
      return k.usable() && !barred.intersects(needs);
    };
    auto const turn = accounts_[s.index].turn.fetch_add(1);
    auto* chosen = keys[turn % keys.size()];
    if (affinity != 0) {
      std::uint64_t best = 0;
      for (auto* const k : keys) {
        if (auto const score = mixed(affinity ^ k->id); suits(*k) && score >= best) {
          best = score;
          chosen = k;
        }
      }
    } else {
      for (std::size_t i = 1; i < keys.size() && !suits(*chosen); ++i) {
        chosen = keys[(turn + i) % keys.size()];
      }
    }
    chosen->requests.fetch_add(1);
    return *chosen;
  }

  [[nodiscard]] bool wanted(event_kind k) const noexcept { return (wanted_.load() & bit(k)) != 0; }

  /// What there is no memory for is not told: it comes in the middle of settles.
  void tell(event_kind kind, std::string_view key, std::string_view account) noexcept {
    try {
      events_->push({kind, std::string{key}, std::string{account}});
    } catch (std::bad_alloc const&) {
    }
  }
  BOOST_NOINLINE void tell_rotation(key_record& chosen) {
    if (all_unavailable_.load()) {
      all_unavailable_.store(false);
    }
    if (wanted(event_kind::key_rotated) && last_key_.exchange(&chosen) != &chosen) {
      tell(event_kind::key_rotated, chosen.params.name, accounts_[chosen.slot].name);
    }
  }

  /// Goes through the records of a key from before its secret was replaced, as long as they are kept.
  template <class Function> void for_each_former(key_record const& key, Function&& f) const {
    for (auto const& k : accounts_[key.slot].retired) {
      if (k.get() != &key && &k->newest() == &key) {
        f(*k);
      }
    }
  }

  [[nodiscard]] std::uint64_t requests_of_former(key_record const& key) const {
    std::uint64_t out = 0;
    for_each_former(key, [&](key_record const& former) { out += former.requests.load(); });
    return out;
  }

  /// The first key of an account does not count its requests itself: that would cost every acquire.
  [[nodiscard]] std::uint64_t requests_of(key_record const& key) {
    auto const& account = accounts_[key.slot];
    if (account.members.front() != &key) {
      return key.requests.load() + requests_of_former(key);
    }
    auto others = account.requests_of_wiped_keys;
    for (auto const& k : account.retired) {
      others += &k->newest() != &key ? k->requests.load() : 0;
    }
    for (std::size_t i = 1; i < account.members.size(); ++i) {
      others += account.members[i]->requests.load();
    }
    auto const all = table()[key.slot].granted();
    return all > others ? all - others : 0;
  }

  template <class T> static void make_room(std::vector<T>& for_one_more) {
    if (for_one_more.size() == for_one_more.capacity()) {
      for_one_more.reserve(2 * for_one_more.size() + 1);
    }
  }
  /// What `publish` takes, and the room for it.
  [[nodiscard]] static std::unique_ptr<key_list const> list_of(account_record& account, key_list const& members) {
    make_room(account.lists);
    return std::make_unique<key_list const>(members);
  }
  void publish(std::uint32_t index, std::unique_ptr<key_list const> members) noexcept {
    auto& account = accounts_[index];
    auto& owner = table()[index].owner;
    if (account.members.empty()) {
      return;
    }
    account.lists.push_back(std::move(members));
    auto const one = account.members.size() == 1;
    owner.store(one ? reinterpret_cast<std::uintptr_t>(account.members.front())
                    : reinterpret_cast<std::uintptr_t>(account.lists.back().get()) | several); // pairs with choose()
  }

  [[nodiscard]] lane& find_or_add_lane(std::string_view name) {
    return lanes().find_or_add(name, [&](lane& fresh) {
      for (std::uint32_t i = 0, n = table().size(); i < n; ++i) {
        if (auto const& l = accounts_[i].limits_of(fresh.name); l != limits{}) {
          apply_lane_limits(fresh, i, l);
        }
      }
    });
  }

  /// \throws system_error with `invalid_argument` for the lane without a name, and for all that are too many
  [[nodiscard]] lane& named_lane(std::string_view name) {
    auto& out = find_or_add_lane(name);
    if (&out == &lanes().unnamed()) {
      throw_no_lane(name);
    }
    return out;
  }
  [[noreturn]] static void throw_no_lane(std::string_view name) {
    throw boost::system::system_error{error::invalid_argument, name.empty()
                                                                   ? "limits for a lane without a name"
                                                                   : "too many lanes for '" + std::string{name} + "'"};
  }

  /// Knows all of these lanes, or \throws as `named_lane` and knows none of them.
  void name_lanes(std::map<std::string, limits> const& all) {
    std::size_t fresh = 0;
    for (auto const& [name, l] : all) {
      fresh += lanes().find(name) ? 0 : 1;
      if (name.empty() || !lanes().have_room_for(fresh)) {
        throw_no_lane(name);
      }
    }
    for (auto const& [name, l] : all) {
      static_cast<void>(named_lane(name));
    }
  }

  void apply_lane_limits(std::uint32_t index) {
    auto const& account = accounts_[index];
    for (auto const& [name, l] : account.lanes) {
      apply_lane_limits(named_lane(name), index, l);
    }
    lanes().for_each([&](lane& known) {
      if (auto const& l = account.limits_of(known.name); l != limits{} || known.table.load()) {
        apply_lane_limits(known, index, l);
      }
    });
  }

  void apply_lane_limits(lane& l, std::uint32_t index, limits const& what) {
    auto& t = lanes().table_of(l).slots;
    auto const before = t[index].quota.load();
    t.set_limits(t[index], what, what.quota != 0,
                 [&](std::int64_t left) { return left_after(before, what.quota, left); });
  }

  /// What was spent stays spent, and a balance without a quota stays what it is.
  void change_limits(std::uint32_t index, limits const& l) {
    auto& account = accounts_[index];
    auto const by_balance = l.quota == 0 && account.metered_by_balance;
    auto const before = account.limits.quota;
    apply_limits(index, l, by_balance, [&](std::int64_t left) {
      return by_balance ? std::nullopt : std::optional{left_after(before, l.quota, left)};
    });
    for (auto* const k : account.members) {
      k->params.limits = l;
    }
  }

  /// What a change of quota leaves of it. Who had one has spent of it; who gets his first has spent nothing.
  [[nodiscard]] static std::int64_t left_after(std::int64_t before, std::int64_t now, std::int64_t left) noexcept {
    auto const whole = counted_quota(now);
    return now == 0 ? left : before == 0 ? whole : left + whole - counted_quota(before);
  }

  /// \param balance see `slot_table::set_limits`
  template <class Balance>
  void apply_limits(std::uint32_t index, limits const& l, bool balance_known, Balance&& balance) {
    auto& account = accounts_[index];
    auto const metered = l.quota != 0 || balance_known;
    table().set_limits(table()[index], l, metered, balance);
    account.limits = l;
    account.metered_by_balance = metered && l.quota == 0;
  }

  void correct_balance(std::uint32_t index, balance b, std::optional<std::int64_t> charged_before) {
    b.limit = counted_quota(b.limit);
    b.remaining = counted_quota(b.remaining);
    auto& account = accounts_[index];
    auto& s = table()[index];
    account.balance_set = clock().wall_now();
    table().renew_quota(s, now());
    if ((s.gate.load() & gate::metered) == 0) {
      // so far nothing was known of a quota
      account.metered_by_balance = true;
      s.quota.store(std::max(b.limit, b.remaining));
      table().set_balance(s, [&](std::int64_t) { return b.remaining; });
      table().set_metered(s, true);
    } else {
      if (b.limit > 0) {
        s.quota.store(b.limit);
        table().set_metered(s, true); // what is near the limit has changed
      }
      // Requests that were under way when the provider looked may be in its figure or not. Any figure between "all of
      // them" and "none" agrees with our books; only what lies outside is news.
      table().set_balance(s, [&](std::int64_t unspent) {
        auto const highest = charged_before ? unspent + (s.charged() - *charged_before) : unspent;
        auto const lowest = charged_before ? unspent - gate::reserved(s.gate.load()) : highest;
        return b.remaining > highest  ? unspent + (b.remaining - highest)
               : b.remaining < lowest ? unspent + (b.remaining - lowest)
                                      : unspent;
      });
    }
    if (b.reset && *b.reset > clock().wall_now()) {
      table().set_reset(s, *b.reset);
    }
    if (b.remaining > 0) {
      table().end_exhaustion(s, now());
    }
  }

  /// On if one key is usable; barred from what all usable keys are barred from, and where several capabilities are
  /// needed at once, from what any of them is barred from, unless one of them has all that the others have.
  void update(std::uint32_t index) {
    auto& s = table()[index];
    auto usable = false;
    auto barred = ~std::uint32_t{0};
    std::uint32_t barred_somewhere = 0;
    for (auto const* k : accounts_[index].members) {
      if (k->usable()) {
        usable = true;
        barred &= k->barred.load();
        barred_somewhere |= k->barred.load();
      }
    }
    auto const& members = accounts_[index].members;
    auto const one_has_all_there_is = std::any_of(
        members.begin(), members.end(), [&](key_record const* k) { return k->usable() && k->barred.load() == barred; });
    s.barred.store(barred);
    s.barred_for_several.store(one_has_all_there_is ? barred : barred_somewhere);
    if (usable == ((s.gate.load() & gate::off) != 0)) {
      table().set_off(s, !usable);
    }
    set_population(keys_.size());
  }

  [[nodiscard]] key_state describe(key_record const& key, tick steady, wall_time wall) {
    auto& s = table()[key.slot];
    auto const& account = accounts_[key.slot];
    table().renew_quota(s, steady);
    auto const word = s.gate.load();
    auto const metered = (word & gate::metered) != 0;
    auto const quota = s.quota.load();
    auto const unspent = s.unspent();
    auto const whole = s.cool_until.load();
    auto cool = whole;
    key_state out;
    out.name = key.params.name;
    out.short_key = key.masked;
    out.account = account.name;
    out.character_count = metered ? quota - unspent : s.charged();
    out.in_flight = gate::leases(word);
    out.requests = requests_of(key);
    out.failures = key.failures.load();
    for_each_former(key, [&](key_record const& former) { out.failures += former.failures.load(); });
    out.barred = capability_set::from_bits(key.barred.load());
    out.balance_set = account.balance_set;
    if (metered) {
      out.character_limit = quota;
      out.remaining = std::max<std::int64_t>(unspent, 0);
      auto const used = quota > 0 ? 100.0 * static_cast<double>(out.character_count) / static_cast<double>(quota) : 100;
      out.usage_percentage = std::clamp(used, 0.0, 100.0);
      out.is_over_limit = unspent <= 0;
      out.is_near_limit = out.usage_percentage >= 80;
    }
    out.next_reset = table().next_reset(s);
    auto const to_wall = [&](tick at) {
      auto const rest = std::chrono::duration_cast<wall_time::duration>(std::chrono::nanoseconds{at - steady});
      return wall + std::min(rest, wall_time::max() - wall);
    };
    lanes().for_each([&](lane const& l) {
      if (auto const* const t = l.table.load()) {
        if (auto const until = t->slots[key.slot].cool_until.load(); until > steady) {
          out.resting_lanes.push_back({l.name, to_wall(until)});
          cool = std::max(cool, until);
        }
      }
    });
    auto const cooling = cool > steady;
    if (cooling) {
      out.cooldown_until = to_wall(cool);
    }
    auto const exhausted = whole > steady && s.exhausted();
    out.status = key.disabled.load()              ? key_status::disabled
                 : key.invalid.load()             ? key_status::invalid
                 : exhausted || out.is_over_limit ? key_status::exhausted
                 : cooling                        ? key_status::rate_limited
                                                  : key_status::active;
    return out;
  }

  std::string const name_;
  std::optional<boost::asio::any_io_executor> executor_; ///< gone with the pool, though leases may stay
  std::shared_ptr<detail::alarm> alarm_;
  std::shared_ptr<event_queue> events_;
  subscribers<> changes_;
  std::atomic<std::uint32_t> wanted_{0}; ///< the kinds of events that somebody once asked for
  std::atomic<bool> dirty_{false};
  std::atomic<key_record*> last_key_{nullptr};
  std::atomic<bool> all_unavailable_{false};
  stable_array<account_record> accounts_;

  std::mutex waiters_mutex_;
  std::pmr::unsynchronized_pool_resource waiters_;

  std::mutex admin_; // guards what follows, and everything in an account but its list of keys
  std::map<std::string, std::unique_ptr<key_record>, std::less<>> keys_;
  std::map<std::string, std::uint32_t, std::less<>> account_ids_;
  std::vector<key_record*> order_;
};

} // namespace detail
} // namespace rondo
