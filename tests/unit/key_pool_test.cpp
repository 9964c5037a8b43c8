// SPDX-License-Identifier: BSL-1.0
#include "support/pool_fixture.hpp"
#include <rondo/key_pool.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/test/unit_test.hpp>

#include <array>
#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

using namespace rondo::test;
using rondo::error;
using rondo::key_status;
using rondo::outcome;

namespace {
struct fill_first_fixture : pool_fixture {
  fill_first_fixture() : pool_fixture{rondo::strategy::fill_first} {}
};

std::string take_and_settle(pool_fixture& f, std::int64_t tokens) {
  auto l = f.pool->try_acquire(tokens);
  if (!l) {
    return "none";
  }
  std::string name{l->key_name()};
  l->settle(tokens);
  return name;
}
} // namespace

BOOST_FIXTURE_TEST_SUITE(key_pool_test, pool_fixture)

static_assert(std::is_trivially_destructible_v<rondo::request>, "g++ 12 destroys temporaries in co_await twice");
static_assert(!std::is_copy_constructible_v<rondo::lease> && std::is_nothrow_move_constructible_v<rondo::lease>);

// --- picking

BOOST_AUTO_TEST_CASE(round_robin_gives_each_key_its_turn) {
  for (auto const* name : {"a", "b", "c"}) {
    pool->add(key(name));
  }
  std::string order;
  for (int i = 0; i < 7; ++i) {
    order += take_and_settle(*this, 1);
  }
  BOOST_TEST(order == "abcabca");
}

BOOST_FIXTURE_TEST_CASE(fill_first_stays_until_a_key_cannot_serve, fill_first_fixture) {
  for (auto const* name : {"a", "b", "c"}) {
    pool->add(key(name, {.quota = 30}));
  }
  std::string order;
  for (int i = 0; i < 10; ++i) {
    order += take_and_settle(*this, 10);
  }
  BOOST_TEST(order == "aaabbbcccnone");
}

BOOST_AUTO_TEST_CASE(keys_of_one_account_share_its_limits_and_take_turns) {
  pool->add(key("a1", {.quota = 40}, "team"));
  pool->add(key("a2", {.quota = 40}, "team"));
  std::string order;
  for (int i = 0; i < 5; ++i) {
    order += take_and_settle(*this, 10);
  }
  BOOST_TEST((order == "a2a1a2a1none" || order == "a1a2a1a2none"), order);
  BOOST_TEST(state("a1").character_count == 40);
  BOOST_TEST(pool->snapshot().total_remaining() == 0);
}

BOOST_AUTO_TEST_CASE(an_account_with_a_keys_name_is_another_account) {
  pool->add(key("a", {.quota = 10}));
  pool->add(key("b", {.quota = 20}, "a"));
  BOOST_TEST(pool->snapshot().total_remaining() == 30);
}

// --- limits

BOOST_AUTO_TEST_CASE(the_quota_is_never_exceeded_and_settling_gives_the_difference_back) {
  pool->add(key("a", {.quota = 100}));
  auto l = pool->try_acquire(70);
  BOOST_TEST_REQUIRE(l.has_value());
  BOOST_TEST(!pool->try_acquire(31));
  l->settle(50);
  BOOST_TEST(!pool->try_acquire(51));
  auto m = pool->try_acquire(50);
  BOOST_TEST_REQUIRE(m.has_value());
  m->settle(60); // cost more than was reserved
  BOOST_TEST(state("a").character_count == 110);
  BOOST_TEST(state("a").is_over_limit);
  BOOST_TEST((state("a").status == key_status::exhausted));
  BOOST_TEST(!pool->try_acquire(1));
}

BOOST_AUTO_TEST_CASE(a_dropped_lease_is_settled_in_full_and_a_refund_leaves_no_trace) {
  pool->add(key("a", {.requests_per_minute = 2, .quota = 100}));
  {
    auto const dropped = pool->try_acquire(30);
  }
  BOOST_TEST(state("a").character_count == 30);
  BOOST_TEST(state("a").requests == 1U);
  auto l = pool->try_acquire(70);
  l->refund();
  BOOST_TEST(state("a").requests == 1U);
  BOOST_TEST(pool->try_acquire(70).has_value()); // tokens and the request count came back
}

BOOST_AUTO_TEST_CASE(a_lease_that_was_moved_from_does_nothing) {
  pool->add(key("a", {.quota = 100}));
  auto l = std::move(*pool->try_acquire(30));
  auto m = std::move(l);
  l.settle(30); // NOLINT(bugprone-use-after-move): that is what is tested
  l.refund();
  BOOST_TEST(l.secret().empty());
  BOOST_TEST(m.secret() == "secret-of-a");
  m.settle(10);
  m.settle(10);
  BOOST_TEST(state("a").character_count == 10);
}

BOOST_AUTO_TEST_CASE(concurrency_counts_leases) {
  pool->add(key("a", {.concurrency = 2}));
  auto one = pool->try_acquire(1);
  auto two = pool->try_acquire(1);
  BOOST_TEST(!pool->try_acquire(1));
  one->settle(1);
  BOOST_TEST(pool->try_acquire(1).has_value());
}

BOOST_AUTO_TEST_CASE(every_rate_holds) {
  struct {
    rondo::limits l;
    int n;
    std::int64_t tokens;
    std::chrono::seconds period;
  } const cases[] = {
      {{.requests_per_second = 3}, 3, 1, 1s},    {{.requests_per_minute = 3}, 3, 1, 60s},
      {{.tokens_per_minute = 300}, 3, 100, 60s}, {{.requests_per_day = 3}, 3, 1, 24h},
      {{.tokens_per_day = 300}, 3, 100, 24h},
  };
  for (auto const& c : cases) {
    reset({});
    pool->add(key("a", c.l));
    for (int i = 0; i < c.n; ++i) {
      BOOST_TEST(take_and_settle(*this, c.tokens) == "a");
    }
    BOOST_TEST(take_and_settle(*this, c.tokens) == "none");
    advance(c.period);
    BOOST_TEST(take_and_settle(*this, c.tokens) == "none"); // the guard
    advance(std::chrono::nanoseconds{c.period} / 8);
    BOOST_TEST(take_and_settle(*this, c.tokens) == "a");
  }
}

