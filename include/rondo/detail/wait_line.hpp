// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/capability.hpp>
#include <rondo/detail/slot.hpp>
#include <rondo/detail/slot_table.hpp>
#include <rondo/detail/tick.hpp>
#include <rondo/error.hpp>

#include <boost/config.hpp>
#include <boost/intrusive/list.hpp>
#include <boost/intrusive/set.hpp>

#include <atomic>
#include <bit>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace rondo::detail {

struct lane;

/// A request as the core sees it: a plain value.
struct demand {
  std::int64_t tokens = 0;
  lane* in = nullptr; ///< never null once it has come to the core
  std::uint64_t affinity = 0;
  capability_set needs;
  bool unsent = false; ///< rates count from the mark, see `pool_core::mark_sent`
};

/// One that may wait.
struct patient_demand {
  demand want;
  tick patience = never; ///< longest wait in ns
};

/// What a slot gave for a demand; must be handed to exactly one of settle, refund and report.
struct grant {
  slot<std::atomic>* from = nullptr;
  lane* in = nullptr;
  std::int64_t tokens = 0;
  /// What makes it special, see `claim`; nothing of it is set in most.
  struct special_features {
    bool unsent = false;
    bool probe = false;
    bool in_lane = false; ///< the lane has a table of its own
    bool probes_lane = false;
  } special{};
  // what was taken for the tokens, of the account and of its share of the lane
  std::uint8_t counted = 0;
  std::uint8_t counted_in_lane = 0;
  bool counted_by_front = false; ///< the front's own
  tick taken = 0;                ///< 0 if no clock had to be read: then the slot was neither resting nor rated
  tick counted_since = 0;

  [[nodiscard]] claim what() const noexcept { return {tokens, counted, special.unsent, special.probe}; }
  [[nodiscard]] claim what_of_lane() const noexcept {
    return {tokens, counted_in_lane, special.unsent, special.probes_lane};
  }
  void set(claim const& c) noexcept {
    tokens = c.tokens;
    counted = c.counted;
    special.unsent = c.unsent;
    special.probe = c.probe;
  }
  void set_lane(claim const& c) noexcept {
    counted_in_lane = c.counted;
    special.in_lane = true;
    special.probes_lane = c.probe;
  }
  /// Nothing special is to be done when its request ends well.
  [[nodiscard]] BOOST_FORCEINLINE bool is_simple() const noexcept {
    return std::bit_cast<std::uint32_t>(special) == 0; // one look instead of four
  }
};

/// A parked request. The line refers to it until `complete` is called or `pool_core::cancel` returned true.
class waiter {
public:
  enum class end : std::uint8_t { served, failed, aborted };

  demand want;
  // the answer
  grant got; ///< of one that has failed, `taken` is the time until it may be served, `never` if that is not known
  error why{};
  end how = end::served;

  /// Called once, without any lock held, by whichever thread freed the capacity. Must not block.
  virtual void complete() noexcept = 0;

protected:
  waiter() = default;
  ~waiter() = default;

private:
  friend class wait_line;
  friend struct wait_class;
  using set_hook = boost::intrusive::set_member_hook<>; // a compact one makes g++ 12 warn of what it does not set first

  tick deadline_ = never;
  waiter* next_done_ = nullptr;
  boost::intrusive::list_member_hook<> in_line_;
  set_hook by_deadline_;
  set_hook by_tokens_;
};

/// Waiters who differ in nothing but the tokens they want: what serves one of them serves all who want less.
struct wait_class {
  struct tokens_of {
    using type = std::int64_t;
    type operator()(waiter const& w) const noexcept { return w.want.tokens; }
  };
  using by_tokens =
      boost::intrusive::multiset<waiter, boost::intrusive::member_hook<waiter, waiter::set_hook, &waiter::by_tokens_>,
                                 boost::intrusive::key_of_value<tokens_of>,
                                 boost::intrusive::constant_time_size<false>>;

  by_tokens waiters;
  capability_set needs;
  lane* in = nullptr;
  boost::intrusive::list_member_hook<> among_used_;
};

/// Those who wait, in the order they came; also by deadline and by class. The pool's lock guards all of it.
class wait_line {
public:
  using list = boost::intrusive::list<
      waiter, boost::intrusive::member_hook<waiter, boost::intrusive::list_member_hook<>, &waiter::in_line_>,
      boost::intrusive::constant_time_size<false>>;
  using classes = boost::intrusive::list<
      wait_class,
      boost::intrusive::member_hook<wait_class, boost::intrusive::list_member_hook<>, &wait_class::among_used_>,
      boost::intrusive::constant_time_size<false>>;

  [[nodiscard]] bool empty() const noexcept { return line_.empty(); }
  [[nodiscard]] waiter& front() noexcept { return line_.front(); }
  [[nodiscard]] list& in_order() noexcept { return line_; }
  /// Those of which there are waiters.
  [[nodiscard]] classes& used_classes() noexcept { return used_; }

  [[nodiscard]] static bool has(waiter const& w) noexcept { return w.in_line_.is_linked(); }
  [[nodiscard]] static tick deadline(waiter const& w) noexcept { return w.deadline_; }

  /// Whose deadline is the earliest; null if nobody has one.
  [[nodiscard]] waiter* first_to_expire() noexcept { return deadlines_.empty() ? nullptr : &*deadlines_.begin(); }
  [[nodiscard]] tick first_deadline() const noexcept {
    return deadlines_.empty() ? never : deadlines_.begin()->deadline_;
  }

  void push_back(waiter& w, wait_class& kind, tick deadline) noexcept {
    w.deadline_ = deadline;
    line_.push_back(w);
    if (deadline != never) {
      deadlines_.insert(w);
    }
    if (kind.waiters.empty()) {
      used_.push_back(kind);
    }
    kind.waiters.insert(w);
  }

  void erase(waiter& w, wait_class& kind) noexcept {
    line_.erase(line_.iterator_to(w));
    if (w.by_deadline_.is_linked()) {
      deadlines_.erase(deadlines_.iterator_to(w));
    }
    kind.waiters.erase(kind.waiters.iterator_to(w));
    if (kind.waiters.empty()) {
      used_.erase(used_.iterator_to(kind));
    }
  }

  /// The class of those who need something in particular; lanes hold the others' themselves.
  [[nodiscard]] wait_class& class_of(lane* in, capability_set needs) {
    for (auto const& kind : special_) {
      if (kind->in == in && kind->needs == needs) {
        return *kind;
      }
    }
    special_.push_back(std::make_unique<wait_class>());
    special_.back()->in = in;
    special_.back()->needs = needs;
    return *special_.back();
  }

  /// Completed ones wait in a chain for the lock to be released.
  static void push_done(waiter& w, waiter*& done) noexcept {
    w.next_done_ = done;
    done = &w;
  }

  /// In the order they were served: `done` has the last one first. Call without the lock.
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

private:
  struct deadline_of {
    using type = tick;
    tick operator()(waiter const& w) const noexcept { return w.deadline_; }
  };
  using deadlines =
      boost::intrusive::multiset<waiter, boost::intrusive::member_hook<waiter, waiter::set_hook, &waiter::by_deadline_>,
                                 boost::intrusive::key_of_value<deadline_of>,
                                 boost::intrusive::constant_time_size<false>>;

  list line_;
  deadlines deadlines_;
  classes used_;
  std::vector<std::unique_ptr<wait_class>> special_;
};

} // namespace rondo::detail
