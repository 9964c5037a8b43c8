// SPDX-License-Identifier: BSL-1.0
// What `co_await pool.acquire(n)` costs when a key is ready, alone and with its settle, against awaiting a child
// coroutine that does nothing, and against `try_acquire`, which needs no coroutine. Every loop runs inside one
// coroutine.
//
// `await_exchange` shows what of that is the way and not the work: a child coroutine that makes one atomic exchange and
// returns an object of the size of a lease.
//
// An acquire that went through the scheduler would be seen: the context counts the handlers that it runs.
#include "rotation.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <utility>
#include <vector>

namespace {

using namespace bench;
namespace asio = boost::asio;

using contender = rondo_contender<own_clock>;

/// What a loop has done, and how long that took.
struct report {
  books done;
  double ns = 0;
};
using loop = asio::awaitable<report>(contender&, std::uint64_t times);

/// What is acquired before anything is settled, where settling is not on the clock.
constexpr std::size_t batch = 64;

asio::awaitable<void> nothing() {
  co_return;
}

asio::awaitable<report> await_nothing(contender&, std::uint64_t times) {
  auto const start = clock_type::now();
  for (std::uint64_t i = 0; i < times; ++i) {
    co_await nothing();
  }
  co_return report{{}, ns_since(start)};
}

/// Takes the place of a lease: one word was exchanged for it, and it is given back once.
class token {
public:
  explicit token(std::atomic<std::uint64_t>& word) noexcept : word_{&word} {
    auto seen = word.load();
    while (!word.compare_exchange_weak(seen, seen + 1)) {
    }
    rest_.back() = seen;
  }
  token(token&& other) noexcept : word_{std::exchange(other.word_, nullptr)}, rest_{other.rest_} {}
  token& operator=(token&&) = delete;
  ~token() {
    if (word_ != nullptr) {
      word_->fetch_sub(1);
    }
  }

private:
  std::atomic<std::uint64_t>* word_;
  std::array<std::uint64_t, sizeof(rondo::lease) / sizeof(std::uint64_t) - 1> rest_{};
};
static_assert(sizeof(token) == sizeof(rondo::lease));

asio::awaitable<token> exchange(std::atomic<std::uint64_t>& word) {
  co_return token{word};
}

asio::awaitable<report> await_exchange(contender&, std::uint64_t times) {
  report out;
  std::atomic<std::uint64_t> word{0};
  std::vector<token> held;
  held.reserve(batch);
  for (std::uint64_t i = 0; i < times; held.clear()) {
    auto const start = clock_type::now();
    for (; i < times && held.size() < batch; ++i) {
      held.push_back(co_await exchange(word));
    }
    out.ns += ns_since(start);
  }
  check(word == 0, "tokens are left");
  co_return out;
}

asio::awaitable<report> await_acquire(contender& rondo, std::uint64_t times) {
  report out;
  std::vector<rondo::lease> held;
  held.reserve(batch);
  while (out.done.granted < times) {
    auto const start = clock_type::now();
    for (; out.done.granted < times && held.size() < batch; ++out.done.granted) {
      held.push_back(co_await rondo.pool().acquire(reserved));
    }
    out.ns += ns_since(start);
    for (auto& lease : held) {
      auto const cost = cost_of(out.done.granted);
      lease.settle(cost);
      out.done.charged += cost;
    }
    held.clear();
  }
  co_return out;
}

asio::awaitable<report> await_acquire_and_settle(contender& rondo, std::uint64_t times) {
  report out;
  auto const start = clock_type::now();
  for (; out.done.granted < times; ++out.done.granted) {
    rondo::lease lease = co_await rondo.pool().acquire(reserved);
    keep(lease.secret().data());
    auto const cost = cost_of(out.done.granted);
    lease.settle(cost);
    out.done.charged += cost;
  }
  out.ns = ns_since(start);
  co_return out;
}

asio::awaitable<report> try_acquire_and_settle(contender& rondo, std::uint64_t times) {
  report out;
  auto const start = clock_type::now();
  for (; out.done.granted < times; ++out.done.granted) {
    auto lease = rondo.acquire();
    keep(contender::secret(lease).data());
    auto const cost = cost_of(out.done.granted);
    contender::settle(lease, cost);
    out.done.charged += cost;
  }
  out.ns = ns_since(start);
  co_return out;
}

void enter_loop(contest& into, char const* name, loop* body) {
  auto const it = std::make_shared<server<contender>>([] { return std::make_unique<contender>(field{8, 8}); });
  into.enter(
      name, 1,
      [=](std::uint64_t times) {
        auto& rondo = it->contender();
        double ns = 0;
        asio::co_spawn(rondo.context(), body(rondo, times), [&](std::exception_ptr const& e, report const& r) {
          check(!e, "an acquire has failed");
          it->expect(r.done);
          ns = r.ns;
        });
        rondo.context().restart();
        auto const handlers = rondo.context().run();
        check(handlers < 10, "a ready key was handed over by the scheduler");
        return ns / static_cast<double>(times);
      },
      [it] { it->audit(); });
}

} // namespace

int main(int argc, char** argv) {
  contest all{argc, argv};
  enter_loop(all, "await_nothing", &await_nothing);
  enter_loop(all, "await_exchange", &await_exchange);
  enter_loop(all, "await_acquire", &await_acquire);
  enter_loop(all, "await_acquire_and_settle", &await_acquire_and_settle);
  enter_loop(all, "try_acquire_and_settle", &try_acquire_and_settle);
  auto const seen = all.run();
  seen.print_ratio("await_exchange_to_await_nothing", "await_exchange", "await_nothing");
  seen.print_ratio("await_acquire_to_await_nothing", "await_acquire", "await_nothing");
  seen.print_ratio("await_acquire_to_await_exchange", "await_acquire", "await_exchange");
  seen.print_ratio("await_acquire_and_settle_to_await_nothing", "await_acquire_and_settle", "await_nothing");
  seen.print_ratio("await_acquire_and_settle_to_try_acquire", "await_acquire_and_settle", "try_acquire_and_settle");
  return wrong() ? 1 : 0;
}
