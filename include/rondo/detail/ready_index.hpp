// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <boost/config.hpp>

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace rondo::detail {

/// The set of slots that are worth a try: a bitmap with three levels of summaries above it, 64 children a word, so
/// that the next member is found in at most seven word reads however many slots there are and however few are in it.
///
/// A member may turn out to be unable to serve; a slot that could serve and is no member would be lost. Therefore
/// whoever writes a summary bit looks at the word below once more.
///
/// `set`, `clear`, `next` and `empty`: any thread. `grow_to`: one thread at a time, before the index is used.
template <template <class> class Atomic = std::atomic> class ready_index {
public:
  static constexpr std::uint32_t npos = ~std::uint32_t{0};
  static constexpr std::uint32_t capacity = 64U * 64U * 64U * 64U;

  ready_index() = default;
  ready_index(ready_index const&) = delete;
  ready_index& operator=(ready_index const&) = delete;

  /// Makes room for `index`.
  void grow_to(std::uint32_t index) {
    auto& branch = middle_[index >> 18];
    if (!branch.load()) {
      branch.store(new middle, std::memory_order_release); // pairs with the loads in word()
    }
    auto& leaf = branch.load()->leaves[(index >> 12) & 63];
    if (!leaf.load()) {
      leaf.store(new node, std::memory_order_release); // pairs with the loads in word()
    }
    if (index < leaf_size) {
      first_leaf_.store(leaf.load(), std::memory_order_release); // pairs with next_near()
    }
  }

  ~ready_index() {
    for (auto& branch : middle_) {
      std::unique_ptr<middle> const owned{branch.load()};
      if (owned) {
        for (auto& leaf : owned->leaves) {
          delete leaf.load();
        }
      }
    }
  }

  void set(std::uint32_t index) noexcept {
    if (word(0, index >> 6).fetch_or(bit(index)) == 0) {
      summarize(index >> 6);
    }
  }

  void clear(std::uint32_t index) noexcept {
    auto const before = word(0, index >> 6).fetch_and(~bit(index));
    if (before == bit(index)) {
      summarize(index >> 6);
    }
  }

  [[nodiscard]] bool test(std::uint32_t index) const noexcept { return (word(0, index >> 6).load() & bit(index)) != 0; }

  [[nodiscard]] bool empty() const noexcept { return root_.load() == 0; }

  /// The first member that is not below `from`, or `npos`.
  [[nodiscard]] std::uint32_t next(std::uint32_t from) const noexcept {
    if (auto const near = next_near(from); near != npos) [[likely]] {
      return near;
    }
    return !empty() && leaf_of(from) ? climb(from >> 6) : npos;
  }
  /// The same, if it stands in the same word.
  [[nodiscard]] BOOST_FORCEINLINE std::uint32_t next_near(std::uint32_t from) const noexcept {
    auto const* const leaf = from < leaf_size ? first_leaf_.load() : leaf_of(from);
    if (!leaf) [[unlikely]] {
      return npos;
    }
    auto const here = leaf->words[(from >> 6) & 63].load() & (~std::uint64_t{0} << (from & 63));
    return here != 0 ? (from & ~63U) | static_cast<std::uint32_t>(std::countr_zero(here)) : npos;
  }

  /// The first member, if all that the summaries know of stand in one word; else `npos`.
  [[nodiscard]] std::uint32_t first_of_only_word() const noexcept {
    std::uint32_t position = 0;
    auto const descend = [&](unsigned level) {
      auto const members = word(level, position).load();
      position = position << 6 | static_cast<std::uint32_t>(std::countr_zero(members));
      return members != 0 && (level == 0 || (members & (members - 1)) == 0);
    };
    return descend(3) && descend(2) && descend(1) && descend(0) ? position : npos;
  }

private:
  static constexpr unsigned levels = 4;
  static constexpr std::uint32_t leaf_size = 64U * 64U;

  struct node {
    std::array<Atomic<std::uint64_t>, 64> words{};
  };
  struct middle {
    node summary;
    std::array<Atomic<node*>, 64> leaves{};
  };

  [[nodiscard]] static constexpr std::uint64_t bit(std::uint32_t index) noexcept {
    return std::uint64_t{1} << (index & 63);
  }

  /// Null for an index that is not there.
  [[nodiscard]] BOOST_FORCEINLINE node const* leaf_of(std::uint32_t index) const noexcept {
    if (index >= capacity) {
      return nullptr;
    }
    auto const* const branch = middle_[index >> 18].load(); // pairs with grow_to()
    return branch ? branch->leaves[(index >> 12) & 63].load() : nullptr;
  }

  /// The word of a level that holds the bits of 64 children; `position` counts words within the level.
  [[nodiscard]] BOOST_FORCEINLINE Atomic<std::uint64_t>& word(unsigned level, std::uint32_t position) const noexcept {
    switch (level) {
    case 0:
      return middle_[position >> 12]
          .load() // pairs with grow_to()
          ->leaves[(position >> 6) & 63]
          .load() // pairs with grow_to()
          ->words[position & 63];
    case 1: return middle_[position >> 6].load()->summary.words[position & 63];
    case 2: return top_.words[position];
    default: return root_;
    }
  }

  /// Tells the levels above that a word of the lowest one has got its first bit or lost its last one. Several threads
  /// may be telling about the same word, and what one of them saw may be over when it writes: hence the second look,
  /// so that whoever writes last has written what is true.
  void summarize(std::uint32_t position) noexcept {
    for (unsigned level = 1; level < levels; ++level) {
      auto const& below = word(level - 1, position);
      auto& here = word(level, position >> 6);
      auto changed = false;
      auto members = false;
      do {
        members = below.load() != 0;
        auto const before = members ? here.fetch_or(bit(position)) : here.fetch_and(~bit(position));
        // whoever found this word not empty meanwhile relies on us to tell, even if it is empty again now
        changed = changed || before == (members ? 0 : bit(position));
      } while ((below.load() != 0) != members);
      if (!changed) {
        return; // whoever made this word empty or not has told, or is telling, the level above
      }
      position >>= 6;
    }
  }

  /// Goes up from an exhausted word until a later sibling has members, then down to the first of them. A summary
  /// may be stale in either direction for a moment; the way down starts again above when it ends in an empty word.
  [[nodiscard]] std::uint32_t climb(std::uint32_t position) const noexcept {
    unsigned level = 1;
    for (;;) {
      auto const later = (position & 63) == 63 ? 0 : ~std::uint64_t{0} << ((position & 63) + 1);
      auto const found = word(level, position >> 6).load() & later;
      if (found == 0) {
        position >>= 6;
        if (++level == levels) {
          return npos;
        }
        continue;
      }
      position = (position & ~63U) | static_cast<std::uint32_t>(std::countr_zero(found));
      while (level > 0) {
        auto const below = word(level - 1, position).load();
        if (below == 0) {
          break;
        }
        position = position << 6 | static_cast<std::uint32_t>(std::countr_zero(below));
        --level;
      }
      if (level == 0) {
        return position;
      }
    }
  }

  Atomic<node const*> first_leaf_{nullptr}; ///< a shortcut: most pools have no other
  // mutable: a const lookup hands out the atomics, which do not change by being read
  mutable Atomic<std::uint64_t> root_{0};
  mutable node top_;
  std::array<Atomic<middle*>, 64> middle_{};
};

} // namespace rondo::detail
