// SPDX-License-Identifier: BSL-1.0
// From the release of a lease to the waiter that it resumes, against a bare asio::post to the same context.
//
// rondo: waiters are parked on one key that serves one request at a time. The first lease is settled, its waiter is
// resumed by the scheduler and settles in turn, and so on; parking them is off the clock. Rival: a handler that posts
// the next one, as many times. With 100 and with 1,000 waiters, which should make no difference. So what is compared is
// settle + choosing the waiter + reserving for it + post + run against post + run. `executor:context` has handlers with
// the context's own executor, `executor:any` with Asio's any_io_executor, as coroutines have by default; the rival
// posts to the same kind.
//
// Left out: what it takes to resume a coroutine, the same on both sides, and to wake a thread that sleeps.
#include "rotation.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

namespace {

using namespace bench;
namespace asio = boost::asio;

/// Each handler posts the next.
template <class Executor> class chain_of_posts {
public:
  explicit chain_of_posts(std::uint64_t length) : length_{length} {}

  [[nodiscard]] asio::io_context& context() { return context_; }
  [[nodiscard]] std::uint64_t resumed() const { return resumed_; }
  void prepare() { resumed_ = 0; }
  void release() {
    asio::post(executor_, [this] {
      if (++resumed_ < length_) {
        release();
      }
    });
  }
  void audit() const {}

private:
  asio::io_context context_;
  asio::steady_timer timer_{context_}; // a context with timers, as a pool's and any server's is, looks for them too
  Executor executor_{context_.get_executor()};
  std::uint64_t length_;
  std::uint64_t resumed_ = 0;
};

/// Each waiter resumes the next.
template <class Executor> class chain_of_waiters {
public:
  explicit chain_of_waiters(std::uint64_t length) : length_{length} {}

  [[nodiscard]] asio::io_context& context() { return rondo_.context(); }
  [[nodiscard]] std::uint64_t resumed() const { return resumed_; }
  void prepare() {
    resumed_ = 0;
    ++chains_;
    first_ = rondo_.pool().try_acquire(reserved).value();
    for (std::uint64_t i = 0; i < length_; ++i) {
      rondo_.pool().async_acquire(
          reserved, asio::bind_executor(executor_, [this](rondo::error_code const& ec, rondo::lease mine) {
            check(!ec, "a waiter has failed");
            ++resumed_;
            mine.settle(cost);
          }));
    }
    context().restart();
    check(context().poll() == 0, "a waiter was resumed before the release");
  }
  void release() { first_.settle(cost); }
  void audit() const {
    auto const got = rondo_.count();
    check(got.granted == chains_ * (length_ + 1), "requests granted are not those that were served");
    check(got.charged == static_cast<std::int64_t>(got.granted) * cost, "the charges do not add up");
    check(got.in_flight == 0, "leases are left");
  }

private:
  static constexpr std::int64_t cost = 170;

  rondo_contender<own_clock> rondo_{field{1, 1}, {.concurrency = 1, .quota = quota}};
  Executor executor_{context().get_executor()};
  std::uint64_t length_;
  rondo::lease first_;
  std::uint64_t resumed_ = 0;
  std::uint64_t chains_ = 0;
};

template <class Chain> void enter_chain(contest& into, std::string name, std::uint64_t length) {
  auto const chain = std::make_shared<Chain>(length);
  into.enter(
      std::move(name), 1,
      [chain, length](std::uint64_t times) {
        double took = 0;
        std::uint64_t done = 0;
        for (; done < times; done += length) {
          chain->prepare();
          chain->context().restart();
          auto const start = clock_type::now();
          chain->release();
          chain->context().poll();
          took += ns_since(start);
          check(chain->resumed() == length, "not every handler was run");
        }
        return took / static_cast<double>(done);
      },
      [chain] { chain->audit(); });
}

template <class Executor> void enter_both(contest& into, std::string const& what, std::uint64_t length) {
  enter_chain<chain_of_posts<Executor>>(into, "post" + what, length);
  enter_chain<chain_of_waiters<Executor>>(into, "release" + what, length);
}

} // namespace

int main(int argc, char** argv) {
  constexpr std::uint64_t lengths[] = {100, 1000};
  auto const waiters = [](std::uint64_t length) { return "/waiters:" + std::to_string(length); };
  contest all{argc, argv};
  for (auto const length : lengths) {
    enter_both<asio::io_context::executor_type>(all, "/executor:context" + waiters(length), length);
    enter_both<asio::any_io_executor>(all, "/executor:any" + waiters(length), length);
  }
  auto const seen = all.run();
  for (std::string const executor : {"/executor:context", "/executor:any"}) {
    for (auto const length : lengths) {
      auto const what = executor + waiters(length);
      seen.print_ratio("release_to_post" + what, "release" + what, "post" + what);
    }
  }
  return wrong() ? 1 : 0;
}
