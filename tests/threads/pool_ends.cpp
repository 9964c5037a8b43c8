// SPDX-License-Identifier: BSL-1.0
// Pools and contexts that end, stop or are shared while leases are out, requests wait and completions are on their way.
#include "support/duel.hpp"
#include <rondo/key_pool.hpp>

#include <boost/asio/bind_allocator.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <boost/test/unit_test.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <deque>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace asio = boost::asio;
using namespace std::chrono_literals;
using rondo::outcome;

namespace {

rondo::key_params key(std::string name, rondo::limits const& l = {}) {
  return {.name = std::move(name), .secret = rondo::secret{"secret"}, .limits = l};
}

/// How many bytes of a handler's memory are in use.
template <class T> struct counting_allocator {
  using value_type = T;

  explicit counting_allocator(std::atomic<std::ptrdiff_t>& count) noexcept : in_use{&count} {}
  template <class Other>
  counting_allocator(counting_allocator<Other> const& other) noexcept // NOLINT: allocators convert
      : in_use{other.in_use} {}
  T* allocate(std::size_t n) {
    *in_use += static_cast<std::ptrdiff_t>(n * sizeof(T));
    return static_cast<T*>(::operator new(n * sizeof(T)));
  }
  void deallocate(T* p, std::size_t n) {
    *in_use -= static_cast<std::ptrdiff_t>(n * sizeof(T));
    ::operator delete(p);
  }
  template <class Other> friend bool operator==(counting_allocator a, counting_allocator<Other> b) noexcept {
    return a.in_use == b.in_use;
  }

  std::atomic<std::ptrdiff_t>* in_use;
};

/// True while an initiating function runs on this thread.
thread_local bool initiating = false;

/// Starts acquires, and sees where and how their handlers are called.
class watched_client {
public:
  explicit watched_client(asio::io_context& ctx) : strand_{asio::make_strand(ctx)} {}

  void acquire(rondo::key_pool& pool, rondo::request const& r, asio::cancellation_slot slot = {}) {
    initiating = true;
    pool.async_acquire(
        r, asio::bind_cancellation_slot(
               slot, asio::bind_executor(strand_, asio::bind_allocator(counting_allocator<std::byte>{memory_},
                                                                       [this](rondo::error_code ec, rondo::lease l) {
                                                                         inline_ = inline_ || initiating;
                                                                         elsewhere_ = elsewhere_ ||
                                                                                      !strand_.running_in_this_thread();
                                                                         held_ = held_ || memory_ != 0;
                                                                         results.emplace_back(ec, std::move(l));
                                                                       }))));
    initiating = false;
  }

  /// After the context ran dry.
  void judge(std::size_t started) const {
    BOOST_TEST(results.size() == started);
    BOOST_TEST(!inline_, "a handler ran inside the initiating function");
    BOOST_TEST(!elsewhere_, "a handler ran outside its executor");
    BOOST_TEST(!held_, "memory was held while a handler ran");
    BOOST_TEST(memory_ == 0);
  }

  std::vector<std::pair<rondo::error_code, rondo::lease>> results;

private:
  asio::strand<asio::io_context::executor_type> strand_;
  std::atomic<std::ptrdiff_t> memory_{0};
  bool inline_ = false;
  bool elsewhere_ = false;
  bool held_ = false;
};

} // namespace

BOOST_AUTO_TEST_SUITE(pool_ends)