BOOST_AUTO_TEST_CASE(an_unsent_request_counts_from_its_mark) {
  pool->add(key("a", {.requests_per_second = 1}));
  auto l = pool->try_acquire({.tokens = 1, .unsent = true});
  BOOST_TEST_REQUIRE(l.has_value());
  advance(10s);
  BOOST_TEST(!pool->try_acquire(1));
  auto const waiting = start({.tokens = 1});
  BOOST_TEST(!waiting->done);
  l->mark_sent();
  advance(999ms);
  BOOST_TEST(!waiting->done);
  advance(100ms);
  BOOST_TEST(waiting->key() == "a");
}

BOOST_AUTO_TEST_CASE(the_quota_returns_at_its_reset) {
  pool->add(key("a", {.quota = 100, .quota_reset = clock.wall_now() + 1h}));
  auto l = pool->try_acquire(100);
  auto const waiting = start({.tokens = 60});
  advance(59min);
  BOOST_TEST(!waiting->done);
  BOOST_TEST((state("a").next_reset == clock.wall_now() + 1min));
  advance(1min);
  // what is still under way is charged to the new quota: nobody can tell when the provider counts it
  BOOST_TEST(!waiting->done);
  l->settle(10);
  poll();
  BOOST_TEST(waiting->key() == "a");
}

// --- waiting

BOOST_AUTO_TEST_CASE(waiters_are_served_in_the_order_they_came_as_many_as_there_is_room_for) {
  pool->add(key("a", {.concurrency = 2}));
  auto one = pool->try_acquire(1);
  auto two = pool->try_acquire(1);
  std::vector<std::shared_ptr<pending>> waiting;
  for (int i = 0; i < 4; ++i) {
    waiting.push_back(start({.tokens = 1}));
  }
  one->settle(1);
  poll();
  BOOST_TEST((waiting[0]->done && !waiting[1]->done));
  two->settle(1);
  waiting[0]->lease.settle(1);
  poll();
  BOOST_TEST((waiting[1]->done && waiting[2]->done && !waiting[3]->done));
}

BOOST_AUTO_TEST_CASE(nobody_passes_a_waiter_who_could_be_served) {
  pool->add(key("a", {.concurrency = 1}));
  auto one = pool->try_acquire(1);
  auto const waiting = start({.tokens = 1});
  one->settle(1); // the waiter has it now, although it has not run yet
  BOOST_TEST(!pool->try_acquire(1));
  poll();
  BOOST_TEST(waiting->done);
}

BOOST_AUTO_TEST_CASE(small_requests_neither_starve_a_large_one_nor_wait_for_it_where_another_key_serves) {
  pool->add(key("a", {.quota = 100}));
  pool->add(key("b", {.concurrency = 1, .quota = 50}));
  auto on_a = pool->try_acquire(60); // a has 40 left, and 60 may come back
  BOOST_TEST(on_a->key_name() == "a");
  auto const large = start({.tokens = 90});
  BOOST_TEST(!large->done);
  auto const small = start({.tokens = 30});
  BOOST_TEST(small->key() == "b"); // a, where it would fit too, is kept for the large one
  auto const second = start({.tokens = 10});
  BOOST_TEST(!second->done); // b is busy, and a is still kept
  on_a->refund();
  poll();
  BOOST_TEST(large->key() == "a");
  BOOST_TEST(second->key() == "a"); // there is room beside the large one
}

BOOST_AUTO_TEST_CASE(a_waiter_wakes_by_refund_by_a_new_key_and_by_a_raised_balance) {
  pool->add(key("a", {.quota = 10}));
  auto l = pool->try_acquire(10);
  auto first = start({.tokens = 10});
  l->refund();
  poll();
  BOOST_TEST(first->key() == "a");
  auto second = start({.tokens = 10});
  BOOST_TEST(!second->done);
  pool->add(key("b", {.quota = 10}));
  poll();
  BOOST_TEST(second->key() == "b");
  auto third = start({.tokens = 5});
  BOOST_TEST(!third->done);
  pool->set_limits("a", {.quota = 15});
  poll();
  BOOST_TEST(third->key() == "a");
}

BOOST_AUTO_TEST_CASE(who_cannot_be_served_in_time_is_told_at_once_when_to_come_back) {
  reset({.cooldown = 60s});
  pool->add(key("a"));
  pool->try_acquire(1)->report(outcome::rate_limited(30s));
  auto const p = start({.tokens = 1, .timeout = 10s});
  BOOST_TEST_REQUIRE(p->done);
  BOOST_TEST((p->ec == error::would_miss_deadline));
  BOOST_TEST_REQUIRE(p->lease.retry_after().has_value());
  BOOST_TEST((*p->lease.retry_after() >= 30s && *p->lease.retry_after() <= 33s)); // up to 10 % jitter
  auto const patient = start({.tokens = 1, .timeout = 40s});
  BOOST_TEST(!patient->done);
  advance(33s);
  BOOST_TEST(patient->key() == "a");
}

BOOST_AUTO_TEST_CASE(a_waiter_whose_prospects_fade_is_told_at_once) {
  pool->add(key("a", {.concurrency = 1}));
  auto l = pool->try_acquire(1);
  auto const p = start({.tokens = 1, .timeout = 10s});
  auto const q = start({.tokens = 1});
  BOOST_TEST(!p->done);
  l->report(outcome::rate_limited(60s));
  poll();
  BOOST_TEST_REQUIRE(p->done);
  BOOST_TEST((p->ec == error::would_miss_deadline));
  BOOST_TEST(!q->done); // has all the time in the world
  pool->remove("a");
  poll();
  BOOST_TEST_REQUIRE(q->done);
  BOOST_TEST((q->ec == error::no_keys));
}

BOOST_AUTO_TEST_CASE(errors_say_what_is_wrong) {
  BOOST_TEST((start({.tokens = 1})->ec == error::no_keys));
  pool->add(key("a", {.quota = 100}));
  BOOST_TEST((start({.tokens = 101})->ec == error::too_large));
  BOOST_TEST((start({.tokens = -1})->ec == error::invalid_argument));
  take_and_settle(*this, 95);
  BOOST_TEST((start({.tokens = 50})->ec == error::exhausted));
  pool->try_acquire(1)->report(outcome::invalid_key());
  BOOST_TEST((start({.tokens = 1})->ec == error::exhausted));
}

