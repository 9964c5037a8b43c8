// SPDX-License-Identifier: BSL-1.0
#include "pool_steps.hpp"
#include <rondo/key_pool.hpp>

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

using namespace rondo::test;
using rondo::error;
using rondo::outcome;

namespace {
/// When an acquire that failed at once should be tried again.
std::chrono::steady_clock::duration back_in(pending const& p) {
  BOOST_TEST_REQUIRE(p.done);
  BOOST_TEST((p.ec == error::would_miss_deadline));
  auto const out = p.lease.retry_after();
  BOOST_TEST_REQUIRE(out.has_value());
  return *out;
}

/// A key whose account has used `spent` of its quota of `quota`, which returns `in`.
void add_spent(pool_fixture& f, std::string name, std::int64_t quota, std::int64_t left, std::chrono::seconds in) {
  auto k = key(std::move(name), {.quota = quota, .quota_reset = f.clock.wall_now() + in});
  k.remaining = left;
  f.pool->add(std::move(k));
}
} // namespace

BOOST_FIXTURE_TEST_SUITE(waiting_rules, pool_fixture)

// --- order

BOOST_AUTO_TEST_CASE(exactly_as_many_waiters_wake_as_there_is_capacity_first_come_first_served) {
  pool->add(key("a", {.concurrency = 5}));
  auto leases = take_all(*this, {.tokens = 1});
  waiters all;
  for (int i = 0; i < 12; ++i) {
    all.push_back(start({.tokens = 1}));
  }
  std::size_t served = 0;
  for (auto const n : {1U, 3U, 1U}) {
    for (unsigned i = 0; i < n; ++i) {
      leases.back().settle(1);
      leases.pop_back();
    }
    poll();
    served += n;
    BOOST_TEST(count_done(all) == served);
    for (std::size_t i = 0; i < all.size(); ++i) {
      BOOST_TEST(all[i]->done == (i < served));
    }
  }
  pool->set_limits("a", {.concurrency = 7});
  poll();
  BOOST_TEST(count_done(all) == 7U);
  pool->add(key("b", {.concurrency = 3}));
  poll();
  BOOST_TEST(count_done(all) == 10U);
  pool->set_disabled("a", true);
  pool->set_disabled("a", false);
  poll();
  BOOST_TEST(count_done(all) == 10U);
}

BOOST_AUTO_TEST_CASE(every_way_to_end_a_lease_wakes_one_waiter) {
  pool->add(key("a", {.concurrency = 1, .quota = 1000}));
  auto held = take(*this, {.tokens = 10});
  for (int way = 0; way < 5; ++way) {
    auto const first = start({.tokens = 10});
    auto const second = start({.tokens = 10});
    switch (way) {
    case 0: held.settle(10); break;
    case 1: held.refund(); break;
    case 2: held.report(outcome::rejected()); break;
    case 3: held.report(outcome::transport_error()); break;
    default: held = {}; break;
    }
    poll();
    BOOST_TEST((first->done && !second->done), "way " << way);
    first->lease.settle(10);
    poll();
    BOOST_TEST_REQUIRE(second->done);
    held = std::move(second->lease);
  }
}

BOOST_AUTO_TEST_CASE(nobody_passes_a_waiter_even_when_his_lease_has_not_been_delivered) {
  pool->add(key("a", {.quota = 100}));
  auto held = take(*this, {.tokens = 90});
  auto const p = start({.tokens = 50});
  BOOST_TEST(!p->done);
  BOOST_TEST(!pool->try_acquire(5)); // 10 are there, but the one who waits might need them
  held.settle(30);
  BOOST_TEST(!pool->try_acquire(21));
  auto const rest = take(*this, {.tokens = 20});
  poll();
  BOOST_TEST(p->key() == "a");
}

BOOST_AUTO_TEST_CASE(a_large_request_at_the_head_is_not_starved_by_small_ones) {
  pool->add(key("a", {.quota = 100}));
  std::vector<rondo::lease> small;
  for (int i = 0; i < 10; ++i) {
    small.push_back(take(*this, {.tokens = 10}));
  }
  auto const large = start({.tokens = 80});
  waiters behind;
  for (auto& l : small) {
    l.refund();
    poll();
    BOOST_TEST(!pool->try_acquire(10));
    behind.push_back(start({.tokens = 10}));
    if (large->done) {
      break;
    }
    BOOST_TEST(count_done(behind) == 0U);
  }
  BOOST_TEST(large->key() == "a");
  BOOST_TEST(small[7].tokens() == 0); // it took eight of them
}

