// SPDX-License-Identifier: BSL-1.0
// Each step of a pool's life, with every one of its allocations failing once. Whoever called is told, nobody else
// notices, and the same step succeeds when there is memory again.
//
// A program of its own: it replaces operator new.
#include "pool_steps.hpp"
#include "support/pool_fixture.hpp"
#include <rondo/event.hpp>
#include <rondo/key_pool.hpp>
#include <rondo/outcome.hpp>
#include <rondo/renewal.hpp>
#include <rondo/time_zone.hpp>

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <functional>
#include <new>
#include <optional>
#include <string>
#include <utility>

namespace {

/// How many more allocations succeed before one fails; negative: all do.
int left = -1;

[[nodiscard]] void* allocate(std::size_t size, std::size_t alignment) {
  if (left >= 0 && left-- == 0) {
    throw std::bad_alloc{};
  }
  auto const whole = (std::max<std::size_t>(size, 1) + alignment - 1) / alignment * alignment;
  if (auto* const out = std::aligned_alloc(alignment, whole)) {
    return out;
  }
  throw std::bad_alloc{};
}

} // namespace

void* operator new(std::size_t size) {
  return allocate(size, alignof(std::max_align_t));
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* p) noexcept {
  std::free(p);
}
void operator delete(void* p, std::size_t) noexcept {
  std::free(p);
}
void operator delete(void* p, std::align_val_t) noexcept {
  std::free(p);
}
void operator delete(void* p, std::size_t, std::align_val_t) noexcept {
  std::free(p);
}

using namespace rondo::test;
using rondo::limits;
using rondo::outcome;

namespace {

rondo::key_params another_key_of_b(std::string name) {
  auto out = key(std::move(name), {.quota = 1000}, "b");
  out.lanes["known"] = {.requests_per_minute = 5};
  return out;
}

/// An account of one key with a limit, one of two keys with a lane, and one lease out on each of them.
struct world : pool_fixture {
  world() {
    pool->add(key("a", {.concurrency = 1}));
    pool->add(another_key_of_b("b1"));
    pool->add(another_key_of_b("b2"));
    on_a = take(*this, {.tokens = 10});
    on_b = take(*this, {.tokens = 10});
    BOOST_TEST_REQUIRE(on_a.account() == "a");
  }

  /// Everything that was taken can be given back, everything can serve, and nothing is left.
  void still_works() {
    on_a.refund();
    on_b.refund();
    poll();
    for (auto const& k : pool->snapshot()) {
      BOOST_TEST(k.in_flight == 0U);
    }
    advance(25h); // rates return
    for (int i = 0; i < 4; ++i) {
      BOOST_TEST(serve(*this, {.tokens = 1}) != "-");
    }
  }

  std::optional<rondo::subscription> told;
  int events = 0;
  int added = 0;
  rondo::lease on_a;
  rondo::lease on_b;
};

using step = std::function<void(world&)>;

/// \param does may be called twice in one world, if the first call has failed
void try_without_memory(step const& does, step const& shows = [](world&) {}) {
  for (int allocations = 0;; ++allocations) {
    world w;
    auto failed = false;
    left = allocations;
    try {
      does(w);
    } catch (std::bad_alloc const&) {
      failed = true;
    }
    auto const over = std::exchange(left, -1) >= 0;
    BOOST_TEST_CONTEXT("allocation " << allocations) {
      if (failed) {
        does(w);
      }
      shows(w);
      w.still_works();
    }
    if (over) {
      BOOST_TEST(!failed);
      BOOST_TEST(allocations != 0, "it does not allocate");
      return;
    }
  }
}

limits const many{.requests_per_second = 100,
                  .requests_per_minute = 100,
                  .tokens_per_day = 1000,
                  .quota = 500,
                  .quota_renewal = rondo::renewal::daily(rondo::time_zone::utc()),
                  .day_renewal = rondo::renewal::daily(rondo::time_zone::pacific())};

} // namespace

BOOST_AUTO_TEST_SUITE(out_of_memory)

BOOST_AUTO_TEST_CASE(a_key_of_a_new_account_is_added_or_not) {
  try_without_memory(
      [](world& w) {
        auto k = key("a name that is too long for a small string", many);
        k.lanes["a lane with a name that is long"] = {.requests_per_minute = 1};
        w.pool->add(std::move(k));
      },
      [](world& w) {
        BOOST_TEST(w.pool->snapshot().size() == 4U);
        BOOST_TEST(*w.state("a name that is too long for a small string").remaining == 500);
        auto const in_lane = take_all(w, {.tokens = 0, .lane = "a lane with a name that is long"}, 10);
        BOOST_TEST(in_lane.size() == 10U); // one on the new key, the others on b
      });
}

