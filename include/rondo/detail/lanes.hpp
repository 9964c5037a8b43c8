// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/detail/stable_array.hpp>
#include <rondo/detail/tick.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace rondo::detail {

/// What rests although the account does not: one model at one account, or one model everywhere.
struct lane {
  struct rest {
    std::atomic<tick> cool_until{0};
    std::atomic<std::uint32_t> setbacks{0};
  };

  std::string name;
  rest everywhere;                             ///< the model is overloaded at the provider
  std::atomic<std::uint64_t> last_overload{0}; ///< slot + 1 in the upper 24 bits, milliseconds below
  stable_array<rest> slots;
};

/// The lanes of a pool by name. A lane that was named once stays; there are at most 1024, because names may come from
/// whoever sends requests, and what is beyond shares the default lane.
///
/// `find` of a known name is lock-free; the rest locks.
class lanes {
public:
  static constexpr std::size_t most = 1024;

  lanes() { publish(std::make_unique<lane>()); }

  /// The number of a lane; 0 for the unnamed one.
  [[nodiscard]] std::uint32_t find(std::string_view name) {
    if (name.empty()) {
      return 0;
    }
    if (auto const known = lookup(name); known != 0) {
      return known;
    }
    std::lock_guard const lock{mutex_};
    if (auto const known = lookup(name); known != 0 || owned_.size() == most) {
      return known;
    }
    auto fresh = std::make_unique<lane>();
    fresh->name = name;
    if (slots_ != 0) {
      fresh->slots.grow_to(slots_ - 1);
    }
    publish(std::move(fresh));
    return static_cast<std::uint32_t>(owned_.size() - 1);
  }

  [[nodiscard]] lane& operator[](std::uint32_t id) const noexcept {
    return *current_.load(std::memory_order_acquire)->by_id[id];
  }

  /// When the last of the lanes of one slot ends its rest; 0 if none ever rested.
  [[nodiscard]] tick longest_rest(std::uint32_t slot) const noexcept {
    tick out = 0;
    for (auto const* l : current_.load(std::memory_order_acquire)->by_id) {
      out = std::max(out, l->slots[slot].cool_until.load(std::memory_order_relaxed));
    }
    return out;
  }

  /// Makes room for a slot in every lane, before the slot is used.
  void add_slot(std::uint32_t index) {
    std::lock_guard const lock{mutex_};
    slots_ = index + 1;
    for (auto& l : owned_) {
      l->slots.grow_to(index);
    }
  }

private:
  struct directory {
    std::vector<lane*> by_id;
    std::vector<std::uint32_t> by_name;
  };

  [[nodiscard]] std::uint32_t lookup(std::string_view name) const noexcept {
    auto const& now = *current_.load(std::memory_order_acquire); // pairs with publish()
    auto const at = std::lower_bound(now.by_name.begin(), now.by_name.end(), name,
                                     [&](std::uint32_t id, std::string_view n) { return now.by_id[id]->name < n; });
    return at != now.by_name.end() && now.by_id[*at]->name == name ? *at : 0;
  }

  /// Readers may hold an old directory at any time, so all of them are kept: 1024 at most.
  void publish(std::unique_ptr<lane> fresh) {
    owned_.push_back(std::move(fresh));
    auto next = std::make_unique<directory>();
    for (auto const& l : owned_) {
      next->by_name.push_back(static_cast<std::uint32_t>(next->by_id.size()));
      next->by_id.push_back(l.get());
    }
    std::sort(next->by_name.begin(), next->by_name.end(),
              [&](auto a, auto b) { return next->by_id[a]->name < next->by_id[b]->name; });
    current_.store(next.get(), std::memory_order_release); // pairs with lookup() and operator[]
    directories_.push_back(std::move(next));
  }

  std::mutex mutex_;
  std::vector<std::unique_ptr<lane>> owned_;
  std::vector<std::unique_ptr<directory>> directories_;
  std::uint32_t slots_ = 0;
  std::atomic<directory const*> current_{nullptr};
};

} // namespace rondo::detail
