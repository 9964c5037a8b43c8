// SPDX-License-Identifier: BSL-1.0
#include "support/duel.hpp"
#include "support/manual_clock.hpp"
#include <rondo/key_pool.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace asio = boost::asio;
using namespace std::chrono_literals;
using rondo::outcome;

namespace {

/// Counts on the provider's side what each key was used for.
struct provider_side {
  struct account {
    std::atomic<int> in_flight{0};
    std::atomic<int> most_in_flight{0};
    std::atomic<std::int64_t> charged{0};
  };
  std::array<account, 64> accounts;

  void enter(std::size_t k) {
    auto const now = ++accounts[k].in_flight;
    auto seen = accounts[k].most_in_flight.load();
    while (seen < now && !accounts[k].most_in_flight.compare_exchange_weak(seen, now)) {
    }
  }
  void leave(std::size_t k) { --accounts[k].in_flight; }
};

std::size_t number_of(rondo::lease const& l) {
  return static_cast<std::size_t>(std::stoi(std::string{l.key_name().substr(1)}));
}

rondo::key_params key(int i, rondo::limits const& l) {
  return {.name = "k" + std::to_string(i), .secret = rondo::secret{"secret"}, .limits = l};
}

void run_threads(asio::io_context& ctx, int threads) {
  std::vector<std::jthread> crew;
  for (int t = 0; t < threads; ++t) {
    crew.emplace_back([&] { ctx.run(); });
  }
}

} // namespace

BOOST_AUTO_TEST_SUITE(pool_stress)

// Threads that never wait: quota and concurrency hold on the provider's side, and at the end the books agree.
BOOST_AUTO_TEST_CASE(nothing_is_granted_over_a_limit_and_the_books_balance) {
  constexpr int keys = 6;
  constexpr std::int64_t quota = 40'000;
  asio::io_context ctx;
  rondo::key_pool pool{ctx.get_executor()};
  provider_side provider;
  for (int i = 0; i < keys; ++i) {
    pool.add(key(i, {.concurrency = 3, .quota = quota}));
  }
  {
    std::vector<std::jthread> crew;
    for (unsigned t = 0; t < 4; ++t) {
      crew.emplace_back([&, t] {
        std::mt19937 random{t + 1};
        for (int i = 0; i < 30000; ++i) {
          auto l = pool.try_acquire(static_cast<std::int64_t>(1 + random() % 20));
          if (!l) {
            continue;
          }
          auto const k = number_of(*l);
          auto const tokens = l->tokens();
          provider.enter(k);
          provider.leave(k);
          switch (random() % 4) {
          case 0: l->refund(); break;
          case 1: l->report(outcome::transport_error()); break;
          case 2:
            provider.accounts[k].charged += tokens / 2;
            l->settle(tokens / 2);
            break;
          default: provider.accounts[k].charged += tokens; l.reset();
          }
        }
      });
    }
  }
  for (auto const& state : pool.snapshot()) {
    auto const& account = provider.accounts[static_cast<std::size_t>(std::stoi(state.name.substr(1)))];
    BOOST_TEST(account.most_in_flight <= 3);
    BOOST_TEST(account.charged <= quota);
    BOOST_TEST(state.character_count == account.charged);
    BOOST_TEST(state.in_flight == 0U);
  }
}

// More coroutines than leases, on several threads, each waiting for its turn: all of them end, so none sleeps while a
// key could serve it.
BOOST_AUTO_TEST_CASE(no_waiter_sleeps_while_a_key_could_serve_him) {
  for (unsigned seed = 1; seed <= 20; ++seed) {
    asio::io_context ctx;
    rondo::key_pool pool{ctx.get_executor()};
    provider_side provider;
    for (int i = 0; i < 3; ++i) {
      pool.add(key(i, {.concurrency = 2}));
    }
    std::atomic<int> served{0};
    constexpr int workers = 40;
    constexpr int rounds = 50;
    for (unsigned w = 0; w < workers; ++w) {
      asio::co_spawn(
          asio::make_strand(ctx),
          [&, w]() -> asio::awaitable<void> {
            std::mt19937 random{seed * 1000 + w};
            for (int i = 0; i < rounds; ++i) {
              rondo::lease l = co_await pool.acquire(static_cast<std::int64_t>(1 + random() % 3));
              auto const k = number_of(l);
              provider.enter(k);
              if (random() % 3 == 0) {
                co_await asio::post(asio::use_awaitable);
              }
              provider.leave(k);
              if (random() % 2 == 0) {
                l.refund();
              } else {
                l.settle(1);
              }
              ++served;
            }
          },
          asio::detached);
    }
    run_threads(ctx, 3);
    BOOST_TEST(served == workers * rounds, "seed " << seed);
    for (auto const& a : provider.accounts) {
      BOOST_TEST(a.most_in_flight <= 2);
    }
  }
}

