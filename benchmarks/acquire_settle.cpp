// SPDX-License-Identifier: BSL-1.0
// One acquire and its settle: rondo::key_pool against a std::mutex around a vector that is scanned.
//
// Both hand out the next key that is not resting and whose quota can pay, reserve the tokens, count leases and
// requests, charge what the request cost, give the rest back, and notice when 80 % of a quota are spent. Both read the
// clock only when they meet a resting key; with `clock:1` the caller reads it once for each request besides, as servers
// do that stamp their requests. Left out: waiting, rates, concurrency, accounts of several keys and lanes, which the
// rival does not have; events and change notes, which rondo offers, have no listener.
//
// `threads:2` needs two free cores: when something else takes one, the threads take turns, and nothing is contended.
#include "medians.hpp"
#include <rondo/key_pool.hpp>
#include <rondo/outcome.hpp>

#include <boost/asio/io_context.hpp>

#include <benchmark/benchmark.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace {

using clock_type = std::chrono::steady_clock;

constexpr std::int64_t quota = 1'000'000'000'000'000;
constexpr std::int64_t reserved = 200;

struct totals {
  std::uint64_t granted = 0;
  std::int64_t charged = 0;
  std::uint64_t in_flight = 0;
};

/// What a request costs: never more than reserved.
std::int64_t cost_of(std::uint64_t request) {
  return 130 + static_cast<std::int64_t>(request % 64);
}

/// Whether this key rests from the beginning: spread evenly, nine of ten (of eight keys, seven).
bool rests(std::size_t key, bool most_rest) {
  return most_rest && key % 10 != 7;
}

class rondo_contender {
public:
  rondo_contender(std::size_t keys, bool most_rest) : pool_{context_.get_executor()} {
    for (std::size_t i = 0; i < keys; ++i) {
      pool_.add({.name = "key-" + std::to_string(i),
                 .secret = rondo::secret{"sk_" + std::to_string(i)},
                 .limits = {.quota = quota}});
    }
    std::vector<rondo::lease> all;
    for (std::size_t i = 0; i < keys; ++i) {
      all.push_back(pool_.try_acquire(reserved).value());
    }
    for (auto& lease : all) {
      if (rests(std::stoul(std::string{lease.key_name().substr(4)}), most_rest)) {
        lease.report(rondo::outcome::rate_limited(std::chrono::hours{1}));
      } else {
        lease.refund();
      }
    }
    before_ = count();
  }

  bool serve(std::int64_t cost) {
    auto lease = pool_.try_acquire(reserved);
    if (!lease) {
      return false;
    }
    benchmark::DoNotOptimize(lease->secret().data());
    lease->settle(cost);
    return true;
  }

  [[nodiscard]] totals since_the_beginning() const {
    auto out = count();
    out.granted -= before_.granted;
    out.charged -= before_.charged;
    return out;
  }

private:
  [[nodiscard]] totals count() const {
    totals out;
    for (auto const& key : pool_.snapshot()) {
      out.granted += key.requests;
      out.charged += key.character_count;
      out.in_flight += key.in_flight;
    }
    return out;
  }

  boost::asio::io_context context_;
  rondo::key_pool pool_;
  totals before_;
};

class mutex_contender {
public:
  mutex_contender(std::size_t keys, bool most_rest) : keys_(keys) {
    for (std::size_t i = 0; i < keys; ++i) {
      keys_[i].secret = "sk_" + std::to_string(i);
      if (rests(i, most_rest)) {
        keys_[i].rests_until = clock_type::now() + std::chrono::hours{1};
      }
    }
  }

  bool serve(std::int64_t cost) {
    auto* const key = acquire();
    if (key == nullptr) {
      return false;
    }
    benchmark::DoNotOptimize(key->secret.data());
    settle(*key, cost);
    return true;
  }

