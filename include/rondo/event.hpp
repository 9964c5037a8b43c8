// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace rondo {

/// Something happened in a pool that an operator may want to know.
enum class event_kind : std::uint8_t {
  key_rotated,     ///< another key than the last one was given out
  near_limit,      ///< 80 % of an account's quota are spent
  rate_limited,    ///< an account, or one of its lanes, began to rest
  exhausted,       ///< an account's balance is used up
  invalid,         ///< the provider does not know a key, or no longer
  recovered,       ///< an account serves again after a rest
  all_unavailable, ///< a request was refused while every account rests or has no usable key
};

[[nodiscard]] constexpr std::string_view to_string(event_kind k) noexcept {
  switch (k) {
  case event_kind::key_rotated: return "key_rotated";
  case event_kind::near_limit: return "near_limit";
  case event_kind::rate_limited: return "rate_limited";
  case event_kind::exhausted: return "exhausted";
  case event_kind::invalid: return "invalid";
  case event_kind::recovered: return "recovered";
  case event_kind::all_unavailable: return "all_unavailable";
  }
  return "unknown";
}

/// An event and whom it concerns; names only, never a secret.
struct event {
  event_kind kind;
  std::string key;     ///< empty when it concerns the whole account or pool
  std::string account; ///< empty when it concerns the whole pool
};

} // namespace rondo