BOOST_AUTO_TEST_CASE(a_timeout_ends_a_wait_for_an_unknown_return) {
  pool->add(key("a", {.concurrency = 1}));
  auto l = pool->try_acquire(1);
  auto const p = start({.tokens = 1, .timeout = 5s});
  advance(4999ms);
  BOOST_TEST(!p->done);
  advance(1ms);
  BOOST_TEST_REQUIRE(p->done);
  BOOST_TEST((p->ec == error::exhausted));
  BOOST_TEST((start({.tokens = 1, .timeout = 0s})->ec == error::exhausted));
}

BOOST_AUTO_TEST_CASE(cancellation_of_every_type_leaves_the_line_and_loses_no_capacity) {
  pool->add(key("a", {.concurrency = 1}));
  for (auto const type :
       {asio::cancellation_type::terminal, asio::cancellation_type::partial, asio::cancellation_type::total}) {
    auto l = pool->try_acquire(1);
    asio::cancellation_signal signal;
    std::optional<rondo::error_code> result;
    pool->async_acquire(
        1, asio::bind_cancellation_slot(signal.slot(), [&](rondo::error_code ec, rondo::lease) { result = ec; }));
    auto const behind = start({.tokens = 1});
    signal.emit(type);
    BOOST_TEST(!result.has_value()); // never inline
    poll();
    BOOST_TEST_REQUIRE(result.has_value());
    BOOST_TEST((*result == asio::error::operation_aborted));
    signal.emit(type); // idempotent
    l->settle(1);
    poll();
    BOOST_TEST(behind->key() == "a");
  }
}

BOOST_AUTO_TEST_CASE(cancelling_after_the_lease_is_on_its_way_does_not_lose_it) {
  pool->add(key("a", {.concurrency = 1}));
  auto l = pool->try_acquire(1);
  asio::cancellation_signal signal;
  std::optional<rondo::error_code> result;
  rondo::lease got;
  pool->async_acquire(1, asio::bind_cancellation_slot(signal.slot(), [&](rondo::error_code ec, rondo::lease x) {
                        result = ec;
                        got = std::move(x);
                      }));
  l->settle(1);
  signal.emit(asio::cancellation_type::total);
  poll();
  BOOST_TEST_REQUIRE(result.has_value());
  BOOST_TEST(!*result);
  BOOST_TEST(got.key_name() == "a");
}

BOOST_AUTO_TEST_CASE(the_line_moves_when_its_head_is_cancelled) {
  pool->add(key("a", {.concurrency = 1}));
  pool->add(key("b", {.quota = 10}));
  auto l = pool->try_acquire(1);
  asio::cancellation_signal signal;
  pool->async_acquire(20, asio::bind_cancellation_slot(signal.slot(), [&](rondo::error_code, rondo::lease) {}));
  auto const behind = start({.tokens = 15});
  BOOST_TEST(!behind->done);
  l->settle(1); // a serves the head
  poll();
  BOOST_TEST(behind->key() == "a");
}

BOOST_AUTO_TEST_CASE(coroutines_futures_and_deferred_operations_are_served_alike) {
  pool->add(key("a", {.quota = 100}));
  run([&]() -> asio::awaitable<void> {
    rondo::lease one = co_await pool->acquire(10);
    rondo::lease two = co_await pool->acquire({.tokens = 10, .lane = std::string{"tts"}, .timeout = 2s});
    auto later =
        pool->async_acquire({.tokens = 10, .lane = std::string{"lane that is gone before it starts"}}, asio::deferred);
    auto [ec, three] = co_await std::move(later)(asio::as_tuple(asio::use_awaitable));
    BOOST_TEST(!ec);
    BOOST_TEST(three.tokens() == 10);
    try {
      rondo::lease four = co_await pool->acquire(1000);
      BOOST_TEST(false);
    } catch (rondo::acquire_error const& e) {
      BOOST_TEST((e.code() == error::too_large));
    }
  });
  auto future = pool->async_acquire(10, asio::use_future);
  poll();
  BOOST_TEST(future.get().key_name() == "a");
}

BOOST_AUTO_TEST_CASE(a_ready_key_is_handed_to_a_coroutine_without_the_scheduler) {
  pool->add(key("a"));
  int handlers = 0;
  asio::co_spawn(
      ctx,
      [&]() -> asio::awaitable<void> {
        for (int i = 0; i < 100; ++i) {
          rondo::lease l = co_await pool->acquire(1);
          l.settle(1);
        }
      },
      asio::detached);
  ctx.restart();
  while (ctx.poll_one() != 0) {
    ++handlers;
  }
  BOOST_TEST(handlers <= 2); // the start of the coroutine, and its end
}

BOOST_AUTO_TEST_CASE(a_waiter_is_told_when_what_he_hoped_for_is_spent) {
  pool->add(key("a", {.quota = 100}));
  auto l = pool->try_acquire(60);
  auto const p = start({.tokens = 50});
  BOOST_TEST(!p->done);
  l->settle(60);
  poll();
  BOOST_TEST_REQUIRE(p->done);
  BOOST_TEST((p->ec == error::exhausted));
}

BOOST_AUTO_TEST_CASE(a_lease_out_may_bring_what_the_reset_would_bring_too_late) {
  pool->add(key("a", {.quota = 100, .quota_reset = clock.wall_now() + 24h}));
  auto l = pool->try_acquire(80);
  auto const p = start({.tokens = 50, .timeout = 30s});
  BOOST_TEST(!p->done);
  l->settle(10);
  poll();
  BOOST_TEST(p->key() == "a");
}

BOOST_AUTO_TEST_CASE(a_place_that_comes_free_in_a_cooldown_is_no_hope) {
  pool->add(key("a", {.concurrency = 2}));
  auto other = pool->try_acquire(1);
  auto limited = pool->try_acquire(1);
  auto const p = start({.tokens = 1, .timeout = 5s});
  BOOST_TEST(!p->done);
  auto const q = start({.tokens = 1});
  limited->report(outcome::rate_limited(1h));
  poll();
  BOOST_TEST_REQUIRE(p->done);
  BOOST_TEST((p->ec == error::would_miss_deadline));
  BOOST_TEST((*p->lease.retry_after() >= 1h));
  BOOST_TEST(!q->done);
}

