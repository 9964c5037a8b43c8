// SPDX-License-Identifier: BSL-1.0
#include "support/manual_clock.hpp"
#include <rondo/proxy_rotator.hpp>

#include <boost/test/unit_test.hpp>

#include <array>
#include <chrono>
#include <string>

using namespace std::chrono_literals;

namespace {
struct fixture {
  rondo::test::manual_clock clock;
  rondo::proxy_rotator proxies{{.cooldown = 5s, .clock = &clock, .seed = 1}};

  void add(std::string name, std::uint32_t concurrency = 0) {
    auto const url = "http://user:password@" + name;
    proxies.add({.name = name, .url = rondo::secret{url}, .concurrency = concurrency});
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

BOOST_AUTO_TEST_SUITE_END()
