// SPDX-License-Identifier: BSL-1.0
#include "pool_steps.hpp"
#include <rondo/capability.hpp>
#include <rondo/key_pool.hpp>

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <map>
#include <string>
#include <utility>

using namespace rondo::test;
using rondo::capability;
using rondo::capability_set;
using rondo::error;
using rondo::outcome;
using rondo::strategy;

namespace {
constexpr auto voices = capability::voice_creation;
constexpr auto images = capability::user_0;
constexpr auto videos = static_cast<capability>(31);

rondo::key_params barred_key(std::string name, capability_set barred, std::string account = {},
                             rondo::limits const& l = {}) {
  auto out = key(std::move(name), l, std::move(account));
  out.barred = barred;
  return out;
}
} // namespace

BOOST_FIXTURE_TEST_SUITE(capabilities, pool_fixture)

BOOST_AUTO_TEST_CASE(a_barred_key_is_passed_over_under_every_strategy) {
  for (auto const how : {strategy::round_robin, strategy::fill_first, strategy::most_remaining, strategy::least_loaded,
                         strategy::weighted, strategy::soonest_reset}) {
    reset({.strategy = how});
    for (int i = 0; i < 80; ++i) {
      pool->add(barred_key("k" + std::to_string(i), i == 70 ? capability_set{} : voices));
    }
    auto const leases = take_all(*this, {.tokens = 1, .needs = voices}, 5);
    BOOST_TEST(leases.size() == 5U, to_string(how));
    for (auto const& l : leases) {
      BOOST_TEST(l.key_name() == "k70", to_string(how));
    }
    BOOST_TEST(serve(*this, {.tokens = 1, .needs = images}) != "-");
  }
}

BOOST_AUTO_TEST_CASE(a_lease_can_bar_its_key_and_goes_on) {
  pool->add(key("a", {.quota = 100}));
  auto l = take(*this, {.tokens = 10, .needs = voices});
  l.bar(voices);
  BOOST_TEST(l.key_name() == "a");
  BOOST_TEST(!pool->try_acquire({.tokens = 1, .needs = voices}));
  BOOST_TEST(serve(*this, {.tokens = 1}) == "a");
  BOOST_TEST(serve(*this, {.tokens = 1, .needs = images}) == "a");
  l.settle(10);
  BOOST_TEST(state("a").character_count == 12);
  BOOST_TEST((state("a").barred == capability_set{voices}));
  l.bar(images); // has ended
  BOOST_TEST((state("a").barred == capability_set{voices}));
}

BOOST_AUTO_TEST_CASE(what_a_key_is_barred_from_adds_up) {
  pool->add(barred_key("a", voices));
  take(*this, {.tokens = 1}).bar({images, videos});
  for (auto const what : {voices, images, videos}) {
    BOOST_TEST(!pool->try_acquire({.tokens = 1, .needs = what}));
  }
  BOOST_TEST(serve(*this, {.tokens = 1, .needs = static_cast<capability>(25)}) == "a");
}

BOOST_AUTO_TEST_CASE(a_key_needs_all_that_is_needed_at_once) {
  pool->add(barred_key("a", voices));
  pool->add(barred_key("b", images));
  pool->add(barred_key("c", videos));
  BOOST_TEST(order(*this, 3, {.tokens = 1, .needs = {voices, images}}) == "ccc");
  BOOST_TEST(order(*this, 3, {.tokens = 1, .needs = {images, videos}}) == "aaa");
  BOOST_TEST(serve(*this, {.tokens = 1, .needs = {voices, images, videos}}) == "-");
  auto const p = start({.tokens = 1, .needs = {voices, images, videos}});
  BOOST_TEST((p->ec == error::exhausted));
}

BOOST_AUTO_TEST_CASE(within_an_account_the_key_that_can_do_it_is_chosen) {
  pool->add(barred_key("a1", voices, "team"));
  pool->add(barred_key("a2", images, "team"));
  pool->add(barred_key("a3", {voices, images}, "team"));
  BOOST_TEST(order(*this, 4, {.tokens = 1, .needs = images}) == "a1a1a1a1");
  BOOST_TEST(order(*this, 4, {.tokens = 1, .needs = voices}) == "a2a2a2a2");
  std::map<std::string, int> turns;
  for (int i = 0; i < 9; ++i) {
    ++turns[serve(*this, {.tokens = 1})];
  }
  BOOST_TEST(turns.size() == 3U);
}

