// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/detail/slot.hpp>
#include <rondo/detail/tick.hpp>

#include <boost/config.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace rondo::detail {

/// Slots that come back at a known time, soonest first.
///
/// `push` is lock-free: it writes the time into the slot and hands the slot over through a list. The heap behind it is
/// worked on by whichever thread finds it free; nobody waits for it. A slot is in the list at most once and in the
/// heap at most once, however often its time changes.
///
/// `reserve` must have made room for every slot, so that nothing here allocates.
template <template <class> class Atomic> class return_queue {
public:
  using slot_type = slot<Atomic>;

  /// One thread at a time, and before the new slot is pushed.
  void reserve(std::size_t slots) {
    struct leave {
      return_queue& queue;
      ~leave() { queue.busy_.store(use::none, std::memory_order_release); } // pairs with the exchanges
    };
    enter(use::looking);
    leave const on_return{*this};
    if (heap_.capacity() < slots) {
      heap_.reserve(std::max(slots, 2 * heap_.capacity()));
    }
  }

  /// The slot comes back at `at`, whatever was said before.
  void push(slot_type& s, tick at) noexcept {
    s.return_at.store(at);
    if (s.queued.exchange(true)) {
      return; // whoever empties the list reads the time after it took the slot out
    }
    s.queue_next = inbox_.load();
    while (!inbox_.compare_exchange_weak(s.queue_next, &s)) {
    }
  }

  /// Nothing comes back before this moment; may be too early, never too late. A slot that two threads push at once is
  /// out of sight until the first of them is done, so that one must ask again after its push.
  [[nodiscard]] BOOST_FORCEINLINE tick next() const noexcept { return inbox_.load() ? 0 : next_.load(); }

  /// The slot that comes back at `at`, which `next` said just now; null where that has to be found out by `visit`.
  [[nodiscard]] slot_type const* who_returns(tick at) const noexcept {
    auto const* const s = first_.load();
    return s && s->return_at.load() == at ? s : nullptr;
  }

  /// Hands every slot whose time has come to `back`, which answers when the slot should be looked at again, or `never`.
  template <class Back> void run_due(tick now, Back&& back) noexcept {
    do {
      if (!enter(use::returning)) {
        return; // whoever is in there looks at the list again on leaving
      }
      next_.store(0); // what is on its way to the heap must not be out of sight
      accept();
      while (!heap_.empty() && heap_.front().at <= now) {
        auto& due = *heap_.front().who;
        place(due, never);
        place(due, back(due));
      }
      release();
    } while (inbox_.load());
  }

  /// Shows slots to `look`, the soonest first, until it answers false, with the moment they are noted for. What is just
  /// being handed over is shown too. Looks at `most_seen` slots at the most; returns the moment of the next one that
  /// was not shown, `never` if all were.
  ///
  /// Waits while another thread works on the heap.
  template <class Look> tick visit(Look&& look) noexcept {
    enter(use::looking);
    auto const news = inbox_.load() != nullptr;
    if (news) {
      next_.store(0);
      accept();
    }
    std::array<std::size_t, most_seen + 1> open{}; // heads of the parts of the heap that were not shown, a heap too
    std::size_t count = heap_.empty() ? 0 : 1;
    auto const later = [&](std::size_t a, std::size_t b) { return heap_[a].at > heap_[b].at; };
    auto left = never;
    for (std::size_t seen = 0; count != 0; ++seen) {
      auto const position = open.front();
      auto const& nearest = heap_[position];
      if (seen == most_seen || !look(*nearest.who, nearest.at)) {
        left = nearest.at;
        break;
      }
      std::pop_heap(open.begin(), open.begin() + static_cast<std::ptrdiff_t>(count--), later);
      for (auto child = 2 * position + 1; child <= 2 * position + 2 && child < heap_.size(); ++child) {
        open[count++] = child;
        std::push_heap(open.begin(), open.begin() + static_cast<std::ptrdiff_t>(count), later);
      }
    }
    if (news) {
      release();
    } else {
      busy_.store(use::none, std::memory_order_release); // pairs with the exchanges
    }
    return left;
  }

private:
  static constexpr std::size_t most_seen = 32;
  static constexpr std::uint32_t absent = ~std::uint32_t{0};
  struct entry {
    tick at;
    slot_type* who;
  };

  /// What the heap is just used for.
  enum class use : std::uint8_t { none, looking, returning };

  /// Waits until the heap is free, which takes moments only. False when another thread is at the same work as the
  /// caller, who wants to return slots: then it is left to that one.
  bool enter(use what) noexcept {
    for (;;) {
      auto seen = use::none;
      if (busy_.compare_exchange_strong(seen, what)) {
        return true;
      }
      if (what == use::returning && seen == use::returning) {
        return false;
      }
    }
  }

  /// Moves what was pushed into the heap; the caller holds `busy_`.
  void accept() noexcept {
    auto* s = inbox_.exchange(nullptr);
    while (s) {
      auto* const following = s->queue_next;
      s->queued.store(false);
      place(*s, s->return_at.load());
      s = following;
    }
  }

  void release() noexcept {
    next_.store(heap_.empty() ? never : heap_.front().at);
    first_.store(heap_.empty() ? nullptr : heap_.front().who);
    busy_.store(use::none);
  }

  void put(std::size_t position, entry e) noexcept {
    heap_[position] = e;
    e.who->heap_position = static_cast<std::uint32_t>(position);
  }

  void place(slot_type& s, tick at) noexcept {
    if (s.heap_position == absent) {
      if (at == never) {
        return;
      }
      heap_.push_back({at, &s});
      rise(heap_.size() - 1);
      return;
    }
    std::size_t const position = s.heap_position;
    if (at == never) {
      s.heap_position = absent;
      auto const last = heap_.back();
      heap_.pop_back();
      if (position < heap_.size()) {
        put(position, last);
        sink(rise(position));
      }
      return;
    }
    heap_[position].at = at;
    sink(rise(position));
  }

  std::size_t rise(std::size_t position) noexcept {
    auto const e = heap_[position];
    while (position > 0 && e.at < heap_[(position - 1) / 2].at) {
      put(position, heap_[(position - 1) / 2]);
      position = (position - 1) / 2;
    }
    put(position, e);
    return position;
  }

  void sink(std::size_t position) noexcept {
    auto const e = heap_[position];
    for (;;) {
      auto child = 2 * position + 1;
      if (child >= heap_.size()) {
        break;
      }
      if (child + 1 < heap_.size() && heap_[child + 1].at < heap_[child].at) {
        ++child;
      }
      if (e.at <= heap_[child].at) {
        break;
      }
      put(position, heap_[child]);
      position = child;
    }
    put(position, e);
  }

  alignas(64) Atomic<slot_type*> inbox_{nullptr};
  Atomic<tick> next_{never};
  Atomic<slot_type*> first_{nullptr};
  Atomic<use> busy_{use::none};
  std::vector<entry> heap_;
};

} // namespace rondo::detail
