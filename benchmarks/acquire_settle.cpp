// SPDX-License-Identifier: BSL-1.0
// One acquire and its settle: rondo::key_pool against a mutex and a vector, and against lock-free queues of key
// indices.
//
// All of them do what rivals.hpp describes, and in the end each one's books are compared with what was served. With
// `clock:own` the rivals read the clock once in every acquire: the mutex's holder while he holds it, because a time
// that was read before waiting for the lock would be an old one, the queues' users before they search. rondo reads its
// default clock when it sees fit. With `clock:cached` everybody reads a cached value instead.
//
// `bare_exchanges` is no rival: it makes the three atomic operations of rondo and nothing else, which is what would be
// left if everything around them cost nothing.
//
// `rondo/.../apart` is a pool for each of two threads: what it costs more than one thread alone is the processor's
// doing, and not that of what threads share.
//
// Left out: waiting, rates, concurrency, accounts of several keys and lanes, which the rivals do not have; events and
// change notes, which rondo offers, have no listener. moodycamel's queue keeps the order of each producer only, so that
// its keys do not take strict turns.
//
// `threads:2` needs two free cores: when something else takes one, the threads take turns, and nothing is contended.
#include "rivals.hpp"

#include <string>

int main(int argc, char** argv) {
  using namespace bench;
  constexpr field fields[] = {{8, 8}, {1000, 1000}, {1000, 100}, {1000, 1}};
  contest all{argc, argv};
  for (auto const& f : fields) {
    for (auto const threads : {1U, 2U}) {
      enter<rondo_contender>(all, "rondo", f, threads);
      enter<mutex_and_vector>(all, "mutex", f, threads);
      enter<keys_in_boost_queue>(all, "boost_queue", f, threads);
      enter<keys_in_moodycamel_queue>(all, "moodycamel", f, threads);
    }
    if (f.ready == f.keys) {
      enter<bare_exchanges>(all, "bare_exchanges", f, 1);
      enter_apart<rondo_contender<own_clock>>(all, "rondo" + to_string(f) + "/apart" + with_threads(2), 2, f);
    }
  }
  auto const seen = all.run();
  for (auto const& f : fields) {
    auto const rondo = "rondo" + to_string(f);
    seen.print_ratio("two_threads_apart_to_one" + to_string(f), rondo + "/apart" + with_threads(2),
                     rondo + with_clock(own_clock::name) + with_threads(1));
  }
  for (auto const* const clock : {own_clock::name, cached_clock::name}) {
    for (auto const& f : fields) {
      auto const what = to_string(f) + with_clock(clock);
      for (auto const threads : {1U, 2U}) {
        auto const here = what + with_threads(threads);
        for (std::string const rival : {"mutex", "boost_queue", "moodycamel"}) {
          seen.print_ratio(rival + "_to_rondo" + here, rival + here, "rondo" + here);
        }
      }
      auto const alone = what + with_threads(1);
      seen.print_ratio("mutex_to_bare_exchanges" + alone, "mutex" + alone, "bare_exchanges" + alone);
      seen.print_ratio("two_threads_to_one" + what, "rondo" + what + with_threads(2), "rondo" + what + with_threads(1));
    }
    auto const at = [&](std::size_t ready) { return "rondo" + to_string({1000, ready}) + with_clock(clock); };
    for (auto const threads : {1U, 2U}) {
      seen.print_ratio("one_ready_to_all" + with_clock(clock) + with_threads(threads), at(1) + with_threads(threads),
                       at(1000) + with_threads(threads));
    }
  }
  return wrong() ? 1 : 0;
}
