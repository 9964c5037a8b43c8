// SPDX-License-Identifier: BSL-1.0
#include "support/check_schedules.hpp"
#include <rondo/detail/sliding_window.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

using rondo::detail::never;
using rondo::detail::tick;
using rondo::test::check_schedules;
using rondo::test::expect;

namespace {

constexpr std::uint32_t limit = 2;
constexpr tick part = 100; // sixteen of them are a period
constexpr tick period = 16 * part;
constexpr tick guard = period / 100;
constexpr tick leaves = 17 * part + guard; // when what was granted in the first part leaves the window
constexpr tick reused = 20 * part;         // when the place of the first part in the ring is another part's

/// A window whose grants are counted a second time, by somebody who sees all of them.
class counted_window {
public:
  bool take(std::uint32_t n, tick now) {
    auto const taken = window_.try_take(n, now, false);
    if (taken) {
      granted_.insert(granted_.end(), n, now);
      check_never_too_many();
    }
    return taken;
  }

  /// Takes units that count without end, until they are started.
  bool take_unstarted(std::uint32_t n, tick now) {
    auto const taken = window_.try_take(n, now, true);
    if (taken) {
      granted_.insert(granted_.end(), n, never);
      check_never_too_many();
    }
    return taken;
  }

  void start(tick now) {
    *std::find(granted_.begin(), granted_.end(), never) = now;
    window_.start(1, now);
  }

  void give_back(tick since) {
    forget(since);
    window_.give_back(1, since);
  }

  void give_back_unstarted() {
    forget(never);
    window_.give_back_unstarted(1);
  }

  void give_back_all_unstarted() {
    while (std::find(granted_.begin(), granted_.end(), never) != granted_.end()) {
      give_back_unstarted();
    }
  }

  /// What must hold when no thread is at work: at `now` whatever is left can be had, and no more; and somebody who
  /// waits until he is told to try gets the whole window at last.
  void check_at_rest(tick now) {
    while (take(1, now)) {
    }
    auto const at = window_.available_at(1, now);
    expect(at > now, "a unit that is there cannot be had");
    auto const end = now + 3 * period;
    while (now <= end && !take(limit, now)) {
      auto const next = window_.available_at(limit, now);
      expect(next != never, "units are lost for ever");
      now = std::max(now + 1, next);
    }
    expect(now <= end, "units do not come back in time");
  }

private:
  void forget(tick since) { granted_.erase(std::find(granted_.begin(), granted_.end(), since)); }

  /// In every interval of the length of a period; it suffices to look at those that end with a grant.
  void check_never_too_many() const {
    for (auto const end : granted_) {
      auto const n = std::count_if(granted_.begin(), granted_.end(), [&](tick at) {
        return at == never || (end != never && at <= end && at > end - period);
      });
      expect(n <= limit, "more was granted within a period than the limit");
    }
  }

