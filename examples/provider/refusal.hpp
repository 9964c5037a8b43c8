// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

namespace sim {

/// Why a provider does not serve a request; each provider has its own words for each.
enum class refusal : std::uint8_t {
  invalid_key,
  forbidden,
  quota_exceeded,   ///< the balance is used up
  payment_required, ///< the same as a 402
  concurrency,
  requests_per_second,
  requests_per_minute,
  requests_per_day,
  tokens_per_minute,
  tokens_per_day,
  too_large,   ///< more tokens than any minute or day allows
  voice_limit, ///< no further voices; other work goes on
  overloaded,  ///< the model has no capacity; no key is to blame
};

inline constexpr std::array<std::pair<refusal, std::string_view>, 13> refusal_names{{
    {refusal::invalid_key, "invalid_key"},
    {refusal::forbidden, "forbidden"},
    {refusal::quota_exceeded, "quota_exceeded"},
    {refusal::payment_required, "payment_required"},
    {refusal::concurrency, "concurrency"},
    {refusal::requests_per_second, "requests_per_second"},
    {refusal::requests_per_minute, "requests_per_minute"},
    {refusal::requests_per_day, "requests_per_day"},
    {refusal::tokens_per_minute, "tokens_per_minute"},
    {refusal::tokens_per_day, "tokens_per_day"},
    {refusal::too_large, "too_large"},
    {refusal::voice_limit, "voice_limit"},
    {refusal::overloaded, "overloaded"},
}};

[[nodiscard]] constexpr std::string_view to_string(refusal r) noexcept {
  for (auto const& [value, name] : refusal_names) {
    if (value == r) {
      return name;
    }
  }
  return "unknown";
}

[[nodiscard]] constexpr std::optional<refusal> parse_refusal(std::string_view text) noexcept {
  for (auto const& [value, name] : refusal_names) {
    if (name == text) {
      return value;
    }
  }
  return {};
}

/// The refusals that mean: more was sent than the account's limits allow.
[[nodiscard]] constexpr bool is_violation(refusal r) noexcept {
  return r >= refusal::concurrency && r <= refusal::tokens_per_day;
}

} // namespace sim