BOOST_AUTO_TEST_CASE(within_an_account_one_key_that_has_all_that_is_needed_is_enough) {
  pool->add(barred_key("a1", voices, "team"));
  pool->add(key("a2", {}, "team"));
  pool->add(barred_key("a3", {voices, images}, "team"));
  BOOST_TEST(order(*this, 3, {.tokens = 1, .needs = {voices, images}}) == "a2a2a2");
  pool->set_disabled("a2", true);
  BOOST_TEST(serve(*this, {.tokens = 1, .needs = {voices, images}}) == "-");
  BOOST_TEST(serve(*this, {.tokens = 1, .needs = {images, videos}}) == "a1");
}

BOOST_AUTO_TEST_CASE(a_dead_mate_is_no_reason_to_refuse) {
  pool->add(key("a1", {}, "team"));
  pool->add(barred_key("a2", voices, "team"));
  auto l = take(*this, {.tokens = 1, .needs = voices});
  BOOST_TEST(l.key_name() == "a1");
  l.report(outcome::invalid_key());
  BOOST_TEST(!pool->try_acquire({.tokens = 1, .needs = voices}));
  BOOST_TEST(serve(*this, {.tokens = 1}) == "a2");
  pool->revive("a1");
  BOOST_TEST(serve(*this, {.tokens = 1, .needs = voices}) == "a1");
  pool->set_disabled("a2", true);
  BOOST_TEST(serve(*this, {.tokens = 1, .needs = {voices, images}}) == "a1");
}

BOOST_AUTO_TEST_CASE(a_waiter_for_what_no_key_can_do_any_more_is_told) {
  pool->add(key("a", {.concurrency = 1}));
  auto l = take(*this, {.tokens = 1});
  auto const creates = start({.tokens = 1, .needs = voices});
  auto const creates_too = start({.tokens = 1, .needs = {voices, images}});
  auto const speaks = start({.tokens = 1});
  l.bar(voices);
  poll();
  BOOST_TEST_REQUIRE(creates->done);
  BOOST_TEST((creates->ec == error::exhausted));
  BOOST_TEST_REQUIRE(creates_too->done);
  BOOST_TEST(!speaks->done);
  l.settle(1);
  poll();
  BOOST_TEST(speaks->key() == "a");
}

BOOST_AUTO_TEST_CASE(who_needs_something_does_not_hold_up_who_needs_nothing) {
  pool->add(barred_key("a", voices));
  pool->add(key("b", {.concurrency = 1}));
  auto l = take(*this, {.tokens = 1, .needs = voices});
  BOOST_TEST(l.key_name() == "b");
  auto const creates = start({.tokens = 1, .needs = voices});
  BOOST_TEST(!creates->done);
  BOOST_TEST(start({.tokens = 1})->key() == "a");
  BOOST_TEST(order(*this, 3, {.tokens = 1}) == "aaa");
  l.settle(1);
  BOOST_TEST(order(*this, 2, {.tokens = 1}) == "aa"); // b is the waiter's already
  poll();
  BOOST_TEST(creates->key() == "b");
}

BOOST_AUTO_TEST_CASE(a_new_key_that_can_do_it_serves_who_waits_for_it) {
  pool->add(barred_key("a", voices));
  pool->add(key("b", {.concurrency = 1}));
  auto const l = take(*this, {.tokens = 1, .needs = voices});
  auto const p = start({.tokens = 1, .needs = voices});
  pool->add(barred_key("c", voices));
  poll();
  BOOST_TEST(!p->done);
  pool->add(barred_key("d", images));
  poll();
  BOOST_TEST(p->key() == "d");
}

BOOST_AUTO_TEST_CASE(a_request_too_large_for_every_key_that_can_do_it_is_too_large) {
  pool->add(key("a", {.quota = 100}));
  pool->add(barred_key("b", voices, {}, {.quota = 1000}));
  BOOST_TEST((start({.tokens = 500, .needs = voices})->ec == error::too_large));
  BOOST_TEST(start({.tokens = 500})->key() == "b");
}

BOOST_AUTO_TEST_SUITE_END()
