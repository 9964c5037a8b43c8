// SPDX-License-Identifier: BSL-1.0
#include "support/manual_clock.hpp"
#include <rondo/proxy_rotator.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/test/unit_test.hpp>

#include <array>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

using namespace std::chrono_literals;

namespace {
struct fixture {
  rondo::test::manual_clock clock;
  rondo::proxy_rotator proxies{{.cooldown = 5s, .clock = &clock, .seed = 1}};

  void add(std::string name, std::uint32_t concurrency = 0) {
    auto const url = "http://user:password@" + name;
    proxies.add({.name = name, .url = rondo::secret{url}, .concurrency = concurrency});
  }
  void add(std::string name, rondo::proxy_params params) {
    params.name = name;
    params.url = rondo::secret{"http://" + name};
    proxies.add(std::move(params));
  }
  std::string next(rondo::proxy_request const& r) {
    auto l = proxies.try_acquire(r);
    return l ? std::string{l->name()} : "none";
  }
  std::string next() {
    auto l = proxies.try_acquire();
    return l ? std::string{l->name()} : "none";
  }
  std::string next(int times) {
    std::string names;
    for (int i = 0; i < times; ++i) {
      names += next();
    }
    return names;
  }
};
} // namespace

BOOST_FIXTURE_TEST_SUITE(proxy_rotator_test, fixture)

BOOST_AUTO_TEST_CASE(takes_turns_and_passes_over_what_is_to_be_avoided) {
  add("a");
  add("b");
  add("c");
  BOOST_TEST(next(4) == "abca");
  auto b = proxies.try_acquire();
  BOOST_TEST(b->name() == "b");
  BOOST_TEST(b->url() == "http://user:password@b");
  std::array const avoid{b->id()};
  for (int i = 0; i < 4; ++i) {
    BOOST_TEST(proxies.try_acquire(avoid)->name() != "b");
  }
}

BOOST_AUTO_TEST_CASE(a_failed_proxy_rests_longer_each_time_and_comes_back_by_one_probe) {
  add("a");
  proxies.try_acquire()->fail();
  BOOST_TEST(next() == "none");
  BOOST_TEST(proxies.snapshot()[0].resting);
  clock.advance(5500ms);
  auto probe = proxies.try_acquire();
  BOOST_TEST_REQUIRE(probe.has_value());
  BOOST_TEST(next() == "none");
  probe->fail();
  clock.advance(5500ms);
  BOOST_TEST(next() == "none"); // 10 s this time
  clock.advance(5500ms);
  proxies.try_acquire()->succeed();
  BOOST_TEST(next(2) == "aa");
  BOOST_TEST(proxies.snapshot()[0].failures == 2U);
}

BOOST_AUTO_TEST_CASE(what_is_released_is_not_judged) {
  add("a", 1);
  {
    auto const used = proxies.try_acquire();
    BOOST_TEST(next() == "none"); // one at a time
  }
  BOOST_TEST(next() == "a");
  BOOST_TEST(!proxies.snapshot()[0].resting);
}

BOOST_AUTO_TEST_CASE(a_removed_proxy_is_not_offered_but_ends_what_it_began) {
  add("a");
  auto l = proxies.try_acquire();
  BOOST_TEST(proxies.remove("a"));
  BOOST_TEST(proxies.size() == 0U);
  BOOST_TEST(next() == "none");
  BOOST_TEST(l->url() == "http://user:password@a");
  l->succeed();
  add("a");
  BOOST_TEST(next() == "a");
}

// --- strategies

BOOST_AUTO_TEST_CASE(random_gives_every_proxy_its_share_also_when_some_rest) {
  proxies.set_strategy(rondo::proxy_strategy::random);
  for (auto const* name : {"a", "b", "c", "d"}) {
    add(name);
  }
  auto b = proxies.try_acquire(std::array<std::uint32_t, 3>{0, 2, 3});
  b->fail();
  std::map<char, int> counts;
  for (auto const c : next(3000)) {
    ++counts[c];
  }
  BOOST_TEST(counts.size() == 3U);
  for (auto const& [name, count] : counts) {
    BOOST_TEST((count > 850 && count < 1150));
  }
}

