// SPDX-License-Identifier: BSL-1.0
#include "pool_steps.hpp"
#include <rondo/affinity.hpp>
#include <rondo/key_pool.hpp>

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

using namespace rondo::test;
using rondo::outcome;
using rondo::strategy;

namespace {
constexpr int values = 10'000;

/// Which key serves each of the values 0, 1, 2, ...
std::vector<std::string> key_of_each(pool_fixture& f, int count = values) {
  std::vector<std::string> out;
  for (int i = 0; i < count; ++i) {
    out.push_back(serve(f, {.tokens = 1, .affinity = i}));
  }
  return out;
}

std::map<std::string, int> count(std::vector<std::string> const& names) {
  std::map<std::string, int> out;
  for (auto const& n : names) {
    ++out[n];
  }
  return out;
}

static_assert(rondo::affinity{}.hash() == 0);
static_assert(rondo::affinity{""}.hash() == 0);
static_assert(rondo::affinity{0}.hash() != 0, "the number 0 is a value like any other");
static_assert(rondo::affinity{"user-1"} != rondo::affinity{"user-2"});
} // namespace

BOOST_FIXTURE_TEST_SUITE(affinity, pool_fixture)

BOOST_AUTO_TEST_CASE(the_same_value_goes_to_the_same_key_whatever_happens_in_between) {
  for (auto const how : {strategy::round_robin, strategy::fill_first, strategy::least_loaded, strategy::weighted,
                         strategy::most_remaining, strategy::soonest_reset}) {
    reset({.strategy = how});
    add_keys(*this, 10);
    auto const before = key_of_each(*this, 200);
    order(*this, 7, {.tokens = 1});
    auto const after = key_of_each(*this, 200);
    BOOST_TEST(before == after, boost::test_tools::per_element());
  }
}

BOOST_AUTO_TEST_CASE(a_text_is_a_value_as_a_number_is_and_no_value_means_turns) {
  add_keys(*this, 10);
  std::string const user = "user-4711";
  auto const first = serve(*this, {.tokens = 1, .affinity = std::string_view{user}});
  for (int i = 0; i < 5; ++i) {
    BOOST_TEST(serve(*this, {.tokens = 1, .affinity = "user-4711"}) == first);
  }
  auto const before = serve(*this, {.tokens = 1, .affinity = ""});
  BOOST_TEST(serve(*this, {.tokens = 1, .affinity = ""}) != before);
}

BOOST_AUTO_TEST_CASE(values_spread_fairly_over_all_keys) {
  add_keys(*this, 10);
  auto const shares = count(key_of_each(*this));
  BOOST_TEST(shares.size() == 10U);
  for (auto const& [name, n] : shares) {
    BOOST_TEST((n > 850 && n < 1150), name << " has " << n); // 1000 and five standard deviations
  }
}

BOOST_AUTO_TEST_CASE(values_of_a_key_that_is_away_spread_over_all_others_and_return_with_it) {
  add_keys(*this, 10);
  auto const before = key_of_each(*this);
  pool->set_disabled("k3", true);
  auto const meanwhile = key_of_each(*this);
  std::map<std::string, int> took_over;
  for (std::size_t i = 0; i < before.size(); ++i) {
    if (before[i] == "k3") {
      ++took_over[meanwhile[i]];
    } else if (meanwhile[i] != before[i]) {
      BOOST_ERROR("value " << i << " left a key that can serve");
    }
  }
  BOOST_TEST(took_over.size() == 9U);
  for (auto const& [name, n] : took_over) {
    BOOST_TEST((n > 60 && n < 165), name << " took over " << n); // 111 and five standard deviations
  }
  pool->set_disabled("k3", false);
  auto const after = key_of_each(*this);
  BOOST_TEST((after == before));
}

BOOST_AUTO_TEST_CASE(values_of_a_resting_key_go_elsewhere_and_return_after_its_probation) {
  add_keys(*this, 5);
  auto l = take(*this, {.tokens = 1, .affinity = 7});
  std::string const home{l.key_name()};
  l.report(outcome::rate_limited(10s));
  auto const elsewhere = serve(*this, {.tokens = 1, .affinity = 7});
  BOOST_TEST(elsewhere != home);
  BOOST_TEST(serve(*this, {.tokens = 1, .affinity = 7}) == elsewhere);
  advance(11s);
  auto probe = take(*this, {.tokens = 1, .affinity = 7});
  BOOST_TEST(probe.key_name() == home);
  BOOST_TEST(serve(*this, {.tokens = 1, .affinity = 7}) == elsewhere); // one request at a time
  probe.settle(1);
  BOOST_TEST(serve(*this, {.tokens = 1, .affinity = 7}) == home);
}

BOOST_AUTO_TEST_CASE(a_new_key_takes_about_its_fair_share_and_nothing_moves_between_the_others) {
  add_keys(*this, 10);
  auto const before = key_of_each(*this);
  pool->add(key("new"));
  auto const after = key_of_each(*this);
  int moved = 0;
  for (std::size_t i = 0; i < before.size(); ++i) {
    if (after[i] == "new") {
      ++moved;
    } else if (after[i] != before[i]) {
      BOOST_ERROR("value " << i << " moved from " << before[i] << " to " << after[i]);
    }
  }
  BOOST_TEST((moved > 765 && moved < 1055), moved << " moved"); // 909 and five standard deviations
}

BOOST_AUTO_TEST_CASE(a_removed_key_leaves_the_values_of_the_others_alone) {
  add_keys(*this, 8);
  auto const before = key_of_each(*this, 2000);
  pool->remove("k2");
  auto const after = key_of_each(*this, 2000);
  for (std::size_t i = 0; i < before.size(); ++i) {
    BOOST_TEST_REQUIRE(after[i] != "k2");
    BOOST_TEST((before[i] == "k2" || after[i] == before[i]), "value " << i);
  }
  pool->add(key("k2"));
  auto const again = key_of_each(*this, 2000);
  BOOST_TEST((again == before));
}

