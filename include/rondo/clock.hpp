// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <chrono>

namespace rondo {

/// Time for cooldowns, windows and deadlines. Never jumps.
using steady_time = std::chrono::steady_clock::time_point;
/// Time for what is shown, kept in files and sent by providers. May jump.
using wall_time = std::chrono::system_clock::time_point;

/// The two clocks a pool reads. Tests derive from it and move time by hand; it must outlive whatever uses it.
///
/// Both functions may be called from any thread at any time.
class clock_source {
public:
  virtual ~clock_source() = default;
  [[nodiscard]] virtual steady_time steady_now() const noexcept { return std::chrono::steady_clock::now(); }
  [[nodiscard]] virtual wall_time wall_now() const noexcept { return std::chrono::system_clock::now(); }
};

/// The clocks of the system.
[[nodiscard]] inline clock_source const& system_clocks() noexcept {
  static clock_source const clocks{};
  return clocks;
}

} // namespace rondo
