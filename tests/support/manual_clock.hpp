// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/clock.hpp>

#include <atomic>
#include <chrono>

namespace rondo::test {

/// Two clocks that stand still until they are moved. Any thread.
class manual_clock final : public clock_source {
public:
  [[nodiscard]] steady_time steady_now() const noexcept override {
    ++readings_;
    return steady_time{std::chrono::hours{1000}} + std::chrono::nanoseconds{passed_.load()};
  }
  [[nodiscard]] wall_time wall_now() const noexcept override {
    return wall_time{std::chrono::sys_days{std::chrono::year{2026} / 11 / 21}} +
           std::chrono::duration_cast<wall_time::duration>(std::chrono::nanoseconds{passed_.load() + shift_.load()});
  }
  void advance(std::chrono::nanoseconds by) noexcept { passed_ += by.count(); }
  /// Somebody sets the wall clock, forward or back.
  void set_wall_by(std::chrono::nanoseconds by) noexcept { shift_ += by.count(); }
  /// How often somebody looked at the steady clock.
  [[nodiscard]] std::uint64_t readings() const noexcept { return readings_; }

private:
  std::atomic<std::int64_t> passed_{0};
  std::atomic<std::int64_t> shift_{0}; ///< of the wall clock
  mutable std::atomic<std::uint64_t> readings_{0};
};

} // namespace rondo::test