BOOST_AUTO_TEST_CASE(small_requests_take_what_the_large_one_does_not_wait_for) {
  pool->add(key("a", {.quota = 100}));
  pool->add(key("b", {.quota = 50}));
  pool->add(key("c", {.quota = 50}));
  auto held = take(*this, {.tokens = 60});
  BOOST_TEST(held.key_name() == "a");
  auto const large = start({.tokens = 90});
  waiters small;
  for (int i = 0; i < 12; ++i) {
    small.push_back(start({.tokens = 10}));
  }
  BOOST_TEST(count_served(small) == 10U); // all of b and c, nothing of a
  BOOST_TEST((!large->done && small[9]->done && !small[10]->done));
  held.refund();
  poll();
  BOOST_TEST(large->key() == "a");
  BOOST_TEST(small[10]->key() == "a");
  BOOST_TEST(!small[11]->done); // 90 and 10
}

BOOST_AUTO_TEST_CASE(who_waits_for_a_time_keeps_nothing_from_others) {
  add_spent(*this, "a", 100, 40, 1h);
  auto const large = start({.tokens = 90}); // only the reset helps
  BOOST_TEST(!large->done);
  BOOST_TEST(order(*this, 3, {.tokens = 10}) == "aaa");
  BOOST_TEST(start({.tokens = 10})->done);
  advance(1h);
  BOOST_TEST(large->key() == "a");
}

BOOST_AUTO_TEST_CASE(who_waits_for_tokens_of_a_rate_is_served_when_they_are_there_or_given_back) {
  pool->add(key("a", {.tokens_per_minute = 100}));
  auto held = take(*this, {.tokens = 60});
  auto const first = start({.tokens = 50});
  BOOST_TEST(!first->done);
  held.settle(30);
  poll();
  BOOST_TEST(first->key() == "a");
  auto const second = start({.tokens = 21});
  BOOST_TEST(!second->done);
  advance(60s);
  BOOST_TEST(!second->done);
  advance(6s);
  BOOST_TEST(second->key() == "a");
}

BOOST_AUTO_TEST_CASE(who_is_refused_a_rate_does_not_make_the_pool_forget_who_waits_for_the_key) {
  auto const voices = rondo::capability::voice_creation;
  auto a = key("a", {.tokens_per_minute = 50});
  a.barred = voices;
  pool->add(std::move(a));
  pool->add(key("b", {.tokens_per_minute = 10, .concurrency = 1}));
  auto const on_b = take(*this, {.tokens = 1, .needs = voices});
  auto on_a = take(*this, {.tokens = 20});
  BOOST_TEST_REQUIRE(on_a.key_name() == "a");
  auto const head = start({.tokens = 1, .needs = voices}); // waits for b
  auto const second = start({.tokens = 45});               // waits for a
  BOOST_TEST(!pool->try_acquire(31));
  BOOST_TEST((!head->done && !second->done));
  on_a.refund();
  poll();
  BOOST_TEST(second->key() == "a");
}

// --- told at once

BOOST_AUTO_TEST_CASE(who_cannot_be_served_in_time_is_told_the_earliest_time_of_many) {
  constexpr int keys = 150;
  add_keys(*this, keys);
  for (int i = 0; i < keys; ++i) {
    auto l = take(*this, {.tokens = 1});
    l.report(outcome::rate_limited(1h + std::chrono::seconds{(i * 67) % keys * 10}));
  }
  auto const back = back_in(*start({.tokens = 1, .timeout = 10min}));
  BOOST_TEST((back >= 1h && back <= 1h + 5s));
  auto const patient = start({.tokens = 1, .timeout = 61min});
  BOOST_TEST(!patient->done);
  advance(1h + 5s);
  BOOST_TEST(patient->done);
  BOOST_TEST(!patient->ec);
}

BOOST_AUTO_TEST_CASE(the_one_key_that_is_large_enough_is_found_behind_many_that_return_sooner) {
  for (auto const keys : {40, 120, 200}) {
    for (auto const last : {0, keys / 2, keys - 1}) {
      reset({});
      for (int i = 0; i < keys; ++i) {
        add_spent(*this, "k" + std::to_string(i), i == last ? 1000 : 100, 0,
                  i == last ? std::chrono::seconds{5h} : std::chrono::seconds{1h + i * 10s});
      }
      BOOST_TEST(!pool->try_acquire(1)); // all of them are parked now
      auto const hasty = start({.tokens = 500, .timeout = 4h});
      BOOST_TEST((back_in(*hasty) == 5h));
      BOOST_TEST((start({.tokens = 1001})->ec == error::too_large));
      auto const small = start({.tokens = 50, .timeout = 1h});
      BOOST_TEST((small->done ? back_in(*small) == 1h + 10s : last != 0), last);
      auto const patient = start({.tokens = 500, .timeout = 5h});
      BOOST_TEST(!patient->done);
      advance(5h - 1s);
      BOOST_TEST(!patient->done);
      advance(1s);
      BOOST_TEST(patient->key() == "k" + std::to_string(last));
    }
  }
}