BOOST_AUTO_TEST_CASE(a_waiter_keeps_nothing_that_would_not_help_him) {
  pool->add(key("a", {.quota = 100, .quota_reset = clock.wall_now() + 24h}));
  pool->try_acquire({.tokens = 30, .lane = "flash"})->settle(30);
  auto const large = start({.tokens = 90}); // only the reset helps
  BOOST_TEST(take_and_settle(*this, 10) == "a");
  pool->try_acquire({.tokens = 1, .lane = "flash"})->report(outcome::rate_limited(1h));
  auto const flash = start({.tokens = 1, .lane = "flash"});
  BOOST_TEST(pool->try_acquire({.tokens = 1, .lane = "pro"}).has_value());
  BOOST_TEST((!large->done && !flash->done));
}

BOOST_AUTO_TEST_CASE(a_waiter_costs_nothing_while_nothing_happens) {
  reset({});
  pool.emplace(ctx.get_executor()); // the clock of the system: the alarm is a real one
  pool->add(key("a", {.quota = 100}));
  auto l = pool->try_acquire(60);
  auto const large = start({.tokens = 90});
  auto const small = start({.tokens = 30}); // would fit, but a is kept for the large one
  pool->add(key("b", {.quota = 5}));
  auto const free_of_charge = start({.tokens = 0});
  BOOST_TEST(free_of_charge->key() == "b");
  std::size_t handlers = 0;
  for (int i = 0; i < 1000; ++i) {
    ctx.restart();
    handlers += ctx.poll_one();
  }
  BOOST_TEST(handlers <= 5U);
  BOOST_TEST((!large->done && !small->done));
}

BOOST_AUTO_TEST_CASE(a_used_up_quota_serves_nothing_not_even_what_is_free) {
  pool->add(key("a", {.quota = 10}));
  take_and_settle(*this, 10);
  BOOST_TEST(!pool->try_acquire(0));
  BOOST_TEST((start({})->ec == error::exhausted));
}

// --- cooldowns

BOOST_AUTO_TEST_CASE(a_cooldown_only_grows) {
  pool->add(key("a"));
  auto first = pool->try_acquire(1);
  auto second = pool->try_acquire(1);
  first->report(outcome::rate_limited(60s));
  auto const until = *state("a").cooldown_until;
  BOOST_TEST((until >= clock.wall_now() + 60s && until <= clock.wall_now() + 66s));
  second->report(outcome::rate_limited(10s));
  BOOST_TEST((*state("a").cooldown_until == until));
  BOOST_TEST((state("a").status == key_status::rate_limited));
  advance(66s);
  BOOST_TEST((state("a").status == key_status::active));
}

BOOST_AUTO_TEST_CASE(after_a_cooldown_one_request_probes_and_success_restores) {
  pool->add(key("a"));
  auto old = pool->try_acquire(1);
  pool->try_acquire(1)->report(outcome::rate_limited(10s));
  old->settle(1); // began before the cooldown: does not end it
  BOOST_TEST(!pool->try_acquire(1));
  advance(11s);
  auto probe = pool->try_acquire(1);
  BOOST_TEST_REQUIRE(probe.has_value());
  BOOST_TEST(!pool->try_acquire(1));
  probe->settle(1);
  auto one = pool->try_acquire(1);
  auto two = pool->try_acquire(1);
  BOOST_TEST((one && two));
}

BOOST_AUTO_TEST_CASE(a_failed_probe_cools_longer_and_a_refunded_one_leaves_the_place_to_another) {
  reset({.cooldown = 10s});
  pool->add(key("a"));
  pool->try_acquire(1)->report(outcome::rate_limited());
  BOOST_TEST((*state("a").cooldown_until <= clock.wall_now() + 11s));
  advance(11s);
  pool->try_acquire(1)->refund();
  pool->try_acquire(1)->report(outcome::rate_limited());
  BOOST_TEST((*state("a").cooldown_until >= clock.wall_now() + 20s));
  advance(22s);
  pool->try_acquire(1)->report(outcome::rate_limited());
  BOOST_TEST((*state("a").cooldown_until >= clock.wall_now() + 40s));
}

BOOST_AUTO_TEST_CASE(requests_that_fail_together_double_the_cooldown_once) {
  reset({.cooldown = 10s});
  pool->add(key("a"));
  std::vector<rondo::lease> burst;
  for (int i = 0; i < 10; ++i) {
    burst.push_back(std::move(*pool->try_acquire(1)));
  }
  for (auto& l : burst) {
    l.report(outcome::rate_limited());
  }
  BOOST_TEST((*state("a").cooldown_until <= clock.wall_now() + 11s));
}

BOOST_AUTO_TEST_CASE(exhaustion_without_a_reset_rests_an_hour_then_doubles) {
  pool->add(key("a"));
  pool->try_acquire(1)->report(outcome::exhausted());
  BOOST_TEST((state("a").status == key_status::exhausted));
  BOOST_TEST((*state("a").cooldown_until >= clock.wall_now() + 1h &&
              *state("a").cooldown_until <= clock.wall_now() + 1h + 5s));
  advance(1h + 5s);
  pool->try_acquire(1)->report(outcome::exhausted());
  BOOST_TEST((*state("a").cooldown_until >= clock.wall_now() + 2h));
  advance(2h + 5s);
  pool->try_acquire(1)->report(outcome::exhausted(clock.wall_now() + 30h));
  BOOST_TEST((*state("a").cooldown_until >= clock.wall_now() + 30h));
}

BOOST_AUTO_TEST_CASE(a_rate_limit_in_a_lane_leaves_the_other_lanes_alone) {
  pool->add(key("a"));
  pool->try_acquire({.tokens = 1, .lane = "flash"})->report(outcome::rate_limited(60s));
  BOOST_TEST(!pool->try_acquire({.tokens = 1, .lane = "flash"}));
  BOOST_TEST(pool->try_acquire({.tokens = 1, .lane = "pro"}).has_value());
  BOOST_TEST(pool->try_acquire(1).has_value());
  BOOST_TEST((state("a").status == key_status::rate_limited));
  BOOST_TEST((*state("a").cooldown_until >= clock.wall_now() + 60s));
  auto const p = start({.tokens = 1, .lane = "flash"});
  advance(59s);
  BOOST_TEST(!p->done);
  advance(7s);
  BOOST_TEST(p->done);
  BOOST_TEST((state("a").status == key_status::active));
}

