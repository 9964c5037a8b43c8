// SPDX-License-Identifier: BSL-1.0
#include <rondo/proxy_rotator.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/test/unit_test.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include <support/manual_clock.hpp>

using namespace std::chrono_literals;

namespace {

constexpr std::size_t most_proxies = 64;
constexpr std::uint32_t cap = 2;

/// What a proxy sees: how many are in it now.
struct far_side {
  std::array<std::atomic<std::uint32_t>, most_proxies> inside{};
  std::atomic<std::uint64_t> too_many{0};

  void enter(rondo::proxy_lease const& l) {
    if (inside.at(l.id()).fetch_add(1) >= cap) {
      ++too_many;
    }
  }
  void leave(rondo::proxy_lease const& l) { inside.at(l.id()).fetch_sub(1); }
};

void add(rondo::proxy_rotator& to, int number) {
  auto const name = "p" + std::to_string(number);
  to.add({.name = name,
          .url = rondo::secret{"http://" + name},
          .concurrency = cap,
          .tags = {{"parity", number % 2 == 0 ? "even" : "odd"}},
          .tier = number % 5 == 4 ? 1U : 0U});
}

} // namespace

BOOST_AUTO_TEST_SUITE(proxy_stress)

BOOST_AUTO_TEST_CASE(no_proxy_has_more_than_its_cap_and_at_rest_nothing_is_in_flight) {
  rondo::test::manual_clock clock;
  rondo::proxy_rotator proxies{{.cooldown = 1ms, .most_cooldown = 4ms, .clock = &clock, .seed = 1}};
  for (int i = 0; i < 8; ++i) {
    add(proxies, i);
  }
  far_side there;
  std::atomic<int> busy{3};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      std::array const even{rondo::proxy_tag{"parity", "even"}};
      rondo::proxy_filter const some{even};
      for (int i = 0; i < 6'000; ++i) {
        auto const dice = (i * 7 + t * 3) % 16;
        rondo::proxy_request want;
        want.affinity = i % 3 == 0 ? rondo::affinity{i % 40} : rondo::affinity{};
        want.only = i % 5 == 0 ? &some : nullptr;
        want.origin = i % 4 == 0 ? "one" : "two";
        auto l = proxies.try_acquire(want);
        if (!l) {
          continue;
        }
        there.enter(*l);
        if (dice < 8) {
          l->confirm(1ms * dice);
        }
        there.leave(*l);
        if (dice == 8) {
          l->fail();
        } else if (dice == 9) {
          l->refused_there();
        } else if (dice == 10) {
          l->doubt();
        }
      }
      --busy;
    });
  }
  threads.emplace_back([&] { // administration and time go on meanwhile
    for (int n = 8; busy > 0; n = n + 1) {
      if (n < static_cast<int>(most_proxies)) {
        add(proxies, n);
        proxies.remove("p" + std::to_string(n - 8));
      }
      proxies.set_strategy(rondo::proxy_strategies[static_cast<std::size_t>(n) % rondo::proxy_strategies.size()]);
      clock.advance(300us);
      static_cast<void>(proxies.snapshot());
    }
  });
  for (auto& thread : threads) {
    thread.join();
  }
  BOOST_TEST(there.too_many == 0U);
  for (auto const& each : proxies.snapshot()) {
    BOOST_TEST(each.in_flight == 0U);
  }
}

BOOST_AUTO_TEST_CASE(everybody_who_waits_is_served_once_whoever_frees_the_proxy) {
  rondo::proxy_rotator proxies{{.cooldown = 1ms, .most_cooldown = 2ms, .seed = 1}};
  for (int i = 0; i < 4; ++i) {
    add(proxies, i);
  }
  far_side there;
  constexpr int each = 3'000;
  std::atomic<int> served{0};
  std::atomic<int> refused{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      boost::asio::io_context context{1};
      int left = each;
      auto const ask = [&](auto const& self) -> void {
        if (left-- <= 0) {
          return;
        }
        rondo::proxy_request want;
        want.affinity = rondo::affinity{left % 7 + 7 * t};
        want.timeout = left % 11 == 0 ? 0ms : 20s;
        want.wait_for_resting = true;
        proxies.async_acquire(context.get_executor(), want, [&, self](rondo::error_code ec, rondo::proxy_lease l) {
          if (ec) {
            ++refused;
          } else {
            ++served;
            there.enter(l);
            there.leave(l);
            if (served % 500 == 0) {
              l.fail();
            } else {
              l.succeed();
            }
          }
          self(self);
        });
      };
      for (int i = 0; i < 8; ++i) {
        ask(ask);
      }
      context.run();
    });
  }
  for (auto& thread : threads) {
    thread.join();
  }
  BOOST_TEST(served + refused == 3 * each);
  BOOST_TEST(served >= 3 * each * 10 / 11);
  BOOST_TEST(there.too_many == 0U);
  for (auto const& one : proxies.snapshot()) {
    BOOST_TEST(one.in_flight == 0U);
  }
}

BOOST_AUTO_TEST_SUITE_END()
