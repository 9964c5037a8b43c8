// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/capability.hpp>
#include <rondo/clock.hpp>
#include <rondo/secret.hpp>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace rondo::store {

/// A key as a source gives it; what the source does not know is empty.
struct stored_key {
  std::string name;                      ///< unique within its source, holds no part of the secret
  rondo::secret secret;                  ///< never empty
  std::optional<std::int64_t> remaining; ///< tokens left, never negative
  std::optional<wall_time> checked;      ///< when that was known to be right
  bool exhausted = false;                ///< the provider said that nothing is left
  capability_set barred;                 ///< what the key cannot be used for
};

/// A key travels in a header: visible ASCII, no blanks, not empty.
[[nodiscard]] inline bool is_usable_secret(std::string_view text) noexcept {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < '\x7f'; });
}

} // namespace rondo::store
