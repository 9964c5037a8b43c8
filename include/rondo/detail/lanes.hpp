// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/clock.hpp>
#include <rondo/detail/rotor.hpp>
#include <rondo/detail/slot_table.hpp>
#include <rondo/detail/tick.hpp>
#include <rondo/detail/wait_line.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace rondo::detail {

/// The accounts' shares of one lane: limits, cooldowns, probation, everything a slot has.
struct lane_table {
  explicit lane_table(clock_source const& clock) noexcept : slots{clock} {}

  slot_table<std::atomic> slots;
  rotor turn;
};

/// A model or endpoint class. It has a table of its own once an account has limits for it or was refused in it.
struct lane {
  std::string name;
  std::atomic<lane_table*> table{nullptr};
  std::atomic<tick> cool_until{0};             ///< the provider is overloaded here, for every account
  std::atomic<std::uint32_t> overloads{0};     ///< since the last success
  std::atomic<std::uint64_t> last_overload{0}; ///< slot + 1 in the upper 24 bits, milliseconds below
  wait_class waiters;                          ///< those who need nothing in particular; guarded by the line's lock

  lane() { waiters.in = this; }
};

/// The lanes of a pool by name. A lane that was named once stays; there are at most 1024, because names may come from
/// whoever sends requests, and what is beyond shares the default lane.
///
/// Any thread, unless said otherwise; `find` is lock-free, what concerns tables locks.
class lanes {
public:
  static constexpr std::size_t most = 1024;

  explicit lanes(clock_source const& clock) : clock_{&clock} {
    directories_.push_back(std::make_unique<directory>());
    publish_last();
  }

  /// The lane without a name. It never has a table: the accounts' own slots are its.
  [[nodiscard]] lane& unnamed() noexcept { return unnamed_; }

  /// Null if it was not named before.
  [[nodiscard]] lane* find(std::string_view name) noexcept {
    if (name.empty()) [[likely]] {
      return &unnamed_;
    }
    auto const& now = *current_.load(); // pairs with publish_last()
    auto const at = std::lower_bound(now.begin(), now.end(), name, before);
    return at != now.end() && (*at)->name == name ? *at : nullptr;
  }

  /// The lane of that name; a new one is handed to `prepare` before anybody else sees it. One thread at a time.
  template <class Prepare> [[nodiscard]] lane& find_or_add(std::string_view name, Prepare&& prepare) {
    if (auto* const known = find(name)) {
      return *known;
    }
    if (owned_.size() == most) {
      return unnamed_;
    }
    auto fresh = std::make_unique<lane>();
    fresh->name = name;
    prepare(*fresh);
    auto next = std::make_unique<directory>(*current_.load());
    next->insert(std::lower_bound(next->begin(), next->end(), name, before), fresh.get());
    directories_.push_back(std::move(next)); // nobody looks at it yet
    owned_.push_back(std::move(fresh));
    publish_last();
    return *owned_.back();
  }

  /// Whether so many more lanes get a name of their own. One thread at a time.
  [[nodiscard]] bool have_room_for(std::size_t more) const noexcept { return owned_.size() + more <= most; }

  /// The table of a lane that has a name; makes it at the first call. \throws std::bad_alloc
  [[nodiscard]] lane_table& table_of(lane& l) {
    if (auto* const known = l.table.load()) {
      return *known;
    }
    std::lock_guard const lock{mutex_};
    if (auto* const known = l.table.load()) {
      return *known;
    }
    auto fresh = std::make_unique<lane_table>(*clock_);
    grow(*fresh, slots_);
    tables_.push_back(std::move(fresh));
    auto* const out = tables_.back().get();
    l.table.store(out, std::memory_order_release); // pairs with every load of it
    return *out;
  }

  /// Makes room for so many slots in every lane, before they are used. \throws std::bad_alloc; some may have it then
  void grow_to(std::uint32_t slots) {
    std::lock_guard const lock{mutex_};
    for (auto const& t : tables_) {
      grow(*t, slots);
    }
    slots_ = slots;
  }

  /// Calls `f` for every lane that has a name.
  template <class Function> void for_each(Function&& f) const {
    for (auto* const l : *current_.load()) { // pairs with publish_last()
      f(*l);
    }
  }

private:
  using directory = std::vector<lane*>;

  [[nodiscard]] static bool before(lane const* l, std::string_view name) noexcept { return l->name < name; }

  /// Readers may hold an old directory at any time, so all of them are kept: some 1024.
  void publish_last() noexcept {
    current_.store(directories_.back().get(), std::memory_order_release); // pairs with find()
  }

  static void grow(lane_table& t, std::uint32_t slots) {
    while (t.slots.size() < slots) {
      t.slots.set_off(t.slots.add(), false);
    }
  }

  clock_source const* clock_;
  lane unnamed_;
  std::atomic<directory const*> current_{nullptr};

  std::vector<std::unique_ptr<lane>> owned_;
  std::vector<std::unique_ptr<directory>> directories_;

  std::mutex mutex_; // guards what follows
  std::vector<std::unique_ptr<lane_table>> tables_;
  std::uint32_t slots_ = 0;
};

} // namespace rondo::detail