// A lease ends while somebody finds the key busy and takes it out of sight.
BOOST_AUTO_TEST_CASE(a_key_that_is_freed_while_it_is_parked_comes_back) {
  asio::io_context ctx;
  rondo::key_pool pool{ctx.get_executor()};
  pool.add(key(0, {.concurrency = 1, .quota = 1'000'000'000}));
  std::optional<rondo::lease> held;
  std::optional<rondo::lease> taken;
  int lost = 0;
  rondo::test::duel(
      60'000,
      [&](int) {
        held = pool.try_acquire(1);
        lost += held ? 0 : 1;
      },
      [&](int) { held.reset(); }, [&](int) { taken = pool.try_acquire(1); },
      [&](int) {
        if (!taken) {
          taken = pool.try_acquire(1);
          lost += taken ? 0 : 1;
        }
        taken.reset();
      });
  BOOST_TEST(lost == 0);
}

// A lease ends while somebody joins the line: he must be served, for nobody comes after him who would look again.
BOOST_AUTO_TEST_CASE(whoever_joins_the_line_while_a_lease_ends_is_served) {
  asio::io_context ctx;
  rondo::key_pool pool{ctx.get_executor()};
  pool.add(key(0, {.concurrency = 1}));
  std::optional<rondo::lease> held;
  std::atomic<int> served{0};
  constexpr int rounds = 60'000;
  int asleep = 0;
  rondo::test::duel(
      rounds, [&](int) { held = pool.try_acquire(1); }, [&](int) { held->refund(); },
      [&](int) { pool.async_acquire(1, [&](rondo::error_code ec, rondo::lease) { served += ec ? 0 : 1; }); },
      [&](int i) {
        ctx.restart();
        ctx.poll();
        asleep += served == i ? 0 : 1;
      });
  BOOST_TEST(asleep == 0);
  BOOST_TEST(served == rounds);
}

// The pool is destroyed while its last leases end elsewhere: exactly one of the threads cleans up.
BOOST_AUTO_TEST_CASE(a_lease_may_end_while_its_pool_is_destroyed) {
  asio::io_context ctx;
  std::optional<rondo::key_pool> pool;
  std::optional<rondo::lease> last;
  rondo::test::duel(
      3000,
      [&](int) {
        pool.emplace(ctx.get_executor());
        pool->add(key(0, {.requests_per_minute = 10, .quota = 1000}));
        last = pool->try_acquire(1);
      },
      [&](int) { pool.reset(); }, [&](int) { last.reset(); }, [](int) {});
  BOOST_TEST(!pool.has_value());
}

// Cooldowns, probes, refunds and waiters at once, with a clock that jumps ahead whenever everybody waits.
BOOST_AUTO_TEST_CASE(everybody_is_served_through_cooldowns_that_begin_and_end) {
  for (unsigned seed = 1; seed <= 15; ++seed) {
    rondo::test::manual_clock clock;
    asio::io_context ctx;
    rondo::key_pool pool{ctx.get_executor(), {.cooldown = 1s, .clock = &clock, .seed = seed}};
    for (int i = 0; i < 8; ++i) {
      pool.add(key(i, {.requests_per_second = 20, .concurrency = 4}));
    }
    std::atomic<int> left{30};
    for (unsigned w = 0; w < 30; ++w) {
      asio::co_spawn(
          asio::make_strand(ctx),
          [&, w]() -> asio::awaitable<void> {
            std::mt19937 random{seed * 1000 + w};
            for (int i = 0; i < 60; ++i) {
              rondo::lease l = co_await pool.acquire(1);
              switch (random() % 8) {
              case 0: l.report(outcome::rate_limited(std::chrono::milliseconds{random() % 500})); break;
              case 1: l.refund(); break;
              default: l.settle(1);
              }
            }
            --left;
          },
          asio::detached);
    }
    std::jthread time{[&] {
      while (left != 0) {
        clock.advance(10ms);
        pool.wake();
        std::this_thread::yield();
      }
    }};
    run_threads(ctx, 2);
    BOOST_TEST(left == 0, "seed " << seed);
  }
}

// Cancellation races with service: either the handler gets the lease or the capacity is still there.
BOOST_AUTO_TEST_CASE(cancellation_neither_loses_capacity_nor_a_lease_on_its_way) {
  asio::io_context ctx;
  rondo::key_pool pool{ctx.get_executor()};
  pool.add(key(0, {.concurrency = 1}));
  std::atomic<int> served{0};
  std::atomic<int> aborted{0};
  constexpr int rounds = 6000;
  for (int i = 0; i < rounds; ++i) {
    auto holder = pool.try_acquire(1);
    BOOST_REQUIRE(holder.has_value());
    auto const strand = asio::make_strand(ctx);
    auto signal = std::make_shared<asio::cancellation_signal>();
    asio::post(strand, [&, strand, signal] {
      pool.async_acquire(
          1, asio::bind_cancellation_slot(
                 signal->slot(), asio::bind_executor(strand, [&, signal](rondo::error_code ec, rondo::lease l) {
                   if (ec) {
                     BOOST_REQUIRE((ec == asio::error::operation_aborted));
                     ++aborted;
                   } else {
                     ++served;
                     l.settle(1);
                   }
                 })));
    });
    ctx.restart();
    ctx.run_one();
    std::jthread releaser{[&] { holder->settle(1); }};
    asio::post(strand, [signal] { signal->emit(asio::cancellation_type::total); });
    ctx.run();
    releaser.join();
    ctx.restart();
    ctx.run(); // the releaser may have served it last
  }
  BOOST_TEST(served + aborted == rounds);
  BOOST_TEST(pool.try_acquire(1).has_value());
}

// Keys come and go, limits change and leases outlive their pool, while others acquire.
BOOST_AUTO_TEST_CASE(keys_may_change_while_leases_are_out) {
  for (int round = 0; round < 20; ++round) {
    asio::io_context ctx;
    std::optional<rondo::key_pool> pool{std::in_place, ctx.get_executor()};
    for (int i = 0; i < 4; ++i) {
      pool->add(key(i, {}));
    }
    std::atomic<bool> stop{false};
    std::atomic<bool> torn{false}; // the checks of Boost.Test are for one thread
    std::vector<rondo::lease> kept;
    std::mutex mutex;
    {
      std::vector<std::jthread> crew;
      for (unsigned t = 0; t < 2; ++t) {
        crew.emplace_back([&, t] {
          std::mt19937 random{t};
          while (!stop) {
            if (auto l = pool->try_acquire(1)) {
              torn = torn || l->secret() != "secret";
              if (random() % 64 == 0) {
                std::lock_guard const lock{mutex};
                kept.push_back(std::move(*l));
              }
            }
          }
        });
      }
      for (int i = 0; i < 200; ++i) {
        auto const name = "k" + std::to_string(i % 4);
        pool->set_limits(name, {.requests_per_minute = i % 2 == 0 ? 0U : 100'000U, .concurrency = 1000});
        pool->set_disabled(name, i % 3 == 0);
        pool->remove(name);
        pool->add(key(i % 4, {}));
        static_cast<void>(pool->snapshot());
      }
      stop = true;
    }
    BOOST_TEST(!torn);
    for (auto const& l : kept) {
      BOOST_TEST(l.secret() == "secret");
    }
    pool.reset();
    std::jthread elsewhere{[&] { kept.clear(); }}; // the last lease cleans up
  }
}

// What is spent while the limits are replaced stays spent.
BOOST_AUTO_TEST_CASE(no_charge_is_lost_while_limits_change) {
  asio::io_context ctx;
  rondo::key_pool pool{ctx.get_executor()};
  pool.add(key(0, {.quota = 1'000'000}));
  constexpr int rounds = 10'000;
  constexpr int each = 20;
  rondo::test::duel(
      rounds, [](int) {},
      [&](int) {
        for (int i = 0; i < each; ++i) {
          pool.try_acquire(1)->settle(1);
        }
      },
      [&](int i) { pool.set_limits("k0", {.quota = 1'000'000 + i % 2}); }, [](int) {});
  BOOST_TEST(pool.snapshot()[0].character_count == rounds * each);
}

BOOST_AUTO_TEST_SUITE_END()
