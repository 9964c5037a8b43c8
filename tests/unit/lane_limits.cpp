// SPDX-License-Identifier: BSL-1.0
#include "pool_steps.hpp"
#include <rondo/detail/lanes.hpp>
#include <rondo/key_pool.hpp>

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

using namespace rondo::test;
using rondo::error;
using rondo::key_status;
using rondo::limits;
using rondo::outcome;
using rondo::request;

namespace {
rondo::key_params key_with_lane(std::string name, std::string_view lane, limits const& in_lane, limits const& l = {},
                                std::string account = {}) {
  auto out = key(std::move(name), l, std::move(account));
  out.lanes.emplace(lane, in_lane);
  return out;
}

constexpr request in(std::string_view lane, std::int64_t tokens = 1) {
  return {.tokens = tokens, .lane = lane};
}
} // namespace

BOOST_FIXTURE_TEST_SUITE(lane_limits, pool_fixture)

// --- limits

BOOST_AUTO_TEST_CASE(a_lane_has_a_concurrency_of_its_own) {
  pool->add(key_with_lane("a", "tts", {.concurrency = 2}, {.concurrency = 5}));
  auto tts = take_all(*this, in("tts"));
  BOOST_TEST(tts.size() == 2U);
  auto const pro = take_all(*this, in("pro"));
  BOOST_TEST(pro.size() == 3U); // the account's five are shared by all lanes
  tts[0].settle(1);
  BOOST_TEST(take_all(*this, in("tts")).size() == 1U);
}

BOOST_AUTO_TEST_CASE(a_lane_has_every_rate_of_its_own) {
  struct {
    limits l;
    std::int64_t tokens;
    std::chrono::seconds period;
  } const cases[] = {
      {{.requests_per_second = 3}, 1, 1s}, {{.requests_per_minute = 3}, 1, 60s}, {{.tokens_per_minute = 300}, 100, 60s},
      {{.requests_per_day = 3}, 1, 24h},   {{.tokens_per_day = 300}, 100, 24h},
  };
  for (auto const& c : cases) {
    reset({});
    pool->add(key_with_lane("a", "tts", c.l));
    BOOST_TEST(order(*this, 4, in("tts", c.tokens)) == "aaa-");
    BOOST_TEST(order(*this, 4, in("pro", c.tokens)) == "aaaa");
    BOOST_TEST(order(*this, 4, {.tokens = c.tokens}) == "aaaa");
    auto const p = start(in("tts", c.tokens));
    advance(c.period);
    BOOST_TEST(!p->done);
    advance(std::chrono::nanoseconds{c.period} / 8);
    BOOST_TEST(p->key() == "a");
  }
}

BOOST_AUTO_TEST_CASE(a_lane_has_a_quota_of_its_own_that_returns_at_its_reset) {
  pool->add(key_with_lane("a", "tts", {.quota = 100, .quota_reset = clock.wall_now() + 1h}, {.quota = 1000}));
  BOOST_TEST(serve(*this, in("tts", 60)) == "a");
  BOOST_TEST(serve(*this, in("tts", 41)) == "-");
  BOOST_TEST(serve(*this, in("pro", 41)) == "a");
  BOOST_TEST((state("a").remaining == 1000 - 60 - 41)); // the account pays for all lanes
  auto const p = start(in("tts", 100));
  advance(59min);
  BOOST_TEST(!p->done);
  advance(1min);
  BOOST_TEST(p->key() == "a");
}

BOOST_AUTO_TEST_CASE(the_account_limits_all_lanes_together) {
  pool->add(key_with_lane("a", "tts", {.requests_per_minute = 10}, {.requests_per_minute = 4}));
  BOOST_TEST(order(*this, 3, in("tts")) == "aaa");
  BOOST_TEST(order(*this, 2, in("pro")) == "a-");
  BOOST_TEST(serve(*this, in("tts")) == "-");
}

