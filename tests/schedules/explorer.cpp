// SPDX-License-Identifier: BSL-1.0
#include "support/schedule_explorer.hpp"

#include <boost/test/unit_test.hpp>

#include <functional>
#include <set>
#include <string>
#include <vector>

using rondo::test::expect;
using rondo::test::explore;
using rondo::test::explored_atomic;

namespace {

std::set<std::string> orders_seen;

// Each thread writes its letter twice.
struct two_threads_with_two_steps {
  explored_atomic<int> shared;
  std::string order;
  std::vector<std::function<void()>> threads{[this] { write('a'); }, [this] { write('b'); }};

  void write(char letter) {
    for (int i = 0; i < 2; ++i) {
      shared.store(letter);
      order += letter;
    }
  }
  void check() { orders_seen.insert(order); }
};

struct increments_in_two_steps {
  explored_atomic<int> count;
  std::vector<std::function<void()>> threads{3, [this] { count.store(count.load() + 1); }};

  void check() { expect(count.load() == 3, "an increment was lost"); }
};

struct increments_in_one_step {
  explored_atomic<int> count;
  std::vector<std::function<void()>> threads{3, [this] {
                                               auto seen = count.load();
                                               while (!count.compare_exchange_weak(seen, seen + 1)) {
                                               }
                                             }};

  void check() { expect(count.load() == 3, "an increment was lost"); }
};

struct spin_lock {
  explored_atomic<bool> locked;
  void lock() {
    while (locked.exchange(true)) {
    }
  }
  void unlock() { locked.store(false); }
};

struct spinning_threads {
  spin_lock lock;
  explored_atomic<int> count;
  std::vector<std::function<void()>> threads{2, [this] {
                                               lock.lock();
                                               count.store(count.load() + 1);
                                               lock.unlock();
                                             }};

  void check() { expect(count.load() == 2, "both were inside together"); }
};

struct locks_taken_crosswise {
  spin_lock left;
  spin_lock right;
  std::vector<std::function<void()>> threads{[this] { both(left, right); }, [this] { both(right, left); }};

  static void both(spin_lock& first, spin_lock& second) {
    first.lock();
    second.lock();
    second.unlock();
    first.unlock();
  }
  void check() {}
};

struct waits_for_nobody {
  explored_atomic<int> turn;
  std::vector<std::function<void()>> threads{[this] {
    while (turn.load() == 0) {
    }
  }};

  void check() {}
};

} // namespace

BOOST_AUTO_TEST_SUITE(explorer)

BOOST_AUTO_TEST_CASE(takes_every_order_of_steps_once) {
  orders_seen.clear();
  auto const seen = explore<two_threads_with_two_steps>({.preemptions = 3});
  BOOST_TEST(seen.exhaustive);
  BOOST_TEST(orders_seen.size() == 6); // 4! / (2! * 2!)
}

BOOST_AUTO_TEST_CASE(without_preemption_threads_run_one_after_the_other) {
  orders_seen.clear();
  auto const seen = explore<two_threads_with_two_steps>({.preemptions = 0});
  BOOST_TEST(!seen.exhaustive);
  BOOST_TEST((orders_seen == std::set<std::string>{"aabb", "bbaa"}));
}

BOOST_AUTO_TEST_CASE(finds_the_lost_update_and_repeats_it) {
  auto const seen = explore<increments_in_two_steps>({});
  BOOST_REQUIRE(seen.found.has_value());
  BOOST_TEST(seen.found->what == "an increment was lost");
  auto const again = explore<increments_in_two_steps>({.repeat = seen.found->schedule});
  BOOST_REQUIRE(again.found.has_value());
  BOOST_TEST(again.schedules == 1);
  BOOST_TEST(again.found->schedule == seen.found->schedule);
  BOOST_TEST(again.found->steps == seen.found->steps);
}

BOOST_AUTO_TEST_CASE(finds_nothing_where_nothing_is_wrong) {
  auto const seen = explore<increments_in_one_step>({.preemptions = 10});
  BOOST_TEST(!seen.found.has_value());
  BOOST_TEST(seen.exhaustive);
}

BOOST_AUTO_TEST_CASE(a_thread_that_spins_waits_for_the_others) {
  auto const seen = explore<spinning_threads>({.preemptions = 20});
  BOOST_TEST(!seen.found.has_value());
  BOOST_TEST(seen.exhaustive);
}

BOOST_AUTO_TEST_CASE(finds_a_deadlock) {
  auto const seen = explore<locks_taken_crosswise>({});
  BOOST_REQUIRE(seen.found.has_value());
  BOOST_TEST(seen.found->what.starts_with("deadlock"));
}

BOOST_AUTO_TEST_CASE(finds_a_livelock) {
  auto const seen = explore<waits_for_nobody>({.operations = 100});
  BOOST_REQUIRE(seen.found.has_value());
  BOOST_TEST(seen.found->what.starts_with("livelock"));
}

BOOST_AUTO_TEST_SUITE_END()
