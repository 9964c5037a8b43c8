// SPDX-License-Identifier: BSL-1.0
#include "support/check_schedules.hpp"
#include <rondo/detail/return_queue.hpp>

#include <array>
#include <cstddef>
#include <functional>
#include <vector>

using rondo::detail::never;
using rondo::detail::tick;
using rondo::test::check_schedules;
using rondo::test::expect;

namespace {

/// Two slots that rest, each until a time of its own, and come back through a queue.
class resting_slots {
public:
  resting_slots() {
    queue_.reserve(2);
    slots_[1].index = 1;
  }

  void rest(std::size_t which, tick until) {
    until_[which] = until;
    back_[which] = false;
    queue_.push(slots_[which], until);
  }

  /// The same when no other thread pushes this slot meanwhile: then it must be in sight from now on.
  void rest_alone(std::size_t which, tick until) {
    rest(which, until);
    auto const next = queue_.next();
    expect(back_[which] || next <= until, "a slot is out of sight although it rests");
  }

  void run_due(tick now) {
    queue_.run_due(now, [&](auto const& s) {
      if (until_[s.index] > now) {
        return until_[s.index];
      }
      back_[s.index] = true;
      return never;
    });
  }

  void make_room() { queue_.reserve(2); }

  /// What must hold when no thread is at work.
  void check_at_rest() {
    for (std::size_t which = 0; which < slots_.size(); ++which) {
      expect(back_[which] || queue_.next() <= until_[which], "a slot will come back too late or never");
      run_due(until_[which]);
      expect(back_[which], "a slot does not come back at its time");
    }
    run_due(never - 1);
    expect(queue_.next() == never, "a slot stays in the queue for ever");
  }

private:
  using slot_type = rondo::detail::slot<rondo::test::explored_atomic>;
  rondo::detail::return_queue<rondo::test::explored_atomic> queue_;
  std::array<slot_type, 2> slots_;
  std::array<tick, 2> until_{};
  std::array<bool, 2> back_{true, true};
};

template <tick First, tick Second> struct one_slot_rests_twice : resting_slots {
  std::vector<std::function<void()>> threads{[this] { rest(0, First); }, [this] { rest(0, Second); }};
  void check() { check_at_rest(); }
};

struct two_slots_rest : resting_slots {
  std::vector<std::function<void()>> threads{[this] { rest_alone(0, 20); }, [this] { rest_alone(1, 10); },
                                             [this] { run_due(10); }};
  void check() { check_at_rest(); }
};

/// A slot whose time has come is sent to rest again as it comes back.
template <tick Until> struct rests_again_as_it_comes_back : resting_slots {
  rests_again_as_it_comes_back() { rest(0, 10); }
  std::vector<std::function<void()>> threads{[this] { run_due(10); }, [this] { rest_alone(0, Until); }};
  void check() { check_at_rest(); }
};

/// One that would come back later comes back sooner.
struct rest_is_cut_short : resting_slots {
  rest_is_cut_short() {
    rest(0, 30);
    run_due(0);
  }
  std::vector<std::function<void()>> threads{[this] { run_due(10); }, [this] { rest_alone(0, 5); }};
  void check() { check_at_rest(); }
};

struct two_take_out_what_is_due : resting_slots {
  two_take_out_what_is_due() { rest(0, 10); }
  std::vector<std::function<void()>> threads{[this] { run_due(10); }, [this] { run_due(10); },
                                             [this] { rest_alone(1, 10); }};
  void check() { check_at_rest(); }
};

struct two_take_out_what_rests_again : resting_slots {
  two_take_out_what_rests_again() { rest(0, 10); }
  std::vector<std::function<void()>> threads{[this] { run_due(10); }, [this] { run_due(15); },
                                             [this] {
                                               rest_alone(0, 20);
                                               rest_alone(0, 15);
                                             }};
  void check() { check_at_rest(); }
};

struct one_slot_rests_twice_as_it_comes_back : resting_slots {
  one_slot_rests_twice_as_it_comes_back() { rest(0, 10); }
  std::vector<std::function<void()>> threads{[this] { run_due(10); }, [this] { rest(0, 20); }, [this] { rest(0, 15); }};
  void check() { check_at_rest(); }
};

struct room_is_made_meanwhile : resting_slots {
  std::vector<std::function<void()>> threads{[this] { make_room(); }, [this] { run_due(10); },
                                             [this] { rest_alone(0, 10); }};
  void check() { check_at_rest(); }
};

} // namespace

BOOST_AUTO_TEST_SUITE(return_queue)

BOOST_AUTO_TEST_CASE(one_slot_rests_twice_at_once) {
  check_schedules<one_slot_rests_twice<10, 20>>(6);
}
BOOST_AUTO_TEST_CASE(two_slots_rest_at_once) {
  check_schedules<two_slots_rest>(3);
}
BOOST_AUTO_TEST_CASE(a_slot_rests_longer_as_it_comes_back) {
  check_schedules<rests_again_as_it_comes_back<20>>(5);
}
BOOST_AUTO_TEST_CASE(a_slot_rests_as_long_as_it_comes_back) {
  check_schedules<rests_again_as_it_comes_back<10>>(5);
}
BOOST_AUTO_TEST_CASE(a_rest_is_cut_short) {
  check_schedules<rest_is_cut_short>(5);
}
BOOST_AUTO_TEST_CASE(two_threads_take_out_what_is_due) {
  check_schedules<two_take_out_what_is_due>(3);
}
BOOST_AUTO_TEST_CASE(two_threads_take_out_what_rests_again) {
  check_schedules<two_take_out_what_rests_again>(3);
}
BOOST_AUTO_TEST_CASE(a_slot_rests_twice_as_it_comes_back) {
  check_schedules<one_slot_rests_twice_as_it_comes_back>(3);
}
BOOST_AUTO_TEST_CASE(room_is_made_while_slots_come_and_go) {
  check_schedules<room_is_made_meanwhile>(3);
}

BOOST_AUTO_TEST_SUITE_END()
