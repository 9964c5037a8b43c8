// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/clock.hpp>

#include <atomic>
#include <chrono>

namespace bench {

/// Everybody reads time as its user would have it: rivals call steady_clock::now(), rondo has its default clock.
struct own_clock {
  static constexpr char const* name = "own";
  [[nodiscard]] static rondo::steady_time now() noexcept { return std::chrono::steady_clock::now(); }
  [[nodiscard]] static rondo::clock_source const* source() noexcept { return nullptr; }
};

/// Everybody reads the same cached value. Nobody renews it while it is measured: what that costs is left out on all
/// sides, and cooldowns do not end.
struct cached_clock {
  static constexpr char const* name = "cached";
  [[nodiscard]] static rondo::steady_time now() noexcept { return value_.load(std::memory_order_relaxed); }
  [[nodiscard]] static rondo::clock_source const* source() noexcept {
    static cached const it{};
    return &it;
  }

private:
  struct cached final : rondo::clock_source {
    [[nodiscard]] rondo::steady_time steady_now() const noexcept override { return now(); }
  };

  alignas(64) static inline std::atomic<rondo::steady_time> value_{std::chrono::steady_clock::now()};
};

} // namespace bench