BOOST_AUTO_TEST_CASE(a_key_of_a_known_account_is_added_or_not) {
  try_without_memory([](world& w) { w.pool->add(another_key_of_b("the third key of the second account")); },
                     [](world& w) { BOOST_TEST(w.pool->snapshot().size() == 4U); });
}

BOOST_AUTO_TEST_CASE(many_keys_are_added_or_not) {
  try_without_memory(
      [](world& w) {
        for (; w.added < 70; ++w.added) {
          w.pool->add(key("key" + std::to_string(w.added)));
        }
      },
      [](world& w) { BOOST_TEST(take_all(w, {.tokens = 1}, 70).size() == 70U); });
}

BOOST_AUTO_TEST_CASE(limits_are_replaced) {
  try_without_memory([](world& w) { w.pool->set_limits("b1", many); },
                     [](world& w) {
                       auto const state = w.state("b1");
                       BOOST_TEST(state.character_limit == 500);
                       BOOST_TEST(state.character_count == 0);
                       auto const held = take_all(w, {.tokens = 1}, 200);
                       BOOST_TEST(held.size() == 100U); // a is busy
                     });
}

BOOST_AUTO_TEST_CASE(limits_of_a_lane_are_replaced) {
  try_without_memory([](world& w) { w.pool->set_lane_limits("b1", "a lane that is not known yet", many); },
                     [](world& w) {
                       w.on_a.settle(1);
                       auto const held = take_all(w, {.tokens = 1, .lane = "a lane that is not known yet"}, 200);
                       BOOST_TEST(held.size() == 101U);
                     });
}

BOOST_AUTO_TEST_CASE(limits_of_all_lanes_are_replaced) {
  try_without_memory(
      [](world& w) {
        w.pool->set_lane_limits("b1", {{"known", {.requests_per_minute = 3}}, {"a lane that is not known yet", many}},
                                {.requests_per_minute = 2});
      },
      [](world& w) {
        BOOST_TEST(take_all(w, {.tokens = 1, .lane = "known"}, 200).size() == 3U);
        BOOST_TEST(take_all(w, {.tokens = 1, .lane = "another one, with a long name"}, 200).size() == 2U);
      });
}

BOOST_AUTO_TEST_CASE(a_lane_is_heard_of_for_the_first_time) {
  try_without_memory([](world& w) {
    auto const l = w.pool->try_acquire({.tokens = 1, .lane = "a lane that is not known yet"});
    BOOST_TEST(l.has_value());
  });
}

BOOST_AUTO_TEST_CASE(a_refusal_in_a_lane_rests_something) {
  try_without_memory(
      [](world& w) {
        auto l = w.pool->try_acquire({.tokens = 1, .lane = "a lane that is not known yet"});
        BOOST_TEST_REQUIRE(l.has_value());
        l->report(outcome::rate_limited());
      },
      [](world& w) {
        BOOST_TEST(!w.pool->try_acquire({.tokens = 1, .lane = "a lane that is not known yet"}));
        w.on_a.refund();
        BOOST_TEST(w.pool->try_acquire({.tokens = 1, .lane = "a lane that is not known yet"}).has_value());
        w.advance(1h);
      });
}

BOOST_AUTO_TEST_CASE(events_are_told_or_lost) {
  try_without_memory(
      [](world& w) {
        if (!w.told) {
          w.told = w.pool->on_event({rondo::event_kind::key_rotated}, [&w](rondo::event const&) { ++w.events; });
        }
        w.pool->replace_secret("a", rondo::secret{"another secret, and a long one"});
        w.on_a.refund();
        for (int i = 0; i < 4; ++i) {
          BOOST_TEST(serve(w, {.tokens = 1}) != "-");
        }
      },
      [](world& w) {
        w.poll();
        auto const before = w.events;
        BOOST_TEST(order(w, 2, {.tokens = 1}) != "--");
        w.poll();
        BOOST_TEST(w.events > before);
      });
}

BOOST_AUTO_TEST_CASE(secrets_are_replaced) {
  try_without_memory([](world& w) { w.pool->replace_secret("a", rondo::secret{"another secret, and a long one"}); },
                     [](world& w) {
                       w.on_a.refund();
                       w.on_b.refund();
                       for (auto const& l : take_all(w, {.tokens = 1}, 3)) {
                         BOOST_TEST((l.key_name() != "a" || l.secret() == "another secret, and a long one"));
                       }
                     });
}

BOOST_AUTO_TEST_CASE(keys_are_removed) {
  try_without_memory(
      [](world& w) {
        w.pool->remove("b2");
        w.pool->add(another_key_of_b("the one that comes in its place"));
      },
      [](world& w) {
        BOOST_TEST(w.pool->snapshot().size() == 3U);
        BOOST_TEST(!w.pool->remove("b2"));
      });
}

BOOST_AUTO_TEST_SUITE_END()
