// SPDX-License-Identifier: BSL-1.0
#include <rondo/affinity.hpp>
#include <rondo/detail/sticky_table.hpp>

#include <boost/test/unit_test.hpp>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

using rondo::detail::sticky_place;

namespace {

constexpr rondo::detail::tick hour = 3'600'000'000'000;

struct fixture {
  rondo::detail::sticky_table table;
  std::uint64_t keys = 0;

  static std::vector<sticky_place> places(std::vector<std::uint32_t> const& ids) {
    std::vector<sticky_place> out;
    for (auto const id : ids) {
      out.push_back({id, rondo::affinity{"proxy" + std::to_string(id)}.hash()});
    }
    return out;
  }
  void living(std::vector<std::uint32_t> const& ids) { table.set_living(places(ids)); }

  /// Where each key goes now.
  std::vector<std::uint32_t> ask(rondo::detail::tick now = 0) {
    std::vector<std::uint32_t> out;
    for (std::uint64_t k = 0; k < keys; ++k) {
      out.push_back(table.find(rondo::affinity{k}.hash(), now));
    }
    return out;
  }
  static std::size_t moved(std::vector<std::uint32_t> const& a, std::vector<std::uint32_t> const& b) {
    std::size_t out = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      out += a[i] != b[i] ? 1U : 0U;
    }
    return out;
  }
  static std::map<std::uint32_t, std::size_t> loads(std::vector<std::uint32_t> const& where) {
    std::map<std::uint32_t, std::size_t> out;
    for (auto const proxy : where) {
      ++out[proxy];
    }
    return out;
  }
  void check_fair(std::vector<std::uint32_t> const& where, std::size_t proxies) const {
    for (auto const& [proxy, load] : loads(where)) {
      BOOST_TEST(load <= keys / proxies + 1);
    }
  }
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(sticky_table, fixture)

BOOST_AUTO_TEST_CASE(nobody_has_more_than_the_fair_share_and_one_at_any_time) {
  living({0, 1, 2, 3, 4, 5, 6});
  for (keys = 1; keys <= 200; ++keys) {
    check_fair(ask(), 7);
  }
}

BOOST_AUTO_TEST_CASE(a_key_keeps_its_proxy) {
  living({0, 1, 2, 3, 4});
  keys = 100;
  auto const first = ask();
  BOOST_TEST(moved(first, ask()) == 0U);
  living({0, 1, 2, 3, 4});
  BOOST_TEST(moved(first, ask()) == 0U);
}

BOOST_AUTO_TEST_CASE(when_a_proxy_goes_only_its_keys_move) {
  living({0, 1, 2, 3, 4});
  keys = 100;
  auto const before = ask();
  living({0, 1, 3, 4});
  auto const after = ask();
  BOOST_TEST(moved(before, after) == loads(before)[2]);
  BOOST_TEST(loads(after).count(2) == 0U);
  check_fair(after, 4);
}

BOOST_AUTO_TEST_CASE(when_a_proxy_comes_no_more_move_than_it_takes_over) {
  living({0, 1, 2, 3});
  keys = 100;
  auto const before = ask();
  living({0, 1, 2, 3, 4});
  auto const after = ask();
  check_fair(after, 5);
  BOOST_TEST(moved(before, after) == loads(after)[4]);
  BOOST_TEST(loads(after)[4] >= 16U); // the others keep 21 at most
}

BOOST_AUTO_TEST_CASE(who_does_not_ask_meanwhile_is_not_moved_by_a_short_rest) {
  living({0, 1, 2});
  keys = 30;
  auto const before = ask();
  living({0, 1});
  living({0, 1, 2});
  BOOST_TEST(moved(before, ask()) == 0U);
}

BOOST_AUTO_TEST_CASE(after_a_rest_shares_are_fair_again_and_few_have_moved) {
  living({0, 1, 2});
  keys = 30;
  ask();
  living({0, 1});
  auto const meanwhile = ask();
  living({0, 1, 2});
  auto const after = ask();
  check_fair(after, 3);
  BOOST_TEST(moved(meanwhile, after) <= 10U);
}

BOOST_AUTO_TEST_CASE(without_a_living_proxy_there_is_none) {
  keys = 1;
  BOOST_TEST(ask().at(0) == rondo::detail::sticky_table::none);
  living({3});
  BOOST_TEST(ask().at(0) == 3U);
  living({});
  BOOST_TEST(ask().at(0) == rondo::detail::sticky_table::none);
}

BOOST_AUTO_TEST_CASE(who_has_not_asked_for_an_hour_takes_no_room) {
  living({0, 1});
  keys = 100;
  ask();
  keys = 10; // the others are gone
  ask(2 * hour);
  living({0, 1});
  check_fair(ask(2 * hour), 2);
}

BOOST_AUTO_TEST_CASE(the_same_names_give_the_same_places_in_every_process) {
  living({0, 1, 2, 3});
  rondo::detail::sticky_table other;
  other.set_living(places({0, 1, 2, 3}));
  for (std::uint64_t k = 0; k < 3; ++k) { // as long as nobody is full
    auto const a = rondo::affinity{k}.hash();
    BOOST_TEST(table.order_of(a) == other.order_of(a), boost::test_tools::per_element());
  }
}

BOOST_AUTO_TEST_SUITE_END()
