// SPDX-License-Identifier: BSL-1.0
#include "pool_steps.hpp"
#include <rondo/key_pool.hpp>

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>
#include <vector>

using namespace rondo::test;
using rondo::error;
using rondo::key_status;
using rondo::outcome;

namespace {
/// A failed request, and how long the key rests after it.
std::chrono::nanoseconds rest_after(pool_fixture& f, outcome const& what) {
  auto l = take(f, {.tokens = 1});
  std::string const name{l.key_name()};
  l.report(what);
  auto const until = f.state(name).cooldown_until;
  return until ? *until - f.clock.wall_now() : std::chrono::nanoseconds{0};
}

/// Jitter is added, 0 to 10 % and at most 5 s.
bool about(std::chrono::nanoseconds actual, std::chrono::nanoseconds asked) {
  return actual >= asked - 1us && actual <= asked + std::min<std::chrono::nanoseconds>(asked / 10, 5s);
}
} // namespace

BOOST_FIXTURE_TEST_SUITE(cooldowns, pool_fixture)

BOOST_AUTO_TEST_CASE(a_rest_is_as_long_as_the_provider_said) {
  for (auto const asked : {0s, 1s, 30s, 600s, 86'400s}) {
    pool.reset();
    reset({.cooldown = 7s});
    pool->add(key("a"));
    BOOST_TEST(about(rest_after(*this, outcome::rate_limited(asked)), asked), asked.count());
    reset({.cooldown = 7s});
    pool->add(key("a"));
    BOOST_TEST(about(rest_after(*this, outcome::rate_limited(clock.wall_now() + asked)), asked), asked.count());
  }
}

BOOST_AUTO_TEST_CASE(without_a_word_of_the_provider_a_rest_doubles_up_to_the_most) {
  reset({.cooldown = 10s, .most_cooldown = 75s});
  pool->add(key("a"));
  for (auto const expected : {10s, 20s, 40s, 75s, 75s, 75s}) {
    auto const rest = rest_after(*this, outcome::rate_limited());
    BOOST_TEST(about(rest, expected), expected.count() << " s: " << rest.count());
    advance(rest);
  }
  take(*this, {.tokens = 1}).settle(1);
  BOOST_TEST(about(rest_after(*this, outcome::rate_limited()), 10s)); // a success makes it begin anew
}

BOOST_AUTO_TEST_CASE(a_rest_that_doubles_very_often_stays_at_the_most) {
  reset({.cooldown = 1s, .most_cooldown = 10s});
  pool->add(key("a"));
  for (int i = 0; i < 80; ++i) {
    auto const rest = rest_after(*this, outcome::rate_limited());
    BOOST_TEST((rest >= 1s && rest <= 11s));
    BOOST_TEST((i < 4 || rest >= 10s));
    advance(rest);
  }
}

BOOST_AUTO_TEST_CASE(rests_that_the_provider_named_count_as_repetitions_too) {
  reset({.cooldown = 10s});
  pool->add(key("a"));
  advance(rest_after(*this, outcome::rate_limited(1s)));
  advance(rest_after(*this, outcome::rate_limited(1s)));
  BOOST_TEST(about(rest_after(*this, outcome::rate_limited()), 40s));
}

BOOST_AUTO_TEST_CASE(a_balance_ends_a_rest_only_as_far_as_it_was_for_exhaustion) {
  for (auto const exhausted_first : {false, true}) {
    reset({});
    pool->add(key("a", {.quota = 100}));
    auto one = take(*this, {.tokens = 1});
    auto two = take(*this, {.tokens = 1});
    auto const when_limited = [&] { one.report(outcome::rate_limited(60s)); };
    auto const when_exhausted = [&] { two.report(outcome::exhausted(1h)); };
    if (exhausted_first) {
      when_exhausted();
      when_limited();
    } else {
      when_limited();
      when_exhausted();
    }
    BOOST_TEST((state("a").status == key_status::exhausted));
    auto const waiting = start({.tokens = 1});
    advance(1s);
    pool->set_balance("a", {.limit = 100, .remaining = 50});
    poll();
    BOOST_TEST(!waiting->done);
    BOOST_TEST((state("a").status == key_status::rate_limited));
    BOOST_TEST(about(*state("a").cooldown_until - clock.wall_now() + 1s, 60s));
    advance(58s);
    BOOST_TEST(!waiting->done);
    advance(7s);
    BOOST_TEST(waiting->key() == "a");
    BOOST_TEST(!pool->try_acquire(1)); // that one probes it
    waiting->lease.settle(1);
    poll();
    BOOST_TEST(pool->try_acquire(1).has_value());
  }
}

BOOST_AUTO_TEST_CASE(a_rest_that_is_over_does_not_keep_a_balance_from_ending_the_next_one) {
  pool->add(key("a", {.quota = 100}));
  take(*this, {.tokens = 1}).report(outcome::rate_limited(10s));
  advance(12s);
  take(*this, {.tokens = 1}).report(outcome::exhausted(1h));
  BOOST_TEST(!pool->try_acquire(1));
  pool->set_balance("a", {.limit = 100, .remaining = 50});
  BOOST_TEST(pool->try_acquire(1).has_value());
}

BOOST_AUTO_TEST_CASE(jitter_spreads_but_never_shortens) {
  reset({.cooldown = 100s});
  constexpr int keys = 200;
  add_keys(*this, keys);
  std::vector<std::chrono::nanoseconds> rests;
  for (int i = 0; i < keys; ++i) {
    rests.push_back(rest_after(*this, outcome::rate_limited()));
  }
  std::sort(rests.begin(), rests.end());
  BOOST_TEST((rests.front() >= 100s - 1us && rests.back() <= 105s));
  BOOST_TEST((rests.front() < 101s && rests.back() > 104s));
  BOOST_TEST((rests[keys / 2] > 101s && rests[keys / 2] < 104s));
}

BOOST_AUTO_TEST_CASE(a_rest_is_never_shortened) {
  pool->add(key("a"));
  auto leases = take_all(*this, {.tokens = 1}, 4);
  leases[0].report(outcome::rate_limited(100s));
  auto const until = state("a").cooldown_until;
  leases[1].report(outcome::rate_limited(1s));
  leases[2].report(outcome::exhausted(1s));
  leases[3].settle(1);
  BOOST_TEST((state("a").cooldown_until == until));
  BOOST_TEST((state("a").status == key_status::rate_limited));
  pool->set_cooldown(1s);
  pool->set_limits("a", {.concurrency = 100});
  pool->set_disabled("a", true);
  pool->set_disabled("a", false);
  BOOST_TEST((state("a").cooldown_until == until));
  BOOST_TEST(!pool->try_acquire(1));
}

BOOST_AUTO_TEST_CASE(a_longer_rest_replaces_a_shorter_one) {
  pool->add(key("a"));
  auto one = take(*this, {.tokens = 1});
  auto two = take(*this, {.tokens = 1});
  one.report(outcome::rate_limited(10s));
  two.report(outcome::rate_limited(100s));
  auto const p = start({.tokens = 1});
  advance(60s);
  BOOST_TEST(!p->done);
  advance(50s);
  BOOST_TEST(p->done);
}

BOOST_AUTO_TEST_CASE(one_request_at_a_time_probes_until_one_succeeds) {
  pool->add(key("a"));
  take(*this, {.tokens = 1}).report(outcome::rate_limited(10s));
  waiters all;
  for (int i = 0; i < 5; ++i) {
    all.push_back(start({.tokens = 1}));
  }
  advance(11s);
  BOOST_TEST(count_done(all) == 1U);
  all[0]->lease.refund(); // tells nothing about the key
  poll();
  BOOST_TEST(count_done(all) == 2U);
  all[1]->lease.report(outcome::transport_error());
  poll();
  BOOST_TEST(count_done(all) == 3U);
  all[2]->lease.settle(1);
  poll();
  BOOST_TEST(count_done(all) == 5U);
}

BOOST_AUTO_TEST_CASE(a_refusal_of_an_old_request_does_not_lengthen_the_next_rest) {
  reset({.cooldown = 10s});
  pool->add(key("a"));
  auto old = take(*this, {.tokens = 1});
  auto const rest = rest_after(*this, outcome::rate_limited());
  old.report(outcome::rate_limited()); // began before the rest: the same burst
  advance(rest);
  BOOST_TEST(about(rest_after(*this, outcome::rate_limited()), 20s));
}

BOOST_AUTO_TEST_CASE(outcomes_that_are_not_the_keys_fault_do_not_make_it_rest) {
  pool->add(key("a"));
  for (auto const& o : {outcome::rejected(), outcome::too_large(), outcome::transport_error(),
                        outcome::concurrency_limited(), outcome::overloaded()}) {
    BOOST_TEST(rest_after(*this, o).count() == 0, to_string(o.what()));
  }
  BOOST_TEST((state("a").status == key_status::active));
  BOOST_TEST(state("a").failures == 3U); // all but the first two
}

// --- learned concurrency

BOOST_AUTO_TEST_CASE(a_learned_concurrency_grows_by_one_in_ten_seconds_while_requests_succeed) {
  pool->add(key("a"));
  auto leases = take_all(*this, {.tokens = 1}, 6);
  leases[5].report(outcome::concurrency_limited());
  leases.pop_back();
  BOOST_TEST(take_all(*this, {.tokens = 1}).empty()); // five are out
  leases.clear();
  auto const capacity = [&] {
    auto all = take_all(*this, {.tokens = 1}, 50);
    auto const n = all.size();
    for (auto& l : all) {
      l.refund(); // no success
    }
    return n;
  };
  BOOST_TEST(capacity() == 5U);
  advance(9s);
  take(*this, {.tokens = 1}).settle(1);
  BOOST_TEST(capacity() == 5U);
  advance(1s);
  take(*this, {.tokens = 1}).settle(1);
  take(*this, {.tokens = 1}).settle(1);
  BOOST_TEST(capacity() == 6U);
  advance(1min);
  BOOST_TEST(capacity() == 6U); // time alone proves nothing
  take(*this, {.tokens = 1}).settle(1);
  BOOST_TEST(capacity() == 7U);
}

BOOST_AUTO_TEST_CASE(a_learned_concurrency_grows_back_to_the_one_that_was_set_and_never_beyond) {
  pool->add(key("a", {.concurrency = 4}));
  auto leases = take_all(*this, {.tokens = 1});
  BOOST_TEST_REQUIRE(leases.size() == 4U);
  leases[3].report(outcome::concurrency_limited());
  leases[2].report(outcome::concurrency_limited());
  leases.clear();
  BOOST_TEST(take_all(*this, {.tokens = 1}).size() == 2U);
  for (auto const expected : {3U, 4U, 4U}) {
    advance(10s);
    take(*this, {.tokens = 1}).settle(1);
    BOOST_TEST(take_all(*this, {.tokens = 1}).size() == expected);
  }
}

BOOST_AUTO_TEST_CASE(a_single_request_that_is_one_too_many_leaves_one) {
  pool->add(key("a"));
  take(*this, {.tokens = 1}).report(outcome::concurrency_limited());
  BOOST_TEST(take_all(*this, {.tokens = 1}).size() == 1U);
}

BOOST_AUTO_TEST_CASE(a_growing_cap_wakes_a_waiter) {
  pool->add(key("a"));
  auto leases = take_all(*this, {.tokens = 1}, 3);
  leases[2].report(outcome::concurrency_limited());
  auto const p = start({.tokens = 1});
  auto const q = start({.tokens = 1});
  auto const r = start({.tokens = 1});
  advance(11s);
  leases[0].settle(1); // its place, and one more
  poll();
  BOOST_TEST((p->done && q->done && !r->done));
}

BOOST_AUTO_TEST_CASE(a_refusal_never_raises_the_cap_that_was_learned) {
  pool->add(key("a"));
  auto leases = take_all(*this, {.tokens = 1}, 6);
  leases[0].learn_concurrency(2);
  leases[5].report(outcome::concurrency_limited()); // five others are out, from before
  leases.clear();
  BOOST_TEST(take_all(*this, {.tokens = 1}).size() <= 2U);
}

// Stores save when a change is announced.
BOOST_AUTO_TEST_CASE(a_rest_that_becomes_another_one_is_announced) {
  pool->add(key("a"));
  int changes = 0;
  std::string events;
  auto const s1 = pool->on_change([&] { ++changes; });
  auto const s2 = pool->on_event({rondo::event_kind::rate_limited, rondo::event_kind::exhausted},
                                 [&](rondo::event const& e) { events += std::string{rondo::to_string(e.kind)} + ' '; });
  auto leases = take_all(*this, {.tokens = 1}, 4);
  auto const changes_by = [&](rondo::lease& l, outcome const& what) {
    static_cast<void>(pool->snapshot());
    changes = 0;
    l.report(what);
    poll();
    return changes;
  };
  BOOST_TEST(changes_by(leases[0], outcome::rate_limited(10s)) == 1);
  BOOST_TEST(changes_by(leases[1], outcome::rate_limited(60s)) == 1); // longer, but nothing that is news
  BOOST_TEST(events == "rate_limited ");
  BOOST_TEST(changes_by(leases[2], outcome::exhausted(1h)) == 1);
  BOOST_TEST(events == "rate_limited exhausted ");
  BOOST_TEST(changes_by(leases[3], outcome::rate_limited(10s)) == 0); // it rests for longer already
  BOOST_TEST((state("a").status == key_status::exhausted));
  BOOST_TEST(events == "rate_limited exhausted ");
}

BOOST_AUTO_TEST_CASE(a_rest_until_a_time_that_is_as_far_as_can_be_ends_at_once_or_never) {
  for (auto const& what :
       {outcome::rate_limited(rondo::wall_time::min()), outcome::exhausted(rondo::wall_time::min())}) {
    reset({});
    pool->add(key("a"));
    take(*this, {.tokens = 1}).report(what);
    BOOST_TEST(serve(*this, {.tokens = 1}) == "a");
  }
  for (auto const& what :
       {outcome::rate_limited(rondo::wall_time::max()), outcome::exhausted(rondo::wall_time::max())}) {
    reset({});
    pool->add(key("a"));
    take(*this, {.tokens = 1}).report(what);
    advance(24h * 365 * 100);
    BOOST_TEST(serve(*this, {.tokens = 1}) == "-");
  }
}

BOOST_AUTO_TEST_SUITE_END()
