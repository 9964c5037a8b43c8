// SPDX-License-Identifier: BSL-1.0
#include "support/pool_alarm.hpp"
#include "support/pool_fixture.hpp"
#include <rondo/key_pool.hpp>

#include <boost/asio/bind_allocator.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/execution/blocking.hpp>
#include <boost/asio/execution/context.hpp>
#include <boost/asio/execution/outstanding_work.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/test/unit_test.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <string>
#include <utility>

using namespace rondo::test;
using rondo::outcome;

namespace {

/// Moves time as the pool's own timer would: it is woken when its alarm goes off, and at no other moment.
struct alarm_fixture : pool_fixture {
  void pass(std::chrono::nanoseconds by) {
    auto const end = clock.steady_now() + by;
    for (auto at = alarm_of(*pool); at && *at <= end; at = alarm_of(*pool)) {
      BOOST_TEST_REQUIRE((*at > clock.steady_now()), "the alarm is late");
      clock.advance(*at - clock.steady_now());
      pool->wake();
      poll();
    }
    clock.advance(end - clock.steady_now());
  }
};

/// Counts the blocks that are in use.
template <class T> struct counting_allocator {
  using value_type = T;

  int* blocks;

  explicit counting_allocator(int* count) noexcept : blocks{count} {}
  template <class U> counting_allocator(counting_allocator<U> const& other) noexcept : blocks{other.blocks} {}

  [[nodiscard]] T* allocate(std::size_t n) {
    ++*blocks;
    return std::allocator<T>{}.allocate(n);
  }
  void deallocate(T* p, std::size_t n) noexcept {
    --*blocks;
    std::allocator<T>{}.deallocate(p, n);
  }
  [[nodiscard]] bool operator==(counting_allocator const&) const = default;
};

/// Has none left to note that its context has work to do.
struct executor_without_memory {
  asio::io_context* context;