BOOST_AUTO_TEST_CASE(a_value_whose_key_is_full_is_served_by_another_never_refused) {
  add_keys(*this, 100, {.concurrency = 1});
  auto leases = take_all(*this, {.tokens = 1, .affinity = 42}); // one after the other, down to the last
  BOOST_TEST(leases.size() == 100U);
  for (std::size_t i = 0; i < leases.size(); i += 9) {
    std::string const name{leases[i].key_name()};
    leases[i].settle(1);
    BOOST_TEST(serve(*this, {.tokens = 1, .affinity = 42}) == name); // the only one that is free
    leases[i] = take(*this, {.tokens = 1, .affinity = 42});
  }
}

BOOST_AUTO_TEST_CASE(a_value_whose_key_has_too_little_left_is_served_by_another) {
  add_keys(*this, 4, {.quota = 100});
  auto const home = serve(*this, {.tokens = 60, .affinity = "chat"});
  auto const other = serve(*this, {.tokens = 60, .affinity = "chat"});
  BOOST_TEST((other != home && other != "-"));
  BOOST_TEST(serve(*this, {.tokens = 30, .affinity = "chat"}) == home);
}

BOOST_AUTO_TEST_CASE(a_value_that_waits_takes_whatever_key_comes_free) {
  add_keys(*this, 3, {.concurrency = 1});
  auto leases = take_all(*this, {.tokens = 1, .affinity = 1});
  BOOST_TEST_REQUIRE(leases.size() == 3U);
  auto const p = start({.tokens = 1, .affinity = 1});
  BOOST_TEST(!p->done);
  std::string const last{leases.back().key_name()}; // the one it likes least
  leases.back().settle(1);
  poll();
  BOOST_TEST(p->key() == last);
}

BOOST_AUTO_TEST_CASE(within_an_account_a_value_stays_with_one_of_its_keys) {
  for (auto const* name : {"a1", "a2", "a3"}) {
    pool->add(key(name, {}, "team"));
  }
  auto const before = key_of_each(*this, 3000);
  auto const shares = count(before);
  BOOST_TEST(shares.size() == 3U);
  for (auto const& [name, n] : shares) {
    BOOST_TEST((n > 870 && n < 1130), name << " has " << n);
  }
  order(*this, 2, {.tokens = 1});
  auto const again = key_of_each(*this, 3000);
  BOOST_TEST((again == before));
  pool->set_disabled("a2", true);
  auto const meanwhile = key_of_each(*this, 3000);
  std::map<std::string, int> took_over;
  for (std::size_t i = 0; i < before.size(); ++i) {
    if (before[i] == "a2") {
      ++took_over[meanwhile[i]];
    } else {
      BOOST_TEST_REQUIRE(meanwhile[i] == before[i]);
    }
  }
  BOOST_TEST(took_over.size() == 2U);
  BOOST_TEST(std::abs(took_over["a1"] - took_over["a3"]) < 160);
  pool->set_disabled("a2", false);
  auto const after = key_of_each(*this, 3000);
  BOOST_TEST((after == before));
}

BOOST_AUTO_TEST_CASE(within_an_account_a_new_key_takes_its_fair_share_only_from_its_mates) {
  pool->add(key("a1", {}, "team"));
  pool->add(key("a2", {}, "team"));
  pool->add(key("b"));
  auto const before = key_of_each(*this, 6000);
  pool->add(key("a3", {}, "team"));
  auto const after = key_of_each(*this, 6000);
  int moved = 0;
  for (std::size_t i = 0; i < before.size(); ++i) {
    if (after[i] == "a3") {
      ++moved;
      BOOST_TEST_REQUIRE(before[i] != "b");
    } else {
      BOOST_TEST_REQUIRE(after[i] == before[i]);
    }
  }
  BOOST_TEST((moved > 850 && moved < 1150), moved << " moved"); // a third of half of them
}

BOOST_AUTO_TEST_CASE(a_value_goes_to_a_key_that_has_what_the_request_needs) {
  auto const voices = rondo::capability::voice_creation;
  for (int i = 0; i < 6; ++i) {
    auto k = key("k" + std::to_string(i), {}, i < 3 ? "team" : "");
    if (i % 2 == 0) {
      k.barred = voices;
    }
    pool->add(std::move(k));
  }
  std::map<std::string, int> served;
  for (int i = 0; i < 300; ++i) {
    auto const name = serve(*this, {.tokens = 1, .needs = voices, .affinity = i});
    BOOST_TEST_REQUIRE((name == "k1" || name == "k3" || name == "k5"), name);
    ++served[name];
  }
  BOOST_TEST(served.size() == 3U);
}

BOOST_AUTO_TEST_CASE(a_lane_that_rests_sends_its_values_elsewhere_and_leaves_those_of_other_lanes) {
  add_keys(*this, 5);
  auto const home = serve(*this, {.tokens = 1, .affinity = 3});
  auto l = take(*this, {.tokens = 1, .lane = "flash", .affinity = 3});
  BOOST_TEST(l.key_name() == home);
  l.report(outcome::rate_limited(1min));
  auto const elsewhere = serve(*this, {.tokens = 1, .lane = "flash", .affinity = 3});
  BOOST_TEST((elsewhere != home && elsewhere != "-"));
  BOOST_TEST(serve(*this, {.tokens = 1, .lane = "pro", .affinity = 3}) == home);
  BOOST_TEST(serve(*this, {.tokens = 1, .affinity = 3}) == home);
}

BOOST_AUTO_TEST_SUITE_END()