BOOST_AUTO_TEST_CASE(a_lane_backs_off_when_two_accounts_say_it_is_overloaded) {
  pool->add(key("a"));
  pool->add(key("b"));
  pool->try_acquire({.tokens = 1, .lane = "m"})->report(outcome::overloaded());
  BOOST_TEST(pool->try_acquire({.tokens = 1, .lane = "m"}).has_value());        // b
  BOOST_TEST(pool->try_acquire({.tokens = 1, .lane = "m"}).has_value());        // a again: one account is no proof
  pool->try_acquire({.tokens = 1, .lane = "m"})->report(outcome::overloaded()); // b
  BOOST_TEST(!pool->try_acquire({.tokens = 1, .lane = "m"}));
  BOOST_TEST(pool->try_acquire(1).has_value());
  BOOST_TEST((state("a").status == key_status::active));
  advance(1100ms);
  BOOST_TEST(pool->try_acquire({.tokens = 1, .lane = "m"}).has_value());
}

BOOST_AUTO_TEST_CASE(a_concurrency_refusal_shrinks_the_cap_without_a_rest) {
  pool->add(key("a"));
  auto one = pool->try_acquire(1);
  auto two = pool->try_acquire(1);
  auto three = pool->try_acquire(1);
  three->report(outcome::concurrency_limited());
  BOOST_TEST((state("a").status == key_status::active));
  BOOST_TEST(!pool->try_acquire(1)); // two are out, and two is what the account can take
  one->settle(1);
  BOOST_TEST(pool->try_acquire(1).has_value());
  two->learn_concurrency(5);
  std::vector<rondo::lease> more;
  while (auto l = pool->try_acquire(1)) {
    more.push_back(std::move(*l));
  }
  BOOST_TEST(more.size() == 4U);
}

BOOST_AUTO_TEST_CASE(an_invalid_key_is_dead_and_its_account_lives_through_the_others) {
  pool->add(key("a1", {}, "team"));
  pool->add(key("a2", {}, "team"));
  auto l = pool->try_acquire(1);
  std::string const dead{l->key_name()};
  std::string const alive = dead == "a1" ? "a2" : "a1";
  l->report(outcome::invalid_key());
  BOOST_TEST((state(dead).status == key_status::invalid));
  BOOST_TEST((state(alive).status == key_status::active));
  for (int i = 0; i < 3; ++i) {
    BOOST_TEST(take_and_settle(*this, 1) == alive);
  }
  pool->try_acquire(1)->report(outcome::invalid_key());
  BOOST_TEST(take_and_settle(*this, 1) == "none");
  pool->revive(dead);
  BOOST_TEST(take_and_settle(*this, 1) == dead);
}

// --- capabilities, administration

BOOST_AUTO_TEST_CASE(a_barred_key_serves_everything_else) {
  pool->add(key("a"));
  pool->add(key("b"));
  rondo::request const voice{.tokens = 1, .needs = rondo::capability::voice_creation};
  auto l = pool->try_acquire(voice);
  BOOST_TEST(l->key_name() == "a");
  l->bar(rondo::capability::voice_creation);
  l->settle(1);
  for (int i = 0; i < 3; ++i) {
    auto v = pool->try_acquire(voice);
    BOOST_TEST(v->key_name() == "b");
  }
  BOOST_TEST((take_and_settle(*this, 1) == "a" || take_and_settle(*this, 1) == "a"));
  BOOST_TEST(state("a").barred.contains(rondo::capability::voice_creation));
  pool->try_acquire(voice)->bar(rondo::capability::voice_creation);
  BOOST_TEST((start(voice)->ec == error::exhausted));
}

BOOST_AUTO_TEST_CASE(a_key_that_is_refused_takes_no_lane) {
  auto too_many = key("a", {}, "account");
  for (int i = 0; i < 1025; ++i) {
    too_many.lanes["lane" + std::to_string(i)] = {.requests_per_minute = 1};
  }
  pool->add(key("first", {}, "account"));
  BOOST_CHECK_THROW(pool->add(too_many), boost::system::system_error); // the limits are not those of the account
  too_many.account = "another";
  BOOST_CHECK_THROW(pool->add(too_many), boost::system::system_error);
  BOOST_CHECK_THROW(pool->set_lane_limits("first", too_many.lanes, {}), boost::system::system_error);
  too_many.lanes.erase("lane0");
  pool->add(too_many);
  BOOST_CHECK_THROW(pool->set_lane_limits("first", "one more", {}), boost::system::system_error);
}

BOOST_AUTO_TEST_CASE(what_another_key_says_is_left_counts_for_an_account_without_a_quota) {
  pool->add(key("a", {}, "account"));
  pool->try_acquire(7)->settle(7);
  auto second = key("b", {}, "account");
  second.remaining = 10;
  pool->add(second);
  BOOST_TEST(state("a").remaining.value() == 10);
  BOOST_TEST(!pool->try_acquire(11));
  pool->try_acquire(10)->settle(10);
  BOOST_TEST(!pool->try_acquire(1));
}

BOOST_AUTO_TEST_CASE(faulty_keys_are_refused_by_name) {
  pool->add(key("a", {.quota = 10}, "team"));
  auto const refused = [&](rondo::key_params params) -> rondo::error_code {
    try {
      pool->add(std::move(params));
    } catch (boost::system::system_error const& e) {
      BOOST_TEST(std::string{e.what()}.find("secret-of") == std::string::npos);
      return e.code();
    }
    return {};
  };
  BOOST_TEST((refused(key("a")) == error::duplicate_name));
  BOOST_TEST((refused(key("b", {.quota = 11}, "team")) == error::conflicting_limits));
  BOOST_TEST((refused(key("")) == error::invalid_argument));
  BOOST_TEST((refused({.name = "c"}) == error::invalid_argument));
  BOOST_TEST(pool->snapshot().size() == 1U);
  BOOST_CHECK_THROW(pool->set_disabled("nobody", true), boost::system::system_error);
}