BOOST_AUTO_TEST_CASE(a_lane_nobody_named_before_has_the_accounts_limits_for_such_lanes) {
  auto k = key_with_lane("a", "tts", {.concurrency = 3});
  k.lane_limits = {.concurrency = 1};
  pool->add(std::move(k));
  BOOST_TEST(take_all(*this, in("tts")).size() == 3U);
  auto const pro = take_all(*this, in("pro"));
  auto const flash = take_all(*this, in("flash"));
  BOOST_TEST(pro.size() == 1U);
  BOOST_TEST(flash.size() == 1U);
  BOOST_TEST(take_all(*this, {.tokens = 1}, 7).size() == 7U); // the default lane has the account's limits only
}

BOOST_AUTO_TEST_CASE(a_key_that_comes_later_has_its_limits_in_lanes_that_are_known_already) {
  pool->add(key_with_lane("a", "tts", {.concurrency = 1}));
  auto const first = take_all(*this, in("tts"));
  BOOST_TEST(serve(*this, in("pro")) == "a");
  auto b = key_with_lane("b", "tts", {.concurrency = 2});
  b.lane_limits = {.concurrency = 1};
  pool->add(std::move(b));
  auto const tts = take_all(*this, in("tts"));
  BOOST_TEST(tts.size() == 2U);
  pool->set_disabled("a", true);
  auto const pro = take_all(*this, in("pro"));
  BOOST_TEST(pro.size() == 1U);
}

BOOST_AUTO_TEST_CASE(keys_of_one_account_share_its_lanes) {
  pool->add(key_with_lane("a1", "tts", {.concurrency = 2}, {}, "team"));
  pool->add(key_with_lane("a2", "tts", {.concurrency = 2}, {}, "team"));
  auto leases = take_all(*this, in("tts"));
  BOOST_TEST_REQUIRE(leases.size() == 2U);
  BOOST_TEST(leases[0].key_name() != leases[1].key_name());
  leases[0].report(outcome::rate_limited(1min));
  BOOST_TEST(state("a1").resting_lanes.size() == 1U);
  BOOST_TEST(state("a2").resting_lanes.size() == 1U);
  auto const conflict = [](boost::system::system_error const& e) { return e.code() == error::conflicting_limits; };
  BOOST_CHECK_EXCEPTION(pool->add(key_with_lane("a3", "tts", {.concurrency = 3}, {}, "team")),
                        boost::system::system_error, conflict);
  BOOST_CHECK_EXCEPTION(pool->add(key("a3", {}, "team")), boost::system::system_error, conflict);
  auto other_default = key_with_lane("a3", "tts", {.concurrency = 2}, {}, "team");
  other_default.lane_limits = {.concurrency = 1};
  BOOST_CHECK_EXCEPTION(pool->add(std::move(other_default)), boost::system::system_error, conflict);
}

BOOST_AUTO_TEST_CASE(what_a_lane_refuses_the_account_gets_back) {
  pool->add(key_with_lane("a", "tts", {.tokens_per_minute = 10},
                          {.requests_per_minute = 3, .tokens_per_minute = 100, .concurrency = 3, .quota = 100}));
  auto const held = take(*this, in("tts", 6));
  for (int i = 0; i < 20; ++i) {
    BOOST_TEST(!pool->try_acquire(in("tts", 5)));
  }
  BOOST_TEST(state("a").in_flight == 1U);
  BOOST_TEST(state("a").requests == 1U);
  auto const one = take(*this, {.tokens = 47}); // everything but the 6 is there, for two requests
  auto const two = take(*this, {.tokens = 47});
  BOOST_TEST(!pool->try_acquire(0));
}

BOOST_AUTO_TEST_CASE(what_a_lane_refuses_does_not_use_up_the_accounts_probe) {
  pool->add(key_with_lane("a", "tts", {.quota = 10}));
  take(*this, {.tokens = 1}).report(outcome::rate_limited(10s));
  advance(11s);
  BOOST_TEST(!pool->try_acquire(in("tts", 11)));
  auto probe = take(*this, {.tokens = 1});
  BOOST_TEST(!pool->try_acquire({.tokens = 1}));
  probe.settle(1);
  BOOST_TEST(take_all(*this, {.tokens = 1}, 3).size() == 3U);
}

