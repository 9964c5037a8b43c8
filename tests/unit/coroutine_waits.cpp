// SPDX-License-Identifier: BSL-1.0
// Coroutines that wait for a key: their operation lives in their frame.
#include "support/pool_fixture.hpp"
#include <rondo/key_pool.hpp>

#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/test/unit_test.hpp>

#include <chrono>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

using namespace rondo::test;
using rondo::error;

namespace {

struct outcome_of_wait {
  std::string key;
  std::optional<rondo::error_code> ec;
  std::optional<std::chrono::steady_clock::duration> retry_after;
};

asio::awaitable<void> wait_for_key(rondo::key_pool& pool, rondo::request r, outcome_of_wait& out) {
  try {
    rondo::lease mine = co_await pool.acquire(r);
    out.key = mine.key_name();
    out.ec = rondo::error_code{};
    mine.settle(mine.tokens());
  } catch (rondo::acquire_error const& e) {
    out.ec = e.code();
    out.retry_after = e.retry_after();
  }
}

struct coroutines : pool_fixture {
  std::shared_ptr<outcome_of_wait> spawn(rondo::request const& r, asio::cancellation_slot slot = {}) {
    return spawn_on(ctx, r, slot);
  }
  std::shared_ptr<outcome_of_wait> spawn_on(asio::io_context& where, rondo::request const& r,
                                            asio::cancellation_slot slot = {}) {
    auto out = std::make_shared<outcome_of_wait>();
    asio::co_spawn(where, wait_for_key(*pool, r, *out),
                   asio::bind_cancellation_slot(slot, [out](std::exception_ptr const&) {}));
    where.restart();
    where.poll();
    return out;
  }
};

/// Becomes a coroutine's own handler type, as Asio makes it.
template <class Handler> constexpr bool fits_into_frame() {
  using operation = rondo::detail::wait_operation<std::decay_t<Handler>, rondo::detail::written_to>;
  return sizeof(operation) <= sizeof(rondo::detail::acquisition::room);
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(coroutine_waits, coroutines)

BOOST_AUTO_TEST_CASE(the_operation_fits_into_the_frame) {
  run([]() -> asio::awaitable<void> {
    auto const initiation = [](auto&& handler) {
      static_assert(fits_into_frame<decltype(handler)>());
      asio::post(std::forward<decltype(handler)>(handler));
    };
    asio::deferred_t token;
    co_await asio::async_initiate<asio::deferred_t, void()>(initiation, token);
  });
}

BOOST_AUTO_TEST_CASE(they_are_served_in_the_order_they_came_among_all_who_wait) {
  pool->add(key("a", {.concurrency = 1}));
  auto held = pool->try_acquire(1);
  auto const first = spawn({.tokens = 3});
  auto const second = start({.tokens = 2});
  auto const third = spawn({.tokens = 1});
  BOOST_TEST((!first->ec && !second->done && !third->ec));
  held->settle(1);
  poll(); // the first settles, and so on
  BOOST_TEST(first->key == "a");
  BOOST_TEST(second->key() == "a");
  BOOST_TEST(!third->ec);
  second->lease.settle(2);
  poll();
  BOOST_TEST(third->key == "a");
  BOOST_TEST(state("a").in_flight == 0U);
  BOOST_TEST(state("a").requests == 4U);
}

BOOST_AUTO_TEST_CASE(who_cannot_be_served_in_time_learns_when_to_come_back) {
  pool->add(key("a", {.quota = 10, .quota_reset = clock.wall_now() + 60s}));
  pool->try_acquire(10)->settle(10);
  auto const out = spawn({.tokens = 1, .timeout = 1s});
  BOOST_TEST_REQUIRE(out->ec.has_value());
  BOOST_TEST((*out->ec == error::would_miss_deadline));
  BOOST_TEST((out->retry_after == 60s));
  auto const negative = spawn({.tokens = -1});
  BOOST_TEST((negative->ec == rondo::error_code{error::invalid_argument}));
  auto const patient = spawn({.tokens = 1, .timeout = 2min});
  BOOST_TEST(!patient->ec);
  advance(60s);
  BOOST_TEST(patient->key == "a");
}

BOOST_AUTO_TEST_CASE(a_timeout_passes_while_they_wait) {
  pool->add(key("a", {.concurrency = 1}));
  auto const held = pool->try_acquire(1);
  auto const out = spawn({.tokens = 1, .timeout = 5s});
  advance(4s);
  BOOST_TEST(!out->ec);
  advance(2s);
  BOOST_TEST_REQUIRE(out->ec.has_value());
  BOOST_TEST((*out->ec == error::exhausted)); // nobody knows when
  BOOST_TEST(!out->retry_after);
}

BOOST_AUTO_TEST_CASE(the_end_of_the_pool_aborts_them) {
  pool->add(key("a", {.concurrency = 1}));
  auto const held = pool->try_acquire(1);
  auto const out = spawn({.tokens = 1});
  pool.reset();
  poll();
  BOOST_TEST_REQUIRE(out->ec.has_value());
  BOOST_TEST((*out->ec == asio::error::operation_aborted));
}

BOOST_AUTO_TEST_CASE(cancellation_of_every_type_ends_the_wait_and_loses_no_capacity) {
  pool->add(key("a", {.concurrency = 1}));
  // co_spawn passes on what its coroutine has not asked for only when it is terminal
  for (auto const type : {asio::cancellation_type::terminal, asio::cancellation_type::all}) {
    auto held = pool->try_acquire(1);
    asio::cancellation_signal signal;
    auto const out = spawn({.tokens = 1}, signal.slot());
    auto const behind = spawn({.tokens = 1});
    signal.emit(type);
    BOOST_TEST(!out->ec);
    poll();
    BOOST_TEST_REQUIRE(out->ec.has_value());
    BOOST_TEST((*out->ec == asio::error::operation_aborted));
    held->settle(1);
    poll();
    BOOST_TEST(behind->key == "a");
    BOOST_TEST(state("a").in_flight == 0U);
  }
}

BOOST_AUTO_TEST_CASE(cancelling_after_the_lease_is_on_its_way_does_not_lose_it) {
  pool->add(key("a", {.concurrency = 1}));
  auto held = pool->try_acquire(1);
  asio::cancellation_signal signal;
  auto const out = spawn({.tokens = 1}, signal.slot());
  held->settle(1);
  signal.emit(asio::cancellation_type::terminal);
  poll();
  BOOST_TEST(out->key == "a");
  BOOST_TEST(state("a").in_flight == 0U);
}

BOOST_AUTO_TEST_CASE(a_context_that_is_destroyed_takes_its_coroutines_and_gives_their_leases_back) {
  pool->add(key("a", {.concurrency = 1, .quota = 10}));
  auto held = pool->try_acquire(4);
  auto other = std::make_unique<asio::io_context>();
  auto const out = spawn_on(*other, {.tokens = 4});
  held->settle(4); // the lease is on its way to a context that never runs
  BOOST_TEST(!pool->try_acquire(1).has_value());
  other.reset();
  BOOST_TEST(!out->ec);
  auto const whole = pool->try_acquire(6);
  BOOST_TEST(whole.has_value());
}

BOOST_AUTO_TEST_CASE(a_context_has_work_while_one_of_its_coroutines_waits) {
  pool->add(key("a", {.concurrency = 1}));
  auto held = pool->try_acquire(1);
  auto const out = spawn({.tokens = 1});
  BOOST_TEST(!ctx.stopped());
  held->settle(1);
  ctx.restart();
  ctx.run(); // returns when the coroutine has ended
  BOOST_TEST(out->key == "a");
}

BOOST_AUTO_TEST_CASE(one_release_serves_as_many_as_it_can) {
  pool->add(key("a", {.quota = 100}));
  for (int round = 0; round < 2; ++round) {
    auto held = pool->try_acquire(100);
    std::vector<std::shared_ptr<outcome_of_wait>> all;
    for (int i = 0; i < 3; ++i) {
      all.push_back(spawn({.tokens = 30}));
    }
    auto const large = start({.tokens = 100});
    held->refund();
    poll();
    BOOST_TEST((all[0]->ec && all[1]->ec && all[2]->ec));
    BOOST_TEST(large->done); // too much is spent
    pool->set_balance("a", {.limit = 100, .remaining = 100});
  }
}

BOOST_AUTO_TEST_SUITE_END()
