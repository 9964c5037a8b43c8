// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/capability.hpp>
#include <rondo/clock.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace rondo {

/// Whether a key is offered, and if not, why. A key of which only a lane rests is shown as `rate_limited`. When several
/// apply, the last in this order is shown.
enum class key_status : std::uint8_t { active, rate_limited, exhausted, invalid, disabled };

[[nodiscard]] constexpr std::string_view to_string(key_status s) noexcept {
  switch (s) {
  case key_status::active: return "active";
  case key_status::rate_limited: return "rate_limited";
  case key_status::exhausted: return "exhausted";
  case key_status::invalid: return "invalid";
  case key_status::disabled: return "disabled";
  }
  return "unknown";
}

/// A lane that an account must leave alone for a while.
struct lane_rest {
  std::string lane;
  wall_time until;
};

/// One key at the moment of the snapshot. Counts of tokens, the quota and the cooldown are the account's, and so the
/// same for all its keys.
struct key_state {
  std::string name;
  std::string short_key; ///< masked
  std::string account;   ///< the key's own name when none was given
  key_status status = key_status::active;
  std::int64_t character_count = 0;        ///< tokens spent of the quota, or ever when there is none
  std::int64_t character_limit = 0;        ///< the quota; 0 = none
  std::optional<std::int64_t> remaining;   ///< tokens left; empty when there is no quota
  double usage_percentage = 0;             ///< 0 to 100 of the quota
  bool is_over_limit = false;              ///< nothing is left of the quota
  bool is_near_limit = false;              ///< 80 % or more of the quota are spent
  std::optional<wall_time> next_reset;     ///< when the quota returns
  std::optional<wall_time> cooldown_until; ///< end of the rest, while there is one; of the longest, if lanes rest
  std::vector<lane_rest> resting_lanes;    ///< those that rest although the account may not
  std::optional<wall_time> balance_set;    ///< when a balance was last set from outside
  std::uint32_t in_flight = 0;             ///< leases out, of the account
  std::uint64_t requests = 0;              ///< leases given and not refunded, of this key
  std::uint64_t failures = 0;              ///< of them reported as a failure of key, account or path
  capability_set barred;                   ///< what this key cannot be used for
};

/// The keys of a pool, in the order they were added. Each key is consistent in itself to within the requests that
/// change it at that moment; the pool is not stopped for it.
///
/// A plain value; distinct objects: safe, shared objects: unsafe.
class pool_snapshot {
public:
  using value_type = key_state;
  using const_iterator = std::vector<key_state>::const_iterator;

  pool_snapshot(std::string name, std::vector<key_state> keys, std::int64_t total_remaining)
      : name_{std::move(name)}, keys_{std::move(keys)}, total_remaining_{total_remaining} {}

  [[nodiscard]] std::string const& name() const noexcept { return name_; } ///< of the pool
  [[nodiscard]] std::size_t size() const noexcept { return keys_.size(); }
  [[nodiscard]] bool empty() const noexcept { return keys_.empty(); }
  [[nodiscard]] const_iterator begin() const noexcept { return keys_.begin(); }
  [[nodiscard]] const_iterator end() const noexcept { return keys_.end(); }
  [[nodiscard]] key_state const& operator[](std::size_t i) const noexcept { return keys_[i]; }

  /// The key of this name, or null.
  [[nodiscard]] key_state const* find(std::string_view name) const noexcept {
    auto const at = std::find_if(begin(), end(), [&](key_state const& k) { return k.name == name; });
    return at == end() ? nullptr : &*at;
  }

  [[nodiscard]] std::size_t count(key_status s) const noexcept {
    return static_cast<std::size_t>(std::count_if(begin(), end(), [&](key_state const& k) { return k.status == s; }));
  }
  [[nodiscard]] std::size_t active() const noexcept { return count(key_status::active); }
  [[nodiscard]] std::size_t near_limit() const noexcept {
    return static_cast<std::size_t>(std::count_if(begin(), end(), [](key_state const& k) { return k.is_near_limit; }));
  }
  /// Tokens left of all quotas; those of an account with several keys count once.
  [[nodiscard]] std::int64_t total_remaining() const noexcept { return total_remaining_; }

private:
  std::string name_;
  std::vector<key_state> keys_;
  std::int64_t total_remaining_;
};

} // namespace rondo
