// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/error.hpp>
#include <rondo/monitor/prometheus.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace gateway {

/// What the gateway itself counts for one pool, for `/metrics`. Counting never waits; a reading may fall between two
/// counts of the same request.
///
/// Shared objects: safe.
class traffic {
public:
  /// An answer went out: the provider's, or an error of the gateway's own.
  void answered(unsigned status, unsigned attempts, std::chrono::steady_clock::duration until_head) noexcept;
  /// A request failed without an answer of the provider, or its answer broke off.
  void failed(rondo::blame who) noexcept { count(failures_[static_cast<std::size_t>(who)]); }
  /// The caller went away before his answer was complete.
  void abandoned() noexcept { count(abandoned_); }
  /// A request with a caller's own key was passed on.
  void passed() noexcept { count(passed_); }

  void describe(rondo::monitor::prometheus_page& page, std::string_view pool) const;

private:
  using counter = std::atomic<std::uint64_t>;
  static void count(counter& c, std::uint64_t n = 1) noexcept { c.fetch_add(n, std::memory_order_relaxed); }

  static constexpr std::array<double, 12> bounds{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30};

  std::array<counter, 6> answers_{};  // by the first digit of the status
  std::array<counter, 6> failures_{}; // by rondo::blame
  std::array<counter, bounds.size() + 1> latency_{};
  counter latency_us_{};
  counter attempts_{};
  counter abandoned_{};
  counter passed_{};
};

} // namespace gateway