BOOST_AUTO_TEST_CASE(the_reasons_are_told_apart_however_many_keys_there_are) {
  for (auto const keys : {1, 64, 200}) {
    reset({});
    BOOST_TEST((start({.tokens = 1, .timeout = 1s})->ec == error::no_keys));
    for (int i = 0; i < keys; ++i) {
      add_spent(*this, "k" + std::to_string(i), 100 + i, 20, 1h);
    }
    auto const largest = 100 + keys - 1;
    BOOST_TEST((start({.tokens = largest + 1})->ec == error::too_large), keys);
    BOOST_TEST((back_in(*start({.tokens = largest, .timeout = 59min})) == 1h), keys);
    for (int i = 0; i < keys; ++i) {
      pool->set_limits("k" + std::to_string(i), {.quota = 100 + i}); // never returns by itself
    }
    BOOST_TEST((start({.tokens = 21})->ec == error::exhausted), keys);
    BOOST_TEST((start({.tokens = largest + 1})->ec == error::too_large), keys);
    auto const all = take_all(*this, {.tokens = 20});
    BOOST_TEST(all.size() == static_cast<std::size_t>(keys));
    auto const hopes = start({.tokens = 20});
    BOOST_TEST(!hopes->done); // for a refund
    for (int i = 0; i < keys; ++i) {
      pool->set_disabled("k" + std::to_string(i), true);
    }
    poll();
    BOOST_TEST((hopes->ec == error::exhausted), keys);
    BOOST_TEST((start({.tokens = largest + 1})->ec == error::exhausted), keys); // none is in use: nobody can tell
    for (int i = 0; i < keys; ++i) {
      pool->remove("k" + std::to_string(i));
    }
    BOOST_TEST((start({.tokens = 1})->ec == error::no_keys), keys);
  }
}

BOOST_AUTO_TEST_CASE(a_return_that_is_known_is_waited_for_without_a_timeout) {
  add_spent(*this, "a", 100, 0, 48h);
  pool->add(key("b"));
  take(*this, {.tokens = 1}).report(outcome::rate_limited(24h));
  auto const p = start({.tokens = 1});
  advance(23h);
  BOOST_TEST(!p->done);
  advance(1h + 5s);
  BOOST_TEST(p->key() == "b");
}

BOOST_AUTO_TEST_CASE(a_waiter_who_becomes_hopeless_is_told_whatever_made_him_so) {
  for (int cause = 0; cause < 6; ++cause) {
    reset({});
    pool->add(key("a", {.concurrency = 1, .quota = 100}));
    auto held = take(*this, {.tokens = 10});
    auto const p = start({.tokens = 50, .timeout = 1h});
    BOOST_TEST_REQUIRE(!p->done);
    rondo::error_code expected = error::exhausted;
    switch (cause) {
    case 0: held.report(outcome::invalid_key()); break;
    case 1:
      pool->set_limits("a", {.concurrency = 1, .quota = 40});
      expected = error::too_large;
      break;
    case 2: pool->set_balance("a", {.limit = 100, .remaining = 0}); break;
    case 3: pool->set_disabled("a", true); break;
    case 4:
      pool->remove("a");
      expected = error::no_keys;
      break;
    default: held.settle(70); break;
    }
    poll();
    BOOST_TEST_REQUIRE(p->done, "cause " << cause);
    BOOST_TEST(p->ec == expected, "cause " << cause << ": " << p->ec.message());
  }
}