BOOST_AUTO_TEST_CASE(a_negative_quota_is_refused_and_changes_nothing) {
  using rondo::limits;
  auto const refused = [&](auto&& change) {
    try {
      change();
    } catch (boost::system::system_error const& e) {
      return e.code() == error::invalid_argument;
    }
    return false;
  };
  constexpr auto least = std::numeric_limits<std::int64_t>::min();
  limits const good{.quota = 100};
  limits const bad{.concurrency = 1, .quota = -1};
  limits const worst{.quota = least};
  pool->add(key("a", good));
  for (auto const& wrong : {bad, worst}) {
    BOOST_TEST(refused([&] { pool->set_limits("a", wrong); }));
    BOOST_TEST(refused([&] { pool->set_lane_limits("a", "one", wrong); }));
    BOOST_TEST(refused([&] { pool->set_lane_limits("a", {{"one", good}, {"two", wrong}}, good); }));
    BOOST_TEST(refused([&] { pool->set_lane_limits("a", {{"one", good}}, wrong); }));
    auto k = key("b", wrong);
    BOOST_TEST(refused([&] { pool->add(k); }));
    k.limits = {};
    k.lanes["one"] = wrong;
    BOOST_TEST(refused([&] { pool->add(k); }));
    k.lanes.clear();
    k.lane_limits = wrong;
    BOOST_TEST(refused([&] { pool->add(k); }));
  }
  BOOST_TEST(pool->snapshot().size() == 1U);
  auto const one = pool->try_acquire({.tokens = 50, .lane = "one"});
  auto const two = pool->try_acquire({.tokens = 50, .lane = "two"});
  BOOST_TEST((one && two));
  BOOST_TEST(state("a").character_limit == 100);
}

BOOST_AUTO_TEST_CASE(a_removed_key_serves_its_leases_to_the_end_and_can_come_back) {
  pool->add(key("a", {.quota = 100}));
  auto l = pool->try_acquire(40);
  BOOST_TEST(pool->remove("a"));
  BOOST_TEST(!pool->remove("a"));
  BOOST_TEST(!pool->try_acquire(1));
  BOOST_TEST(l->secret() == "secret-of-a");
  l->settle(40);
  pool->add(key("a", {.quota = 100}));
  BOOST_TEST(!pool->try_acquire(61)); // what was spent stays spent
  BOOST_TEST(take_and_settle(*this, 10) == "a");
}

BOOST_AUTO_TEST_CASE(a_key_must_have_everything_that_is_needed_at_once) {
  auto const voices = rondo::capability::voice_creation;
  auto const other = rondo::capability::user_0;
  pool->add(key("a1", {}, "team"));
  pool->add(key("a2", {}, "team"));
  auto one = pool->try_acquire(1);
  auto two = pool->try_acquire(1);
  one->bar(voices);
  two->bar(other);
  BOOST_TEST(pool->try_acquire({.tokens = 1, .needs = voices})->key_name() == two->key_name());
  BOOST_TEST(!pool->try_acquire({.tokens = 1, .needs = {voices, other}}));
}

BOOST_AUTO_TEST_CASE(a_reset_that_is_past_brings_nothing) {
  pool->add(key("a", {.quota = 100}));
  pool->set_balance("a", {.limit = 100, .remaining = 0, .reset = clock.wall_now() - 1s});
  BOOST_TEST(!pool->try_acquire(1));
}

BOOST_AUTO_TEST_CASE(absurd_numbers_do_no_harm) {
  constexpr auto huge = std::numeric_limits<std::int64_t>::max();
  constexpr auto most = (std::int64_t{1} << 36) - 1; // of one request
  pool->add(key("a", {.quota = most}));
  pool->add(key("unmetered"));
  BOOST_TEST(!pool->try_acquire(huge));
  auto const too_much = start({.tokens = most + 1});
  BOOST_TEST((too_much->ec == error::too_large));
  auto first = pool->try_acquire(most);
  auto second = pool->try_acquire(most);
  BOOST_REQUIRE(first.has_value());
  BOOST_REQUIRE(second.has_value());
  BOOST_TEST(!pool->try_acquire(most));
  first->settle(huge);
  second->settle(huge);
  pool->try_acquire(1)->settle(huge);
  BOOST_TEST(state("a").is_over_limit);
  BOOST_TEST(pool->remove("unmetered"));
  pool->add(key("b"));
  pool->try_acquire(1)->report(outcome::rate_limited(std::chrono::steady_clock::duration::max()));
  BOOST_TEST((state("b").status == key_status::rate_limited));
  BOOST_TEST((*state("b").cooldown_until > clock.wall_now()));
}

BOOST_AUTO_TEST_CASE(a_key_gets_another_secret_and_a_second_chance) {
  pool->add(key("a", {.quota = 100}));
  auto old = pool->try_acquire(10);
  pool->try_acquire(10)->report(outcome::invalid_key());
  BOOST_TEST(!pool->try_acquire(1));
  pool->replace_secret("a", rondo::secret{"the new secret"});
  auto fresh = pool->try_acquire(20);
  BOOST_REQUIRE(fresh.has_value());
  BOOST_TEST(fresh->secret() == "the new secret");
  BOOST_TEST(old->secret() == "secret-of-a"); // until it ends
  old->settle(10);
  fresh->settle(20);
  BOOST_TEST(*state("a").remaining == 70); // what was spent stays spent
  BOOST_TEST(state("a").requests == 3U);
  BOOST_CHECK_THROW(pool->replace_secret("a", rondo::secret{""}), boost::system::system_error);
  BOOST_CHECK_THROW(pool->replace_secret("b", rondo::secret{"x"}), boost::system::system_error);
}

BOOST_AUTO_TEST_CASE(what_becomes_of_an_old_secret_is_no_news) {
  pool->add(key("a", {}, "shared"));
  pool->add(key("b", {}, "shared"));
  int told = 0;
  auto const told_of = pool->on_event({rondo::event_kind::invalid}, [&](rondo::event const&) { ++told; });
  auto one = pool->try_acquire(1);
  auto two = pool->try_acquire(1);
  std::string const replaced{one->key_name()};
  pool->replace_secret(replaced, rondo::secret{"another one"});
  pool->remove(two->key_name());
  one->report(outcome::invalid_key());
  two->report(outcome::invalid_key());
  poll();
  BOOST_TEST(told == 0);
  BOOST_TEST((state(replaced).status == key_status::active));
}

