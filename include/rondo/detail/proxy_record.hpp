// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/detail/tick.hpp>
#include <rondo/proxy_filter.hpp>
#include <rondo/proxy_params.hpp>

#include <atomic>
#include <cstdint>
#include <limits>

namespace rondo::detail {

/// How long requests through a proxy have waited for their answers lately. Any thread; when two report at once, one of
/// them may not count.
class smoothed_latency {
public:
  void add(tick sample, tick now) noexcept {
    auto const before = value_.load();
    value_.store(before == 0 ? sample : before + (sample - before) / 4);
    at_.store(now);
  }
  /// 0 when nothing is known. Halved for each half minute without news, so that who was slow once is tried again.
  [[nodiscard]] tick get(tick now) const noexcept {
    constexpr tick half_life = 30'000'000'000;
    auto const age = (now - at_.load()) / half_life;
    return age <= 0 ? value_.load() : age >= 62 ? 0 : value_.load() >> age;
  }

private:
  std::atomic<tick> value_{0};
  std::atomic<tick> at_{0};
};

/// A proxy behind its slot. What is not atomic, but `removed`, does not change once it is offered.
struct proxy_record {
  proxy_params params;
  proxy_filter tags;
  std::uint64_t hash = 0; ///< of its name
  smoothed_latency latency;
  std::atomic<std::uint32_t> doubts{0}; ///< failures that may have been its own, since it was confirmed last
  bool removed = false;
};

} // namespace rondo::detail
