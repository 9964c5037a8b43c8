// SPDX-License-Identifier: BSL-1.0
// The plainest limiter of a single key, a token bucket in one atomic word, against a pool of one key with one rate.
//
// The bucket decides and forgets. The pool's acquire and settle also keep a lease, an exact sliding window, and what
// was charged: this shows what a user pays who has one key and would do with less. The limit is never reached. Clocks
// as in acquire_settle.cpp.
#include "rotation.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>

namespace {

using namespace bench;

constexpr std::uint32_t per_minute = std::numeric_limits<std::uint32_t>::max();

/// Keeps the moment at which the bucket would have been empty; taking a token moves it on.
template <class Clock> class token_bucket {
public:
  [[nodiscard]] bool consume() {
    auto const now = std::chrono::duration<double>{Clock::now().time_since_epoch()}.count();
    auto seen = empty_at_.load(std::memory_order_relaxed);
    double next = 0;
    do {
      next = std::max(seen, now - burst / rate) + 1 / rate;
      if (next > now) {
        return false;
      }
    } while (!empty_at_.compare_exchange_weak(seen, next, std::memory_order_relaxed));
    return true;
  }

private:
  static constexpr double burst = per_minute;
  static constexpr double rate = burst / 60;
  std::atomic<double> empty_at_{0};
};

template <class Clock> void enter_both(contest& into, unsigned threads) {
  auto const end = with_clock(Clock::name) + with_threads(threads);
  auto const bucket = std::make_shared<token_bucket<Clock>>();
  into.enter("token_bucket" + end, threads, [bucket](std::uint64_t times) {
    std::uint64_t granted = 0;
    auto const start = clock_type::now();
    for (std::uint64_t i = 0; i < times; ++i) {
      granted += bucket->consume() ? 1 : 0;
    }
    auto const took = ns_since(start);
    check(granted == times, "the bucket has refused");
    return took / static_cast<double>(times);
  });
  enter<rondo_contender<Clock>>(into, "rondo" + end, threads, [] {
    return std::make_unique<rondo_contender<Clock>>(field{1, 1}, rondo::limits{.requests_per_minute = per_minute});
  });
}

} // namespace

int main(int argc, char** argv) {
  contest all{argc, argv};
  for (auto const threads : {1U, 2U}) {
    enter_both<own_clock>(all, threads);
    enter_both<cached_clock>(all, threads);
  }
  auto const seen = all.run();
  for (auto const* const clock : {own_clock::name, cached_clock::name}) {
    for (auto const threads : {1U, 2U}) {
      auto const end = with_clock(clock) + with_threads(threads);
      seen.print_ratio("rondo_to_token_bucket" + end, "rondo" + end, "token_bucket" + end);
    }
  }
  return wrong() ? 1 : 0;
}
