// SPDX-License-Identifier: BSL-1.0
#include "support/check_schedules.hpp"
#include <rondo/detail/ready_index.hpp>

#include <cstdint>
#include <functional>
#include <set>
#include <vector>

using rondo::test::check_schedules;
using rondo::test::expect;

namespace {

using index_type = rondo::detail::ready_index<rondo::test::explored_atomic>;

constexpr std::uint32_t same_word = 1;           // shares every summary bit with 0
constexpr std::uint32_t next_word = 64;          // shares the summaries from level 1 on
constexpr std::uint32_t next_leaf = 64 * 64;     // from level 2 on
constexpr std::uint32_t next_branch = 64 * 4096; // the root only

/// What must hold when no thread is at work.
void check_at_rest(index_type& index, std::set<std::uint32_t> const& members) {
  std::set<std::uint32_t> found;
  for (auto i = index.next(0); i != index_type::npos; i = index.next(i + 1)) {
    expect(index.test(i), "something is found that is no member");
    found.insert(i);
  }
  expect(found == members, "a member is not found, or one that left is");
  expect(index.empty() == members.empty(), "the root is wrong about whether there are members");
  for (auto const i : members) {
    index.clear(i);
  }
  expect(index.empty(), "a summary bit has outlived the members below it");
}

struct with_room_for_two {
  explicit with_room_for_two(std::uint32_t index_of_other) : other{index_of_other} {
    index.grow_to(0);
    index.grow_to(other);
  }
  index_type index;
  std::uint32_t other;
};

/// The last member goes as another one comes.
template <std::uint32_t Other> struct one_leaves_as_another_joins : with_room_for_two {
  one_leaves_as_another_joins() : with_room_for_two{Other} { index.set(0); }
  std::vector<std::function<void()>> threads{[this] { index.clear(0); }, [this] { index.set(other); }};
  void check() { check_at_rest(index, {other}); }
};

/// Both look upwards together, and one of them must clear the summaries.
template <std::uint32_t Other> struct both_leave : with_room_for_two {
  both_leave() : with_room_for_two{Other} {
    index.set(0);
    index.set(other);
  }
  std::vector<std::function<void()>> threads{[this] { index.clear(0); }, [this] { index.clear(other); }};
  void check() { check_at_rest(index, {}); }
};

template <std::uint32_t Other> struct both_join : with_room_for_two {
  both_join() : with_room_for_two{Other} {}
  std::vector<std::function<void()>> threads{[this] { index.set(0); }, [this] { index.set(other); }};
  void check() { check_at_rest(index, {0, other}); }
};

/// Each of the two goes and comes back.
template <std::uint32_t Other> struct both_leave_and_return : with_room_for_two {
  both_leave_and_return() : with_room_for_two{Other} {
    index.set(0);
    index.set(other);
  }
  void leave_and_return(std::uint32_t i) {
    index.clear(i);
    index.set(i);
  }
  std::vector<std::function<void()>> threads{[this] { leave_and_return(0); }, [this] { leave_and_return(other); }};
  void check() { check_at_rest(index, {0, other}); }
};

/// A member that comes and goes beside two others that do so once.
template <std::uint32_t Other> struct three_at_once : with_room_for_two {
  three_at_once() : with_room_for_two{Other} { index.set(0); }
  std::vector<std::function<void()>> threads{[this] { index.clear(0); }, [this] { index.set(other); },
                                             [this] {
                                               index.set(2);
                                               index.clear(2);
                                             }};
  void check() { check_at_rest(index, {other}); }
};

/// Two parties disagree about one slot; the index may follow either, but must be of one mind.
template <std::uint32_t Other> struct one_joins_and_leaves_at_once : with_room_for_two {
  one_joins_and_leaves_at_once() : with_room_for_two{Other} {}
  std::vector<std::function<void()>> threads{[this] { index.set(0); }, [this] { index.clear(0); },
                                             [this] { index.set(other); }};
  void check() {
    std::set<std::uint32_t> members{other};
    if (index.test(0)) {
      members.insert(0);
    }
    check_at_rest(index, members);
  }
};

/// What stays a member all the while is found at every moment, whatever its neighbours do.
template <std::uint32_t Other> struct one_stays : with_room_for_two {
  one_stays() : with_room_for_two{Other} { index.set(other); }
  std::vector<std::function<void()>> threads{
      [this] {
        index.set(0);
        index.clear(0);
      },
      [this] {
        auto const found = index.next(0);
        expect(found == 0 || found == other, "a member was out of sight though it never left");
        expect(index.next(other) == other, "a member was out of sight though it never left");
        expect(!index.empty(), "the index looked empty though it never was");
      }};
  void check() { check_at_rest(index, {other}); }
};

} // namespace