// Ready, parked, refused at once, invalid and cancelled: each on its own, for memory is counted for one at a time.
BOOST_AUTO_TEST_CASE(handlers_run_on_their_executor_after_their_memory_was_given_back) {
  asio::io_context ctx;
  rondo::key_pool pool{ctx.get_executor()};
  pool.add(key("k", {.concurrency = 1, .quota = 100}));
  watched_client client{ctx};
  auto const run = [&] {
    ctx.restart();
    ctx.run();
  };
  client.acquire(pool, {.tokens = 1}); // ready
  run();
  client.acquire(pool, {.tokens = 1}); // parked
  client.results.front().second.refund();
  run();
  client.acquire(pool, {.tokens = 1'000}); // can never be served
  run();
  client.acquire(pool, {.tokens = -1}); // invalid
  run();
  asio::cancellation_signal signal;
  client.acquire(pool, {.tokens = 1}, signal.slot());
  signal.emit(asio::cancellation_type::partial);
  run();
  client.judge(5);
  BOOST_TEST((!client.results[0].first && !client.results[1].first));
  BOOST_TEST((client.results[2].first == rondo::error::too_large));
  BOOST_TEST((client.results[3].first == rondo::error::invalid_argument));
  BOOST_TEST((client.results[4].first == asio::error::operation_aborted));
}

// Leases of a lane end, one of them by a report that gives a lane its first table, while their pool is destroyed.
BOOST_AUTO_TEST_CASE(leases_of_lanes_may_end_while_their_pool_is_destroyed) {
  asio::io_context ctx;
  std::optional<rondo::key_pool> pool;
  std::deque<rondo::lease> leases;
  rondo::test::duel(
      3000,
      [&](int) {
        pool.emplace(ctx.get_executor());
        auto params = key("k", {.requests_per_minute = 10, .concurrency = 4, .quota = 1000});
        params.lanes = {{"tts", {.requests_per_minute = 5, .concurrency = 3}}};
        pool->add(params);
        pool->add(key("other"));
        for (auto const* const lane : {"tts", "new", "tts", "", "new", "tts"}) {
          leases.push_back(*pool->try_acquire({.tokens = 1, .lane = lane}));
        }
      },
      [&](int) { pool.reset(); },
      [&](int) {
        leases[0].settle(2);
        leases[1].report(outcome::rate_limited(1s));
        leases[2].refund();
        leases[3].report(outcome::invalid_key());
        leases[4].report(outcome::overloaded());
        leases.clear();
      },
      [](int) {});
  BOOST_TEST(leases.empty());
}

// Whoever waits while the pool is destroyed gets the lease that was freed in the same moment, or is told of the end.
BOOST_AUTO_TEST_CASE(a_pool_that_is_destroyed_completes_every_waiter_once_though_leases_end) {
  asio::io_context ctx;
  std::optional<rondo::key_pool> pool;
  std::optional<rondo::lease> held;
  constexpr int waiters = 3;
  int served = 0;
  int aborted = 0;
  int wrong = 0;
  rondo::test::duel(
      3000,
      [&](int) {
        served = aborted = 0;
        pool.emplace(ctx.get_executor());
        pool->add(key("k", {.concurrency = 1}));
        held = pool->try_acquire(1);
        for (int i = 0; i < waiters; ++i) {
          pool->async_acquire(1, [&](rondo::error_code ec, rondo::lease l) {
            served += !ec && l.secret() == "secret" ? 1 : 0;
            aborted += ec == asio::error::operation_aborted ? 1 : 0;
          });
        }
      },
      [&](int) { pool.reset(); }, [&](int) { held->settle(1); },
      [&](int) {
        ctx.restart();
        ctx.poll();
        wrong += served + aborted == waiters && served <= 1 ? 0 : 1;
      });
  BOOST_TEST(wrong == 0);
}

// The handlers of requests that wait, of one that was served and of one that was aborted are destroyed with their
// context, and so is all they own. What was served is free again.
BOOST_AUTO_TEST_CASE(a_context_that_is_destroyed_takes_its_completions_with_it) {
  asio::io_context ctx;
  rondo::key_pool lasting{ctx.get_executor()};
  lasting.add(key("k", {.concurrency = 1}));
  auto const owned = std::make_shared<int>(0);
  auto const never = [owned](rondo::error_code, rondo::lease) { BOOST_ERROR("a handler ran without a context"); };
  {
    asio::io_context brief;
    auto held = lasting.try_acquire(1);
    lasting.async_acquire(1, asio::bind_executor(brief.get_executor(), never));
    held->settle(1); // the waiter is served, but will not hear of it
    std::optional<rondo::key_pool> pool{std::in_place, brief.get_executor()};
    pool->add(key("k", {.concurrency = 1}));
    held = pool->try_acquire(1);
    pool->async_acquire({.tokens = 1, .timeout = 1h}, never);
    pool->async_acquire(1, never);
    BOOST_TEST(owned.use_count() == 5);
    pool.reset(); // its lease is still out
    brief.stop();
  }
  BOOST_TEST(owned.use_count() == 2);
  BOOST_TEST(lasting.try_acquire(1).has_value());
}

BOOST_AUTO_TEST_CASE(waiters_stay_parked_while_the_context_is_stopped) {
  asio::io_context ctx;
  rondo::key_pool pool{ctx.get_executor()};
  pool.add(key("k", {.concurrency = 1}));
  auto held = pool.try_acquire(1);
  int served = 0;
  for (int i = 0; i < 2; ++i) {
    pool.async_acquire(1, [&](rondo::error_code ec, rondo::lease) { served += ec ? 0 : 1; });
  }
  ctx.stop();
  held->settle(1);
  ctx.run();
  BOOST_TEST(served == 0);
  ctx.restart();
  ctx.run();
  BOOST_TEST(served == 2);
}

// All three types of cancellation against a lease that ends: every handler is called once, and at rest no capacity is
// missing, whoever was first.
BOOST_AUTO_TEST_CASE(cancellation_of_every_type_loses_no_lease) {
  constexpr std::array types{asio::cancellation_type::terminal, asio::cancellation_type::partial,
                             asio::cancellation_type::total};
  asio::io_context ctx;
  rondo::key_pool pool{ctx.get_executor()};
  pool.add(key("k", {.concurrency = 2}));
  std::array<std::optional<rondo::lease>, 2> held;
  std::array<asio::cancellation_signal, 4> signals;
  auto const strand = asio::make_strand(ctx);
  unsigned completed = 0;
  int wrong = 0;
  rondo::test::duel(
      6000,
      [&](int) {
        completed = 0;
        for (auto& l : held) {
          l = pool.try_acquire(1);
          wrong += l ? 0 : 1;
        }
        for (auto& s : signals) {
          pool.async_acquire(1, asio::bind_cancellation_slot(
                                    s.slot(), asio::bind_executor(strand, [&](rondo::error_code ec, rondo::lease) {
                                      wrong += !ec || ec == asio::error::operation_aborted ? 0 : 1;
                                      ++completed;
                                    })));
        }
      },
      [&](int i) {
        asio::post(strand, [&, i] {
          for (std::size_t n = 0; n < 3; ++n) {
            signals[(static_cast<std::size_t>(i) + n) % signals.size()].emit(types[n]);
          }
        });
        ctx.restart();
        ctx.poll();
      },
      [&](int) {
        for (auto& l : held) {
          l.reset();
        }
      },
      [&](int) {
        ctx.restart();
        ctx.poll();
        wrong += completed == signals.size() ? 0 : 1;
      });
  BOOST_TEST(wrong == 0);
  BOOST_TEST(pool.snapshot()[0].in_flight == 0U);
}

// The alarm of a pool goes off on one thread of its context while another destroys the pool.
BOOST_AUTO_TEST_CASE(a_pool_may_be_destroyed_while_its_alarm_goes_off) {
  asio::io_context ctx;
  std::optional<rondo::key_pool> pool;
  int completed = 0;
  int wrong = 0;
  rondo::test::duel(
      2000,
      [&](int) {
        completed = 0;
        pool.emplace(ctx.get_executor());
        pool->add(key("k", {.requests_per_minute = 1}));
        pool->try_acquire(1)->report(outcome::rate_limited(1us));
        pool->async_acquire(1, [&](rondo::error_code ec, rondo::lease) { completed += ec ? 1 : 0; });
        pool->set_limits("k", {.requests_per_minute = 2});
        ctx.restart();
      },
      [&](int) { ctx.poll(); }, [&](int) { pool.reset(); },
      [&](int) {
        ctx.restart();
        ctx.poll();
        wrong += completed <= 1 ? 0 : 1;
      });
  BOOST_TEST(wrong == 0);
}

BOOST_AUTO_TEST_SUITE_END()
