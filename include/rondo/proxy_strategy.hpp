// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace rondo {

/// How the next proxy is picked among those that can serve.
enum class proxy_strategy : std::uint8_t {
  /// The same affinity keeps its proxy while that is healthy, and no proxy has more than its fair share of them and
  /// one. The default: a provider should not see one key from many addresses. Without an affinity: `round_robin`.
  sticky,
  round_robin,  ///< each in its turn
  random,       ///< all equally likely
  least_loaded, ///< the one with the fewest requests in flight, of up to 32 that are compared
  latency,      ///< of two picked at random the one that answered faster lately; unknown ones are tried first
};

inline constexpr std::array proxy_strategies{proxy_strategy::sticky, proxy_strategy::round_robin,
                                             proxy_strategy::random, proxy_strategy::least_loaded,
                                             proxy_strategy::latency};

[[nodiscard]] constexpr std::string_view to_string(proxy_strategy s) noexcept {
  switch (s) {
  case proxy_strategy::sticky: return "sticky";
  case proxy_strategy::round_robin: return "round_robin";
  case proxy_strategy::random: return "random";
  case proxy_strategy::least_loaded: return "least_loaded";
  case proxy_strategy::latency: return "latency";
  }
  return "unknown";
}

} // namespace rondo
