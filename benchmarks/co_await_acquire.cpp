// SPDX-License-Identifier: BSL-1.0
// What `co_await pool.acquire(n)` and its settle cost when a key is ready, against awaiting a child coroutine that does
// nothing, and against `try_acquire`, which needs no coroutine. Every loop runs inside one coroutine.
//
// An acquire that went through the scheduler would be seen: the context counts the handlers that it runs.
#include "rotation.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>

#include <cstdint>
#include <exception>
#include <memory>

namespace {

using namespace bench;
namespace asio = boost::asio;

using contender = rondo_contender<own_clock>;
using loop = asio::awaitable<books>(contender&, std::uint64_t times);

asio::awaitable<void> nothing() {
  co_return;
}

asio::awaitable<books> await_nothing(contender&, std::uint64_t times) {
  for (std::uint64_t i = 0; i < times; ++i) {
    co_await nothing();
  }
  co_return books{};
}

asio::awaitable<books> await_acquire(contender& rondo, std::uint64_t times) {
  books done;
  for (; done.granted < times; ++done.granted) {
    rondo::lease lease = co_await rondo.pool().acquire(reserved);
    keep(lease.secret().data());
    auto const cost = cost_of(done.granted);
    lease.settle(cost);
    done.charged += cost;
  }
  co_return done;
}

asio::awaitable<books> try_acquire(contender& rondo, std::uint64_t times) {
  books done;
  for (; done.granted < times; ++done.granted) {
    auto lease = rondo.acquire();
    keep(contender::secret(lease).data());
    auto const cost = cost_of(done.granted);
    contender::settle(lease, cost);
    done.charged += cost;
  }
  co_return done;
}

void enter_loop(contest& into, char const* name, loop* body) {
  auto const it = std::make_shared<server<contender>>([] { return std::make_unique<contender>(field{8, 8}); });
  into.enter(
      name, 1,
      [=](std::uint64_t times) {
        auto& rondo = it->contender();
        auto const start = clock_type::now();
        asio::co_spawn(rondo.context(), body(rondo, times), [&](std::exception_ptr const& e, books const& done) {
          check(!e, "an acquire has failed");
          it->expect(done);
        });
        rondo.context().restart();
        auto const handlers = rondo.context().run();
        auto const took = ns_since(start);
        check(handlers < 10, "a ready key was handed over by the scheduler");
        return took / static_cast<double>(times);
      },
      [it] { it->audit(); });
}

} // namespace

int main(int argc, char** argv) {
  contest all{argc, argv};
  enter_loop(all, "await_nothing", &await_nothing);
  enter_loop(all, "await_acquire", &await_acquire);
  enter_loop(all, "try_acquire", &try_acquire);
  auto const seen = all.run();
  seen.print_ratio("await_acquire_to_await_nothing", "await_acquire", "await_nothing");
  seen.print_ratio("await_acquire_to_try_acquire", "await_acquire", "try_acquire");
  return wrong() ? 1 : 0;
}