BOOST_AUTO_TEST_CASE(settling_for_less_or_more_corrects_the_lane_and_the_account) {
  pool->add(key_with_lane("a", "tts", {.quota = 100}, {.quota = 1000}));
  take(*this, in("tts", 80)).settle(30);
  BOOST_TEST(serve(*this, in("tts", 71)) == "-");
  auto l = take(*this, in("tts", 10));
  l.settle(40);
  BOOST_TEST(serve(*this, in("tts", 31)) == "-");
  BOOST_TEST((state("a").remaining == 930));
  take(*this, in("tts", 30)).refund();
  BOOST_TEST(serve(*this, in("tts", 30)) == "a");
  BOOST_TEST((state("a").remaining == 900));
}

BOOST_AUTO_TEST_CASE(a_refund_gives_back_what_a_lanes_rates_counted) {
  pool->add(key_with_lane("a", "tts", {.requests_per_minute = 1, .tokens_per_day = 10}));
  for (int i = 0; i < 5; ++i) {
    take(*this, in("tts", 10)).refund();
  }
  BOOST_TEST(serve(*this, in("tts", 10)) == "a");
  BOOST_TEST(serve(*this, in("tts", 0)) == "-");
}

BOOST_AUTO_TEST_CASE(an_unsent_request_counts_in_its_lane_from_its_mark) {
  pool->add(key_with_lane("a", "tts", {.requests_per_second = 1}));
  auto l = take(*this, {.tokens = 1, .lane = "tts", .unsent = true});
  advance(1min);
  auto const p = start(in("tts"));
  BOOST_TEST(!p->done);
  l.mark_sent();
  advance(999ms);
  BOOST_TEST(!p->done);
  advance(100ms);
  BOOST_TEST(p->key() == "a");
}

BOOST_AUTO_TEST_CASE(the_errors_of_a_lane_say_what_is_wrong_there) {
  pool->add(key_with_lane("a", "tts", {.tokens_per_minute = 100, .quota = 150}, {.quota = 1000}));
  BOOST_TEST((start(in("tts", 101))->ec == error::too_large));
  BOOST_TEST((start(in("pro", 1001))->ec == error::too_large));
  auto first = take(*this, in("tts", 100));
  first.settle(100);
  auto const hasty = start({.tokens = 50, .lane = "tts", .timeout = 10s});
  BOOST_TEST((hasty->ec == error::would_miss_deadline));
  BOOST_TEST_REQUIRE(hasty->lease.retry_after().has_value());
  BOOST_TEST((*hasty->lease.retry_after() > 60s && *hasty->lease.retry_after() < 66s));
  BOOST_TEST((start(in("tts", 60))->ec == error::exhausted)); // 50 are left of the lane's quota
}

// --- changing them

BOOST_AUTO_TEST_CASE(limits_of_a_lane_can_be_set_and_lifted) {
  pool->add(key("a"));
  pool->set_lane_limits("a", "tts", {.concurrency = 1});
  auto const held = take(*this, in("tts"));
  auto const p = start(in("tts"));
  auto const q = start(in("tts"));
  auto const r = start(in("tts"));
  pool->set_lane_limits("a", "tts", {.concurrency = 3});
  poll();
  BOOST_TEST((p->done && q->done && !r->done));
  pool->set_lane_limits("a", "tts", {});
  poll();
  BOOST_TEST(r->done);
  BOOST_TEST(take_all(*this, in("tts"), 9).size() == 9U);
  BOOST_CHECK_THROW(pool->set_lane_limits("nobody", "tts", {}), boost::system::system_error);
}