  [[nodiscard]] totals since_the_beginning() const {
    totals out;
    for (auto const& key : keys_) {
      out.granted += key.requests;
      out.charged += key.charged;
      out.in_flight += key.in_flight;
    }
    return out;
  }

private:
  struct key_state {
    std::string secret;
    std::int64_t remaining = quota;
    std::int64_t charged = 0;
    std::optional<clock_type::time_point> rests_until;
    std::uint64_t requests = 0;
    std::uint32_t in_flight = 0;
    bool near_limit = false;
  };

  key_state* acquire() {
    std::lock_guard const lock{mutex_};
    std::optional<clock_type::time_point> now;
    for (std::size_t tried = 0; tried < keys_.size(); ++tried) {
      auto& key = keys_[next_];
      next_ = next_ + 1 == keys_.size() ? 0 : next_ + 1;
      if (key.rests_until) {
        if (!now) {
          now = clock_type::now();
        }
        if (*key.rests_until > *now) {
          continue;
        }
        key.rests_until.reset();
      }
      if (key.remaining >= reserved) {
        key.remaining -= reserved;
        ++key.in_flight;
        ++key.requests;
        return &key;
      }
    }
    return nullptr;
  }

  void settle(key_state& key, std::int64_t cost) {
    std::lock_guard const lock{mutex_};
    key.remaining += reserved - cost;
    key.charged += cost;
    --key.in_flight;
    key.near_limit = key.charged >= quota - quota / 5;
  }

  std::mutex mutex_;
  std::vector<key_state> keys_;
  std::size_t next_ = 0;
};

/// The contender of the benchmark that runs, of which there is one at a time, and what it has to account for.
template <class Contender> struct running {
  static inline std::unique_ptr<Contender> contender;
  static inline std::atomic<std::uint64_t> served;
  static inline std::atomic<std::int64_t> spent;

  /// Arguments: keys, whether most rest, whether the caller reads the clock.
  static void set_up(benchmark::State const& state) {
    contender = std::make_unique<Contender>(static_cast<std::size_t>(state.range(0)), state.range(1) != 0);
    served = 0;
    spent = 0;
  }
  /// All threads have ended.
  static void tear_down(benchmark::State const&) {
    auto const got = contender->since_the_beginning();
    bench::check(got.granted == served, "requests granted are not those that were served");
    bench::check(got.charged == spent, "the charges do not add up to what the requests cost");
    bench::check(got.in_flight == 0, "leases are left");
    contender.reset();
  }

  static void run(benchmark::State& state) {
    auto const reads_clock = state.range(2) != 0;
    std::uint64_t granted = 0;
    std::int64_t charged = 0;
    for ([[maybe_unused]] auto _ : state) {
      if (reads_clock) {
        benchmark::DoNotOptimize(clock_type::now());
      }
      auto const cost = cost_of(granted);
      if (!contender->serve(cost)) {
        state.SkipWithError("refused");
        break;
      }
      ++granted;
      charged += cost;
    }
    served += granted;
    spent += charged;
  }
};

template <class Contender> void enlist(char const* name) {
  benchmark::RegisterBenchmark(name, &running<Contender>::run)
      ->ArgNames({"keys", "rest", "clock"})
      ->ArgsProduct({{8, 1000}, {0, 1}, {0, 1}})
      ->Threads(1)
      ->Threads(2)
      ->Setup(&running<Contender>::set_up)
      ->Teardown(&running<Contender>::tear_down)
      ->UseRealTime(); // of several threads: the time of all, divided by the requests of all
}

} // namespace

int main(int argc, char** argv) {
  enlist<rondo_contender>("rondo");
  enlist<mutex_contender>("mutex");
  bench::medians results;
  bench::run(results, argc, argv);
  for (auto const* const threads : {"1", "2"}) {
    for (auto const* const keys : {"8", "1000"}) {
      for (auto const* const rest : {"0", "1"}) {
        for (auto const* const clock : {"0", "1"}) {
          auto const what = std::string{"/keys:"} + keys + "/rest:" + rest + "/clock:" + clock + "/threads:" + threads;
          results.print_ratio("mutex_to_rondo" + what, "mutex" + what, "rondo" + what);
        }
      }
    }
  }
  return bench::wrong() ? 1 : 0;
}
