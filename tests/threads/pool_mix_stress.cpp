// SPDX-License-Identifier: BSL-1.0
// Many clients on several threads do everything at once, while one thread moves the clock. What the seed decides is
// what each client does, not who comes first: a run that fails may pass when it is repeated.
#include "support/manual_clock.hpp"
#include <rondo/key_pool.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
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
#include <mutex>
#include <optional>
#include <random>
#include <shared_mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace asio = boost::asio;
using namespace std::chrono_literals;
using rondo::error;
using rondo::outcome;

namespace {

constexpr std::size_t accounts = 4;
constexpr rondo::limits allowed{
    .requests_per_second = 12, .tokens_per_minute = 2'000, .concurrency = 3, .quota = 30'000};
constexpr std::uint32_t cap_of_lane = 2;

/// The provider's own count of what reaches it. Any thread.
class provider {
public:
  struct account {
    std::atomic<int> in_flight{0};
    std::atomic<int> in_flight_in_lane{0};
    std::atomic<std::int64_t> requests{0};
    std::atomic<std::int64_t> failures{0};
    std::atomic<std::int64_t> charged{0};
    std::mutex mutex;
    std::vector<rondo::steady_time> arrivals;
  };

  void enter(account& a, bool in_lane) {
    over_ = over_ || ++a.in_flight > static_cast<int>(allowed.concurrency);
    over_in_lane_ = over_in_lane_ || (in_lane && ++a.in_flight_in_lane > static_cast<int>(cap_of_lane));
    ++a.requests;
  }
  static void leave(account& a, bool in_lane) {
    a.in_flight_in_lane -= in_lane ? 1 : 0;
    --a.in_flight;
  }
  static void arrive(account& a, rondo::steady_time at) {
    std::lock_guard const lock{a.mutex};
    a.arrivals.push_back(at);
  }

  void judge() {
    BOOST_TEST(!over_, "too many at once");
    BOOST_TEST(!over_in_lane_, "too many at once in the lane");
    for (auto& a : all) {
      BOOST_TEST(a.charged <= allowed.quota);
      std::sort(a.arrivals.begin(), a.arrivals.end());
      for (std::size_t i = allowed.requests_per_second; i < a.arrivals.size(); ++i) {
        BOOST_REQUIRE((a.arrivals[i] - a.arrivals[i - allowed.requests_per_second] >= 1s));
      }
    }
  }

  std::array<account, accounts> all;

private:
  std::atomic<bool> over_{false};
  std::atomic<bool> over_in_lane_{false};
};

class mix {
public:
  explicit mix(unsigned seed) : seed_{seed} {
    for (std::size_t i = 0; i < accounts; ++i) {
      for (auto const* const half : {"x", "y"}) {
        pool_.add({.name = std::to_string(i) + half,
                   .secret = rondo::secret{"secret"},
                   .account = std::to_string(i),
                   .limits = allowed,
                   .lanes = {{"tts", {.concurrency = cap_of_lane}}}});
      }
    }
  }

  void run() {
    constexpr unsigned clients = 16;
    left_ = clients + 1;
    for (unsigned c = 0; c < clients; ++c) {
      auto const strand = asio::make_strand(context_);
      asio::co_spawn(strand, client(strand, seed_ * 1000 + c), asio::detached);
    }
    asio::co_spawn(asio::make_strand(context_), administrator(seed_ * 1000 + 999), asio::detached);
    {
      std::vector<std::jthread> crew;
      crew.emplace_back([&] { move_time(); });
      crew.emplace_back([&] { context_.run(); });
      crew.emplace_back([&] { context_.run(); });
    }
    BOOST_TEST(left_ == 0, "somebody sleeps");
    BOOST_TEST(!wrong_error_);
    judge();
  }

private:
  /// Nobody reads the clock while it is moved, or what was granted before it moved would be noted for after.
  void move_time() {
    while (left_ != 0) {
      {
        std::lock_guard const moving{time_};
        clock_.advance(7ms);
      }
      pool_.wake();
      std::this_thread::yield();
    }
  }