BOOST_AUTO_TEST_CASE(of_many_who_wait_only_those_are_told_whose_time_is_up_or_whose_wish_is_too_large) {
  pool->add(key("a", {.concurrency = 1, .quota = 100}));
  auto held = take(*this, {.tokens = 10});
  struct wish {
    std::int64_t tokens;
    std::chrono::minutes timeout;
    std::shared_ptr<pending> p;
  };
  std::vector<wish> all;
  for (auto const tokens : {5, 90, 40, 60, 20}) {
    for (auto const timeout : {1min, 90min, 10min}) {
      all.push_back({tokens, timeout, start({.tokens = tokens, .timeout = timeout})});
      BOOST_TEST_REQUIRE(!all.back().p->done);
    }
  }
  pool->set_limits("a", {.concurrency = 1, .quota = 50});
  poll();
  for (auto const& w : all) {
    BOOST_TEST(w.p->done == (w.tokens > 40), w.tokens);
    BOOST_TEST((!w.p->done || w.p->ec == error::too_large));
  }
  held.report(outcome::rate_limited(30min));
  poll();
  for (auto const& w : all) {
    if (w.tokens <= 40) {
      BOOST_TEST(w.p->done == (w.timeout < 30min), w.tokens << " within " << w.timeout.count());
      BOOST_TEST((!w.p->done || back_in(*w.p) >= 30min));
    }
  }
  advance(31min);
  std::size_t served = 0;
  for (auto const& w : all) {
    served += w.p->done && !w.p->ec ? 1 : 0;
  }
  BOOST_TEST(served == 1U); // the probe
}

BOOST_AUTO_TEST_CASE(a_deadline_passes_in_its_turn_and_the_others_wait_on) {
  pool->add(key("a", {.concurrency = 1}));
  auto held = take(*this, {.tokens = 1});
  auto const late = start({.tokens = 1, .timeout = 3s});
  auto const early = start({.tokens = 1, .timeout = 1s});
  auto const ever = start({.tokens = 1});
  advance(1s);
  BOOST_TEST((early->done && !late->done && !ever->done));
  advance(2s);
  BOOST_TEST((late->done && !ever->done));
  held.settle(1);
  poll();
  BOOST_TEST(ever->key() == "a");
}

BOOST_AUTO_TEST_CASE(capacity_that_comes_with_the_deadline_is_still_taken) {
  pool->add(key("a"));
  take(*this, {.tokens = 1}).report(outcome::rate_limited(10s));
  auto const until = state("a").cooldown_until;
  auto const p = start({.tokens = 1, .timeout = *until - clock.wall_now() + 1ms});
  BOOST_TEST_REQUIRE(!p->done);
  advance(1h); // the alarm came late
  BOOST_TEST(p->key() == "a");
}

BOOST_AUTO_TEST_CASE(a_refund_cannot_bring_in_a_cooldown_what_only_the_reset_would) {
  pool->add(key("a", {.quota = 100, .quota_reset = clock.wall_now() + 24h}));
  auto const held = take(*this, {.tokens = 60});
  take(*this, {.tokens = 1}).report(outcome::rate_limited(1h));
  auto const hasty = start({.tokens = 50, .timeout = 5s}); // not before an hour, even if the 60 come back now
  auto const back = back_in(*hasty);
  BOOST_TEST((back >= 1h && back <= 1h + 5s));
  auto const patient = start({.tokens = 50, .timeout = 2h});
  BOOST_TEST(!patient->done);
}

BOOST_AUTO_TEST_CASE(more_than_the_quota_can_be_left_and_be_waited_for) {
  auto k = key("a", {.quota = 100});
  k.remaining = 150; // carried over
  pool->add(std::move(k));
  auto held = take(*this, {.tokens = 50});
  auto const p = start({.tokens = 120});
  BOOST_TEST(!p->done);
  held.refund();
  poll();
  BOOST_TEST(p->key() == "a");
}

BOOST_AUTO_TEST_CASE(a_waiter_causes_no_work_while_nothing_happens) {
  pool.emplace(ctx.get_executor()); // the clock of the system: alarms are real
  pool->add(key("a", {.tokens_per_minute = 100}));
  auto const held = take(*this, {.tokens = 90});
  auto const rate = start({.tokens = 50});
  auto const lane = start({.tokens = 50, .lane = "tts"});
  std::size_t handlers = 0;
  for (int i = 0; i < 1000; ++i) {
    ctx.restart();
    handlers += ctx.poll_one();
  }
  BOOST_TEST(handlers <= 2U);
  BOOST_TEST((!rate->done && !lane->done));
}

BOOST_AUTO_TEST_CASE(a_lifted_rate_refuses_nothing_however_much_is_used) {
  pool->add(key("a", {.tokens_per_day = 100}));
  pool->set_limits("a", {});
  constexpr std::int64_t much = 4'000'000'000;
  for (int i = 0; i < 4; ++i) {
    BOOST_TEST(serve(*this, {.tokens = much}) == "a");
  }
}

BOOST_AUTO_TEST_SUITE_END()