  [[nodiscard]] asio::execution_context& query(asio::execution::context_t) const noexcept { return *context; }
  [[nodiscard]] executor_without_memory require(asio::execution::blocking_t::never_t) const { return *this; }
  [[nodiscard]] executor_without_memory require(asio::execution::outstanding_work_t::tracked_t) const {
    throw std::bad_alloc{};
  }
  template <class Function> void execute(Function&& f) const { asio::post(*context, std::forward<Function>(f)); }
  [[nodiscard]] bool operator==(executor_without_memory const&) const = default;
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(waiting, alarm_fixture)

// Two requests together fill the window for long. When one of them is given back, less of what came before has to leave
// it, and that leaves earlier.
BOOST_AUTO_TEST_CASE(a_refund_may_bring_the_alarm_forward) {
  pool->add(key("k", {.tokens_per_minute = 100}));
  auto const first = pool->try_acquire(10);
  pass(30s);
  auto second = pool->try_acquire(25);
  auto const third = pool->try_acquire(25);
  auto const waiter = start({.tokens = 70});
  pass(1s);
  second->refund();
  poll();
  BOOST_TEST(!waiter->done);
  pass(34s); // what `first` took is gone
  BOOST_TEST(waiter->key() == "k");
}

BOOST_AUTO_TEST_CASE(a_report_may_bring_the_alarm_forward) {
  pool->add(key("k", {.tokens_per_minute = 100}));
  auto const first = pool->try_acquire(10);
  pass(30s);
  auto second = pool->try_acquire(25);
  auto const third = pool->try_acquire(25);
  auto const waiter = start({.tokens = 70});
  pass(1s);
  second->report(outcome::transport_error());
  poll();
  pass(34s);
  BOOST_TEST(waiter->key() == "k");
}

// While a lane rests nobody looks at its keys, so that the leases that end have nobody to tell.
BOOST_AUTO_TEST_CASE(who_waits_for_a_lane_that_rests_is_served_after_it_though_leases_end_meanwhile) {
  pool->add(key("a", {.concurrency = 1}));
  pool->add(key("b", {.concurrency = 1}));
  pool->try_acquire(1)->report(outcome::overloaded());
  pool->try_acquire(1)->report(outcome::overloaded());
  BOOST_TEST(!pool->try_acquire(1));
  pass(2s);
  auto one = pool->try_acquire(1);
  auto two = pool->try_acquire(1);
  one->report(outcome::overloaded());
  one = pool->try_acquire({.tokens = 1, .lane = "other"});
  two->report(outcome::overloaded());
  two = pool->try_acquire({.tokens = 1, .lane = "other"});
  BOOST_TEST_REQUIRE((one && two));
  auto const waiter = start({.tokens = 1});
  one->refund();
  two->refund();
  poll();
  BOOST_TEST(!waiter->done);
  pass(10s);
  BOOST_TEST(waiter->done);
}

// What was kept for the head of the line may serve others as soon as the head is gone, and sooner than it.
BOOST_AUTO_TEST_CASE(a_head_that_is_cancelled_may_bring_the_alarm_forward) {
  pool->add(key("small", {.tokens_per_minute = 100}));
  auto params = key("large", {.concurrency = 1});
  params.barred = rondo::capability::user_0;
  pool->add(params);
  pool->try_acquire(50)->settle(50);
  auto const large = pool->try_acquire(1);
  BOOST_TEST_REQUIRE((large && large->key_name() == "large"));
  pass(30s);
  pool->try_acquire(45)->settle(45); // what is left keeps the key in sight
  asio::cancellation_signal signal;
  pool->async_acquire({.tokens = 100, .needs = rondo::capability::user_0},
                      asio::bind_cancellation_slot(signal.slot(), [](rondo::error_code, rondo::lease) {}));
  auto const second = start({.tokens = 200}); // only "large" can serve that
  auto const third = start({.tokens = 50});
  signal.emit(asio::cancellation_type::total);
  pass(35s);
  BOOST_TEST(third->key() == "small");
  BOOST_TEST(!second->done);
  pool.reset();
  poll();
}

// To be tried and refused by a lane is no news for those who wait for the account.
BOOST_AUTO_TEST_CASE(whoever_watches_a_key_still_does_after_another_was_refused_by_its_lane) {
  pool->add(key("a", {.tokens_per_minute = 100}));
  auto params = key("b", {.tokens_per_minute = 100});
  params.lanes = {{"tts", {.concurrency = 1}}};
  pool->add(params);
  auto const of_a = pool->try_acquire(60);
  pass(1s);
  auto of_b = pool->try_acquire(60);
  BOOST_TEST_REQUIRE((of_a->key_name() == "a" && of_b->key_name() == "b"));
  std::uint32_t const avoid[] = {of_a->account_id()};
  auto const of_lane = pool->try_acquire({.tokens = 1, .lane = "tts"}, avoid);
  auto const head = start({.tokens = 50}); // "a" is kept for it
  auto const other = start({.tokens = 1, .lane = "tts"});
  BOOST_TEST(!other->done);
  of_b->refund();
  poll();
  BOOST_TEST(head->key() == "b");
}

// Nobody tries a lane while all accounts rest, and yet the time of its own rest passes.
BOOST_AUTO_TEST_CASE(the_end_of_a_lane_s_rest_does_not_hold_up_the_alarm) {
  pool->add(key("k"));
  auto of_lane = pool->try_acquire({.tokens = 1, .lane = "tts"});
  auto of_account = pool->try_acquire(1);
  of_lane->report(outcome::rate_limited(1s));
  of_account->report(outcome::exhausted(10s));
  auto const head = start({.tokens = 1});
  auto const second = start({.tokens = 1, .lane = "tts"});
  pass(12s);
  BOOST_TEST_REQUIRE(head->done);
  head->lease.settle(1);
  poll();
  BOOST_TEST(second->key() == "k");
}

// The tokens of a request that failed are given back before anybody is told when they would have left the window.
BOOST_AUTO_TEST_CASE(an_unsent_request_that_fails_does_not_make_others_miss_their_deadline) {
  pool->add(key("k", {.tokens_per_minute = 100}));
  auto failed = pool->try_acquire({.tokens = 90, .unsent = true});
  auto const waiter = start({.tokens = 20, .timeout = 5s});
  failed->report(outcome::transport_error());
  poll();
  BOOST_TEST(waiter->key() == "k");
}

BOOST_AUTO_TEST_CASE(a_window_that_is_full_to_the_brim_without_a_limit_is_waited_for) {
  pool->add(key("k", {.tokens_per_minute = 1000}));
  pool->try_acquire(1)->settle(std::int64_t{1} << 40);
  pool->set_limits("k", {});
  auto const waiter = start({.tokens = 20});
  pass(70s);
  BOOST_TEST(waiter->key() == "k");
}

// What was not spent before a reset is not there after it.
BOOST_AUTO_TEST_CASE(a_quota_that_returned_unnoticed_is_not_granted_twice) {
  pool->add(key("k", {.quota = 100, .quota_reset = clock.wall_now() + 1h}));
  pool->try_acquire(40)->settle(40);
  pass(2h);
  std::int64_t granted = 0;
  while (auto l = pool->try_acquire(20)) {
    granted += 20;
    l->settle(20);
  }
  BOOST_TEST(granted == 100);
}

BOOST_AUTO_TEST_CASE(a_balance_that_is_told_after_a_reset_is_not_renewed_by_it) {
  pool->add(key("k", {.quota = 100, .quota_reset = clock.wall_now() + 1h}));
  pool->try_acquire(40)->settle(40);
  pass(2h);
  pool->set_balance("k", {.limit = 100, .remaining = 30});
  BOOST_TEST(*state("k").remaining == 30);
  pool->set_limits("k", {.quota = 150});
  BOOST_TEST(*state("k").remaining == 80);
}

BOOST_AUTO_TEST_CASE(a_refund_of_a_removed_key_is_not_taken_from_the_others) {
  pool->add(key("removed", {}, "account"));
  auto first = pool->try_acquire(1);
  pool->add(key("kept", {}, "account"));
  auto const second = pool->try_acquire(1);
  auto const third = pool->try_acquire(1);
  auto const of_kept = (second->key_name() == "kept" ? 1U : 0U) + (third->key_name() == "kept" ? 1U : 0U);
  pool->remove("removed");
  BOOST_TEST(state("kept").requests == of_kept);
  first->refund();
  BOOST_TEST(state("kept").requests == of_kept);
}

BOOST_AUTO_TEST_CASE(a_handler_may_be_one_that_the_caller_keeps) {
  pool->add(key("k", {.concurrency = 1}));
  int served = 0;
  auto const handler = [&](rondo::error_code ec, rondo::lease) { served += ec ? 0 : 1; };
  pool->async_acquire(1, handler);
  pool->async_acquire(1, handler);
  poll();
  BOOST_TEST(served == 2);
}

BOOST_AUTO_TEST_CASE(a_handler_whose_executor_cannot_be_kept_at_work_leaves_nothing_behind) {
  pool->add(key("k", {.concurrency = 1}));
  auto const lease = pool->try_acquire(1);
  int blocks = 0;
  auto handler =
      asio::bind_allocator(counting_allocator<char>{&blocks},
                           asio::bind_executor(executor_without_memory{&ctx}, [](rondo::error_code, rondo::lease) {}));
  BOOST_CHECK_THROW(pool->async_acquire(1, std::move(handler)), std::bad_alloc);
  BOOST_TEST(blocks == 0);
}

// What was charged makes a rate free later than it seemed. Who cannot wait for so long is told now, not when the time
// comes that he hoped for.
BOOST_AUTO_TEST_CASE(an_overrun_is_told_to_those_who_miss_their_deadline_by_it) {
  for (auto const* const lane : {"", "x"}) {
    auto k = key(std::string{"k"} + lane);
    (*lane ? k.lanes[lane] : k.limits) = {.tokens_per_minute = 100};
    pool->add(std::move(k));
    auto overrun = pool->try_acquire({.tokens = 100, .lane = lane});
    auto const waiter = start({.tokens = 50, .lane = lane, .timeout = 80s});
    auto const patient = start({.tokens = 50, .lane = lane, .timeout = 200s});
    pass(30s);
    BOOST_TEST(!waiter->done);
    overrun->settle(200);
    poll();
    BOOST_TEST((waiter->ec == rondo::error::would_miss_deadline));
    BOOST_TEST(!patient->done);
    pass(200s);
    BOOST_TEST((patient->done && !patient->ec));
    pool->remove(std::string{"k"} + lane);
  }
}

// The line was looked at a moment ago, and is looked at again after a pause.
BOOST_AUTO_TEST_CASE(one_overrun_after_the_other_is_told_a_millisecond_later) {
  pool->add(key("k", {.tokens_per_minute = 100}));
  auto first = pool->try_acquire(50);
  auto second = pool->try_acquire(50);
  auto const waiter = start({.tokens = 30, .timeout = 80s});
  pass(30s);
  first->settle(60);
  second->settle(150);
  pass(1ms);
  BOOST_TEST((waiter->ec == rondo::error::would_miss_deadline));
}

BOOST_AUTO_TEST_CASE(who_misses_his_deadline_by_what_others_got_is_told_when_his_hope_is_over) {
  pool->add(key("k", {.tokens_per_minute = 100}));
  pool->try_acquire(50)->settle(50);
  pass(30s);
  pool->try_acquire(50)->settle(50);
  auto const first = start({.tokens = 50});
  auto const second = start({.tokens = 60, .timeout = 85s}); // when all has left the window, but for the first
  pass(35s);
  BOOST_TEST(first->done);
  pass(35s);
  BOOST_TEST((second->ec == rondo::error::would_miss_deadline));
}

BOOST_AUTO_TEST_CASE(an_unsent_request_that_ends_is_told_to_those_who_miss_their_deadline_by_it) {
  for (int how = 0; how < 4; ++how) {
    reset({});
    pool->add(key("k", {.requests_per_minute = 1}));
    auto unsent = pool->try_acquire({.tokens = 1, .unsent = true});
    auto const waiter = start({.tokens = 1, .timeout = 30s});
    pass(10s);
    BOOST_TEST(!waiter->done);
    switch (how) {
    case 0: unsent->mark_sent(); break;
    case 1: unsent->settle(1); break;
    case 2: unsent->report(outcome::rejected()); break;
    default: unsent->report(outcome::transport_error());
    }
    poll();
    BOOST_TEST((waiter->ec == rondo::error::would_miss_deadline), how);
  }
}

// A clock that is read now and then, or runs slowly, has not come as far as the timer.
BOOST_AUTO_TEST_CASE(a_timer_that_goes_off_before_the_injected_clock_is_there_is_set_again) {
  pool->add(key("k", {.concurrency = 1}));
  auto const held = pool->try_acquire(1);
  auto const waiter = start({.tokens = 1, .timeout = 1ms});
  ctx.restart();
  ctx.run_one(); // it goes off for the first time
  auto const begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 5; ++i) {
    ctx.run_one();
  }
  BOOST_TEST(!waiter->done);
  BOOST_TEST((std::chrono::steady_clock::now() - begin >= 4ms)); // a clock that stands still costs a timer now and then
  clock.advance(1ms);
  while (!waiter->done) {
    ctx.run_one();
  }
  BOOST_TEST((waiter->ec == rondo::error::would_miss_deadline || waiter->ec == rondo::error::exhausted));
}

// Not even the sum of both is too large to be reckoned with.
BOOST_AUTO_TEST_CASE(who_wants_more_than_there_can_be_does_not_disturb_those_who_wait) {
  pool->add(key("k", {.concurrency = 1, .quota = 100}));
  auto held = pool->try_acquire(1);
  auto const waiter = start({.tokens = 60});
  auto const greedy = start({.tokens = std::numeric_limits<std::int64_t>::max()});
  BOOST_TEST((greedy->ec == rondo::error::too_large));
  held->report(outcome::rejected());
  poll();
  BOOST_TEST(waiter->key() == "k");
}

BOOST_AUTO_TEST_SUITE_END()
