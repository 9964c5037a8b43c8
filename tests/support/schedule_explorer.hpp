// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "support/fiber.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <functional>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

/// Systematic testing of lock-free code, in the manner of CHESS: a small scenario is run once for *every* way in which
/// its threads can take turns, up to a number of preemptions, and judged after each.
///
/// The code under test has its atomics replaced by `explored_atomic`. The threads of a scenario are fibers of one real
/// thread, and each operation on an atomic is a point at which the explorer may let another one go on. Fibers, because
/// a switch costs a fraction of a microsecond and does not depend on the system's scheduler: that is what makes some
/// hundred thousand schedules a second possible, and each of them repeatable.
///
/// The search is depth first and keeps no states: each schedule runs on a scenario built anew, along the decisions of
/// the one before up to the last that has an alternative. Going on with another thread where the present one could have
/// gone on is a preemption; few of them find nearly every fault, and bounding them keeps the number of schedules
/// polynomial. The bound is raised step by step, so a fault is shown with the fewest preemptions that bring it about.
///
/// Two things keep the search small without leaving out any behaviour. A switch is considered only before operations
/// on atomics that several threads use and one of them writes; all others commute. And a thread that repeats an
/// operation that changes nothing is spinning: it stands still until somebody writes to that atomic.
///
/// What it does not see: every operation takes effect at once and in one order that all threads agree on. Whether
/// weaker memory orders suffice is argued in the code under test, and watched by the thread sanitizer in tests/threads,
/// as are races for plain memory: what a thread does there happens together with its operation before. Nor does a weak
/// compare-exchange fail without cause.
namespace rondo::test {

struct exploration_options {
  unsigned preemptions = 3;       ///< at most so many in a schedule
  std::size_t operations = 10000; ///< a schedule that takes more of them is a livelock
  std::string_view repeat{};      ///< run nothing but this schedule, as written in `fault::schedule`
};

/// A schedule under which a scenario did not hold.
struct fault {
  std::string what;
  std::string schedule; ///< `0*7 1*3`: seven operations of thread 0, then three of thread 1
  std::string steps;    ///< for people: one line for each operation
};

struct exploration {
  std::size_t schedules = 0; ///< how many were run
  bool exhaustive = false;   ///< more preemptions would make no further schedules
  std::optional<fault> found;
};

/// Runs the threads of a scenario along one schedule after the other.
class schedule_explorer {
public:
  explicit schedule_explorer(exploration_options const& options) : options_{options} {
    current() = this;
    std::istringstream words{std::string{options.repeat}};
    unsigned who = 0;
    std::size_t count = 0;
    for (char times = 0; words >> who >> times >> count;) {
      repeat_.insert(repeat_.end(), count, who);
    }
  }

  schedule_explorer(schedule_explorer const&) = delete;
  schedule_explorer& operator=(schedule_explorer const&) = delete;
  ~schedule_explorer() { current() = nullptr; }

  template <class Scenario> exploration explore() {
    if (!repeat_.empty()) {
      preemptions_left_ = ~0U;
      run<Scenario>();
    } else {
      for (unsigned bound = 0; bound <= options_.preemptions && !out_.exhaustive && !out_.found; ++bound) {
        bounded_ = false;
        do {
          preemptions_left_ = bound;
          run<Scenario>();
        } while (!out_.found && next_schedule());
        out_.exhaustive = !out_.found && !bounded_;
      }
    }
    return std::move(out_);
  }

  /// The explorer at work, for the atomics and the oracles of its scenario.
  [[nodiscard]] static schedule_explorer*& current() noexcept {
    static schedule_explorer* explorer = nullptr;
    return explorer;
  }

  /// Atomics are told apart by the order in which they were made, which is the same in every schedule.
  [[nodiscard]] std::uint32_t new_location() {
    if (locations_ == usage_.size()) {
      usage_.emplace_back();
    }
    return locations_++;
  }

  /// What a thread did to an atomic.
  struct operation {
    std::string_view name;
    std::uint32_t location = 0;
    std::uint64_t before = 0;
    std::uint64_t after = 0;
    friend bool operator==(operation const&, operation const&) = default;
  };

  /// The running thread is about to operate on an atomic. Returns when it is its turn.
  void arrive(std::uint32_t location, bool writes) {
    if (running_ == nobody) {
      return;
    }
    if (++operations_ > options_.operations) {
      fail("livelock: the threads come to no end");
    }
    if (running_ == judge()) {
      return;
    }
    auto const undecided = is_shared(location, writes) || !repeat_.empty();
    if (undecided && !std::exchange(workers_[running_].chosen, false)) {
      go_on(able());
    }
  }

  /// The running thread has done so.
  void done(operation const& what, bool writes) {
    if (running_ == nobody || running_ == judge()) {
      return;
    }
    steps_.push_back({running_, what});
    if (what.before != what.after) {
      for (auto& t : workers_) {
        t.spins = t.spins && t.last.location != what.location;
      }
    }
    auto const again = std::exchange(workers_[running_].last, what) == what;
    if (again && writes && what.before == what.after) {
      workers_[running_].spins = true;
      workers_[running_].chosen = true;
      go_on(able());
    }
  }