  rondo::detail::sliding_window<rondo::test::explored_atomic> window_{limit, period};
  std::vector<tick> granted_;
};

/// Three compete for the two units of a new window.
struct three_take : counted_window {
  std::vector<std::function<void()>> threads{[this] { take(1, 0); }, [this] { take(1, 0); }, [this] { take(1, 0); }};
  void check() { check_at_rest(0); }
};

/// Both units are just leaving the window.
struct three_take_what_leaves : counted_window {
  three_take_what_leaves() { take(2, 0); }
  std::vector<std::function<void()>> threads{[this] { take(1, leaves); }, [this] { take(1, leaves); },
                                             [this] { take(1, leaves); }};
  void check() { check_at_rest(leaves); }
};

/// On either side of the border between two parts, while a unit leaves on either side of another one.
struct take_on_both_sides_of_a_border : counted_window {
  take_on_both_sides_of_a_border() {
    take(1, part - 1);
    take(1, part);
  }
  std::vector<std::function<void()>> threads{[this] { take(1, leaves + part - 1); }, [this] { take(1, leaves + part); },
                                             [this] { take(2, leaves + part); }};
  void check() { check_at_rest(leaves + part); }
};

/// A part has just ended: what is taken from then on must not leave with it.
struct take_as_a_part_ends : counted_window {
  take_as_a_part_ends() {
    take(1, 0);
    give_back(0);
  }
  std::vector<std::function<void()>> threads{[this] { take(1, part); }, [this] { take(1, part + part / 2); },
                                             [this] { take(2, leaves); }};
  void check() { check_at_rest(leaves); }
};

/// A unit is given back at the moment at which it leaves anyway: it must not be free twice.
struct give_back_what_leaves : counted_window {
  give_back_what_leaves() { take(2, 0); }
  std::vector<std::function<void()>> threads{[this] { give_back(0); }, [this] { take(2, leaves); },
                                             [this] { take(1, leaves); }};
  void check() { check_at_rest(leaves); }
};

/// A unit is given back that left long ago, and others count in its place already.
struct give_back_what_left : counted_window {
  give_back_what_left() { take(1, 0); }
  std::vector<std::function<void()>> threads{[this] { give_back(0); },
                                             [this] {
                                               take(1, reused);
                                               take(1, reused + part); // now the other one's part is over
                                             }};
  void check() { check_at_rest(reused + part); }
};

struct give_back_and_take : counted_window {
  give_back_and_take() { take(2, 0); }
  std::vector<std::function<void()>> threads{[this] { give_back(0); }, [this] { take(1, part); },
                                             [this] { take(1, 0); }};
  void check() { check_at_rest(part); }
};

/// Some count from now, others without end.
struct take_and_take_unstarted : counted_window {
  std::vector<std::function<void()>> threads{[this] { take(2, 0); }, [this] { take_unstarted(1, 0); },
                                             [this] { take(1, part); }};
  void check() {
    give_back_all_unstarted();
    check_at_rest(part);
  }
};

/// One that has taken a unit is held up before it has noted when.
struct one_is_held_up : counted_window {
  std::vector<std::function<void()>> threads{[this] { take(1, 0); }, [this] { take(2, leaves); },
                                             [this] { take(1, reused); }};
  void check() { check_at_rest(reused); }
};

struct start_as_others_leave : counted_window {
  start_as_others_leave() {
    take_unstarted(1, 0);
    take(1, 0);
  }
  std::vector<std::function<void()>> threads{[this] { start(leaves); }, [this] { take(2, leaves); },
                                             [this] { take(1, leaves); }};
  void check() { check_at_rest(leaves); }
};

struct give_back_unstarted_as_others_leave : counted_window {
  give_back_unstarted_as_others_leave() {
    take_unstarted(1, 0);
    take(1, 0);
  }
  std::vector<std::function<void()>> threads{[this] { give_back_unstarted(); }, [this] { take(2, leaves); },
                                             [this] { take(1, leaves); }};
  void check() { check_at_rest(leaves); }
};

} // namespace

BOOST_AUTO_TEST_SUITE(sliding_window)

BOOST_AUTO_TEST_CASE(three_take_from_a_new_window) {
  check_schedules<three_take>(3);
}
BOOST_AUTO_TEST_CASE(three_take_what_leaves_the_window) {
  check_schedules<three_take_what_leaves>(3);
}
BOOST_AUTO_TEST_CASE(units_are_taken_as_a_part_ends) {
  check_schedules<take_as_a_part_ends>(3);
}
BOOST_AUTO_TEST_CASE(threads_take_on_both_sides_of_a_border) {
  check_schedules<take_on_both_sides_of_a_border>(3);
}
BOOST_AUTO_TEST_CASE(a_unit_is_given_back_as_it_leaves) {
  check_schedules<give_back_what_leaves>(3);
}
BOOST_AUTO_TEST_CASE(a_unit_is_given_back_that_left_long_ago) {
  check_schedules<give_back_what_left>(5);
}
BOOST_AUTO_TEST_CASE(a_unit_is_given_back_as_others_are_taken) {
  check_schedules<give_back_and_take>(3);
}
BOOST_AUTO_TEST_CASE(units_are_taken_as_others_are_for_later) {
  check_schedules<take_and_take_unstarted>(3);
}
BOOST_AUTO_TEST_CASE(a_thread_is_held_up_after_it_has_taken) {
  check_schedules<one_is_held_up>(3);
}
BOOST_AUTO_TEST_CASE(a_unit_is_started_as_others_leave) {
  check_schedules<start_as_others_leave>(3);
}
BOOST_AUTO_TEST_CASE(an_unstarted_unit_is_given_back_as_others_leave) {
  check_schedules<give_back_unstarted_as_others_leave>(3);
}

BOOST_AUTO_TEST_SUITE_END()
