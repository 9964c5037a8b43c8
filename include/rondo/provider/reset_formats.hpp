// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/clock.hpp>
#include <rondo/detail/date_time.hpp>
#include <rondo/http/message.hpp>

#include <boost/beast/core/string_type.hpp>
#include <boost/beast/http/field.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

/// When to come back, in every spelling that providers use. Pure functions, safe from any thread.
namespace rondo::provider {

using rest_duration = std::chrono::steady_clock::duration;

/// A rest longer than a billing month is cut to this; a request then finds out whether it still holds.
inline constexpr rest_duration longest_rest = std::chrono::hours{24 * 32};
/// A rest beyond this is a mistake of the sender (a unit confused, a broken clock) and is ignored altogether.
inline constexpr rest_duration absurd_rest = std::chrono::hours{24 * 400};

namespace detail {

/// `12`, `1.5`; no sign, no exponent. Saturates instead of overflowing. Consumes what it reads.
[[nodiscard]] constexpr std::optional<double> take_decimal(std::string_view& text) noexcept {
  std::size_t digits = 0;
  double value = 0;
  double scale = 0; // 0: before the point
  std::size_t at = 0;
  for (; at < text.size(); ++at) {
    auto const c = text[at];
    if (c == '.' && scale == 0) {
      scale = 1;
    } else if (rondo::detail::is_digit(c)) {
      ++digits;
      if (scale < 1e15) { // beyond that a double cannot tell
        value = std::min(value * 10 + (c - '0'), 1e300);
        scale *= 10;
      }
    } else {
      break;
    }
  }
  if (digits == 0) {
    return std::nullopt;
  }
  text.remove_prefix(at);
  return scale == 0 ? value : value / scale;
}

/// Seconds as a rest; empty when zero, negative or absurd.
[[nodiscard]] inline std::optional<rest_duration> sane_rest(double seconds) noexcept {
  if (!(seconds > 0) || seconds > std::chrono::duration<double>{absurd_rest}.count()) {
    return std::nullopt;
  }
  auto const rest = rest_duration{std::llround(seconds * 1e9)};
  return rest <= rest_duration::zero() ? std::nullopt : std::optional{std::min(rest, longest_rest)};
}

static_assert(rest_duration::period::den == 1'000'000'000, "sane_rest counts nanoseconds");

[[nodiscard]] inline std::optional<rest_duration> rest_until(wall_time when, wall_time now) noexcept {
  return sane_rest(std::chrono::duration<double>{when - now}.count());
}

/// The longest `t` of the items of a `RateLimit` field that have `r=0`: `"default";r=0;t=30`.
[[nodiscard]] inline std::optional<rest_duration> ratelimit_field(std::string_view value) noexcept {
  std::optional<rest_duration> longest;
  while (!value.empty()) {
    auto item = value.substr(0, value.find(','));
    value.remove_prefix(std::min(item.size() + 1, value.size()));
    std::optional<double> remaining;
    std::optional<double> seconds;
    while (!item.empty()) {
      auto parameter = item.substr(0, item.find(';'));
      item.remove_prefix(std::min(parameter.size() + 1, item.size()));
      parameter = rondo::detail::trimmed(parameter);
      if (parameter.starts_with("r=") || parameter.starts_with("t=")) {
        auto& out = parameter.front() == 'r' ? remaining : seconds;
        parameter.remove_prefix(2);
        out = take_decimal(parameter);
      }
    }
    if (remaining == 0.0 && seconds) {
      longest = std::max(longest, sane_rest(*seconds));
    }
  }
  return longest;
}

} // namespace detail

/// A length in Go's or protobuf's spelling: `1s`, `12ms`, `6m0s`, `1m26.4s`, `156h14m36.75s`, `34.074824224s`.
/// \return empty when it is something else, zero or absurd
[[nodiscard]] inline std::optional<rest_duration> parse_duration(std::string_view text) noexcept {
  struct unit {
    std::string_view name;
    double seconds;
  };
  // longer names first, as "m" begins "ms"
  static constexpr unit units[] = {{"ns", 1e-9}, {"us", 1e-6}, {"\xc2\xb5s", 1e-6}, {"\xce\xbcs", 1e-6},
                                   {"ms", 1e-3}, {"h", 3600},  {"m", 60},           {"s", 1}};
  auto rest = rondo::detail::trimmed(text);
  if (rest.empty()) {
    return std::nullopt;
  }
  double seconds = 0;
  while (!rest.empty()) {
    auto const count = detail::take_decimal(rest);
    auto const found =
        std::find_if(std::begin(units), std::end(units), [&](unit const& u) { return rest.starts_with(u.name); });
    if (!count || found == std::end(units)) {
      return std::nullopt;
    }
    seconds += *count * found->seconds;
    rest.remove_prefix(found->name.size());
  }
  return detail::sane_rest(seconds);
}

/// The one parser for every reset value (the test vectors are those of the providers' documentation): a length as in
/// `parse_duration`; a bare number, which is seconds from now, a Unix time from 1e9 up, a Unix time in milliseconds
/// from 1e11 up; a date of RFC 3339 or RFC 9110.
///
/// \param now what the sender's clock says: give its `Date` for a rest that does not depend on our clock
/// \return how long from `now`, at most `longest_rest`; empty when absent, malformed, zero, negative, past or absurd.
///   An empty result never means "no quota left".
[[nodiscard]] inline std::optional<rest_duration> parse_reset(std::string_view text, wall_time now) noexcept {
  auto const value = rondo::detail::trimmed(text);
  if (value.empty()) {
    return std::nullopt;
  }
  auto rest = value;
  if (auto const number = detail::take_decimal(rest); number && rest.empty()) {
    auto const unix_now = std::chrono::duration<double>{now.time_since_epoch()}.count();
    return detail::sane_rest(*number >= 1e11  ? *number / 1000 - unix_now
                             : *number >= 1e9 ? *number - unix_now
                                              : *number);
  }
  if (auto const length = parse_duration(value)) {
    return length;
  }
  if (auto const date = rondo::detail::parse_iso_date(value)) {
    return detail::rest_until(*date, now);
  }
  if (auto const date = rondo::detail::parse_http_date(value, now)) {
    return detail::rest_until(*date, now);
  }
  return std::nullopt;
}

/// The sender's clock: its `Date` header, or ours when it has none.
[[nodiscard]] inline wall_time sender_now(http::response_head const& head, wall_time now) noexcept {
  auto const field = head.find(boost::beast::http::field::date);
  return field == head.end() ? now : rondo::detail::parse_http_date(field->value(), now).value_or(now);
}

/// How long the response asks us to stay away: the longest of `Retry-After` (RFC 9110 10.2.3: seconds, also
/// fractional, or a date, corrected by the sender's `Date`), `retry-after-ms` and `x-ms-retry-after-ms`.
[[nodiscard]] inline std::optional<rest_duration> retry_after(http::response_head const& head, wall_time now) {
  std::optional<rest_duration> longest;
  for (auto const& field : head) {
    std::optional<rest_duration> rest;
    if (field.name() == boost::beast::http::field::retry_after) {
      rest = parse_reset(field.value(), sender_now(head, now));
    } else if (boost::beast::iequals(field.name_string(), "retry-after-ms") ||
               boost::beast::iequals(field.name_string(), "x-ms-retry-after-ms")) {
      std::string_view text = rondo::detail::trimmed(field.value());
      if (auto const millis = detail::take_decimal(text); millis && text.empty()) {
        rest = detail::sane_rest(*millis / 1000);
      }
    }
    longest = std::max(longest, rest);
  }
  return longest;
}

/// How long until a limit that the headers call used up returns: the longest `*ratelimit*reset*` whose `*remaining*`
/// counterpart is 0 (OpenAI, Anthropic, Venice, Groq, OpenRouter), or `t` of a `RateLimit` field with `r=0` (IETF
/// draft-ietf-httpapi-ratelimit-headers). Resets of limits that have something left say nothing.
[[nodiscard]] inline std::optional<rest_duration> ratelimit_reset(http::response_head const& head, wall_time now) {
  std::optional<rest_duration> longest;
  for (auto const& field : head) {
    std::string name{field.name_string()};
    std::transform(name.begin(), name.end(), name.begin(), rondo::detail::to_lower);
    if (name == "ratelimit") {
      longest = std::max(longest, detail::ratelimit_field(field.value()));
      continue;
    }
    auto const at = name.find("reset");
    if (at == name.npos || name.find("ratelimit") == name.npos) {
      continue;
    }
    name.replace(at, 5, "remaining");
    auto const remaining = head.find(name);
    if (remaining != head.end() && rondo::detail::trimmed(remaining->value()) == "0") {
      longest = std::max(longest, parse_reset(field.value(), sender_now(head, now)));
    }
  }
  return longest;
}

} // namespace rondo::provider
