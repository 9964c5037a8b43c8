// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/client_observer.hpp>
#include <rondo/error.hpp>
#include <rondo/monitor/prometheus.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace rondo::monitor {

/// Counts what clients do, for a page of metrics: attempts by whom they blame, and how long their stages took. One
/// object may observe several clients. Any thread; nothing here locks or allocates but `describe`.
class client_metrics final : public client_observer {
public:
  void attempt_started(attempt_info const&) noexcept override { under_way_.fetch_add(1, relaxed); }

  void attempt_ended(attempt_info const& info, attempt_result const& result) noexcept override {
    under_way_.fetch_sub(1, relaxed);
    auto const who = std::min(static_cast<std::size_t>(result.who), parties.size() - 1);
    ended_[who].fetch_add(1, relaxed);
    if (info.number > 1) {
      repeats_.fetch_add(1, relaxed);
    }
    std::array const took{result.acquire, result.connect, result.first_byte, result.whole};
    auto const reached = result.status != 0 ? took.size() : 1; // what was not reached took no time
    for (std::size_t i = 0; i < took.size(); ++i) {
      if (i < reached || i + 1 == took.size()) {
        stages_[i].add(took[i]);
      }
    }
  }

  /// Adds the metrics, labelled with `pool`.
  void describe(prometheus_page& page, std::string_view pool) const {
    for (std::size_t i = 0; i < parties.size(); ++i) {
      page.counter("rondo_client_attempts_total", "Attempts that ended, by who is to blame; nobody is a success.",
                   {{"pool", pool}, {"blame", parties[i]}}, static_cast<double>(ended_[i].load(relaxed)));
    }
    page.counter("rondo_client_repeats_total", "Attempts that were not the first of their request.", {{"pool", pool}},
                 static_cast<double>(repeats_.load(relaxed)));
    page.gauge("rondo_client_attempts_under_way", "Attempts that have not ended.", {{"pool", pool}},
               static_cast<double>(under_way_.load(relaxed)));
    for (std::size_t i = 0; i < stages_.size(); ++i) {
      auto const& stage = stages_[i];
      std::array<std::uint64_t, bounds.size() + 1> counts{};
      std::transform(stage.counts.begin(), stage.counts.end(), counts.begin(),
                     [](auto const& c) { return c.load(relaxed); });
      page.histogram("rondo_client_stage_seconds", "How long the stages of attempts took.",
                     {{"pool", pool}, {"stage", names[i]}}, bounds, counts,
                     static_cast<double>(stage.sum_us.load(relaxed)) / 1e6);
    }
  }

private:
  // counters: each is true by itself, and pairs with nothing
  static constexpr auto relaxed = std::memory_order_relaxed;
  static constexpr std::array<std::string_view, 6> parties{"nobody", "caller", "pool", "proxy", "path", "origin"};
  static constexpr std::array<std::string_view, 4> names{"acquire", "connect", "first_byte", "whole"};
  static constexpr std::array bounds{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                     0.25,  0.5,    1.0,   2.5,  5.0,   10.0, 30.0};
  static constexpr auto bounds_us = [] {
    std::array<std::int64_t, bounds.size()> out{};
    std::transform(bounds.begin(), bounds.end(), out.begin(),
                   [](double seconds) { return static_cast<std::int64_t>(seconds * 1e6 + 0.5); });
    return out;
  }();

  struct histogram {
    std::array<std::atomic<std::uint64_t>, bounds.size() + 1> counts{};
    std::atomic<std::uint64_t> sum_us{0};

    void add(std::chrono::steady_clock::duration took) noexcept {
      auto const us = std::max<std::int64_t>(took / std::chrono::microseconds{1}, 0);
      auto const at = std::lower_bound(bounds_us.begin(), bounds_us.end(), us) - bounds_us.begin();
      counts[static_cast<std::size_t>(at)].fetch_add(1, relaxed);
      sum_us.fetch_add(static_cast<std::uint64_t>(us), relaxed);
    }
  };

  std::array<std::atomic<std::uint64_t>, parties.size()> ended_{};
  std::atomic<std::uint64_t> repeats_{0};
  std::atomic<std::int64_t> under_way_{0};
  std::array<histogram, names.size()> stages_;
};

} // namespace rondo::monitor
