// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/clock.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>

namespace rondo {

/// What a provider's answer means for the key that was used: the argument of `lease::report`.
///
/// A plain value; all factories are `constexpr` and cannot fail.
class outcome {
public:
  enum class kind : std::uint8_t {
    rate_limited,        ///< too much in a period: the account rests
    exhausted,           ///< the balance or quota is used up: the account rests until its reset
    concurrency_limited, ///< too many at once: no rest in time, the cap of leases shrinks
    invalid_key,         ///< the key is dead until its secret is replaced or it is revived
    overloaded,          ///< the provider or its model has no capacity: nobody's key is to blame
    too_large,           ///< no key of this kind could serve the request
    rejected,            ///< the caller's fault: passed on
    transport_error,     ///< no usable answer arrived
  };
  using duration = std::chrono::steady_clock::duration;

  /// Rests for the pool's own cooldown, growing with each repetition.
  [[nodiscard]] static constexpr outcome rate_limited() noexcept { return outcome{kind::rate_limited}; }
  /// Rests at least `rest`; negative counts as zero.
  [[nodiscard]] static constexpr outcome rate_limited(duration rest) noexcept {
    return outcome{kind::rate_limited, rest, {}};
  }
  /// Rests at least until `end`.
  [[nodiscard]] static constexpr outcome rate_limited(wall_time end) noexcept {
    return outcome{kind::rate_limited, {}, end};
  }
  /// Rests 1 h, doubling to 24 h with each repetition: no reset is known.
  [[nodiscard]] static constexpr outcome exhausted() noexcept { return outcome{kind::exhausted}; }
  [[nodiscard]] static constexpr outcome exhausted(duration rest) noexcept {
    return outcome{kind::exhausted, rest, {}};
  }
  [[nodiscard]] static constexpr outcome exhausted(wall_time end) noexcept { return outcome{kind::exhausted, {}, end}; }
  [[nodiscard]] static constexpr outcome concurrency_limited() noexcept { return outcome{kind::concurrency_limited}; }
  [[nodiscard]] static constexpr outcome invalid_key() noexcept { return outcome{kind::invalid_key}; }
  [[nodiscard]] static constexpr outcome overloaded() noexcept { return outcome{kind::overloaded}; }
  [[nodiscard]] static constexpr outcome too_large() noexcept { return outcome{kind::too_large}; }
  [[nodiscard]] static constexpr outcome rejected() noexcept { return outcome{kind::rejected}; }
  [[nodiscard]] static constexpr outcome transport_error() noexcept { return outcome{kind::transport_error}; }

  [[nodiscard]] constexpr kind what() const noexcept { return kind_; }
  /// How long to rest, when the provider said it as a length.
  [[nodiscard]] constexpr std::optional<duration> rest() const noexcept { return rest_; }
  /// Until when to rest, when the provider said it as an instant.
  [[nodiscard]] constexpr std::optional<wall_time> until() const noexcept { return until_; }

  friend constexpr bool operator==(outcome const&, outcome const&) = default;

private:
  constexpr explicit outcome(kind k, std::optional<duration> rest = {}, std::optional<wall_time> until = {}) noexcept
      : kind_{k}, rest_{rest}, until_{until} {}

  kind kind_;
  std::optional<duration> rest_;
  std::optional<wall_time> until_;
};

[[nodiscard]] constexpr std::string_view to_string(outcome::kind k) noexcept {
  switch (k) {
  case outcome::kind::rate_limited: return "rate_limited";
  case outcome::kind::exhausted: return "exhausted";
  case outcome::kind::concurrency_limited: return "concurrency_limited";
  case outcome::kind::invalid_key: return "invalid_key";
  case outcome::kind::overloaded: return "overloaded";
  case outcome::kind::too_large: return "too_large";
  case outcome::kind::rejected: return "rejected";
  case outcome::kind::transport_error: return "transport_error";
  }
  return "unknown";
}

} // namespace rondo