BOOST_AUTO_TEST_CASE(the_limits_of_all_lanes_can_be_replaced_at_once) {
  pool->add(key_with_lane("a", "tts", {.concurrency = 1}, {}, "team"));
  auto const held = take(*this, in("tts"));
  auto const p = start(in("tts"));
  pool->set_lane_limits("a", {{"pro", {.concurrency = 2}}}, {.concurrency = 3}); // tts is one of the others now
  poll();
  BOOST_TEST(p->done);
  BOOST_TEST(take_all(*this, in("pro"), 9).size() == 2U);
  BOOST_TEST(take_all(*this, in("tts"), 9).size() == 1U);
  BOOST_TEST(take_all(*this, in("new"), 9).size() == 3U);
  BOOST_CHECK_THROW(pool->add(key_with_lane("b", "tts", {.concurrency = 1}, {}, "team")), boost::system::system_error);
  auto b = key_with_lane("b", "pro", {.concurrency = 2}, {}, "team");
  b.lane_limits = {.concurrency = 3};
  pool->add(std::move(b));
  pool->set_lane_limits("a", std::map<std::string, limits>{}, {});
  BOOST_TEST(take_all(*this, in("pro"), 9).size() == 9U);
  BOOST_CHECK_THROW(pool->set_lane_limits("a", {{"", limits{}}}, limits{}), boost::system::system_error);
  BOOST_CHECK_THROW(pool->set_lane_limits("nobody", {{"pro", limits{}}}, limits{}), boost::system::system_error);
}

BOOST_AUTO_TEST_CASE(what_was_spent_in_a_lane_stays_spent_when_its_limits_change) {
  pool->add(key_with_lane("a", "tts", {.quota = 100}));
  BOOST_TEST(serve(*this, in("tts", 70)) == "a");
  pool->set_lane_limits("a", "tts", {.quota = 200});
  BOOST_TEST(serve(*this, in("tts", 131)) == "-");
  BOOST_TEST(serve(*this, in("tts", 130)) == "a");
  pool->set_lane_limits("a", "tts", {.quota = 150});
  auto const p = start(in("tts", 10));
  BOOST_TEST_REQUIRE(p->done);
  BOOST_TEST((p->ec == error::exhausted));
}

BOOST_AUTO_TEST_CASE(a_lane_that_loses_its_limits_while_somebody_waits_in_vain_tells_him) {
  pool->add(key_with_lane("a", "tts", {.tokens_per_minute = 100}));
  auto const held = take(*this, in("tts", 90));
  auto const p = start(in("tts", 50));
  BOOST_TEST(!p->done);
  pool->set_lane_limits("a", "tts", {.tokens_per_minute = 40});
  poll();
  BOOST_TEST_REQUIRE(p->done);
  BOOST_TEST((p->ec == error::too_large));
}

BOOST_AUTO_TEST_CASE(a_key_added_to_an_account_must_have_the_lane_limits_that_were_set_meanwhile) {
  pool->add(key("a1", {}, "team"));
  pool->set_lane_limits("a1", "tts", {.concurrency = 1});
  BOOST_CHECK_THROW(pool->add(key("a2", {}, "team")), boost::system::system_error);
  pool->add(key_with_lane("a2", "tts", {.concurrency = 1}, {}, "team"));
  BOOST_TEST(take_all(*this, in("tts")).size() == 1U);
}

// --- rests and probation

BOOST_AUTO_TEST_CASE(a_refusal_in_one_lane_cools_that_lane_of_that_account_only) {
  pool->add(key("a"));
  pool->add(key("b"));
  auto l = take(*this, in("flash"));
  BOOST_TEST(l.key_name() == "a");
  l.report(outcome::rate_limited(30s));
  BOOST_TEST(order(*this, 4, in("flash")) == "bbbb");
  BOOST_TEST(serve(*this, in("pro")) != "-");
  auto const in_pro = order(*this, 4, in("pro"));
  BOOST_TEST(std::count(in_pro.begin(), in_pro.end(), 'a') == 2);
  auto const unnamed = order(*this, 4, {.tokens = 1});
  BOOST_TEST(std::count(unnamed.begin(), unnamed.end(), 'a') == 2);
}

