// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/clock.hpp>
#include <rondo/renewal.hpp>

#include <cstdint>
#include <optional>

namespace rondo {

/// What an account may use. Every count is "none" when it is 0. A larger number than 2^32 - 2 for a rate, or 10^18 for
/// a quota or a balance, is taken as that one.
///
/// Rates hold in every interval of their length (sliding windows), not per calendar minute; those of a day per calendar
/// day where `day_renewal` says so.
struct limits {
  std::uint32_t requests_per_second = 0; ///< requests in any 1 s; 0 = none
  std::uint32_t requests_per_minute = 0; ///< requests in any 60 s; 0 = none
  std::uint32_t tokens_per_minute = 0;   ///< tokens in any 60 s; 0 = none
  std::uint32_t requests_per_day = 0;    ///< requests in any 24 h; 0 = none
  std::uint32_t tokens_per_day = 0;      ///< tokens in any 24 h; 0 = none
  std::uint32_t concurrency = 0;         ///< leases out at once; 0 = none but the 65,535 that can be counted
  std::int64_t quota = 0;                ///< tokens until the reset, never negative; 0 = none
  /// When the whole quota returns for the first time; empty = as `quota_renewal` says.
  std::optional<wall_time> quota_reset{};
  renewal quota_renewal{}; ///< when it returns again and again; the default: it does not
  /// When `requests_per_day` and `tokens_per_day` return, all at once; the default: each unit 24 h after its use.
  /// Gemini: `renewal::daily(time_zone::pacific())`. Requests that are under way then are counted in the day that they
  /// began.
  renewal day_renewal{};

  friend bool operator==(limits const&, limits const&) = default;
};

} // namespace rondo