BOOST_AUTO_TEST_CASE(least_loaded_evens_out_what_is_in_flight) {
  proxies.set_strategy(rondo::proxy_strategy::least_loaded);
  for (auto const* name : {"a", "b", "c"}) {
    add(name);
  }
  std::vector<rondo::proxy_lease> held;
  for (int i = 0; i < 9; ++i) {
    held.push_back(*proxies.try_acquire());
  }
  for (auto const& each : proxies.snapshot()) {
    BOOST_TEST(each.in_flight == 3U);
  }
  std::erase_if(held, [](auto const& l) { return l.name() == "b"; });
  BOOST_TEST(next(2) == "bb");
}

BOOST_AUTO_TEST_CASE(latency_takes_the_faster_of_two_and_tries_again_who_was_slow_long_ago) {
  proxies.set_strategy(rondo::proxy_strategy::latency);
  for (auto const* name : {"a", "b", "c"}) {
    add(name);
  }
  std::set<char> first;
  for (int i = 0; i < 40; ++i) { // who is unknown comes first
    auto l = *proxies.try_acquire();
    first.insert(l.name()[0]);
    l.succeed(l.name() == "c" ? 300ms : 20ms);
  }
  BOOST_TEST(first.size() == 3U);
  BOOST_TEST((proxies.snapshot()[2].latency > 250ms));
  BOOST_TEST(next(100).find('c') == std::string::npos);
  clock.advance(30min);
  BOOST_TEST(next(100).find('c') != std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_key_keeps_its_proxy_and_finds_another_when_that_rests) {
  for (auto const* name : {"a", "b", "c"}) {
    add(name);
  }
  std::map<int, std::string> home;
  std::map<std::string, int> load;
  for (int key = 0; key < 30; ++key) {
    home[key] = next({.affinity = key});
    ++load[home[key]];
  }
  for (auto const& [name, count] : load) {
    BOOST_TEST(count <= 11);
  }
  for (int key = 0; key < 30; ++key) {
    BOOST_TEST(next({.affinity = key}) == home[key]);
  }
  proxies.try_acquire({.affinity = 0})->fail();
  for (int key = 0; key < 30; ++key) {
    auto const now = next({.affinity = key});
    BOOST_TEST(now != home[0]);
    BOOST_TEST((now == home[key] || home[key] == home[0]));
  }
}

BOOST_AUTO_TEST_CASE(a_key_whose_proxy_is_full_does_not_go_elsewhere_but_one_that_was_tried_is_avoided) {
  add("a", 1);
  add("b", 1);
  auto held = proxies.try_acquire({.affinity = 7});
  BOOST_TEST(next({.affinity = 7}) == "none");
  std::array const tried{held->id()};
  auto const other = next({.affinity = 7, .avoid = tried});
  BOOST_TEST((other != "none" && other != held->name()));
  held->release();
  BOOST_TEST(next({.affinity = 7}) != other); // that was for once
}

BOOST_AUTO_TEST_CASE(tags_select_and_tiers_fall_back) {
  add("de0", {.tags = {{"country", "de"}}});
  add("de1", {.tags = {{"country", "de"}, {"kind", "home"}}, .tier = 1});
  add("us0", {.tags = {{"country", "us"}}});
  add("us1", {.tags = {{"country", "us"}}, .tier = 1});
  std::array const de{rondo::proxy_tag{"country", "de"}};
  rondo::proxy_filter const german{de};
  for (int i = 0; i < 3; ++i) {
    BOOST_TEST(next({.only = &german}) == "de0");
    BOOST_TEST(next({.affinity = i, .only = &german}) == "de0");
  }
  BOOST_TEST(next(4) == "de0us0de0us0");
  proxies.try_acquire({.only = &german})->fail();
  BOOST_TEST(next({.only = &german}) == "de1");
  BOOST_TEST(next({.affinity = 1, .only = &german}) == "de1");
  std::array const both{rondo::proxy_tag{"country", "us"}, rondo::proxy_tag{"kind", "home"}};
  rondo::proxy_filter const nobody{both};
  BOOST_TEST(next({.only = &nobody}) == "none");
  BOOST_CHECK_THROW(add("deep", {.tier = 16}), boost::system::system_error);
}

BOOST_AUTO_TEST_CASE(who_is_refused_by_one_origin_serves_the_others) {
  add("a");
  add("b");
  proxies.try_acquire({.origin = "one"})->refused_there();
  BOOST_TEST(next({.origin = "one"}) == "b");
  BOOST_TEST(next({.origin = "one"}) == "b");
  BOOST_TEST(next({.origin = "two"}) == "a");
  BOOST_TEST(next({.origin = "two"}) == "b");
  BOOST_TEST(next(2).find('a') != std::string::npos);
  clock.advance(5500ms);
  auto probe = proxies.try_acquire({.origin = "one"});
  BOOST_TEST(probe->name() == "a");
  BOOST_TEST(next({.origin = "one"}) == "b"); // one at a time
  probe->refused_there();
  clock.advance(5500ms);
  BOOST_TEST(next({.origin = "one"}) == "b"); // 10 s this time
  auto broken = proxies.try_acquire({.origin = "two"});
  auto const name = std::string{broken->name()};
  broken->fail(); // that concerns everybody
  BOOST_TEST(next(4).find(name) == std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_confirmed_probe_lets_others_in_before_its_own_end) {
  add("a", 2);
  proxies.try_acquire()->fail();
  clock.advance(5500ms);
  auto probe = proxies.try_acquire();
  BOOST_TEST(next() == "none");
  probe->confirm();
  BOOST_TEST(proxies.snapshot()[0].in_flight == 1U);
  BOOST_TEST(next() == "a");
  auto second = proxies.try_acquire();
  BOOST_TEST(next() == "none"); // two at a time
  probe->release();
  BOOST_TEST(next() == "a");
  BOOST_TEST(proxies.snapshot()[0].requests == 3U); // what is only released was no request
}

BOOST_AUTO_TEST_CASE(a_rested_proxy_is_left_to_the_checker) {
  add("a");
  proxies.try_acquire()->fail();
  BOOST_TEST(!proxies.try_acquire_rested());
  std::optional<rondo::proxy_rotator::checker_mark> mark{proxies};
  clock.advance(5500ms);
  BOOST_TEST(next() == "none");
  auto probe = proxies.try_acquire_rested();
  BOOST_TEST_REQUIRE(probe.has_value());
  BOOST_TEST(!proxies.try_acquire_rested());
  probe->succeed();
  BOOST_TEST(next() == "a");
  proxies.try_acquire()->fail();
  clock.advance(5500ms);
  mark.reset();
  BOOST_TEST(next() == "a");
}

// --- waiting

namespace {
struct waiting_fixture : fixture {
  boost::asio::io_context context;
  std::vector<std::string> served;

  /// Notes who was served with what, in order; holds what it got.
  void wait(std::string who, rondo::proxy_request const& r, std::vector<rondo::proxy_lease>* into = nullptr) {
    proxies.async_acquire(context.get_executor(), r,
                          [this, who, into](rondo::error_code ec, rondo::proxy_lease l) mutable {
                            auto const what = ec == rondo::error::proxies_unavailable ? "unavailable"
                                              : ec                                    ? "error"
                                                                                      : std::string{l.name()};
                            served.push_back(who + ":" + what);
                            if (into) {
                              into->push_back(std::move(l));
                            }
                          });
  }
  std::string poll() {
    context.restart();
    context.poll();
    std::string out;
    for (auto const& each : std::exchange(served, {})) {
      out += (out.empty() ? "" : " ") + each;
    }
    return out;
  }
};
} // namespace

BOOST_FIXTURE_TEST_CASE(a_busy_proxy_is_waited_for_in_order, waiting_fixture) {
  add("a", 1);
  auto held = proxies.try_acquire();
  std::vector<rondo::proxy_lease> got;
  wait("1", {}, &got);
  wait("2", {}, &got);
  BOOST_TEST(poll() == "");
  held->release();
  BOOST_TEST(next() == "none"); // it belongs to those who wait
  BOOST_TEST(poll() == "1:a");
  got.clear();
  BOOST_TEST(poll() == "2:a");
  got.clear();
  BOOST_TEST(next() == "a");
}

BOOST_FIXTURE_TEST_CASE(who_need_not_wait_is_not_called_at_once, waiting_fixture) {
  add("a");
  wait("1", {});
  BOOST_TEST(served.empty());
  BOOST_TEST(poll() == "1:a");
}

BOOST_FIXTURE_TEST_CASE(when_all_rest_it_fails_at_once_or_waits_as_asked, waiting_fixture) {
  add("a");
  proxies.try_acquire()->fail();
  wait("1", {.timeout = 60s});
  BOOST_TEST(poll() == "1:unavailable");
  wait("2", {.timeout = 4s, .wait_for_resting = true}); // it comes back later than that
  BOOST_TEST(poll() == "2:unavailable");
  wait("3", {.timeout = 60s, .wait_for_resting = true});
  BOOST_TEST(poll() == "");
  clock.advance(5500ms);
  proxies.wake();
  BOOST_TEST(poll() == "3:a");
}

BOOST_FIXTURE_TEST_CASE(who_comes_later_does_not_get_what_came_back_in_time, waiting_fixture) {
  add("a", 1);
  proxies.try_acquire()->fail();
  std::vector<rondo::proxy_lease> got;
  wait("1", {.wait_for_resting = true}, &got);
  clock.advance(6s);
  BOOST_TEST(next() == "none");
  BOOST_TEST(poll() == "1:a");
}

BOOST_FIXTURE_TEST_CASE(who_waits_is_told_when_it_has_become_vain, waiting_fixture) {
  add("a", 1);
  auto held = proxies.try_acquire();
  wait("1", {.timeout = 60s});
  BOOST_TEST(poll() == "");
  held->fail();
  BOOST_TEST(poll() == "1:unavailable");
  clock.advance(6s);
  held = proxies.try_acquire();
  wait("2", {});
  wait("3", {.timeout = 1s});
  BOOST_TEST(poll() == "");
  clock.advance(2s);
  proxies.wake();
  BOOST_TEST(poll() == "3:unavailable");
  proxies.remove("a");
  BOOST_TEST(poll() == "2:unavailable");
}

BOOST_FIXTURE_TEST_CASE(a_new_proxy_serves_who_waits, waiting_fixture) {
  add("a", 1);
  auto held = proxies.try_acquire();
  wait("1", {});
  add("b");
  BOOST_TEST(poll() == "1:b");
}

BOOST_FIXTURE_TEST_CASE(a_key_waits_for_its_own_proxy, waiting_fixture) {
  add("a", 1);
  add("b", 1);
  auto mine = proxies.try_acquire({.affinity = 7});
  std::array const own{mine->id()};
  auto other = proxies.try_acquire({.avoid = own});
  wait("1", {.affinity = 7});
  other->release();
  BOOST_TEST(poll() == "");
  auto const name = std::string{mine->name()};
  mine->release();
  BOOST_TEST(poll() == "1:" + name);
}

BOOST_FIXTURE_TEST_CASE(who_goes_away_leaves_the_line, waiting_fixture) {
  add("a", 1);
  auto held = proxies.try_acquire();
  boost::asio::cancellation_signal gone;
  std::optional<rondo::error_code> ended;
  proxies.async_acquire(context.get_executor(), {},
                        boost::asio::bind_cancellation_slot(
                            gone.slot(), [&](rondo::error_code ec, rondo::proxy_lease const&) { ended = ec; }));
  gone.emit(boost::asio::cancellation_type::terminal);
  BOOST_TEST(!ended);
  BOOST_TEST(poll() == "");
  BOOST_TEST_REQUIRE(ended.has_value());
  BOOST_TEST((*ended == boost::asio::error::operation_aborted));
  held->release();
  BOOST_TEST(next() == "a");
}

BOOST_FIXTURE_TEST_CASE(the_end_of_the_rotator_and_of_the_context_loses_nothing, waiting_fixture) {
  add("a", 1);
  {
    boost::asio::io_context short_lived;
    auto held = proxies.try_acquire();
    proxies.async_acquire(short_lived.get_executor(), {}, [](rondo::error_code, rondo::proxy_lease const&) {});
    short_lived.poll();
    held->release(); // its completion is posted, and never run
  }
  BOOST_TEST(next() == "a");
  std::optional<rondo::proxy_lease> used;
  std::optional<rondo::error_code> ended;
  {
    rondo::proxy_rotator other;
    other.add({.name = "x", .url = rondo::secret{"http://x"}, .concurrency = 1});
    used = other.try_acquire();
    other.async_acquire(context.get_executor(), {},
                        [&](rondo::error_code ec, rondo::proxy_lease const&) { ended = ec; });
  }
  BOOST_TEST(poll() == "");
  BOOST_TEST_REQUIRE(ended.has_value());
  BOOST_TEST((*ended == boost::asio::error::operation_aborted));
}

BOOST_AUTO_TEST_SUITE_END()
