// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/clock.hpp>
#include <rondo/time_zone.hpp>

#include <algorithm>
#include <chrono>
#include <optional>
#include <variant>

namespace rondo {

/// When a quota comes back by the calendar: never, daily or monthly.
///
/// A small, trivially copyable value. It names instants of the wall clock and keeps no time itself: who acts on it
/// keeps the instant up to which quotas were renewed and asks for the next one after *that*. Then a wall clock that is
/// set back makes no renewal come twice.
///
/// Distinct objects: safe. Shared objects: safe as long as none is assigned to.
class renewal {
public:
  /// Never by itself.
  constexpr renewal() noexcept = default;
  [[nodiscard]] static constexpr renewal none() noexcept { return {}; }

  /// At the start of every day in `zone`, see `time_zone::next_midnight`.
  [[nodiscard]] static constexpr renewal daily(time_zone zone) noexcept { return renewal{start_of_day{zone}}; }

  /// Every month, before and after `anchor`, on its day of the month and at its time of day, both in UTC. In a month
  /// that lacks the day it is the last one: an anchor on January 31 gives February 28 or 29, then March 31.
  [[nodiscard]] static constexpr renewal monthly(wall_time anchor) noexcept { return renewal{moment_of_month{anchor}}; }

  /// The first renewal strictly after `after`; empty if there is none, and for instants outside the years 1678 to
  /// 2261, which are the whole ones that nanoseconds in 64 bits can count.
  [[nodiscard]] constexpr std::optional<wall_time> next(wall_time after) const noexcept {
    using namespace std::chrono;
    if (after < sys_days{year{1678} / January / 1} || after >= sys_days{year{2262} / January / 1}) {
      return std::nullopt;
    }
    return std::visit([after](auto const& r) -> std::optional<wall_time> { return r.next(after); }, rule_);
  }

  friend constexpr bool operator==(renewal const&, renewal const&) = default;

private:
  struct never {
    [[nodiscard]] constexpr std::nullopt_t next(wall_time) const noexcept { return std::nullopt; }
    friend constexpr bool operator==(never, never) = default;
  };

  struct start_of_day {
    time_zone zone;

    [[nodiscard]] constexpr wall_time next(wall_time after) const noexcept { return zone.next_midnight(after); }
    friend constexpr bool operator==(start_of_day const&, start_of_day const&) = default;
  };

  class moment_of_month {
  public:
    constexpr explicit moment_of_month(wall_time instant) noexcept
        : day_{std::chrono::year_month_day{std::chrono::floor<std::chrono::days>(instant)}.day()},
          // not the distance from that day, as the day of the earliest instant begins before it
          time_{instant.time_since_epoch() % std::chrono::days{1}} {
      if (time_ < wall_time::duration::zero()) {
        time_ += std::chrono::days{1};
      }
    }

    [[nodiscard]] constexpr wall_time next(wall_time after) const noexcept {
      std::chrono::year_month_day const today{std::chrono::floor<std::chrono::days>(after)};
      auto const month = today.year() / today.month();
      auto const in_this_one = in(month);
      return in_this_one > after ? in_this_one : in(month + std::chrono::months{1});
    }

    friend constexpr bool operator==(moment_of_month const&, moment_of_month const&) = default;

  private:
    [[nodiscard]] constexpr wall_time in(std::chrono::year_month month) const noexcept {
      auto const last = (month / std::chrono::last).day();
      return std::chrono::sys_days{month / std::min(day_, last)} + time_;
    }

    std::chrono::day day_;
    wall_time::duration time_;
  };

  using rule = std::variant<never, start_of_day, moment_of_month>;

  constexpr explicit renewal(rule const& r) noexcept : rule_{r} {}

  rule rule_{};
};

} // namespace rondo