BOOST_AUTO_TEST_CASE(the_snapshot_shows_which_lanes_rest_and_until_when) {
  pool->add(key_with_lane("a", "tts", {.concurrency = 5}));
  pool->add(key("b"));
  std::array<std::uint32_t, 1> const avoid_b{[&] {
    auto l = take(*this, {.tokens = 1});
    return l.key_name() == "b" ? l.account_id() : 1 - l.account_id();
  }()};
  auto const report = [&](std::string_view lane, outcome const& o) {
    auto l = pool->try_acquire(in(lane), avoid_b);
    BOOST_TEST_REQUIRE(l.has_value());
    BOOST_TEST(l->key_name() == "a");
    l->report(o);
  };
  auto const now = clock.wall_now();
  report("tts", outcome::rate_limited(10s));
  report("pro", outcome::rate_limited(now + 30s));
  auto const s = state("a");
  BOOST_TEST((s.status == key_status::rate_limited));
  BOOST_TEST_REQUIRE(s.resting_lanes.size() == 2U);
  for (auto const& rest : s.resting_lanes) {
    auto const asked = rest.lane == "tts" ? 10s : 30s;
    BOOST_TEST((rest.lane == "tts" || rest.lane == "pro"), rest.lane);
    BOOST_TEST((rest.until >= now + asked && rest.until <= now + asked + asked / 10));
  }
  BOOST_TEST((*s.cooldown_until >= now + 30s)); // of the longest
  BOOST_TEST(state("b").resting_lanes.empty());
  BOOST_TEST((state("b").status == key_status::active));
  advance(11s);
  BOOST_TEST(state("a").resting_lanes.size() == 1U);
  BOOST_TEST(state("a").resting_lanes.front().lane == "pro");
  advance(22s);
  BOOST_TEST(state("a").resting_lanes.empty());
  BOOST_TEST((state("a").status == key_status::active));
}

BOOST_AUTO_TEST_CASE(after_its_rest_a_lane_is_probed_by_one_request_while_the_others_go_on) {
  pool->add(key("a"));
  take(*this, in("flash")).report(outcome::rate_limited(10s));
  advance(11s);
  auto probe = take(*this, in("flash"));
  BOOST_TEST(!pool->try_acquire(in("flash")));
  BOOST_TEST(take_all(*this, in("pro"), 3).size() == 3U);
  BOOST_TEST(take_all(*this, {.tokens = 1}, 3).size() == 3U);
  auto const p = start(in("flash"));
  auto const q = start(in("flash"));
  BOOST_TEST((!p->done && !q->done));
  probe.settle(1);
  poll();
  BOOST_TEST((p->done && q->done));
}

BOOST_AUTO_TEST_CASE(a_probe_that_fails_in_a_lane_cools_the_lane_longer) {
  reset({.cooldown = 10s});
  pool->add(key("a"));
  auto const rest = [&] { return state("a").resting_lanes.at(0).until - clock.wall_now(); };
  take(*this, in("flash")).report(outcome::rate_limited());
  BOOST_TEST((rest() >= 10s && rest() <= 11s));
  advance(11s);
  take(*this, in("flash")).report(outcome::rate_limited());
  BOOST_TEST((rest() >= 20s && rest() <= 22s));
  take(*this, in("pro")).report(outcome::rate_limited()); // each lane counts its own
  BOOST_TEST(state("a").resting_lanes.size() == 2U);
  BOOST_TEST((state("a").resting_lanes[1].until - clock.wall_now() <= 11s));
  advance(22s);
  take(*this, in("flash")).settle(1);
  take(*this, in("flash")).report(outcome::rate_limited());
  BOOST_TEST((rest() >= 10s && rest() <= 11s)); // success makes it start anew
}

