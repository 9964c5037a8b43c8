// SPDX-License-Identifier: BSL-1.0
#include "pool_steps.hpp"
#include <rondo/key_pool.hpp>

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

using namespace rondo::test;
using rondo::outcome;
using rondo::strategy;

namespace {
constexpr std::array all_strategies{strategy::round_robin,  strategy::fill_first, strategy::most_remaining,
                                    strategy::least_loaded, strategy::weighted,   strategy::soonest_reset};

template <strategy Which> struct with : pool_fixture {
  with() : pool_fixture{Which} {}
};

void add_weighted(pool_fixture& f, std::map<std::string, std::uint32_t> const& weights) {
  for (auto const& [name, weight] : weights) {
    f.pool->add(weighted_key(name, weight));
  }
}
} // namespace

BOOST_FIXTURE_TEST_SUITE(strategies, pool_fixture)

// --- every strategy

BOOST_AUTO_TEST_CASE(every_strategy_serves_from_the_only_key_that_can) {
  for (auto const how : all_strategies) {
    for (auto const last : {0, 31, 32, 50, 99}) {
      reset({.strategy = how});
      for (int i = 0; i < 100; ++i) {
        pool->add(key("k" + std::to_string(i), {.quota = i == last ? 1'000'000 : 10}));
      }
      for (int i = 0; i < 3; ++i) {
        BOOST_TEST(serve(*this, {.tokens = 500}) == "k" + std::to_string(last), to_string(how));
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(every_strategy_uses_up_all_that_all_keys_have) {
  for (auto const how : all_strategies) {
    for (auto const keys : {1, 2, 32, 33, 100}) {
      reset({.strategy = how});
      add_keys(*this, keys, {.concurrency = 3});
      auto const leases = take_all(*this, {.tokens = 1});
      BOOST_TEST(leases.size() == static_cast<std::size_t>(3 * keys), to_string(how));
    }
  }
}

BOOST_AUTO_TEST_CASE(every_strategy_finds_the_key_that_a_lease_frees_last) {
  for (auto const how : all_strategies) {
    reset({.strategy = how});
    add_keys(*this, 70, {.concurrency = 1});
    auto leases = take_all(*this, {.tokens = 1});
    BOOST_TEST_REQUIRE(leases.size() == 70U);
    for (auto& l : leases) {
      std::string const name{l.key_name()};
      l.settle(1);
      BOOST_TEST(serve(*this, {.tokens = 1}) == name, to_string(how));
      l = take(*this, {.tokens = 1});
    }
  }
}

BOOST_AUTO_TEST_CASE(every_strategy_leaves_resting_dead_and_disabled_keys_alone) {
  for (auto const how : all_strategies) {
    reset({.strategy = how});
    add_keys(*this, 40);
    pool->set_disabled("k5", true);
    auto leases = take_all(*this, {.tokens = 1}, 200);
    std::set<std::string> gone{"k5"};
    for (auto& l : leases) {
      auto const name = std::string{l.key_name()};
      BOOST_TEST(name != "k5");
      if (name == "k7") {
        l.report(outcome::rate_limited(1h));
        gone.insert(name);
      } else if (name == "k9") {
        l.report(outcome::invalid_key());
        gone.insert(name);
      }
    }
    for (int i = 0; i < 200; ++i) {
      auto const name = serve(*this, {.tokens = 1});
      BOOST_TEST(!gone.contains(name), to_string(how) << " gave " << name);
      BOOST_TEST(name != "-");
    }
  }
}

BOOST_AUTO_TEST_CASE(every_strategy_passes_over_the_accounts_to_be_avoided) {
  for (auto const how : all_strategies) {
    reset({.strategy = how});
    add_keys(*this, 3);
    auto one = take(*this, {.tokens = 1});
    std::array const avoid{one.account_id()};
    for (int i = 0; i < 6; ++i) {
      auto const other = pool->try_acquire({.tokens = 1}, avoid);
      BOOST_TEST_REQUIRE(other.has_value());
      BOOST_TEST(other->key_name() != one.key_name(), to_string(how));
    }
  }
}

BOOST_AUTO_TEST_CASE(a_strategy_may_change_at_any_time) {
  add_keys(*this, 3, {.quota = 1000});
  BOOST_TEST(order(*this, 4, {.tokens = 1}) == "k0k1k2k0");
  pool->set_strategy(strategy::fill_first);
  auto const stays = order(*this, 5, {.tokens = 1});
  BOOST_TEST((stays == "k0k0k0k0k0" || stays == "k1k1k1k1k1" || stays == "k2k2k2k2k2"), stays);
  pool->set_strategy(strategy::round_robin);
  auto const turns = order(*this, 6, {.tokens = 1});
  for (auto const* name : {"k0", "k1", "k2"}) {
    auto const first = turns.find(name);
    BOOST_TEST_REQUIRE(first != std::string::npos);
    BOOST_TEST(turns.find(name, first + 1) == first + 6); // every third
  }
  pool->set_strategy(strategy::most_remaining);
  pool->set_limits("k1", {.quota = 5000});
  BOOST_TEST(order(*this, 5, {.tokens = 1}) == "k1k1k1k1k1");
  pool->set_strategy(strategy::least_loaded);
  auto leases = take_all(*this, {.tokens = 1}, 9);
  std::map<std::string, int> out;
  for (auto const& l : leases) {
    ++out[std::string{l.key_name()}];
  }
  BOOST_TEST((out == std::map<std::string, int>{{"k0", 3}, {"k1", 3}, {"k2", 3}}));
}

BOOST_AUTO_TEST_CASE(a_strategy_that_changes_applies_to_those_who_wait_too) {
  pool->add(key("a", {.concurrency = 1, .quota = 100}));
  pool->add(key("b", {.concurrency = 1, .quota = 900}));
  auto a = take(*this, {.tokens = 1});
  auto b = take(*this, {.tokens = 1});
  BOOST_TEST_REQUIRE(a.key_name() == "a");
  pool->set_strategy(strategy::most_remaining);
  pool->set_disabled("a", true);
  pool->set_disabled("b", true);
  a.settle(1);
  b.settle(1);
  pool->set_disabled("a", false);
  pool->set_disabled("b", false);
  BOOST_TEST(serve(*this, {.tokens = 1}) == "b");
}

// --- round_robin

BOOST_AUTO_TEST_CASE(round_robin_gives_each_of_many_keys_one_turn_in_a_round) {
  add_keys(*this, 70);
  pool->set_disabled("k40", true);
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 70; ++i) {
      if (i != 40) {
        BOOST_TEST(serve(*this, {.tokens = 1}) == "k" + std::to_string(i));
      }
    }
  }
}

// Keys take turns in blocks of 64, and the first of the second block cannot serve.
BOOST_AUTO_TEST_CASE(round_robin_leaves_out_no_block_because_of_its_first_key) {
  add_keys(*this, 64);
  pool->add(key("k64", {.quota = 10}));
  for (int i = 65; i < 192; ++i) {
    pool->add(key("k" + std::to_string(i)));
  }
  auto const by_block = [&](auto&& take) {
    std::array<int, 3> served{};
    for (int i = 0; i < 1920; ++i) {
      ++served.at(std::stoul(take().substr(1)) / 64);
    }
    return served;
  };
  auto const fair = [](std::array<int, 3> const& served) {
    return std::all_of(served.begin(), served.end(), [](int n) { return n > 1920 / 6; });
  };
  BOOST_TEST(fair(by_block([&] { return std::string{pool->try_acquire(20)->key_name()}; })), "try_acquire");
  BOOST_TEST(fair(by_block([&] { return serve(*this, {.tokens = 20}); })), "try_acquire(request)");
  run([&]() -> asio::awaitable<void> {
    std::array<int, 3> served{};
    for (int i = 0; i < 1920; ++i) {
      auto const lease = co_await pool->acquire(20);
      ++served.at(std::stoul(std::string{lease.key_name().substr(1)}) / 64);
    }
    BOOST_TEST(fair(served), "acquire");
  });
}

// --- fill_first

BOOST_FIXTURE_TEST_CASE(fill_first_moves_on_only_when_it_must_and_does_not_go_back_by_itself,
                        with<strategy::fill_first>) {
  pool->add(key("a", {.quota = 30, .quota_reset = clock.wall_now() + 1h}));
  pool->add(key("b", {.quota = 50}));
  pool->add(key("c"));
  BOOST_TEST(order(*this, 5, {.tokens = 10}) == "aaabb");
  advance(1h);
  BOOST_TEST((state("a").remaining == 30));
  BOOST_TEST(order(*this, 5, {.tokens = 10}) == "bbbcc");
  pool->set_disabled("c", true);
  BOOST_TEST(order(*this, 4, {.tokens = 10}) == "aaa-");
}

BOOST_FIXTURE_TEST_CASE(fill_first_stays_on_a_key_far_behind_the_first_32, with<strategy::fill_first>) {
  add_keys(*this, 100, {.quota = 10});
  for (int i = 0; i < 100; ++i) {
    for (int n = 0; n < 2; ++n) {
      BOOST_TEST(serve(*this, {.tokens = 5}) == "k" + std::to_string(i));
    }
  }
  BOOST_TEST(serve(*this, {.tokens = 1}) == "-");
}

// --- most_remaining

BOOST_FIXTURE_TEST_CASE(most_remaining_takes_the_fullest_each_time, with<strategy::most_remaining>) {
  std::map<std::string, std::int64_t> left{{"a", 105}, {"b", 53}, {"c", 81}}; // never equal in steps of 10
  for (auto const& [name, quota] : left) {
    pool->add(key(name, {.quota = quota}));
  }
  for (;;) {
    auto const fullest =
        std::max_element(left.begin(), left.end(), [](auto const& x, auto const& y) { return x.second < y.second; });
    if (fullest->second < 10) {
      break;
    }
    BOOST_TEST(serve(*this, {.tokens = 10}) == fullest->first);
    fullest->second -= 10;
  }
  BOOST_TEST(serve(*this, {.tokens = 10}) == "-");
}

BOOST_FIXTURE_TEST_CASE(most_remaining_counts_what_is_reserved_as_gone, with<strategy::most_remaining>) {
  pool->add(key("a", {.quota = 100}));
  pool->add(key("b", {.quota = 90}));
  auto first = take(*this, {.tokens = 30});
  BOOST_TEST(first.key_name() == "a");
  auto const second = take(*this, {.tokens = 30});
  BOOST_TEST(second.key_name() == "b");
  auto const third = take(*this, {.tokens = 1});
  BOOST_TEST(third.key_name() == "a");
  first.refund();
  auto const fourth = take(*this, {.tokens = 1});
  BOOST_TEST(fourth.key_name() == "a");
}

BOOST_FIXTURE_TEST_CASE(most_remaining_takes_a_key_without_a_quota_before_all_others, with<strategy::most_remaining>) {
  pool->add(key("a", {.quota = 1'000'000}));
  pool->add(key("b", {.concurrency = 2}));
  auto leases = take_all(*this, {.tokens = 10}, 4);
  BOOST_TEST_REQUIRE(leases.size() == 4U);
  BOOST_TEST(leases[0].key_name() == "b");
  BOOST_TEST(leases[1].key_name() == "b");
  BOOST_TEST(leases[2].key_name() == "a");
  BOOST_TEST(leases[3].key_name() == "a");
}

// --- least_loaded

BOOST_FIXTURE_TEST_CASE(least_loaded_takes_the_one_with_the_fewest_leases, with<strategy::least_loaded>) {
  for (auto const* name : {"a", "b", "c"}) {
    pool->add(key(name));
  }
  std::map<std::string, std::vector<rondo::lease>> out;
  std::string names;
  for (int i = 0; i < 6; ++i) {
    auto l = take(*this, {.tokens = 1});
    std::string const name{l.key_name()};
    names += name;
    out[name].push_back(std::move(l));
  }
  BOOST_TEST(names == "abcabc");
  out["b"].clear();
  out["c"].pop_back(); // a has 2, b 0, c 1
  names.clear();
  for (int i = 0; i < 3; ++i) {
    auto l = take(*this, {.tokens = 1});
    std::string const name{l.key_name()};
    names += name;
    out[name].push_back(std::move(l));
  }
  BOOST_TEST((names == "bbc" || names == "bcb"), names);
  for (auto const& [name, leases] : out) {
    BOOST_TEST(leases.size() == 2U, name);
  }
}

BOOST_FIXTURE_TEST_CASE(least_loaded_stays_even_over_more_keys_than_it_compares, with<strategy::least_loaded>) {
  add_keys(*this, 80);
  auto const leases = take_all(*this, {.tokens = 1}, 240);
  std::map<std::string, int> out;
  for (auto const& l : leases) {
    ++out[std::string{l.key_name()}];
  }
  BOOST_TEST(out.size() == 80U);
  for (auto const& [name, n] : out) {
    BOOST_TEST(n == 3, name << " has " << n);
  }
}

// --- weighted

BOOST_FIXTURE_TEST_CASE(weighted_three_to_one_is_spread_evenly, with<strategy::weighted>) {
  add_weighted(*this, {{"a", 3}, {"b", 1}});
  auto const names = order(*this, 400, {.tokens = 1});
  BOOST_TEST(std::abs(std::count(names.begin(), names.end(), 'a') - 300) <= 1);
  auto const begin = names.find('b');
  for (auto at = begin, next = names.find('b', at + 1); next != std::string::npos;
       at = next, next = names.find('b', at + 1)) {
    BOOST_TEST((next - at >= 3 && next - at <= 5), names.substr(at, next - at + 1));
  }
}

BOOST_FIXTURE_TEST_CASE(weighted_shares_follow_the_weights_in_every_stretch, with<strategy::weighted>) {
  std::map<std::string, std::uint32_t> const weights{{"a", 5}, {"b", 1}, {"c", 2}, {"d", 0}}; // 0 counts as 1
  add_weighted(*this, weights);
  auto const names = order(*this, 900, {.tokens = 1});
  for (std::size_t from = 0; from + 90 <= names.size(); from += 9) {
    auto const stretch = names.substr(from, 90);
    for (auto const& [name, weight] : weights) {
      auto const n = std::count(stretch.begin(), stretch.end(), name.front());
      BOOST_TEST(std::abs(n - 10 * std::max(weight, 1U)) <= 2, name << " has " << n << " from " << from);
    }
  }
}

BOOST_FIXTURE_TEST_CASE(weighted_counts_what_is_out_of_range_as_the_nearest_weight, with<strategy::weighted>) {
  add_weighted(*this, {{"a", 4'000'000'000}, {"b", 1'000'000}});
  auto const large = order(*this, 100, {.tokens = 1});
  BOOST_TEST(std::count(large.begin(), large.end(), 'a') == 50);
  reset({.strategy = strategy::weighted});
  add_weighted(*this, {{"a", 0}, {"b", 1}});
  auto const small = order(*this, 100, {.tokens = 1});
  BOOST_TEST(std::count(small.begin(), small.end(), 'a') == 50);
}

BOOST_FIXTURE_TEST_CASE(weighted_follows_a_weight_that_is_changed, with<strategy::weighted>) {
  add_weighted(*this, {{"a", 3}, {"b", 1}});
  order(*this, 40, {.tokens = 1});
  pool->set_weight("b", 9);
  auto const names = order(*this, 120, {.tokens = 1});
  BOOST_TEST(std::abs(std::count(names.begin(), names.end(), 'b') - 90) <= 2);
  BOOST_CHECK_THROW(pool->set_weight("nobody", 1), boost::system::system_error);
}

BOOST_FIXTURE_TEST_CASE(weighted_does_not_let_a_key_make_up_for_turns_it_missed, with<strategy::weighted>) {
  add_weighted(*this, {{"a", 1}, {"b", 1}});
  BOOST_TEST(order(*this, 10, {.tokens = 1}) == "ababababab");
  pool->set_disabled("b", true);
  BOOST_TEST(order(*this, 100, {.tokens = 1}) == std::string(100, 'a'));
  pool->set_disabled("b", false);
  auto const names = order(*this, 10, {.tokens = 1});
  BOOST_TEST((names == "ababababab" || names == "bababababa"), names);
  pool->add(weighted_key("c", 1)); // neither does a newcomer
  auto const with_c = order(*this, 30, {.tokens = 1});
  BOOST_TEST(std::count(with_c.begin(), with_c.end(), 'c') == 10);
  BOOST_TEST(with_c.find("cc") == std::string::npos, with_c);
}

BOOST_FIXTURE_TEST_CASE(weighted_gives_the_turns_of_a_key_that_cannot_serve_to_the_others_in_proportion,
                        with<strategy::weighted>) {
  add_weighted(*this, {{"a", 4}, {"b", 2}, {"c", 1}});
  auto a = take(*this, {.tokens = 1});
  BOOST_TEST(a.key_name() == "a");
  a.report(outcome::rate_limited(1h));
  auto const names = order(*this, 90, {.tokens = 1});
  BOOST_TEST(std::count(names.begin(), names.end(), 'a') == 0);
  BOOST_TEST(std::abs(std::count(names.begin(), names.end(), 'b') - 60) <= 1);
  advance(1h + 5s);
  auto const again = order(*this, 70, {.tokens = 1});
  BOOST_TEST(std::abs(std::count(again.begin(), again.end(), 'a') - 40) <= 2, again);
}

BOOST_FIXTURE_TEST_CASE(weighted_keeps_the_shares_of_more_keys_than_it_compares, with<strategy::weighted>) {
  for (int i = 0; i < 100; ++i) {
    pool->add(weighted_key("k" + std::to_string(i), i % 10 == 0 ? 4 : 1)); // 10 x 4 + 90 x 1 = 130
  }
  std::map<std::string, int> turns;
  for (int i = 0; i < 13'000; ++i) {
    ++turns[serve(*this, {.tokens = 1})];
  }
  for (int i = 0; i < 100; ++i) {
    auto const name = "k" + std::to_string(i);
    auto const fair = i % 10 == 0 ? 400 : 100;
    BOOST_TEST((turns[name] > fair * 9 / 10 && turns[name] < fair * 11 / 10), name << " had " << turns[name]);
  }
}

// --- soonest_reset

BOOST_FIXTURE_TEST_CASE(soonest_reset_spends_what_expires_first, with<strategy::soonest_reset>) {
  auto const now = clock.wall_now();
  pool->add(key("a", {.quota = 30, .quota_reset = now + 3h}));
  pool->add(key("b", {.quota = 20, .quota_reset = now + 1h}));
  pool->add(key("c", {.quota = 50})); // never expires
  pool->add(key("d", {.quota = 20, .quota_reset = now + 2h}));
  BOOST_TEST(order(*this, 8, {.tokens = 10}) == "bbddaaac");
  advance(1h); // b has its quota back, and nobody knows when it returns again
  pool->set_balance("d", {.limit = 20, .remaining = 20, .reset = now + 90min});
  auto const names = order(*this, 4, {.tokens = 10});
  BOOST_TEST(names.substr(0, 2) == "dd");
  BOOST_TEST(names.find('a') == std::string::npos);
}

BOOST_FIXTURE_TEST_CASE(soonest_reset_goes_on_to_the_next_for_a_request_that_does_not_fit,
                        with<strategy::soonest_reset>) {
  auto const now = clock.wall_now();
  pool->add(key("a", {.quota = 1000, .quota_reset = now + 3h}));
  pool->add(key("b", {.quota = 20, .quota_reset = now + 1h}));
  pool->add(key("c", {.quota = 100, .quota_reset = now + 2h}));
  BOOST_TEST(serve(*this, {.tokens = 50}) == "c");
  BOOST_TEST(serve(*this, {.tokens = 500}) == "a");
  BOOST_TEST(order(*this, 3, {.tokens = 10}) == "bbc");
}

// --- lanes

BOOST_AUTO_TEST_CASE(a_lane_with_limits_turns_on_its_own) {
  for (auto const* name : {"a", "b", "c"}) {
    auto k = key(name);
    k.lanes["tts"] = {.requests_per_minute = 100};
    pool->add(std::move(k));
  }
  std::string plain;
  std::string tts;
  for (int i = 0; i < 6; ++i) {
    plain += serve(*this, {.tokens = 1});
    tts += serve(*this, {.tokens = 1, .lane = "tts"});
  }
  BOOST_TEST(plain == "abcabc");
  BOOST_TEST(tts == "abcabc");
}

BOOST_AUTO_TEST_SUITE_END()
