// SPDX-License-Identifier: BSL-1.0
// Heap allocations for one acquire and its settle in the steady state, whether it waits or not, with each way to ask.
//
// Counted at malloc, after a hundred rounds that fill the caches of Asio, which keeps a little memory for each thread.
// The waiting ones take turns on a key that serves one request at a time: every acquire parks and is resumed. None of
// the handlers brings an allocator.
#include "heap.hpp"
#include "rotation.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>

#include <cstdint>

namespace {

using namespace bench;
namespace asio = boost::asio;

constexpr std::int64_t cost = 170;
constexpr std::uint64_t warm_up = 100;
constexpr std::uint64_t counted = 10'000;

using contender = rondo_contender<own_clock>;

/// Counts the rounds, and what was allocated since the end of the warm-up.
class tally {
public:
  /// False when it is enough.
  bool next() {
    if (++rounds_ == warm_up) {
      before_ = allocations();
    }
    if (rounds_ == warm_up + counted) {
      after_ = allocations();
    }
    return rounds_ < warm_up + counted;
  }

  void print(char const* name, contender const& by) const {
    auto const got = by.count();
    check(got.granted >= warm_up + counted && got.in_flight == 0, "not every lease has ended");
    check(got.charged == static_cast<std::int64_t>(got.granted) * cost, "the charges do not add up");
    check(after_ == before_, "something was allocated, which is promised not to happen");
    print_value(name, static_cast<double>(after_ - before_) / counted);
  }

private:
  std::uint64_t rounds_ = 0;
  std::uint64_t before_ = 0;
  std::uint64_t after_ = 0;
};

void try_acquire(contender& rondo, tally& t) {
  do {
    rondo.acquire()->settle(cost);
  } while (t.next());
}

/// A callback that asks again, and settles only then: who has the only key makes himself wait.
class callback {
public:
  callback(contender& rondo, tally& t, bool waits) : rondo_{rondo}, tally_{t}, waits_{waits} {}

  void start() {
    rondo_.pool().async_acquire(reserved, [this](rondo::error_code const& ec, rondo::lease mine) {
      check(!ec, "an acquire has failed");
      if (!waits_) {
        mine.settle(cost);
      }
      if (tally_.next()) {
        start();
      }
      mine.settle(cost); // does nothing if it has ended
    });
  }

private:
  contender& rondo_;
  tally& tally_;
  bool waits_;
};

asio::awaitable<void> await_ready(contender& rondo, tally& t) {
  do {
    rondo::lease lease = co_await rondo.pool().acquire(reserved);
    lease.settle(cost);
  } while (t.next());
}

/// To be run twice at once: the one waits while the other has the key and lets go of the thread.
asio::awaitable<void> await_turn(contender& rondo, tally& t) {
  do {
    rondo::lease lease = co_await rondo.pool().acquire(reserved);
    co_await asio::post(rondo.context(), asio::deferred);
    lease.settle(cost);
  } while (t.next());
}

} // namespace

int main() {
  constexpr rondo::limits one_at_a_time{.concurrency = 1, .quota = quota};
  idle_thread const other;
  {
    contender rondo{field{8, 8}};
    tally t;
    try_acquire(rondo, t);
    t.print("allocations/try_acquire", rondo);
  }
  {
    contender rondo{field{8, 8}};
    tally t;
    callback loop{rondo, t, false};
    loop.start();
    rondo.context().run();
    t.print("allocations/async_acquire/ready", rondo);
  }
  {
    contender rondo{field{1, 1}, one_at_a_time};
    tally t;
    callback loop{rondo, t, true};
    loop.start();
    rondo.context().run();
    t.print("allocations/async_acquire/waiting", rondo);
  }
  {
    contender rondo{field{8, 8}};
    tally t;
    asio::co_spawn(rondo.context(), await_ready(rondo, t), asio::detached);
    rondo.context().run();
    t.print("allocations/co_await/ready", rondo);
  }
  {
    contender rondo{field{1, 1}, one_at_a_time};
    tally t;
    for (int i = 0; i < 2; ++i) {
      asio::co_spawn(rondo.context(), await_turn(rondo, t), asio::detached);
    }
    rondo.context().run();
    t.print("allocations/co_await/waiting", rondo);
  }
  return wrong() ? 1 : 0;
}
