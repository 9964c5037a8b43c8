// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <latch>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace bench {

using clock_type = std::chrono::steady_clock;

/// Set by a contender that computed something wrong: the program then fails, whatever it measured.
inline std::atomic<bool>& wrong() {
  static std::atomic<bool> it{false};
  return it;
}

/// Notes `what` unless it holds; the first such note is printed.
inline void check(bool holds, char const* what) {
  if (!holds && !wrong().exchange(true)) {
    std::fprintf(stderr, "wrong: %s\n", what);
  }
}

/// The optimiser has to believe that somebody looks at `value`.
template <class T> void keep(T const& value) {
  asm volatile("" : : "r,m"(value) : "memory");
}

[[nodiscard]] inline double ns_since(clock_type::time_point start) {
  return std::chrono::duration<double, std::nano>{clock_type::now() - start}.count();
}

/// Samples by the name of what they were taken of. Ratios are those of medians.
class figures {
public:
  void add(std::string const& name, double sample) { samples_[name].push_back(sample); }

  [[nodiscard]] double median(std::string const& name) const {
    auto sorted = samples_.at(name);
    auto const middle = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2);
    std::nth_element(sorted.begin(), middle, sorted.end());
    return *middle;
  }

  void print() const {
    std::printf("%-56s %12s %12s %12s\n", "ns, as each thread sees it", "median", "least", "greatest");
    for (auto const& [name, samples] : samples_) {
      auto const [least, greatest] = std::minmax_element(samples.begin(), samples.end());
      std::printf("%-56s %12.1f %12.1f %12.1f\n", name.c_str(), median(name), *least, *greatest);
    }
  }

  /// How many times as long `slow` takes as `fast`, if both were run.
  void print_ratio(std::string const& name, std::string const& slow, std::string const& fast) const {
    if (samples_.contains(slow) && samples_.contains(fast)) {
      std::printf("ratio %s %.2f\n", name.c_str(), median(slow) / median(fast));
    }
  }

private:
  std::map<std::string, std::vector<double>> samples_;
};

/// What is counted and not compared.
inline void print_value(char const* name, double value) {
  std::printf("value %s %g\n", name, value);
}

/// A second thread that does nothing: while a process has one thread only, glibc's malloc and mutex may leave out
/// the atomic instructions that they need in any server.
class idle_thread {
public:
  ~idle_thread() {
    over_ = true;
    over_.notify_one();
    thread_.join();
  }

private:
  std::atomic<bool> over_{false};
  std::thread thread_{[this] { over_.wait(false); }};
};

struct settings {
  unsigned rounds = 9;
  std::chrono::milliseconds least{50}; ///< how long a contender runs in each round
  std::string only{};                  ///< what the names of those that run must contain
};

/// Contenders that take turns: in each round every one of them runs once, in random order, so that whatever disturbs
/// the machine hits all of them.
class contest {
public:
  /// Does it `times` times, and says how many ns each took; what it needs for that it may prepare off the clock.
  using work = std::function<double(std::uint64_t times)>;
  /// Checks, after the last round, that what was computed is right.
  using audit = std::function<void()>;

  /// The command line wins over `defaults`.
  contest(int argc, char const* const* argv, settings defaults = {}) : settings_{std::move(defaults)} {
    for (int i = 1; i < argc; ++i) {
      std::string_view const option{argv[i]};
      if (option == "--rounds" && i + 1 < argc) {
        settings_.rounds = static_cast<unsigned>(std::atoi(argv[++i]));
      } else if (option == "--milliseconds" && i + 1 < argc) {
        settings_.least = std::chrono::milliseconds{std::atoi(argv[++i])};
      } else if (option == "--only" && i + 1 < argc) {
        settings_.only = argv[++i];
      } else {
        std::fprintf(stderr, "usage: %s [--rounds N] [--milliseconds EACH] [--only PART_OF_A_NAME]\n", argv[0]);
        std::exit(2);
      }
    }
  }

  /// `does` runs on `threads` threads at once.
  void enter(std::string name, unsigned threads, work does, audit checks = [] {}) {
    if (name.find(settings_.only) != std::string::npos) {
      entries_.push_back({std::move(name), threads, std::move(does), std::move(checks), 1});
    }
  }

  /// Runs all rounds and prints what was seen.
  [[nodiscard]] figures run() {
    idle_thread const other;
    std::mt19937 random{std::random_device{}()};
    figures out;
    std::vector<entry*> order;
    for (auto& e : entries_) {
      choose_times(e);
      order.push_back(&e);
    }
    for (unsigned round = 0; round < settings_.rounds; ++round) {
      std::shuffle(order.begin(), order.end(), random);
      for (auto const* e : order) {
        out.add(e->name, measure(*e));
      }
    }
    for (auto const& e : entries_) {
      e.checks();
    }
    out.print();
    return out;
  }

private:
  struct entry {
    std::string name;
    unsigned threads;
    work does;
    audit checks;
    std::uint64_t times;
  };

  /// The mean of what the threads saw: of two threads that each take 10 ns, the answer is 10 and not 5.
  [[nodiscard]] static double measure(entry const& e) {
    std::vector<double> seen(e.threads);
    std::latch start{static_cast<std::ptrdiff_t>(e.threads)};
    {
      std::vector<std::jthread> threads;
      for (auto& mine : seen) {
        threads.emplace_back([&] {
          start.arrive_and_wait();
          mine = e.does(e.times);
        });
      }
    }
    double sum = 0;
    for (auto const one : seen) {
      sum += one;
    }
    return sum / e.threads;
  }

  /// Finds out how often fills the time. The shortest of three runs decides: one that was held up would make all rounds
  /// short, and every round begins with cold caches.
  void choose_times(entry& e) const {
    static_cast<void>(measure(e)); // prepares what is needed
    for (;;) {
      auto shortest = clock_type::duration::max();
      for (int i = 0; i < 3 && shortest >= settings_.least; ++i) {
        auto const start = clock_type::now();
        static_cast<void>(measure(e));
        shortest = std::min(shortest, clock_type::now() - start);
      }
      if (shortest >= settings_.least) {
        return;
      }
      auto const factor = std::chrono::duration<double>{settings_.least} / std::chrono::duration<double>{shortest};
      e.times = static_cast<std::uint64_t>(static_cast<double>(e.times) * std::clamp(1.2 * factor, 1.2, 10.0)) + 1;
    }
  }

  settings settings_;
  std::vector<entry> entries_;
};

} // namespace bench
