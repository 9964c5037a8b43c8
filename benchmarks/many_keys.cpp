// SPDX-License-Identifier: BSL-1.0
// One acquire and its settle when there are many keys, and when almost all of them cool: rondo::key_pool against
// itself with few keys, and against a mutex and a vector, on one thread.
//
// The same work, clocks and omissions as in acquire_settle.cpp. The keys' memory is larger than any cache, but both
// visit them in the order in which they lie there. No queues: with one ready key among 100,000 they need milliseconds.
#include "rivals.hpp"

int main(int argc, char** argv) {
  using namespace bench;
  constexpr field few{8, 8};
  constexpr field many[] = {{100'000, 100'000}, {1'000'000, 1'000'000}, {100'000, 1}};
  contest all{argc, argv};
  enter<rondo_contender>(all, "rondo", few, 1);
  for (auto const& f : many) {
    enter<rondo_contender>(all, "rondo", f, 1);
    enter<mutex_and_vector>(all, "mutex", f, 1);
  }
  auto const seen = all.run();
  for (auto const* const clock : {own_clock::name, cached_clock::name}) {
    auto const end = with_clock(clock) + with_threads(1);
    for (auto const& f : many) {
      auto const here = to_string(f) + end;
      seen.print_ratio("mutex_to_rondo" + here, "mutex" + here, "rondo" + here);
      seen.print_ratio("many_to_few" + here, "rondo" + here, "rondo" + to_string(few) + end);
    }
  }
  return wrong() ? 1 : 0;
}
