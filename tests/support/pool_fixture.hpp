// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "support/manual_clock.hpp"
#include <rondo/key_pool.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/test/unit_test.hpp>

#include <chrono>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace rondo::test {

namespace asio = boost::asio;
using namespace std::chrono_literals;

inline key_params key(std::string name, limits const& l = {}, std::string account = {}) {
  auto const text = "secret-of-" + name;
  return {.name = std::move(name), .secret = rondo::secret{text}, .account = std::move(account), .limits = l};
}

/// What became of an acquire that was started in the background.
struct pending {
  bool done = false;
  error_code ec;
  rondo::lease lease;

  [[nodiscard]] std::string key() const { return done && !ec ? std::string{lease.key_name()} : std::string{}; }
};

/// A pool on a context and clocks that the test drives.
class pool_fixture {
public:
  explicit pool_fixture(strategy s = strategy::round_robin) { reset({.strategy = s}); }
  ~pool_fixture() {
    pool.reset();
    ctx.restart();
    ctx.poll();
    BOOST_TEST(ctx.stopped(), "work was left in the context");
  }

  void reset(pool_options o) {
    o.clock = &clock;
    o.seed = 1;
    pool.emplace(ctx.get_executor(), std::move(o));
  }

  /// Starts an acquire and lets everything run that can.
  std::shared_ptr<pending> start(request const& r) {
    auto p = std::make_shared<pending>();
    pool->async_acquire(r, [p](error_code ec, rondo::lease l) {
      p->done = true;
      p->ec = ec;
      p->lease = std::move(l);
    });
    poll();
    return p;
  }

  void poll() {
    ctx.restart();
    ctx.poll();
  }

  void advance(std::chrono::nanoseconds by) {
    clock.advance(by);
    pool->wake();
    poll();
  }

  /// Runs a coroutine to its end; fails the test if it waits for something that does not happen.
  template <class Function> void run(Function function) {
    std::exception_ptr error;
    bool finished = false;
    asio::co_spawn(ctx, std::move(function), [&](std::exception_ptr e) {
      error = e;
      finished = true;
    });
    poll();
    BOOST_TEST_REQUIRE(finished, "the coroutine waits");
    if (error) {
      std::rethrow_exception(error);
    }
  }

  key_state state(std::string_view name) const {
    auto const s = pool->snapshot();
    auto const* const found = s.find(name);
    BOOST_TEST_REQUIRE(found);
    return *found;
  }

  manual_clock clock;
  asio::io_context ctx;
  std::optional<key_pool> pool;
};

} // namespace rondo::test
