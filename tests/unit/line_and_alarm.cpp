// SPDX-License-Identifier: BSL-1.0
#include "support/pool_fixture.hpp"
#include <rondo/detail/pool_core.hpp>

#include <boost/test/unit_test.hpp>

#include <chrono>
#include <memory>
#include <string>
#include <utility>

using namespace rondo;
using namespace rondo::test;

namespace {

/// A core without a front, whose alarm can be read.
class bare_core final : public detail::pool_core {
public:
  using pool_core::pool_core;
  detail::tick alarm = detail::never;

private:
  ~bare_core() override = default;
  void set_alarm(detail::tick at) noexcept override { alarm = at; }
  void note(event_kind, detail::grant const&) noexcept override {}
  void charged() noexcept override {}
  void retire(slot_type&) noexcept override {}
};

struct bare_waiter final : detail::waiter {
  bool done = false;
  void complete() noexcept override { done = true; }
};

/// One slot, one waiter, and the moments at which he could be served and will be looked at.
struct line_fixture {
  manual_clock clock;
  bare_core& core;
  detail::pool_core::slot_type* slot = nullptr;
  bare_waiter waiter;

  line_fixture() : core{*new bare_core{options()}} {}
  ~line_fixture() {
    if (waiter.got.from) {
      core.refund(waiter.got);
    }
    core.close();
  }

  detail::core_options options() const {
    detail::core_options o;
    o.clock = &clock;
    o.seed = 1;
    return o;
  }
  void use(limits const& l) {
    slot = &core.add_slot();
    core.set_population(1);
    core.table().set_limits(*slot, l, l.quota != 0, [&](std::int64_t) { return l.quota; });
    core.table().set_off(*slot, false);
  }
  detail::grant take(std::int64_t tokens) {
    detail::demand want;
    want.tokens = tokens;
    want.in = &core.lanes().unnamed();
    detail::grant out;
    BOOST_TEST_REQUIRE(core.try_take(want, out));
    return out;
  }
  void wait(std::int64_t tokens) {
    waiter.want.tokens = tokens;
    waiter.want.in = &core.lanes().unnamed();
    core.wait(waiter);
  }
  detail::tick could_serve_at() { return core.table().available(*slot, waiter.want.tokens, core.now()).at; }
};

} // namespace

BOOST_AUTO_TEST_SUITE(line_and_alarm)

BOOST_FIXTURE_TEST_CASE(who_wants_more_of_a_rate_than_is_left_waits_for_it, pool_fixture) {
  pool->add(key("a", {.tokens_per_minute = 100}));
  pool->try_acquire(60)->settle(60);
  auto const waiting = start({.tokens = 50});
  BOOST_TEST(!waiting->done);
  advance(65s); // the minute, its last sixteenth and the guard
  BOOST_TEST(waiting->key() == "a");
}

// Somebody else's reservation is undone on the slot that a waiter watches: the watch must stay.
BOOST_FIXTURE_TEST_CASE(a_refusal_in_a_lane_does_not_take_a_watch_away, pool_fixture) {
  for (auto const* const name : {"a", "b"}) {
    auto k = key(name, {.quota = 1000});
    k.lanes["x"] = {.quota = 100};
    pool->add(std::move(k));
  }
  auto const most_of_a = pool->try_acquire(860);
  auto most_of_b = pool->try_acquire(860);
  auto const lane_of_a = pool->try_acquire({.tokens = 95, .lane = "x"});
  auto const lane_of_b = pool->try_acquire({.tokens = 95, .lane = "x"});
  auto const first = start({.tokens = 50});
  auto const second = start({.tokens = 10, .lane = "x"});
  BOOST_TEST(!first->done);
  most_of_b->refund();
  poll();
  BOOST_TEST(first->key() == "b");
}

BOOST_FIXTURE_TEST_CASE(a_refusal_behind_the_line_does_not_take_a_watch_away, pool_fixture) {
  pool->add(key("a", {.tokens_per_minute = 80, .quota = 100}));
  pool->add(key("b", {.tokens_per_minute = 80, .quota = 100}));
  auto const of_a = pool->try_acquire(60);
  auto of_b = pool->try_acquire(60);
  auto const waiting = start({.tokens = 50});
  BOOST_TEST(!pool->try_acquire(30));
  of_b->refund();
  poll();
  BOOST_TEST(waiting->key() == "b");
}

BOOST_FIXTURE_TEST_CASE(who_hoped_for_what_a_lane_had_lent_is_told_when_it_is_spent, pool_fixture) {
  auto k = key("a");
  k.lanes["x"] = {.quota = 100};
  pool->add(std::move(k));
  auto lent = pool->try_acquire({.tokens = 60, .lane = "x"});
  auto const hoping = start({.tokens = 50, .lane = "x"});
  BOOST_TEST(!hoping->done);
  lent->settle(60);
  poll();
  BOOST_TEST((hoping->ec == error::exhausted));
}

BOOST_FIXTURE_TEST_CASE(a_slot_whose_rate_is_used_up_is_parked_when_its_turn_comes, line_fixture) {
  use({.requests_per_day = 1});
  use({});
  for (int i = 0; i < 3; ++i) {
    auto g = take(1);
    core.settle(g, 1);
  }
  BOOST_TEST(!core.table().ready().test(0));
  BOOST_TEST(core.table().ready().test(1));
}

BOOST_FIXTURE_TEST_CASE(the_alarm_is_set_when_the_end_of_a_lease_gives_a_time, line_fixture) {
  use({.concurrency = 1, .quota = 100, .quota_reset = clock.wall_now() + 1h});
  auto spent = take(50);
  core.settle(spent, 50);
  auto busy = take(10);
  wait(60);
  core.refund(busy);
  BOOST_TEST(!waiter.done);
  BOOST_TEST(core.alarm == could_serve_at());
}

BOOST_FIXTURE_TEST_CASE(the_alarm_is_moved_forward_when_the_end_of_a_lease_makes_it_earlier, line_fixture) {
  for (auto const how : {0, 1, 2}) {
    line_fixture f;
    f.use({.tokens_per_minute = 100});
    auto const held = f.take(30);
    f.clock.advance(30s);
    auto const also_held = f.take(25);
    auto last = f.take(25);
    f.wait(60);
    auto const before = f.core.alarm;
    if (how == 0) {
      f.core.refund(last);
    } else if (how == 1) {
      f.core.report(last, outcome::transport_error());
    } else {
      f.core.settle(last, 0);
    }
    BOOST_TEST(f.core.alarm < before);
    BOOST_TEST(f.core.alarm == f.could_serve_at());
    for (auto g : {held, also_held}) {
      f.core.refund(g);
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()