  /// The scenario does not hold under this schedule. Does not return: its threads stay where they are.
  [[noreturn]] void fail(std::string_view what) {
    if (running_ == nobody) {
      throw std::logic_error{"the scenario fails before its threads begin: " + std::string{what}};
    }
    out_.found = fault{std::string{what}, schedule(), steps()};
    workers_[std::exchange(running_, nobody)].stack.switch_to(home_);
    std::abort(); // nobody switches back
  }

private:
  struct worker {
    explicit worker(std::function<void()> run) : stack{std::move(run)} {}
    fiber stack;
    std::function<void()> body;
    operation last;
    bool ended = false;
    bool spins = false;
    bool chosen =
        false; ///< when it was switched to last, then for its next step, of which the explorer did not know yet
  };

  struct step {
    unsigned thread;
    operation what;
  };

  /// A decision: who went on, and who else could have.
  struct branch {
    unsigned thread;
    unsigned untried;
  };

  /// Sets of threads, by bits.
  struct usage {
    unsigned users = 0;
    unsigned writers = 0;
    bool shared = false;
  };

  static constexpr unsigned nobody = 31;

  [[nodiscard]] static constexpr unsigned bit(unsigned thread) noexcept { return 1U << thread; }
  [[nodiscard]] static unsigned first(unsigned threads) noexcept {
    return static_cast<unsigned>(std::countr_zero(threads));
  }

  [[nodiscard]] unsigned judge() const noexcept { return static_cast<unsigned>(workers_.size() - 1); }

  template <class Scenario> void run() {
    locations_ = 0;
    operations_ = 0;
    steps_.clear();
    depth_ = 0;
    running_ = nobody;
    ++out_.schedules;
    Scenario scenario;
    while (workers_.size() <= scenario.threads.size()) {
      workers_.emplace_back([this, self = workers_.size()] {
        for (;;) {
          workers_[self].body();
          workers_[self].ended = true;
          go_on(able());
        }
      });
    }
    for (unsigned i = 0; i <= judge(); ++i) {
      auto& w = workers_[i];
      w.body = i == judge() ? [&] { scenario.check(); } : scenario.threads[i];
      w.last = {};
      w.ended = false;
      w.chosen = true;
    }
    go_on(able());
  }

  /// Those who can take a step.
  [[nodiscard]] unsigned able() const noexcept {
    unsigned threads = 0;
    auto all_ended = true;
    for (unsigned i = 0; i < judge(); ++i) {
      threads |= workers_[i].ended || workers_[i].spins ? 0 : bit(i);
      all_ended = all_ended && workers_[i].ended;
    }
    return all_ended && !workers_[judge()].ended ? bit(judge()) : threads;
  }

  /// Continues one of the threads that are able to; returns when it is the turn of whoever called.
  void go_on(unsigned threads) {
    auto const me = running_;
    auto next = nobody;
    if (threads != 0) {
      auto const able_myself = (threads & bit(me)) != 0;
      if (able_myself && preemptions_left_ == 0) {
        bounded_ = bounded_ || threads != bit(me);
        threads = bit(me);
      }
      next = choose(threads, able_myself ? me : first(threads));
      preemptions_left_ -= able_myself && next != me ? 1 : 0;
    } else if (!workers_[judge()].ended) {
      fail("deadlock: every thread that has not ended waits for another one");
    }
    running_ = next;
    if (next != me) {
      (me == nobody ? home_ : workers_[me].stack).switch_to(next == nobody ? home_ : workers_[next].stack);
    }
  }

  [[nodiscard]] unsigned choose(unsigned threads, unsigned preferred) {
    if (steps_.size() < repeat_.size()) {
      auto const wanted = repeat_[steps_.size()];
      return (threads & bit(wanted)) != 0 ? wanted : preferred;
    }
    if (std::has_single_bit(threads)) {
      return preferred;
    }
    if (depth_ == path_.size()) {
      path_.push_back({preferred, threads & ~bit(preferred)});
    }
    auto const decided = path_[depth_++].thread;
    if ((threads & bit(decided)) == 0) {
      fail("the scenario does not do the same when its threads take the same turns");
    }
    return decided;
  }

  /// Turns to an alternative of the last decision that has one left. False if none has.
  [[nodiscard]] bool next_schedule() {
    if (std::exchange(found_shared_, false)) {
      path_.clear(); // there are more points at which to switch than was known: all over again
      return true;
    }
    while (!path_.empty() && path_.back().untried == 0) {
      path_.pop_back();
    }
    if (path_.empty()) {
      return false;
    }
    auto& last = path_.back();
    last.thread = first(last.untried);
    last.untried &= ~bit(last.thread);
    return true;
  }

  /// Whether it matters when the operation takes place: another thread uses the atomic, and one of them writes.
  [[nodiscard]] bool is_shared(std::uint32_t location, bool writes) {
    auto& u = usage_[location];
    u.users |= bit(running_);
    u.writers |= writes ? bit(running_) : 0;
    if (!u.shared && u.writers != 0 && !std::has_single_bit(u.users)) {
      u.shared = true;
      found_shared_ = true;
    }
    return u.shared;
  }