BOOST_AUTO_TEST_CASE(a_success_in_one_lane_does_not_end_the_rest_of_another) {
  pool->add(key("a"));
  take(*this, in("flash")).report(outcome::rate_limited(10s));
  take(*this, in("pro")).report(outcome::rate_limited(10s));
  advance(11s);
  take(*this, in("pro")).settle(1);
  BOOST_TEST(take_all(*this, in("pro"), 3).size() == 3U);
  auto const probe = take(*this, in("flash"));
  BOOST_TEST(!pool->try_acquire(in("flash")));
}

BOOST_AUTO_TEST_CASE(a_request_that_began_before_the_lanes_rest_does_not_end_it) {
  pool->add(key_with_lane("a", "flash", {.concurrency = 9}));
  auto early = take(*this, in("flash"));
  take(*this, in("flash")).report(outcome::rate_limited(10s));
  early.settle(1);
  BOOST_TEST(!pool->try_acquire(in("flash")));
  advance(11s);
  auto const probe = take(*this, in("flash"));
  BOOST_TEST(!pool->try_acquire(in("flash")));
}

BOOST_AUTO_TEST_CASE(a_dead_key_and_a_used_up_account_are_so_in_every_lane) {
  for (auto const& end : {outcome::invalid_key(), outcome::exhausted()}) {
    reset({});
    pool->add(key_with_lane("a", "tts", {.concurrency = 3}));
    BOOST_TEST(serve(*this, in("pro")) == "a");
    take(*this, in("tts")).report(end);
    BOOST_TEST(serve(*this, in("tts")) == "-");
    BOOST_TEST(serve(*this, in("pro")) == "-");
    BOOST_TEST(serve(*this, in("never named before")) == "-");
    BOOST_TEST(serve(*this, {.tokens = 1}) == "-");
  }
}

BOOST_AUTO_TEST_CASE(a_rest_of_the_account_holds_in_all_lanes) {
  pool->add(key_with_lane("a", "tts", {.concurrency = 3}));
  take(*this, {.tokens = 1}).report(outcome::rate_limited(10s));
  BOOST_TEST(serve(*this, in("tts")) == "-");
  auto const p = start(in("tts"));
  auto const q = start(in("pro"));
  advance(11s);
  BOOST_TEST(count_done({p, q}) == 1U); // the account is on probation
}

// --- waiting

BOOST_AUTO_TEST_CASE(who_waits_for_one_lane_holds_up_nobody_in_another) {
  pool->add(key_with_lane("a", "tts", {.concurrency = 1}));
  auto held = take(*this, in("tts"));
  waiters tts;
  for (int i = 0; i < 3; ++i) {
    tts.push_back(start(in("tts")));
  }
  BOOST_TEST(start(in("pro"))->key() == "a");
  BOOST_TEST(start({.tokens = 1})->key() == "a");
  BOOST_TEST(serve(*this, in("pro")) == "a");
  BOOST_TEST(count_done(tts) == 0U);
  held.settle(1);
  poll();
  BOOST_TEST(count_done(tts) == 1U);
  BOOST_TEST(tts[0]->done);
  tts[0]->lease.report(outcome::transport_error());
  poll();
  BOOST_TEST(count_done(tts) == 2U);
}

BOOST_AUTO_TEST_CASE(waiters_of_several_lanes_are_served_by_the_one_place_of_the_account_in_their_order) {
  pool->add(key_with_lane("a", "tts", {.concurrency = 1}, {.concurrency = 1}));
  auto held = take(*this, in("tts"));
  waiters const all{start(in("pro")), start(in("tts")), start({.tokens = 1}), start(in("pro"))};
  held.settle(1);
  poll();
  for (std::size_t i = 0; i < all.size(); ++i) {
    BOOST_TEST(count_done(all) == i + 1);
    BOOST_TEST_REQUIRE(all[i]->done);
    all[i]->lease.settle(1);
    poll();
  }
}

