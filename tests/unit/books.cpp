// SPDX-License-Identifier: BSL-1.0
#include "pool_steps.hpp"
#include <rondo/detail/slot_table.hpp>
#include <rondo/key_pool.hpp>

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

using namespace rondo::test;
using rondo::error;
using rondo::event_kind;
using rondo::key_status;
using rondo::outcome;

namespace {
constexpr std::int64_t two_to_the(int n) {
  return std::int64_t{1} << n;
}

struct counted_events {
  explicit counted_events(pool_fixture& f, event_kind kind)
      : subscription{f.pool->on_event([this, kind](rondo::event const& e) { count += e.kind == kind ? 1 : 0; })} {}
  int count = 0;
  rondo::subscription subscription;
};
} // namespace

BOOST_FIXTURE_TEST_SUITE(books, pool_fixture)

// --- settling

BOOST_AUTO_TEST_CASE(what_a_request_cost_is_charged_whatever_was_reserved) {
  struct {
    std::int64_t reserved;
    std::int64_t actual;
    std::int64_t charged;
  } const cases[] = {{10, 10, 10}, {10, 3, 3}, {10, 0, 0}, {10, 25, 25}, {0, 7, 7}, {10, -5, 0}, {0, 0, 0}};
  for (auto const& c : cases) {
    for (auto const quota : {0, 1000}) {
      reset({});
      pool->add(key("a", {.quota = quota}));
      take(*this, {.tokens = c.reserved}).settle(c.actual);
      auto const s = state("a");
      BOOST_TEST(s.character_count == c.charged);
      BOOST_TEST(s.requests == 1U);
      BOOST_TEST(s.in_flight == 0U);
      BOOST_TEST((quota == 0 ? !s.remaining : *s.remaining == quota - c.charged));
    }
  }
}