  [[nodiscard]] std::string schedule() const {
    std::ostringstream out;
    for (auto from = steps_.begin(); from != steps_.end();) {
      auto const to = std::find_if(from, steps_.end(), [&](step const& s) { return s.thread != from->thread; });
      out << (from == steps_.begin() ? "" : " ") << from->thread << '*' << to - from;
      from = to;
    }
    return out.str();
  }

  [[nodiscard]] std::string steps() const {
    std::ostringstream out;
    out << std::hex;
    for (auto const& [who, what] : steps_) {
      out << "  thread " << who << ": atomic " << what.location << ' ' << what.name << ' ' << what.before;
      if (what.before != what.after) {
        out << " -> " << what.after;
      }
      out << '\n';
    }
    return out.str();
  }

  exploration_options options_;
  std::vector<unsigned> repeat_; // the thread of each step
  exploration out_;
  std::vector<branch> path_;
  std::vector<usage> usage_; // by location
  bool found_shared_ = false;
  bool bounded_ = false; // something was left out because of the bound

  // of the present schedule
  fiber home_;
  std::deque<worker> workers_; // one for each thread; the last one checks the result when all of them have ended
  unsigned running_ = nobody;
  std::uint32_t locations_ = 0;
  std::size_t operations_ = 0;
  std::size_t depth_ = 0; // decisions taken
  unsigned preemptions_left_ = 0;
  std::vector<step> steps_;
};

/// Runs every schedule of a `Scenario`: a default-constructible class with a container `threads` of functions without
/// arguments, which run against each other, and a function `check`, which looks at the result. All of it may call
/// `expect`; none of it may throw.
template <class Scenario> [[nodiscard]] exploration explore(exploration_options const& options) {
  return schedule_explorer{options}.explore<Scenario>();
}

/// The oracle of a scenario: ends the schedule and the search if something does not hold.
inline void expect(bool holds, std::string_view what) {
  if (!holds) {
    schedule_explorer::current()->fail(what);
  }
}

/// Takes the place of `std::atomic` in the code under test.
template <class T> class explored_atomic {
public:
  explored_atomic() noexcept : explored_atomic{T{}} {}
  explored_atomic(T value) noexcept : value_{value} {}
  explored_atomic(explored_atomic const&) = delete;
  explored_atomic& operator=(explored_atomic const&) = delete;

  [[nodiscard]] T load(std::memory_order = std::memory_order_seq_cst) const noexcept {
    return perform("load", false, [] {});
  }
  void store(T value, std::memory_order = std::memory_order_seq_cst) noexcept {
    perform("store", true, [&] { value_ = value; });
  }
  T exchange(T value, std::memory_order = std::memory_order_seq_cst) noexcept {
    return perform("exchange", true, [&] { value_ = value; });
  }
  T fetch_add(T value, std::memory_order = std::memory_order_seq_cst) noexcept {
    return perform("fetch_add", true, [&] { value_ = static_cast<T>(value_ + value); });
  }
  T fetch_sub(T value, std::memory_order = std::memory_order_seq_cst) noexcept {
    return perform("fetch_sub", true, [&] { value_ = static_cast<T>(value_ - value); });
  }
  T fetch_or(T value, std::memory_order = std::memory_order_seq_cst) noexcept {
    return perform("fetch_or", true, [&] { value_ = static_cast<T>(value_ | value); });
  }
  T fetch_and(T value, std::memory_order = std::memory_order_seq_cst) noexcept {
    return perform("fetch_and", true, [&] { value_ = static_cast<T>(value_ & value); });
  }
  bool compare_exchange_strong(T& expected, T desired, std::memory_order = std::memory_order_seq_cst,
                               std::memory_order = std::memory_order_seq_cst) noexcept {
    auto const before = perform("compare_exchange", true, [&] { value_ = value_ == expected ? desired : value_; });
    return std::exchange(expected, before) == before;
  }
  bool compare_exchange_weak(T& expected, T desired, std::memory_order = std::memory_order_seq_cst,
                             std::memory_order = std::memory_order_seq_cst) noexcept {
    return compare_exchange_strong(expected, desired);
  }

private:
  template <class Change> T perform(std::string_view name, bool writes, Change change) const noexcept {
    auto* const explorer = schedule_explorer::current();
    if (!explorer) {
      auto const before = value_;
      change();
      return before;
    }
    explorer->arrive(location_, writes);
    auto const before = value_;
    change();
    explorer->done({name, location_, word(before), word(value_)}, writes);
    return before;
  }

  [[nodiscard]] static std::uint64_t word(T value) noexcept {
    if constexpr (std::is_pointer_v<T>) {
      return reinterpret_cast<std::uintptr_t>(value);
    } else {
      return static_cast<std::uint64_t>(value);
    }
  }

  T value_;
  std::uint32_t location_ = schedule_explorer::current() ? schedule_explorer::current()->new_location() : 0;
};

} // namespace rondo::test
