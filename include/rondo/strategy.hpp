// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstdint>
#include <string_view>

namespace rondo {

/// How the next slot is picked among those that can serve.
enum class strategy : std::uint8_t {
  round_robin, ///< each in its turn; threads turn independently of each other
  fill_first,  ///< stay on one until it cannot serve, then move on
};

[[nodiscard]] constexpr std::string_view to_string(strategy s) noexcept {
  return s == strategy::round_robin ? "round_robin" : "fill_first";
}

} // namespace rondo