BOOST_AUTO_TEST_CASE(a_waiter_in_a_lane_is_told_when_the_lane_rests_too_long_for_him) {
  pool->add(key_with_lane("a", "tts", {.concurrency = 1}));
  auto held = take(*this, in("tts"));
  auto const hasty = start({.tokens = 1, .lane = "tts", .timeout = 5s});
  auto const patient = start({.tokens = 1, .lane = "tts", .timeout = 2min});
  held.report(outcome::rate_limited(60s));
  poll();
  BOOST_TEST_REQUIRE(hasty->done);
  BOOST_TEST((hasty->ec == error::would_miss_deadline));
  BOOST_TEST((*hasty->lease.retry_after() >= 60s && *hasty->lease.retry_after() <= 65s));
  BOOST_TEST(!patient->done);
  advance(66s);
  BOOST_TEST(patient->key() == "a");
}

BOOST_AUTO_TEST_CASE(a_waiter_refused_in_his_lane_does_not_make_the_account_forget_who_else_waits_for_it) {
  auto const voices = rondo::capability::voice_creation;
  auto a = key_with_lane("a", "tts", {.quota = 15}, {.quota = 100});
  a.barred = voices;
  pool->add(std::move(a));
  pool->add(key("b", {.concurrency = 1, .quota = 50}));
  auto on_a = pool->try_acquire({.tokens = 60});
  BOOST_TEST_REQUIRE(on_a->key_name() == "a");
  auto const on_b = take(*this, {.tokens = 1, .needs = voices});
  auto const head = start({.tokens = 1, .needs = voices}); // waits for b
  auto const large = start({.tokens = 90});                // waits for a
  auto const third = start(in("tts", 20));                 // a would have 20, its lane has not
  BOOST_TEST((!head->done && !large->done));
  on_a->refund();
  poll();
  BOOST_TEST(large->key() == "a");
}

// --- how many

BOOST_AUTO_TEST_CASE(lanes_beyond_the_most_share_the_default_lane) {
  pool->add(key("a"));
  for (std::size_t i = 0; i < rondo::detail::lanes::most; ++i) {
    auto const name = "lane" + std::to_string(i);
    BOOST_TEST_REQUIRE(serve(*this, in(name)) == "a");
  }
  pool->set_lane_limits("a", "lane1023", {.concurrency = 1}); // those that were named first keep what is theirs
  BOOST_CHECK_THROW(pool->set_lane_limits("a", "one too many", {.concurrency = 1}), boost::system::system_error);
  BOOST_CHECK_THROW(pool->set_lane_limits("a", "", {.concurrency = 1}), boost::system::system_error);
  BOOST_TEST(take_all(*this, in("lane1023")).size() == 1U);
  BOOST_TEST(take_all(*this, in("one too many"), 4).size() == 4U);
  take(*this, in("lane0")).report(outcome::rate_limited(10s));
  BOOST_TEST(serve(*this, in("one too many")) == "a");
  take(*this, in("one too many")).report(outcome::rate_limited(10s));
  BOOST_TEST(serve(*this, {.tokens = 1}) == "-");
  BOOST_TEST(serve(*this, in("lane7")) == "-");
  BOOST_TEST(state("a").resting_lanes.size() == 1U);
}

BOOST_AUTO_TEST_CASE(many_keys_in_a_lane_are_found_wherever_they_are) {
  for (int i = 0; i < 150; ++i) {
    pool->add(key_with_lane("k" + std::to_string(i), "tts", {.concurrency = 1}));
  }
  auto leases = take_all(*this, in("tts"));
  BOOST_TEST_REQUIRE(leases.size() == 150U);
  auto const p = start(in("tts"));
  for (auto const i : {149, 0, 64, 63}) {
    std::string const name{leases[static_cast<std::size_t>(i)].key_name()};
    leases[static_cast<std::size_t>(i)].settle(1);
    poll();
    if (i == 149) {
      BOOST_TEST(p->key() == name);
    } else {
      BOOST_TEST(serve(*this, in("tts")) == name);
      leases[static_cast<std::size_t>(i)] = take(*this, in("tts"));
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()
