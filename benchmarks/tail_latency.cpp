// SPDX-License-Identifier: BSL-1.0
// What the unlucky wait for: quantiles of single acquires while two threads compete for 1,000 keys of which 90 % cool.
//
// The contenders, their work and what is left out are those of acquire_settle.cpp, but only the acquire is timed, one
// at a time; the settle happens between. A time is the difference of two stamps less what a pair of stamps shows with
// nothing between. Every sample is kept, so that a quantile is exact; it is one thread's, averaged over the threads.
//
// Below 1 per mille, interrupts and other processes show; two free cores are needed even more than elsewhere.
#include "rivals.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace {

using namespace bench;

#if defined(__x86_64__)
/// The cheapest clock of the processor, held in its place among the instructions around it.
[[nodiscard]] std::uint64_t stamp() {
  _mm_lfence();
  auto const out = __rdtsc();
  _mm_lfence();
  return out;
}
#else
[[nodiscard]] std::uint64_t stamp() {
  return static_cast<std::uint64_t>(clock_type::now().time_since_epoch().count());
}
#endif

[[nodiscard]] std::uint32_t quantile(std::vector<std::uint32_t>& samples, double share) {
  auto const rank = static_cast<std::ptrdiff_t>(share * static_cast<double>(samples.size() - 1));
  std::nth_element(samples.begin(), samples.begin() + rank, samples.end());
  return samples[static_cast<std::size_t>(rank)];
}

/// How stamps become nanoseconds.
struct scale {
  double ns_per_tick;
  std::uint32_t empty; ///< what two stamps show with nothing between

  scale() {
    std::vector<std::uint32_t> pairs(100'000);
    auto const start = clock_type::now();
    auto const first = stamp();
    for (auto& pair : pairs) {
      auto const before = stamp();
      pair = static_cast<std::uint32_t>(stamp() - before);
    }
    while (ns_since(start) < 1e7) {
    }
    ns_per_tick = ns_since(start) / static_cast<double>(stamp() - first);
    empty = quantile(pairs, 0.5);
  }
};

template <template <class> class Contender>
void enter_tail(contest& into, std::string const& name, double share, scale const& s) {
  using contender = Contender<own_clock>;
  auto const it = std::make_shared<server<contender>>([] { return std::make_unique<contender>(field{1000, 100}); });
  into.enter(
      name, 2,
      [it, share, &s](std::uint64_t times) {
        static_cast<void>(it->contender());
        std::vector<std::uint32_t> samples(times);
        std::size_t next = 0;
        it->serve(times, [&](contender& c) {
          auto const before = stamp();
          auto lease = c.acquire();
          auto const took = stamp() - before;
          samples[next++] = static_cast<std::uint32_t>(std::clamp<std::uint64_t>(took, s.empty, 0xffff'ffff));
          return lease;
        });
        return (quantile(samples, share) - s.empty) * s.ns_per_tick;
      },
      [it] { it->audit(); });
}

} // namespace

int main(int argc, char** argv) {
  constexpr std::pair<char const*, double> shares[] = {{"/p50", 0.5}, {"/p99", 0.99}, {"/p99.9", 0.999}};
  scale const s;
  contest all{argc, argv, {.least = std::chrono::milliseconds{200}}};
  for (auto const& [name, share] : shares) {
    enter_tail<rondo_contender>(all, std::string{"rondo"} + name, share, s);
    enter_tail<mutex_and_vector>(all, std::string{"mutex"} + name, share, s);
    enter_tail<keys_in_boost_queue>(all, std::string{"boost_queue"} + name, share, s);
    enter_tail<keys_in_moodycamel_queue>(all, std::string{"moodycamel"} + name, share, s);
  }
  auto const seen = all.run();
  for (auto const& [name, share] : shares) {
    for (std::string const rival : {"mutex", "boost_queue", "moodycamel"}) {
      seen.print_ratio(rival + "_to_rondo" + name, rival + name, std::string{"rondo"} + name);
    }
  }
  return wrong() ? 1 : 0;
}
