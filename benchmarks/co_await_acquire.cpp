// SPDX-License-Identifier: BSL-1.0
// What `co_await pool.acquire(n)` costs when a key is ready, against awaiting a child coroutine that does nothing, and
// against `try_acquire`, which needs no coroutine. Every loop runs inside one coroutine.
//
// An acquire that went through the scheduler would be seen: the context counts the handlers that it runs.
#include "medians.hpp"
#include <rondo/key_pool.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>

namespace {

namespace asio = boost::asio;

constexpr std::int64_t reserved = 200;
constexpr std::int64_t cost = 170;

struct fixture {
  fixture() {
    for (int i = 0; i < 8; ++i) {
      pool.add({.name = "key-" + std::to_string(i),
                .secret = rondo::secret{"sk_" + std::to_string(i)},
                .limits = {.quota = 1'000'000'000'000'000}});
    }
  }

  asio::io_context context{1};
  rondo::key_pool pool{context.get_executor()};
};

asio::awaitable<void> nothing() {
  co_return;
}

asio::awaitable<void> await_nothing(benchmark::State& state, rondo::key_pool&) {
  for ([[maybe_unused]] auto _ : state) {
    co_await nothing();
  }
}

asio::awaitable<void> await_acquire(benchmark::State& state, rondo::key_pool& pool) {
  for ([[maybe_unused]] auto _ : state) {
    rondo::lease lease = co_await pool.acquire(reserved);
    lease.settle(cost);
  }
}

asio::awaitable<void> try_acquire(benchmark::State& state, rondo::key_pool& pool) {
  for ([[maybe_unused]] auto _ : state) {
    auto lease = pool.try_acquire(reserved);
    lease->settle(cost);
  }
  co_return;
}

using loop = asio::awaitable<void>(benchmark::State&, rondo::key_pool&);

template <loop* Body> void run(benchmark::State& state) {
  fixture f;
  asio::co_spawn(f.context, Body(state, f.pool), [](std::exception_ptr e) {
    if (e) {
      std::rethrow_exception(e);
    }
  });
  auto const handlers = f.context.run();
  bench::check(handlers < 10, "a ready key was handed over by the scheduler");
  if (Body != &await_nothing) {
    std::int64_t charged = 0;
    std::uint64_t granted = 0;
    for (auto const& key : f.pool.snapshot()) {
      charged += key.character_count;
      granted += key.requests;
    }
    bench::check(granted == static_cast<std::uint64_t>(state.iterations()), "not every acquire was counted");
    bench::check(charged == state.iterations() * cost, "the charges do not add up");
  }
}

} // namespace

int main(int argc, char** argv) {
  benchmark::RegisterBenchmark("await_nothing", &run<&await_nothing>);
  benchmark::RegisterBenchmark("await_acquire", &run<&await_acquire>);
  benchmark::RegisterBenchmark("try_acquire", &run<&try_acquire>);
  bench::medians results;
  bench::run(results, argc, argv);
  results.print_ratio("await_acquire_to_await_nothing", "await_acquire", "await_nothing");
  results.print_ratio("await_acquire_to_try_acquire", "await_acquire", "try_acquire");
  return bench::wrong() ? 1 : 0;
}
