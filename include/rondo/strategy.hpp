// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace rondo {

/// How the next slot is picked among those that can serve.
///
/// `round_robin` and `fill_first` look at one slot when all is well. The others compare up to 32 slots that are ready,
/// from where the last pick was made on: exact for pools of that size, and of the same cost for larger ones.
enum class strategy : std::uint8_t {
  round_robin,    ///< each in its turn; threads turn independently of each other
  fill_first,     ///< stay on one until it cannot serve, then move on
  most_remaining, ///< the one with the most tokens left of its quota; one without a quota before all others
  least_loaded,   ///< the one with the fewest leases out
  weighted,       ///< in proportion to the weights, evenly spread
  soonest_reset,  ///< the one whose quota returns first: spend first what expires first
};

inline constexpr std::array strategies{strategy::round_robin,  strategy::fill_first, strategy::most_remaining,
                                       strategy::least_loaded, strategy::weighted,   strategy::soonest_reset};

[[nodiscard]] constexpr std::string_view to_string(strategy s) noexcept {
  switch (s) {
  case strategy::round_robin: return "round_robin";
  case strategy::fill_first: return "fill_first";
  case strategy::most_remaining: return "most_remaining";
  case strategy::least_loaded: return "least_loaded";
  case strategy::weighted: return "weighted";
  case strategy::soonest_reset: return "soonest_reset";
  }
  return "unknown";
}

} // namespace rondo