BOOST_AUTO_TEST_CASE(what_a_key_is_barred_from_under_its_old_secret_it_is_barred_from_under_the_new_one) {
  auto const voices = rondo::capability::voice_creation;
  pool->add(key("a"));
  auto old = pool->try_acquire(1);
  pool->replace_secret("a", rondo::secret{"another one"});
  old->bar(voices);
  BOOST_TEST(!pool->try_acquire({.tokens = 1, .needs = voices}));
  BOOST_TEST(state("a").barred.contains(voices));
}

BOOST_AUTO_TEST_CASE(another_secret_leaves_the_requests_of_all_keys_of_the_account_as_they_were) {
  pool->add(key("a", {}, "shared"));
  pool->add(key("b", {}, "shared"));
  for (int i = 0; i < 6; ++i) {
    pool->try_acquire(1)->settle(1);
  }
  for (auto const* const name : {"b", "a"}) {
    pool->replace_secret(name, rondo::secret{"another one"});
    BOOST_TEST(state("a").requests == 3U);
    BOOST_TEST(state("b").requests == 3U);
  }
}

BOOST_AUTO_TEST_CASE(a_disabled_key_is_not_offered) {
  pool->add(key("a"));
  pool->set_disabled("a", true);
  BOOST_TEST((state("a").status == key_status::disabled));
  BOOST_TEST(take_and_settle(*this, 1) == "none");
  pool->set_disabled("a", false);
  BOOST_TEST(take_and_settle(*this, 1) == "a");
}

BOOST_AUTO_TEST_CASE(a_balance_without_a_quota_is_its_own_limit) {
  auto poor = key("a");
  poor.remaining = 30;
  pool->add(std::move(poor));
  auto broke = key("b");
  broke.remaining = 0;
  pool->add(std::move(broke));
  BOOST_TEST(state("a").character_limit == 30);
  BOOST_TEST((state("b").status == key_status::exhausted));
  BOOST_TEST(take_and_settle(*this, 30) == "a");
  BOOST_TEST(take_and_settle(*this, 1) == "none");
}

BOOST_AUTO_TEST_CASE(a_balance_from_outside_counts_no_reservation_twice) {
  pool->add(key("a", {.quota = 100}));
  take_and_settle(*this, 20);
  auto const mark = pool->begin_balance("a");
  auto under_way = pool->try_acquire(30);
  auto settled_meanwhile = pool->try_acquire(10);
  settled_meanwhile->settle(10);
  // the provider may or may not have counted the 10 and the 30: 80, 70, 50 and 40 are no news
  for (auto const figure : {80, 70, 50, 40}) {
    pool->set_balance("a", {.limit = 100, .remaining = figure}, mark);
    BOOST_TEST(*state("a").remaining == 70);
  }
  pool->set_balance("a", {.limit = 100, .remaining = 25}, mark); // somebody else spent
  BOOST_TEST(*state("a").remaining == 55);
  BOOST_TEST(!pool->try_acquire(26));
  under_way->settle(30);
  pool->set_balance("a", {.limit = 200, .remaining = 125, .reset = clock.wall_now() + 1h});
  BOOST_TEST(*state("a").remaining == 125);
  BOOST_TEST(state("a").character_limit == 200);
  BOOST_TEST((state("a").next_reset == clock.wall_now() + 1h));
}

BOOST_AUTO_TEST_CASE(a_balance_ends_exhaustion_with_one_probe) {
  pool->add(key("a", {.quota = 100}));
  pool->try_acquire(1)->report(outcome::exhausted());
  auto const one = start({.tokens = 1});
  auto const two = start({.tokens = 1});
  pool->set_balance("a", {.limit = 100, .remaining = 90});
  poll();
  BOOST_TEST((one->done && !two->done));
  one->lease.settle(1);
  poll();
  BOOST_TEST(two->done);
}

BOOST_AUTO_TEST_CASE(limits_change_while_leases_are_out) {
  pool->add(key("a", {.quota = 100}));
  auto l = pool->try_acquire(60);
  pool->set_limits("a", {.concurrency = 1, .quota = 200});
  BOOST_TEST(!pool->try_acquire(1));
  l->settle(60);
  BOOST_TEST(*state("a").remaining == 140);
  BOOST_TEST(!pool->try_acquire(141));
  BOOST_TEST(pool->try_acquire(140).has_value());
}

// --- watching, ends