  asio::awaitable<void> client(asio::strand<asio::io_context::executor_type> strand, unsigned seed) {
    std::mt19937 random{seed};
    for (int i = 0; i < 120; ++i) {
      auto const in_lane = random() % 4 == 0;
      rondo::request r{.tokens = static_cast<std::int64_t>(1 + random() % 20), .lane = in_lane ? "tts" : ""};
      r.unsent = true; // a lease that was waited for is known of later than it was granted; the mark has an exact time
      rondo::lease l;
      switch (random() % 6) {
      case 0:
        if (auto got = pool_.try_acquire(r)) {
          l = std::move(*got);
        }
        break;
      case 1: r.timeout = std::chrono::milliseconds{random() % 300}; [[fallthrough]];
      case 2:
      case 3: {
        auto [ec, got] = co_await pool_.async_acquire(r, asio::as_tuple(asio::use_awaitable));
        expect(!ec || ec == error::exhausted || ec == error::would_miss_deadline);
        l = std::move(got);
        break;
      }
      default: {
        asio::cancellation_signal signal;
        asio::post(strand, [&, n = random() % 3] {
          constexpr std::array types{asio::cancellation_type::terminal, asio::cancellation_type::partial,
                                     asio::cancellation_type::total};
          signal.emit(types[n]);
        });
        auto [ec, got] = co_await pool_.async_acquire(
            r, asio::bind_cancellation_slot(signal.slot(), asio::as_tuple(asio::use_awaitable)));
        co_await asio::post(asio::use_awaitable); // the signal must not go before it was emitted
        expect(!ec || ec == error::exhausted || ec == asio::error::operation_aborted);
        l = std::move(got);
      }
      }
      if (l && l.account() != "extra") {
        use(std::move(l), in_lane, random());
      }
      if (random() % 4 == 0) {
        co_await asio::post(asio::use_awaitable);
      }
    }
    --left_;
  }

  void use(rondo::lease l, bool in_lane, unsigned dice) {
    auto& a = provider_.all[static_cast<std::size_t>(std::stoi(std::string{l.account()}))];
    provider_.enter(a, in_lane);
    auto const tokens = l.tokens();
    if (dice % 8 == 0) {
      --a.requests;
      provider::leave(a, in_lane);
      l.refund();
      return;
    }
    {
      std::shared_lock const still{time_};
      provider::arrive(a, clock_.steady_now());
      l.mark_sent();
    }
    dice /= 8;
    auto const actual = tokens - static_cast<std::int64_t>(dice % 2) * (tokens / 2);
    switch (dice % 12) {
    case 0:
      end(a, in_lane, true, [&] { l.report(outcome::rate_limited(std::chrono::milliseconds{dice % 50})); });
      break;
    case 1: end(a, in_lane, true, [&] { l.report(outcome::overloaded()); }); break;
    case 2: end(a, in_lane, true, [&] { l.report(outcome::transport_error()); }); break;
    case 3: end(a, in_lane, false, [&] { l.report(outcome::rejected()); }); break;
    default: a.charged += actual; end(a, in_lane, false, [&] { l.settle(actual); });
    }
  }
  template <class End> static void end(provider::account& a, bool in_lane, bool failure, End&& how) {
    a.failures += failure ? 1 : 0;
    provider::leave(a, in_lane);
    how();
  }

  /// Changes what does not touch the promises that the clients look at.
  asio::awaitable<void> administrator(unsigned seed) {
    std::mt19937 random{seed};
    for (int i = 0; i < 150; ++i) {
      auto const key = std::to_string(random() % accounts) + "x";
      switch (random() % 6) {
      case 0: pool_.set_disabled(key, true); break;
      case 1: pool_.set_limits(key, allowed); break;
      case 2: pool_.set_strategy(static_cast<rondo::strategy>(random() % 6)); break;
      case 3: static_cast<void>(pool_.snapshot()); break;
      case 4: pool_.set_lane_limits(key, "tts", {.concurrency = cap_of_lane}); break;
      default:
        if (!pool_.remove("extra")) {
          pool_.add({.name = "extra", .secret = rondo::secret{"secret"}, .limits = {.concurrency = 1}});
        }
      }
      pool_.set_disabled(key, false);
      co_await asio::post(asio::use_awaitable);
    }
    pool_.remove("extra");
    --left_;
  }

  void expect(bool allowed_error) { wrong_error_ = wrong_error_ || !allowed_error; }

  void judge() {
    provider_.judge();
    auto const shown = pool_.snapshot();
    BOOST_TEST(shown.size() == 2 * accounts);
    for (std::size_t i = 0; i < accounts; ++i) {
      auto const& x = *shown.find(std::to_string(i) + "x");
      auto const& y = *shown.find(std::to_string(i) + "y");
      auto& a = provider_.all[i];
      BOOST_TEST(x.in_flight == 0U);
      BOOST_TEST(x.requests + y.requests == static_cast<std::uint64_t>(a.requests.load()));
      BOOST_TEST(x.failures + y.failures == static_cast<std::uint64_t>(a.failures.load()));
      BOOST_TEST(x.character_count == a.charged.load());
    }
  }

  unsigned const seed_;
  rondo::test::manual_clock clock_;
  std::shared_mutex time_;
  asio::io_context context_;
  rondo::key_pool pool_{context_.get_executor(), {.cooldown = 1s, .clock = &clock_, .seed = seed_}};
  provider provider_;
  std::atomic<int> left_{0};
  std::atomic<bool> wrong_error_{false}; // the checks of Boost.Test are for one thread
};

} // namespace

BOOST_AUTO_TEST_SUITE(pool_mix_stress)

BOOST_AUTO_TEST_CASE(everything_at_once_keeps_every_promise) {
  for (unsigned seed = 1; seed <= 8; ++seed) {
    BOOST_TEST_CONTEXT("seed " << seed) {
      mix{seed}.run();
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()