BOOST_AUTO_TEST_CASE(at_rest_everything_granted_was_settled_refunded_or_reported) {
  pool->add(key("a", {.requests_per_day = 1000, .tokens_per_day = 100'000, .quota = 100'000}));
  std::int64_t charged = 0;
  std::uint64_t requests = 0;
  std::uint64_t failures = 0;
  for (int i = 0; i < 300; ++i) {
    auto l = take(*this, {.tokens = 10 + i % 7});
    switch (i % 5) {
    case 0:
      l.settle(5);
      charged += 5;
      ++requests;
      break;
    case 1: l.refund(); break;
    case 2:
      l.report(outcome::transport_error());
      ++requests;
      ++failures;
      break;
    case 3:
      l.settle(20);
      charged += 20;
      ++requests;
      break;
    default:
      charged += l.tokens(); // dropped
      ++requests;
    }
  }
  auto const s = state("a");
  BOOST_TEST(s.character_count == charged);
  BOOST_TEST(s.requests == requests);
  BOOST_TEST(s.failures == failures);
  BOOST_TEST(s.in_flight == 0U);
  BOOST_TEST(*s.remaining == 100'000 - charged);
  BOOST_TEST(!pool->try_acquire(100'000 - charged + 1));
  BOOST_TEST(pool->try_acquire(100'000 - charged).has_value()); // the rate has counted the same
}

BOOST_AUTO_TEST_CASE(reservations_are_not_spent_but_nobody_else_can_have_them) {
  pool->add(key("a", {.quota = 100}));
  auto const held = take(*this, {.tokens = 70});
  BOOST_TEST(*state("a").remaining == 100);
  BOOST_TEST(state("a").in_flight == 1U);
  BOOST_TEST(!pool->try_acquire(31));
  BOOST_TEST(pool->try_acquire(30).has_value());
}

// --- huge numbers

BOOST_AUTO_TEST_CASE(an_account_lends_no_more_tokens_at_once_than_it_can_count) {
  auto const most = two_to_the(36) - 1;
  auto const large = two_to_the(20);
  pool->add(key("a", {.quota = 3 * most}));
  auto all = take(*this, {.tokens = most});
  take(*this, {.tokens = large - 1}).refund(); // there is always room for what is not large
  BOOST_TEST(!pool->try_acquire(large));
  auto const waiting = start({.tokens = large});
  auto const too_much = start({.tokens = most + 1});
  BOOST_TEST(!waiting->done);
  BOOST_TEST((too_much->ec == rondo::error::too_large));
  all.settle(most / 2);
  poll();
  BOOST_TEST(waiting->key() == "a");
  waiting->lease.refund();
  BOOST_TEST(*state("a").remaining == 3 * most - most / 2);
  BOOST_TEST(pool->try_acquire(most).has_value());
}

BOOST_AUTO_TEST_CASE(huge_requests_on_a_key_without_a_quota_are_counted_exactly) {
  pool->add(key("a"));
  std::int64_t charged = 0;
  for (auto const huge : {two_to_the(30) - 1, two_to_the(30), two_to_the(36) - 1}) {
    take(*this, {.tokens = huge}).settle(huge);
    charged += huge;
    take(*this, {.tokens = huge}).settle(1);
    charged += 1;
    take(*this, {.tokens = huge}).refund();
    take(*this, {.tokens = 1}).settle(two_to_the(14) * huge);
    charged += two_to_the(14) * huge;
    BOOST_TEST(state("a").character_count == charged);
  }
  BOOST_TEST(state("a").requests == 9U);
  BOOST_TEST((state("a").status == key_status::active));
}

BOOST_AUTO_TEST_CASE(no_number_of_absurd_requests_makes_the_books_wrap) {
  constexpr auto absurd = std::numeric_limits<std::int64_t>::max();
  pool->add(key("a", {.quota = 1, .quota_reset = clock.wall_now() + 1h}));
  auto all = take_all(*this, {.tokens = 0}, 10'000);
  pool->add(key("b"));
  for (auto& l : all) {
    l.settle(absurd);
    take(*this, {.tokens = 0}).settle(absurd); // on b
  }
  BOOST_TEST(all.size() == 10'000U);
  BOOST_TEST(*state("a").remaining == 0);
  BOOST_TEST(state("a").is_over_limit);
  for (auto const* const name : {"a", "b"}) {
    BOOST_TEST(state(name).character_count > two_to_the(60));
  }
  pool->set_disabled("b", true);
  BOOST_TEST(!pool->try_acquire(1));
  pool->set_balance("a", {.limit = 100, .remaining = 5});
  BOOST_TEST(*state("a").remaining == 5);
  take(*this, {.tokens = 5}).settle(absurd);
  BOOST_TEST(!pool->try_acquire(1));
  advance(1h);
  BOOST_TEST(!pool->try_acquire(101));
  take(*this, {.tokens = 100}).settle(100);
  BOOST_TEST(*state("a").remaining == 0);
}

BOOST_AUTO_TEST_CASE(a_waiter_for_a_huge_request_is_served_when_another_one_ends) {
  auto const huge = two_to_the(35);
  pool->add(key("a", {.quota = 2 * huge}));
  auto held = take(*this, {.tokens = huge + 5});
  auto const p = start({.tokens = huge});
  BOOST_TEST(!p->done);
  held.settle(huge);
  poll();
  BOOST_TEST(p->key() == "a");
}

BOOST_AUTO_TEST_CASE(the_books_take_over_what_the_word_of_expenses_cannot_hold) {
  auto const each = two_to_the(30) - 1;
  auto const quota = two_to_the(42);
  pool->add(key("a", {.quota = quota}));
  pool->add(key("b"));
  std::int64_t charged = 0;
  for (int i = 0; i < 1500; ++i) { // almost three times 2^39
    for (int k = 0; k < 2; ++k) {
      take(*this, {.tokens = 10}).settle(each);
    }
    charged += each;
    if (i % 50 == 0 || (i > 500 && i < 530)) {
      BOOST_TEST(*state("a").remaining == quota - charged);
      BOOST_TEST(state("b").character_count == charged);
    }
  }
  BOOST_TEST(state("a").character_count == charged);
  BOOST_TEST(state("a").requests == 1500U);
  BOOST_TEST(state("b").requests == 1500U);
}

BOOST_AUTO_TEST_CASE(the_books_take_over_the_requests_too) {
  rondo::detail::slot_table<> table;
  auto& s = table.add();
  auto const many = (std::uint64_t{1} << 23) + 5;
  using rondo::detail::expense::tokens_at;
  s.spent.store((std::uint64_t{77} << tokens_at) + many - 5); // as after that many requests
  rondo::detail::lazy_now now{clock};
  for (int i = 0; i < 5; ++i) {
    static_cast<void>(table.charge(s, {}, 3, 0, now));
  }
  BOOST_TEST(s.granted() == many);
  BOOST_TEST(s.charged() == 77 + 15);
  BOOST_TEST(rondo::detail::expense::requests(s.spent.load()) < 10U);
}

BOOST_AUTO_TEST_CASE(a_mark_is_passed_once_by_the_tokens_and_never_by_the_requests) {
  namespace expense = rondo::detail::expense;
  auto const most = two_to_the(39);
  for (std::int64_t const mark : {std::int64_t{-5}, std::int64_t{0}, std::int64_t{1}, std::int64_t{1000}, most - 1,
                                  most, two_to_the(40) - 1, two_to_the(40), rondo::detail::never}) {
    auto const reachable = std::clamp(mark, std::int64_t{2}, most);
    for (auto const before : {std::int64_t{0}, std::int64_t{1}, reachable - 2, reachable - 1, reachable}) {
      for (std::uint64_t const requests : {std::uint64_t{0}, std::uint64_t{1}, expense::request_mask / 2}) {
        for (std::int64_t const cost : {std::int64_t{0}, std::int64_t{1}, std::int64_t{2}, expense::most_tokens - 1}) {
          auto const word = (static_cast<std::uint64_t>(before) << expense::tokens_at) + requests;
          auto const passed = expense::passes(expense::mark_at(mark), word, expense::request_of(cost));
          BOOST_TEST(passed == (before < mark && mark <= before + cost),
                     "mark " << mark << ", before " << before << ", cost " << cost << ", requests " << requests);
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(as_many_leases_as_there_can_be_are_out_at_once) {
  pool->add(key("a"));
  constexpr std::size_t most = 65'535;
  auto leases = take_all(*this, {.tokens = 2}, most + 10);
  BOOST_TEST(leases.size() == most);
  BOOST_TEST(state("a").in_flight == most);
  auto const p = start({.tokens = 1});
  BOOST_TEST(!p->done);
  leases.back().refund();
  leases.pop_back();
  poll();
  BOOST_TEST(p->key() == "a");
  BOOST_TEST(!pool->try_acquire(1));
  leases.clear();
  BOOST_TEST(state("a").in_flight == 1U);
  BOOST_TEST(state("a").character_count == 2 * static_cast<std::int64_t>(most - 1));
}

// --- requests of keys

BOOST_AUTO_TEST_CASE(every_key_of_an_account_counts_its_own_requests) {
  for (auto const* name : {"a1", "a2", "a3"}) {
    pool->add(key(name, {}, "team"));
  }
  std::map<std::string, std::uint64_t> expected;
  for (int i = 0; i < 30; ++i) {
    auto l = take(*this, {.tokens = 1});
    std::string const name{l.key_name()};
    if (i % 4 == 0) {
      l.refund();
    } else {
      l.settle(1);
      ++expected[name];
    }
  }
  auto const held = take(*this, {.tokens = 1});
  ++expected[std::string{held.key_name()}]; // a lease that is out counts
  for (auto const& [name, n] : expected) {
    BOOST_TEST(state(name).requests == n, name);
  }
}

BOOST_AUTO_TEST_CASE(requests_stay_with_their_keys_when_others_come_and_go) {
  pool->add(key("a1", {}, "team"));
  order(*this, 5, {.tokens = 1});
  pool->add(key("a2", {}, "team"));
  BOOST_TEST(state("a1").requests == 5U);
  BOOST_TEST(state("a2").requests == 0U);
  order(*this, 6, {.tokens = 1});
  BOOST_TEST(state("a1").requests == 8U);
  BOOST_TEST(state("a2").requests == 3U);
  pool->remove("a1");
  BOOST_TEST(state("a2").requests == 3U);
  order(*this, 4, {.tokens = 1});
  BOOST_TEST(state("a2").requests == 7U);
  pool->add(key("a3", {}, "team"));
  order(*this, 4, {.tokens = 1});
  BOOST_TEST(state("a2").requests == 9U);
  BOOST_TEST(state("a3").requests == 2U);
  pool->remove("a3");
  BOOST_TEST(state("a2").requests == 9U);
  pool->add(key("a1", {}, "team")); // another key now
  BOOST_TEST(state("a1").requests == 0U);
  BOOST_TEST(state("a2").requests == 9U);
}

BOOST_AUTO_TEST_CASE(requests_and_failures_stay_with_a_key_whose_secret_is_replaced) {
  for (auto const keys : {1, 2}) {
    reset({});
    std::map<std::string, std::vector<rondo::lease>> held;
    std::map<std::string, std::uint64_t> expected;
    for (int i = 1; i <= keys; ++i) {
      pool->add(key("k" + std::to_string(i), {}, "team"));
    }
    for (int i = 0; i < 8; ++i) {
      auto l = take(*this, {.tokens = 1});
      auto const name = std::string{l.key_name()};
      ++expected[name];
      held[name].push_back(std::move(l));
    }
    auto const agree = [&] {
      for (auto const& [name, n] : expected) {
        BOOST_TEST(state(name).requests == n, name << " of " << keys << ": " << state(name).requests << ", not " << n);
      }
    };
    for (auto const* const fresh : {"second", "third"}) {
      for (auto& [name, leases] : held) {
        pool->replace_secret(name, rondo::secret{fresh});
        agree();
        leases.back().refund();
        leases.pop_back();
        --expected[name];
        agree();
        ++expected[std::string{take(*this, {.tokens = 1}).key_name()}];
        agree();
      }
    }
    held["k1"].back().report(outcome::rejected());
    held["k1"].pop_back();
    held["k1"].back().report(outcome::overloaded());
    held["k1"].pop_back();
    BOOST_TEST(state("k1").failures == 1U);
    agree();
    held.clear(); // the old secrets are wiped
    agree();
    BOOST_TEST(state("k1").failures == 1U);
  }
}

BOOST_AUTO_TEST_CASE(a_request_is_refunded_that_began_with_a_secret_of_a_key_that_is_gone) {
  pool->add(key("a", {}, "team"));
  auto old = take(*this, {.tokens = 1});
  pool->replace_secret("a", rondo::secret{"another one"});
  auto newer = take(*this, {.tokens = 1});
  pool->remove("a");
  pool->add(key("b", {}, "team"));
  order(*this, 3, {.tokens = 1});
  old.refund();
  BOOST_TEST(state("b").requests == 3U);
  newer.refund();
  BOOST_TEST(state("b").requests == 3U);
}

// --- the largest numbers

BOOST_AUTO_TEST_CASE(the_largest_quota_can_be_overdrawn_changed_and_returned) {
  constexpr auto absurd = std::numeric_limits<std::int64_t>::max();
  constexpr std::int64_t largest = 1'000'000'000'000'000'000;
  auto const limits_of = [&](std::int64_t quota) {
    return rondo::limits{.quota = quota, .quota_reset = clock.wall_now() + 1h};
  };
  pool->add(key("a", limits_of(absurd)));
  pool->set_balance("a", {.limit = absurd, .remaining = absurd});
  BOOST_TEST(state("a").character_limit == largest);
  BOOST_TEST(*state("a").remaining == largest);
  for (auto& l : take_all(*this, {.tokens = 0}, 10'000)) {
    l.settle(absurd);
  }
  BOOST_TEST(*state("a").remaining == 0);
  BOOST_TEST(state("a").character_count > largest);
  pool->set_limits("a", limits_of(10));
  BOOST_TEST(!pool->try_acquire(1));
  pool->set_limits("a", limits_of(absurd));
  BOOST_TEST(!pool->try_acquire(1));
  advance(1h);
  BOOST_TEST(*state("a").remaining == largest);
  take(*this, {.tokens = 1}).settle(1);
  BOOST_TEST(*state("a").remaining == largest - 1);
}

BOOST_AUTO_TEST_CASE(no_request_is_larger_than_the_largest_rate_and_granted_all_the_same) {
  constexpr auto most = std::numeric_limits<std::uint32_t>::max();
  pool->add(key("a", {.tokens_per_minute = most}));
  BOOST_TEST(!pool->try_acquire(std::int64_t{most} + 5));
  BOOST_TEST(!pool->try_acquire(std::int64_t{most}));
  auto const too_much = start({.tokens = std::int64_t{most}});
  BOOST_TEST((too_much->ec == error::too_large));
  BOOST_TEST(pool->try_acquire(std::int64_t{most} - 1).has_value());
  BOOST_TEST(!pool->try_acquire(1));
}

// --- near the limit

BOOST_AUTO_TEST_CASE(being_near_the_limit_is_told_exactly_once_at_four_fifths) {
  for (auto const quota : {std::int64_t{100}, std::int64_t{1003}, two_to_the(41)}) {
    reset({});
    counted_events const near{*this, event_kind::near_limit};
    pool->add(key("a", {.quota = quota}));
    auto const mark = quota - quota / 5;
    take(*this, {.tokens = 1}).settle(mark - 1);
    poll();
    BOOST_TEST(near.count == 0);
    BOOST_TEST((!state("a").is_near_limit || quota % 5 != 0));
    take(*this, {.tokens = 1}).settle(1);
    poll();
    BOOST_TEST(near.count == 1);
    BOOST_TEST(state("a").is_near_limit);
    for (int i = 0; i < 5; ++i) {
      take(*this, {.tokens = 1}).settle(1);
    }
    poll();
    BOOST_TEST(near.count == 1);
  }
}

BOOST_AUTO_TEST_CASE(being_near_the_limit_is_told_again_after_the_reset) {
  pool->add(key("a", {.quota = 100, .quota_reset = clock.wall_now() + 1h}));
  counted_events const near{*this, event_kind::near_limit};
  take(*this, {.tokens = 90}).settle(90);
  advance(1h);
  take(*this, {.tokens = 70}).settle(70);
  poll();
  BOOST_TEST(near.count == 1);
  take(*this, {.tokens = 25}).settle(25);
  poll();
  BOOST_TEST(near.count == 2);
}

BOOST_AUTO_TEST_CASE(reservations_and_what_is_given_back_do_not_bring_the_limit_near) {
  pool->add(key("a", {.quota = 100}));
  counted_events const near{*this, event_kind::near_limit};
  take(*this, {.tokens = 90}).refund();
  take(*this, {.tokens = 90}).report(outcome::rejected());
  take(*this, {.tokens = 90}).settle(10);
  poll();
  BOOST_TEST(near.count == 0);
}

// --- balances

BOOST_AUTO_TEST_CASE(a_quota_that_is_learned_while_leases_are_out_counts_their_reservations) {
  pool->add(key("a"));
  auto one = take(*this, {.tokens = 30});
  take(*this, {.tokens = 5}).settle(5);
  pool->set_balance("a", {.limit = 200, .remaining = 100});
  BOOST_TEST(*state("a").remaining == 100);
  BOOST_TEST(state("a").character_limit == 200);
  BOOST_TEST(!pool->try_acquire(71));
  auto two = take(*this, {.tokens = 70});
  BOOST_TEST(!pool->try_acquire(1));
  one.settle(20);
  BOOST_TEST(*state("a").remaining == 80);
  two.refund();
  BOOST_TEST(pool->try_acquire(80).has_value());
}

BOOST_AUTO_TEST_CASE(a_balance_told_through_a_lease_is_the_accounts) {
  pool->add(key("a1", {.quota = 100}, "team"));
  pool->add(key("a2", {.quota = 100}, "team"));
  auto l = take(*this, {.tokens = 10});
  l.set_balance({.limit = 100, .remaining = 50});
  BOOST_TEST(*state("a1").remaining == 50);
  BOOST_TEST(*state("a2").remaining == 50);
  BOOST_TEST(!pool->try_acquire(41));
  l.settle(10);
  BOOST_TEST(*state("a2").remaining == 40);
  BOOST_TEST(pool->snapshot().total_remaining() == 40);
}

BOOST_AUTO_TEST_CASE(a_balance_that_is_set_counts_no_reservation_twice_however_large) {
  for (auto const unit : {std::int64_t{10}, two_to_the(32)}) {
    reset({});
    pool->add(key("a", {.quota = 10 * unit}));
    auto held = take(*this, {.tokens = 3 * unit});
    pool->set_balance("a", {.limit = 10 * unit, .remaining = 8 * unit});
    BOOST_TEST(*state("a").remaining == 8 * unit);
    BOOST_TEST(!pool->try_acquire(5 * unit + 1));
    held.settle(2 * unit);
    BOOST_TEST(*state("a").remaining == 6 * unit);
    BOOST_TEST(!pool->try_acquire(6 * unit + 1));
    BOOST_TEST(pool->try_acquire(6 * unit).has_value());
  }
}

BOOST_AUTO_TEST_CASE(what_is_under_way_at_the_reset_is_charged_to_the_new_quota_however_large) {
  for (auto const unit : {std::int64_t{10}, two_to_the(32)}) {
    reset({});
    pool->add(key("a", {.quota = 10 * unit, .quota_reset = clock.wall_now() + 1h}));
    auto held = take(*this, {.tokens = 4 * unit});
    take(*this, {.tokens = 5 * unit}).settle(5 * unit);
    advance(1h);
    BOOST_TEST(!pool->try_acquire(6 * unit + 1));
    BOOST_TEST(*state("a").remaining == 10 * unit);
    held.settle(3 * unit);
    BOOST_TEST(*state("a").remaining == 7 * unit);
    BOOST_TEST(!pool->try_acquire(7 * unit + 1));
    BOOST_TEST(pool->try_acquire(7 * unit).has_value());
  }
}

BOOST_AUTO_TEST_CASE(limits_that_change_while_huge_reservations_are_out_forget_none_of_them) {
  auto const unit = two_to_the(32);
  pool->add(key("a", {.quota = 10 * unit}));
  auto held = take(*this, {.tokens = 4 * unit});
  pool->set_limits("a", {.quota = 12 * unit});
  BOOST_TEST(!pool->try_acquire(8 * unit + 1));
  held.refund();
  BOOST_TEST(!pool->try_acquire(12 * unit + 1));
  BOOST_TEST(pool->try_acquire(12 * unit).has_value());
}

BOOST_AUTO_TEST_CASE(a_lease_ends_once_on_a_key_that_was_removed_and_added_again) {
  pool->add(key("a", {.quota = 100}));
  auto l = take(*this, {.tokens = 40});
  pool->remove("a");
  pool->add(key("a", {.quota = 100}));
  BOOST_TEST(state("a").in_flight == 1U);
  BOOST_TEST(!pool->try_acquire(61));
  l.settle(10);
  l.settle(10);
  l.refund();
  BOOST_TEST(*state("a").remaining == 90);
  BOOST_TEST(state("a").in_flight == 0U);
}

BOOST_AUTO_TEST_SUITE_END()
