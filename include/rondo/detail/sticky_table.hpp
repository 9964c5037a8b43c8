// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/detail/mixing.hpp>
#include <rondo/detail/tick.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

namespace rondo::detail {

/// A proxy as the table sees it.
struct sticky_place {
  std::uint32_t id = 0;
  std::uint64_t hash = 0; ///< of its name: the same in every process
};

/// Which affinity goes through which proxy: rendezvous hashing with bounded load.
///
/// Every affinity prefers the proxies in an order of its own and takes the first that has room; there is room for the
/// fair share (affinities by living proxies, rounded down) and one. It stays there while the proxy lives. Whose proxy
/// does not live takes another when it asks next, so that a short rest moves nobody who does not ask. When proxies come
/// and others hold more than their share because of it, as many as that are moved, first those who would rather be
/// elsewhere.
///
/// One thread at a time. An affinity that has not asked for an hour is forgotten; it would most likely find the same
/// proxy again.
class sticky_table {
public:
  static constexpr std::uint32_t none = ~std::uint32_t{0};

  /// \param living in ascending order of their ids
  void set_living(std::vector<sticky_place> living) {
    living_ = std::move(living);
    shed();
  }
  [[nodiscard]] std::span<sticky_place const> living() const noexcept { return living_; }

  /// The proxy of an affinity; `none` if no proxy lives.
  [[nodiscard]] std::uint32_t find(std::uint64_t affinity, tick now) {
    if (living_.empty()) {
      return none;
    }
    forget_idle(now);
    auto& found = entries_[affinity];
    found.asked = now;
    if (found.proxy == none || !lives(found.proxy)) {
      move(found, affinity);
    }
    return found.proxy;
  }

  /// Living proxies in the order that an affinity prefers.
  [[nodiscard]] std::vector<std::uint32_t> order_of(std::uint64_t affinity) const {
    auto sorted = living_;
    std::sort(sorted.begin(), sorted.end(),
              [affinity](auto const& a, auto const& b) { return weight(affinity, a) > weight(affinity, b); });
    std::vector<std::uint32_t> out;
    for (auto const& each : sorted) {
      out.push_back(each.id);
    }
    return out;
  }

private:
  struct entry {
    std::uint32_t proxy = none;
    tick asked = 0;
  };

  static constexpr tick memory = 3'600'000'000'000;
  static constexpr tick between_sweeps = 600'000'000'000;

  [[nodiscard]] static std::uint64_t weight(std::uint64_t affinity, sticky_place const& p) noexcept {
    return mixed(affinity ^ mixed(p.hash));
  }
  [[nodiscard]] bool lives(std::uint32_t proxy) const noexcept {
    auto const at = std::lower_bound(living_.begin(), living_.end(), proxy,
                                     [](sticky_place const& p, std::uint32_t id) { return p.id < id; });
    return at != living_.end() && at->id == proxy;
  }
  [[nodiscard]] std::size_t room_for() const noexcept { return entries_.size() / living_.size() + 1; }
  [[nodiscard]] std::size_t& load_of(std::uint32_t proxy) {
    if (proxy >= loads_.size()) {
      loads_.resize(std::size_t{proxy} + 1);
    }
    return loads_[proxy];
  }

  /// To the first of its choices that has room: there always is one.
  void move(entry& e, std::uint64_t affinity) {
    auto const most = room_for();
    sticky_place const* best = nullptr;
    for (auto const& p : living_) {
      if (p.id != e.proxy && load_of(p.id) < most && (!best || weight(affinity, p) > weight(affinity, *best))) {
        best = &p;
      }
    }
    if (!best) {
      return; // it lives already where it would have to go
    }
    if (e.proxy != none) {
      --load_of(e.proxy);
    }
    e.proxy = best->id;
    ++load_of(e.proxy);
  }

  /// Moves what is too much on the living proxies.
  void shed() {
    if (living_.empty()) {
      return;
    }
    auto const most = room_for();
    for (auto const& p : living_) {
      if (load_of(p.id) > most) {
        shed(p, load_of(p.id) - most);
      }
    }
  }

  void shed(sticky_place const& from, std::size_t count) {
    struct candidate {
      std::uint64_t rank; ///< how many it likes better
      std::uint64_t affinity;
    };
    std::vector<candidate> guests;
    for (auto const& [affinity, e] : entries_) {
      if (e.proxy == from.id) {
        auto const here = weight(affinity, from);
        auto const better = std::count_if(living_.begin(), living_.end(),
                                          [&, a = affinity](auto const& p) { return weight(a, p) > here; });
        guests.push_back({static_cast<std::uint64_t>(better), affinity});
      }
    }
    std::sort(guests.begin(), guests.end(), [](auto const& a, auto const& b) {
      return a.rank != b.rank ? a.rank > b.rank : a.affinity < b.affinity;
    });
    for (std::size_t i = 0; i < count; ++i) {
      move(entries_[guests[i].affinity], guests[i].affinity);
    }
  }

  void forget_idle(tick now) {
    if (now < next_sweep_) {
      return;
    }
    next_sweep_ = after(now, between_sweeps);
    auto const before = entries_.size();
    std::erase_if(entries_, [&](auto const& each) {
      auto const idle = now - each.second.asked > memory;
      if (idle && each.second.proxy != none) {
        --load_of(each.second.proxy);
      }
      return idle;
    });
    if (entries_.size() < before) {
      shed(); // fewer of them: the fair share is smaller
    }
  }

  std::vector<sticky_place> living_;
  std::unordered_map<std::uint64_t, entry> entries_;
  std::vector<std::size_t> loads_; ///< by proxy, living or not
  tick next_sweep_ = 0;
};

} // namespace rondo::detail
