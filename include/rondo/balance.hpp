// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/clock.hpp>

#include <cstdint>
#include <optional>

namespace rondo {

/// What a provider says is left of an account's quota.
struct balance {
  std::int64_t limit = 0;           ///< tokens per period
  std::int64_t remaining = 0;       ///< tokens left of them, never negative
  std::optional<wall_time> reset{}; ///< when the whole limit returns; empty = unknown

  friend bool operator==(balance const&, balance const&) = default;
};

} // namespace rondo