BOOST_AUTO_TEST_CASE(events_tell_the_story_in_order_without_secrets) {
  std::vector<std::string> seen;
  auto const sub = pool->on_event(
      [&](rondo::event const& e) { seen.push_back(std::string{to_string(e.kind)} + ":" + e.key + ":" + e.account); });
  pool->add(key("a", {.quota = 100}, "team"));
  take_and_settle(*this, 79);
  take_and_settle(*this, 1);
  pool->try_acquire(1)->report(outcome::rate_limited(10s));
  BOOST_TEST(!pool->try_acquire(1));
  BOOST_TEST(!pool->try_acquire(1));
  advance(11s);
  take_and_settle(*this, 1);
  pool->try_acquire(1)->report(outcome::exhausted());
  advance(2h);
  pool->try_acquire(1)->report(outcome::invalid_key());
  poll();
  std::vector<std::string> const expected{"key_rotated:a:team", "near_limit::team", "rate_limited::team",
                                          "all_unavailable::",  "recovered::team",  "exhausted::team",
                                          "invalid:a:team"};
  BOOST_TEST(seen == expected, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(an_observer_hears_of_the_kinds_that_he_named) {
  using kind = rondo::event_kind;
  pool->add(key("a", {.concurrency = 1}));
  std::vector<kind> rests;
  std::vector<kind> shortages;
  auto const one =
      pool->on_event({kind::rate_limited, kind::recovered}, [&](rondo::event const& e) { rests.push_back(e.kind); });
  auto const two = pool->on_event({kind::all_unavailable}, [&](rondo::event const& e) { shortages.push_back(e.kind); });
  for (int round = 0; round < 2; ++round) {
    auto l = pool->try_acquire(1);
    BOOST_TEST(!pool->try_acquire(1).has_value()); // full is not unavailable
    l->report(outcome::rate_limited(10s));
    BOOST_TEST(!pool->try_acquire(1).has_value());
    BOOST_TEST(!pool->try_acquire(1).has_value());
    advance(12s);
    pool->try_acquire(1)->settle(1);
    poll();
  }
  BOOST_TEST((rests == std::vector{kind::rate_limited, kind::recovered, kind::rate_limited, kind::recovered}));
  BOOST_TEST((shortages == std::vector{kind::all_unavailable, kind::all_unavailable}));
}

BOOST_AUTO_TEST_CASE(an_observer_that_throws_loses_no_later_event) {
  int seen = 0;
  auto const sub = pool->on_event([&](rondo::event const&) {
    if (++seen == 1) {
      throw std::runtime_error{"observer"};
    }
  });
  pool->add(key("a"));
  pool->add(key("b"));
  for (int i = 0; i < 4; ++i) {
    take_and_settle(*this, 1);
  }
  BOOST_CHECK_THROW(poll(), std::runtime_error);
  poll();
  BOOST_TEST(seen == 4);
}

BOOST_AUTO_TEST_CASE(new_limits_are_told_as_a_change) {
  pool->add(key("a"));
  int told = 0;
  auto const sub = pool->on_change([&] { ++told; });
  auto const changes_by = [&](auto const& change) {
    static_cast<void>(pool->snapshot());
    told = 0;
    change();
    return told;
  };
  BOOST_TEST(changes_by([&] { pool->set_limits("a", {.quota = 100}); }) == 1);
  BOOST_TEST(changes_by([&] { pool->set_lane_limits("a", "x", {.quota = 100}); }) == 1);
  BOOST_TEST(changes_by([&] { pool->set_lane_limits("a", {{"y", {.quota = 100}}}, {}); }) == 1);
}

BOOST_AUTO_TEST_CASE(a_change_is_told_once_until_somebody_looks) {
  pool->add(key("a"));
  int told = 0;
  auto sub = pool->on_change([&] { ++told; });
  take_and_settle(*this, 1);
  take_and_settle(*this, 1);
  BOOST_TEST(told == 1);
  static_cast<void>(pool->snapshot());
  take_and_settle(*this, 1);
  BOOST_TEST(told == 2);
  sub = {};
  static_cast<void>(pool->snapshot());
  take_and_settle(*this, 1);
  BOOST_TEST(told == 2);
}

BOOST_AUTO_TEST_CASE(destroying_the_pool_aborts_waiters_and_leaves_leases_usable) {
  pool->add(key("a", {.concurrency = 1}));
  auto l = pool->try_acquire(1);
  auto const p = start({.tokens = 1});
  pool.reset();
  poll();
  BOOST_TEST_REQUIRE(p->done);
  BOOST_TEST((p->ec == asio::error::operation_aborted));
  BOOST_TEST(l->secret() == "secret-of-a");
  l->settle(1);
}

BOOST_AUTO_TEST_CASE(a_wait_that_was_aborted_by_the_pools_end_may_still_be_cancelled) {
  pool->add(key("a", {.concurrency = 1}));
  asio::cancellation_signal signal;
  std::optional<rondo::error_code> result;
  {
    auto l = pool->try_acquire(1);
    pool->async_acquire(
        1, asio::bind_cancellation_slot(signal.slot(), [&](rondo::error_code ec, rondo::lease) { result = ec; }));
    pool.reset();
  }
  signal.emit(asio::cancellation_type::terminal);
  poll();
  BOOST_TEST_REQUIRE(result.has_value());
  BOOST_TEST((*result == asio::error::operation_aborted));
}

BOOST_AUTO_TEST_CASE(a_lease_may_outlive_pool_and_context) {
  rondo::lease l;
  {
    asio::io_context other;
    rondo::key_pool mine{asio::make_strand(other)};
    auto const sub = mine.on_event([](rondo::event const&) {});
    mine.add(key("a"));
    l = std::move(*mine.try_acquire(1));
    other.poll();
  }
  BOOST_TEST(l.secret() == "secret-of-a");
  l.report(outcome::rate_limited(1s));
}

BOOST_AUTO_TEST_CASE(a_context_that_is_destroyed_gives_an_undelivered_lease_back) {
  pool.reset();
  std::optional<asio::io_context> other{std::in_place};
  rondo::key_pool mine{ctx.get_executor(), {.clock = &clock}};
  mine.add(key("a", {.concurrency = 1, .quota = 10}));
  auto l = mine.try_acquire(4);
  mine.async_acquire(
      4, asio::bind_executor(other->get_executor(), [](rondo::error_code, rondo::lease) { BOOST_TEST(false); }));
  l->settle(4); // the lease is on its way to a context that never runs
  BOOST_TEST(!mine.try_acquire(1));
  other.reset();
  BOOST_TEST(mine.try_acquire(6).has_value());
}

BOOST_AUTO_TEST_CASE(a_signal_may_go_before_the_context_of_who_waits) {
  asio::io_context other;
  rondo::key_pool mine{other.get_executor()};
  asio::cancellation_signal signal;
  mine.add(key("a", {.concurrency = 1}));
  auto const held = mine.try_acquire(1);
  mine.async_acquire(
      1, asio::bind_cancellation_slot(signal.slot(), [](rondo::error_code, rondo::lease) { BOOST_TEST(false); }));
}

BOOST_AUTO_TEST_CASE(many_keys_behave_like_few) {
  for (int i = 0; i < 5000; ++i) {
    pool->add(key("k" + std::to_string(i), {.quota = 10}));
  }
  for (int i = 0; i < 5000; ++i) {
    auto l = pool->try_acquire(10);
    BOOST_TEST_REQUIRE(l.has_value());
    BOOST_TEST_REQUIRE(l->key_name() == "k" + std::to_string(i));
    l->report(outcome::rate_limited(std::chrono::seconds{1 + i}));
  }
  BOOST_TEST(!pool->try_acquire(1));
  advance(2s);
  auto l = pool->try_acquire(1);
  BOOST_TEST_REQUIRE(l.has_value());
  BOOST_TEST(l->key_name() == "k0");
}

BOOST_AUTO_TEST_SUITE_END()
