// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/detail/date_time.hpp>
#include <rondo/pool_snapshot.hpp>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include <optional>
#include <string_view>
#include <utility>

namespace rondo {

/// The status document of a pool. Holds names and masked keys, never a secret. Dates are RFC 3339 in UTC with
/// milliseconds, or null.
[[nodiscard]] inline boost::json::value to_json(pool_snapshot const& pool) {
  auto const date = [](std::optional<wall_time> const& t) -> boost::json::value {
    return t ? boost::json::value(detail::to_rfc3339(*t)) : boost::json::value(nullptr);
  };
  auto const text = [](std::string_view s) { return boost::json::string_view{s.data(), s.size()}; };
  boost::json::array keys;
  keys.reserve(pool.size());
  for (auto const& k : pool) {
    boost::json::object o;
    o["name"] = text(k.name);
    o["shortKey"] = text(k.short_key);
    o["account"] = text(k.account);
    o["status"] = text(to_string(k.status));
    o["characterCount"] = k.character_count;
    o["characterLimit"] = k.character_limit;
    o["remainingCharacters"] = k.remaining ? boost::json::value(*k.remaining) : boost::json::value(nullptr);
    o["usagePercentage"] = k.usage_percentage;
    o["isOverLimit"] = k.is_over_limit;
    o["isNearLimit"] = k.is_near_limit;
    o["nextResetDate"] = date(k.next_reset);
    o["cooldownUntil"] = date(k.cooldown_until);
    o["inFlight"] = k.in_flight;
    o["requests"] = k.requests;
    o["failures"] = k.failures;
    keys.push_back(std::move(o));
  }
  boost::json::object out;
  out["name"] = text(pool.name());
  out["totalKeys"] = pool.size();
  out["activeKeys"] = pool.count(key_status::active);
  out["exhaustedKeys"] = pool.count(key_status::exhausted);
  out["rateLimitedKeys"] = pool.count(key_status::rate_limited);
  out["invalidKeys"] = pool.count(key_status::invalid);
  out["nearLimitKeys"] = pool.near_limit();
  out["totalRemainingCharacters"] = pool.total_remaining();
  out["keys"] = std::move(keys);
  return out;
}

} // namespace rondo
