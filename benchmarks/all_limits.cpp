// SPDX-License-Identifier: BSL-1.0
// One acquire and its settle when every limit counts, against a pool that has a quota and nothing else.
//
// No limit is ever reached: what is measured is the bookkeeping, on 1,000 keys of which none cools. `limits` has
// requests and tokens per minute and per day, concurrency and the quota; `every_limit` has requests per second besides.
// Windows need the time of every request, a quota does not. With `clock:cached` it stands still, so that nothing leaves
// a window.
#include "rotation.hpp"

#include <cstdint>
#include <limits>
#include <memory>
#include <string>

namespace {

using namespace bench;

constexpr std::uint32_t unreachable = std::numeric_limits<std::uint32_t>::max();
constexpr rondo::limits quota_only{.quota = quota};
constexpr rondo::limits limits{.requests_per_minute = unreachable,
                               .tokens_per_minute = unreachable,
                               .requests_per_day = unreachable,
                               .tokens_per_day = unreachable,
                               .concurrency = 1000,
                               .quota = quota};
constexpr rondo::limits every_limit = [] {
  auto out = limits;
  out.requests_per_second = unreachable;
  return out;
}();

template <class Clock> void enter_with(contest& into, unsigned threads) {
  auto const one = [&](char const* name, rondo::limits const& what) {
    enter<rondo_contender<Clock>>(into, name + with_clock(Clock::name) + with_threads(threads), threads, [&what] {
      return std::make_unique<rondo_contender<Clock>>(field{1000, 1000}, what);
    });
  };
  one("quota", quota_only);
  one("limits", limits);
  one("every_limit", every_limit);
}

} // namespace

int main(int argc, char** argv) {
  contest all{argc, argv};
  for (auto const threads : {1U, 2U}) {
    enter_with<own_clock>(all, threads);
    enter_with<cached_clock>(all, threads);
  }
  auto const seen = all.run();
  for (auto const* const clock : {own_clock::name, cached_clock::name}) {
    for (auto const threads : {1U, 2U}) {
      auto const here = with_clock(clock) + with_threads(threads);
      for (std::string const more : {"limits", "every_limit"}) {
        seen.print_ratio(more + "_to_quota" + here, more + here, "quota" + here);
      }
    }
  }
  return wrong() ? 1 : 0;
}
