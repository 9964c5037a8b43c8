// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <map>
#include <string>
#include <thread>
#include <vector>

namespace bench {

/// Set by a contender that computed something wrong: the program then fails, whatever it measured.
inline std::atomic<bool>& wrong() {
  static std::atomic<bool> it{false};
  return it;
}

/// Notes `what` unless it holds.
inline void check(bool holds, char const* what) {
  if (!holds && !wrong().exchange(true)) {
    std::fprintf(stderr, "wrong: %s\n", what);
  }
}

/// Collects the real time of every repetition, and prints medians only: one line a run would bury them.
class medians : public benchmark::BenchmarkReporter {
public:
  bool ReportContext(Context const& context) override {
    PrintBasicContext(&std::cerr, context);
    return true;
  }
  void ReportRuns(std::vector<Run> const& runs) override {
    for (auto const& run : runs) {
      if (run.run_type != Run::RT_Iteration) {
        continue;
      }
      if (run.error_occurred) {
        check(false, run.error_message.c_str());
      }
      auto name = run.run_name.function_name;
      for (auto const& part : {run.run_name.args, run.run_name.threads}) {
        name += part.empty() ? part : '/' + part;
      }
      times_[name].push_back(run.GetAdjustedRealTime());
    }
  }
  void Finalize() override {
    std::printf("%-52s %10s %10s %10s\n", "ns", "median", "least", "greatest");
    for (auto const& [name, times] : times_) {
      auto const [least, greatest] = std::minmax_element(times.begin(), times.end());
      std::printf("%-52s %10.1f %10.1f %10.1f\n", name.c_str(), median(name), *least, *greatest);
    }
  }

  [[nodiscard]] double median(std::string const& name) const {
    auto times = times_.at(name);
    auto const middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
    std::nth_element(times.begin(), middle, times.end());
    return *middle;
  }
  /// How many times as long `slow` takes as `fast`, if both were run.
  void print_ratio(std::string const& name, std::string const& slow, std::string const& fast) const {
    if (times_.contains(slow) && times_.contains(fast)) {
      std::printf("ratio %s %.2f\n", name.c_str(), median(slow) / median(fast));
    }
  }

private:
  std::map<std::string, std::vector<double>, std::less<>> times_;
};

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

/// Runs everything registered, repetitions of different contenders in random order, so that a disturbance hits all.
/// Options of the command line come after these and win.
inline void run(medians& into, int argc, char** argv) {
  std::vector<std::string> options{argv[0], "--benchmark_repetitions=9", "--benchmark_min_time=0.05",
                                   "--benchmark_enable_random_interleaving=true"};
  options.insert(options.end(), argv + 1, argv + argc);
  std::vector<char*> arguments;
  for (auto& option : options) {
    arguments.push_back(option.data());
  }
  auto count = static_cast<int>(arguments.size());
  benchmark::Initialize(&count, arguments.data());
  if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) {
    std::exit(2);
  }
  idle_thread const other;
  benchmark::RunSpecifiedBenchmarks(&into);
  benchmark::Shutdown();
}

} // namespace bench
