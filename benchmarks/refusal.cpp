// SPDX-License-Identifier: BSL-1.0
// Being told that all keys cool: rondo::key_pool against the scan of a mutex and a vector.
//
// The scan says when the first key will be back, which it learns on the way. rondo is asked in two ways: `try_acquire`
// answers no, and `next_return` when; `async_acquire` with a timeout of zero answers through the scheduler, with
// `would_miss_deadline` and the time, from the call to the end of its handler. Clocks as in acquire_settle.cpp.
#include "rivals.hpp"
#include <rondo/error.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace {

using namespace bench;

struct refusal {
  bool refused = false;
  std::optional<rondo::steady_time> back_at;
};

template <class Clock> refusal scan(mutex_and_vector<Clock>& rival) {
  rondo::steady_time next_return;
  auto const* const key = rival.acquire(next_return);
  return {key == nullptr, next_return};
}

template <class Clock> refusal try_acquire(rondo_contender<Clock>& rondo) {
  auto const refused = !rondo.pool().try_acquire(reserved);
  return {refused, rondo.pool().next_return()};
}

template <class Clock> refusal async_acquire(rondo_contender<Clock>& rondo) {
  refusal out;
  rondo.pool().async_acquire({.tokens = reserved, .timeout = std::chrono::seconds{0}}, [&](rondo::error_code const& ec,
                                                                                           rondo::lease const& none) {
    out = {ec == rondo::error::would_miss_deadline, Clock::now() + none.retry_after().value()};
  });
  rondo.context().restart();
  rondo.context().poll();
  return out;
}

/// The contender is shared by those who ask it in different ways: nothing about it changes.
template <class Contender>
void enter_asking(contest& into, std::string name, std::shared_ptr<server<Contender>> const& it,
                  refusal (*ask)(Contender&)) {
  into.enter(
      std::move(name), 1,
      [=](std::uint64_t times) {
        auto& contender = it->contender();
        refusal last;
        auto const start = clock_type::now();
        for (std::uint64_t i = 0; i < times; ++i) {
          last = ask(contender);
          keep(last.refused);
        }
        auto const took = ns_since(start);
        check(last.refused, "a cooling key was given");
        check(last.back_at && *last.back_at > start && *last.back_at < start + 2 * cooldown,
              "a time of return is missing or wrong");
        return took / static_cast<double>(times);
      },
      [it] { it->audit(); });
}

template <template <class> class Contender, class Clock> auto all_cooling(std::size_t keys) {
  using contender = Contender<Clock>;
  return std::make_shared<server<contender>>([keys] { return std::make_unique<contender>(field{keys, 0}); });
}

template <class Clock> void enter_all(contest& into, std::size_t keys) {
  auto const what = to_string(field{keys, 0}) + with_clock(Clock::name);
  auto const rondo = all_cooling<rondo_contender, Clock>(keys);
  enter_asking(into, "rondo_try_acquire" + what, rondo, &try_acquire<Clock>);
  enter_asking(into, "rondo_async_acquire" + what, rondo, &async_acquire<Clock>);
  enter_asking(into, "scan" + what, all_cooling<mutex_and_vector, Clock>(keys), &scan<Clock>);
}

} // namespace

int main(int argc, char** argv) {
  constexpr std::size_t sizes[] = {1000, 1'000'000};
  contest all{argc, argv};
  for (auto const keys : sizes) {
    enter_all<own_clock>(all, keys);
    enter_all<cached_clock>(all, keys);
  }
  auto const seen = all.run();
  for (auto const* const clock : {own_clock::name, cached_clock::name}) {
    for (auto const keys : sizes) {
      auto const what = to_string(field{keys, 0}) + with_clock(clock);
      for (std::string const way : {"try_acquire", "async_acquire"}) {
        seen.print_ratio("scan_to_" + way + what, "scan" + what, "rondo_" + way + what);
      }
    }
  }
  return wrong() ? 1 : 0;
}
