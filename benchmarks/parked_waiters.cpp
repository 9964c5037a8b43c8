// SPDX-License-Identifier: BSL-1.0
// 100,000 waiters parked on 1,000 cooling keys: the memory that each of them takes, and the CPU that all of them use
// while nothing happens.
//
// Memory is what glibc's heap has given out, its own bytes included. `callback` is a parked async_acquire whose handler
// holds one pointer. `coroutine` is a co_spawn'ed coroutine that awaits pool.acquire, less the same coroutine that
// awaits an operation with the same result which keeps nothing but its handler, in memory that is there already: what
// is left is what the acquire takes beside its caller's own frame.
#include "heap.hpp"
#include "rotation.hpp"

#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>

#include <sys/resource.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

using namespace bench;
namespace asio = boost::asio;

constexpr std::size_t waiters = 100'000;
constexpr std::size_t keys = 1000;

using contender = rondo_contender<own_clock>;

/// What `park` adds to the heap for each waiter.
template <class Park> double bytes_per_waiter(asio::io_context& context, Park&& park) {
  park(); // the first of a kind may find something to set up
  context.restart();
  context.poll();
  auto const before = heap_in_use();
  for (std::size_t i = 0; i < waiters; ++i) {
    park();
  }
  context.restart();
  context.poll();
  return static_cast<double>(heap_in_use() - before) / waiters;
}

[[nodiscard]] double cpu_seconds() {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  auto const seconds = [](timeval const& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

/// Nothing comes back meanwhile.
void print_cost_of_idling(asio::io_context& context) {
  constexpr std::chrono::seconds length{2};
  auto const before = cpu_seconds();
  context.restart();
  auto const handlers = context.run_for(length);
  print_value("idle/cpu_share", (cpu_seconds() - before) / std::chrono::duration<double>{length}.count());
  print_value("idle/handlers", static_cast<double>(handlers));
}

asio::awaitable<void> await_acquire(contender& rondo) {
  rondo::lease const never = co_await rondo.pool().acquire(reserved);
}

asio::awaitable<void> await_nothing() {
  auto const keep_handler = [](auto&& handler) {
    static auto& kept = *new std::vector<std::decay_t<decltype(handler)>>; // for good: nobody ends these coroutines
    if (kept.empty()) {
      kept.reserve(waiters + 1);
    }
    kept.push_back(std::forward<decltype(handler)>(handler));
  };
  asio::deferred_t token;
  rondo::lease const never =
      co_await asio::async_initiate<asio::deferred_t, void(rondo::error_code, rondo::lease)>(keep_handler, token);
}

/// Takes the pool away from its waiters, and looks at how they end.
void check_ends(contender& rondo, std::size_t const& aborted) {
  rondo.pool() = rondo::key_pool{rondo.context().get_executor()};
  rondo.context().restart();
  rondo.context().run();
  check(aborted == waiters + 1, "not every waiter was parked, or not every one was aborted");
}

void measure_callbacks() {
  contender rondo{field{keys, 0}};
  std::size_t aborted = 0;
  print_value("bytes_per_waiter/callback", bytes_per_waiter(rondo.context(), [&] {
                rondo.pool().async_acquire(reserved, [&aborted](rondo::error_code const& ec, rondo::lease const&) {
                  aborted += ec == asio::error::operation_aborted ? 1 : 0;
                });
              }));
  print_cost_of_idling(rondo.context());
  check_ends(rondo, aborted);
}

void measure_coroutines() {
  contender rondo{field{keys, 0}};
  asio::io_context elsewhere;
  std::size_t aborted = 0;
  auto const spawn = [&aborted](asio::io_context& context, asio::awaitable<void> body) {
    asio::co_spawn(context, std::move(body), [&aborted](std::exception_ptr const& e) { aborted += e ? 1 : 0; });
  };
  auto const with = bytes_per_waiter(rondo.context(), [&] { spawn(rondo.context(), await_acquire(rondo)); });
  auto const without = bytes_per_waiter(elsewhere, [&] { spawn(elsewhere, await_nothing()); });
  print_value("bytes_per_waiter/coroutine", with - without);
  print_value("bytes_per_waiter/coroutine_itself", without);
  check_ends(rondo, aborted);
}

} // namespace

int main() {
  measure_callbacks();
  measure_coroutines();
  return wrong() ? 1 : 0;
}
