// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/detail/mixing.hpp>
#include <rondo/detail/tick.hpp>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <random>

namespace rondo::detail {

/// Spreads returns: without it, all that rested together would come back together.
///
/// Any thread. The sequence depends on the seed and the order of calls only (splitmix64).
class jitter {
public:
  /// `seed` 0 takes one from the system.
  explicit jitter(std::uint64_t seed) : state_{seed != 0 ? seed : std::random_device{}()} {}

  /// `rest` and up to 10 % more, at most 5 s more.
  [[nodiscard]] tick operator()(tick rest) noexcept {
    constexpr tick most = 5'000'000'000;
    auto const span = std::min(rest / 10, most);
    return span <= 0 ? rest : after(rest, static_cast<tick>(next() % (static_cast<std::uint64_t>(span) + 1)));
  }

private:
  [[nodiscard]] std::uint64_t next() noexcept {
    constexpr std::uint64_t step = 0x9e3779b97f4a7c15;
    return mixed(state_.fetch_add(step) + step);
  }

  std::atomic<std::uint64_t> state_;
};

} // namespace rondo::detail