BOOST_AUTO_TEST_SUITE(ready_index)

BOOST_AUTO_TEST_CASE(one_leaves_as_another_joins_its_word) {
  check_schedules<one_leaves_as_another_joins<same_word>>(6);
}
BOOST_AUTO_TEST_CASE(one_leaves_as_another_joins_the_next_word) {
  check_schedules<one_leaves_as_another_joins<next_word>>(6);
}
BOOST_AUTO_TEST_CASE(one_leaves_as_another_joins_the_next_leaf) {
  check_schedules<one_leaves_as_another_joins<next_leaf>>(6);
}
BOOST_AUTO_TEST_CASE(one_leaves_as_another_joins_the_next_branch) {
  check_schedules<one_leaves_as_another_joins<next_branch>>(6);
}
BOOST_AUTO_TEST_CASE(both_leave_one_word) {
  check_schedules<both_leave<same_word>>(6);
}
BOOST_AUTO_TEST_CASE(both_leave_two_words) {
  check_schedules<both_leave<next_word>>(6);
}
BOOST_AUTO_TEST_CASE(both_leave_two_leaves) {
  check_schedules<both_leave<next_leaf>>(6);
}
BOOST_AUTO_TEST_CASE(both_join_one_word) {
  check_schedules<both_join<same_word>>(6);
}
BOOST_AUTO_TEST_CASE(both_join_two_leaves) {
  check_schedules<both_join<next_leaf>>(6);
}
BOOST_AUTO_TEST_CASE(both_leave_and_return_to_one_word) {
  check_schedules<both_leave_and_return<same_word>>(4);
}
BOOST_AUTO_TEST_CASE(both_leave_and_return_to_two_words) {
  check_schedules<both_leave_and_return<next_word>>(4);
}
BOOST_AUTO_TEST_CASE(three_at_once_in_one_word) {
  check_schedules<three_at_once<same_word>>(3);
}
BOOST_AUTO_TEST_CASE(three_at_once_in_two_words) {
  check_schedules<three_at_once<next_word>>(3);
}
BOOST_AUTO_TEST_CASE(three_at_once_in_two_leaves) {
  check_schedules<three_at_once<next_leaf>>(3);
}
BOOST_AUTO_TEST_CASE(one_joins_and_leaves_at_once_beside_one_in_its_word) {
  check_schedules<one_joins_and_leaves_at_once<same_word>>(3);
}
BOOST_AUTO_TEST_CASE(one_joins_and_leaves_at_once_beside_one_in_the_next_word) {
  check_schedules<one_joins_and_leaves_at_once<next_word>>(3);
}
BOOST_AUTO_TEST_CASE(one_stays_in_the_same_word) {
  check_schedules<one_stays<same_word>>(6);
}
BOOST_AUTO_TEST_CASE(one_stays_in_the_next_word) {
  check_schedules<one_stays<next_word>>(6);
}
BOOST_AUTO_TEST_CASE(one_stays_in_the_next_leaf) {
  check_schedules<one_stays<next_leaf>>(6);
}

BOOST_AUTO_TEST_SUITE_END()
