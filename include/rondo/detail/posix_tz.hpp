// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/detail/date_time.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>
#include <variant>

/// The rules of a time zone as the TZ string of POSIX gives them: IEEE Std 1003.1, 8.3, with the wider range of
/// RFC 9636, 3.3.1. Used instead of the zones of `<chrono>`, which the standard library of g++ 12 lacks.
namespace rondo::detail {

/// Seconds in the space that they need here.
using short_seconds = std::chrono::duration<std::int32_t>;

/// The form `n` of a date: days after January 1, February 29 counted. 365 is in most years January 1 of the next.
struct day_of_year {
  std::uint16_t after_first = 0;

  friend constexpr bool operator==(day_of_year, day_of_year) = default;
  friend constexpr std::chrono::sys_days operator/(std::chrono::year year, day_of_year day) noexcept {
    return std::chrono::sys_days{year / std::chrono::January / 1} + std::chrono::days{day.after_first};
  }
};

/// The forms of a date: `n`; `Jn`, which never means February 29; `Mm.w.d`; `Mm.5.d`.
using yearly_day =
    std::variant<day_of_year, std::chrono::month_day, std::chrono::month_weekday, std::chrono::month_weekday_last>;

/// A change of the clocks that comes every year.
struct yearly_transition {
  yearly_day day;
  short_seconds time{0}; ///< after midnight of that day, on the clock as it goes before the change; -167 h to 167 h

  friend constexpr bool operator==(yearly_transition const&, yearly_transition const&) = default;

  /// What the clock shows when it comes, as if that were UTC.
  [[nodiscard]] constexpr std::chrono::sys_seconds local_time_in(std::chrono::year year) const noexcept {
    return std::visit([year](auto const& d) { return std::chrono::sys_days{year / d}; }, day) + time;
  }
};

/// The rules of a zone. Offsets are seconds to add to UTC, as in RFC 9636; POSIX writes them with the opposite sign.
///
/// Defined for instants of the years 1678 to 2261.
struct posix_tz {
  short_seconds standard{0};
  short_seconds daylight{0};           ///< equal to `standard` where the clocks never change
  yearly_transition daylight_begins{}; ///< meaningless where the clocks never change
  yearly_transition daylight_ends{};   ///< likewise; in the southern hemisphere before the begin of the same year

  friend constexpr bool operator==(posix_tz const&, posix_tz const&) = default;

  [[nodiscard]] constexpr short_seconds offset_at(std::chrono::sys_seconds when) const noexcept {
    using namespace std::chrono;
    // The end of a year is that of its begin, or else the next year's is. Either may lie 8 days outside its year.
    auto const current = year_month_day{floor<days>(when)}.year();
    for (auto year = current - years{2}; year <= current + years{1}; ++year) {
      auto const begin = begin_in(year);
      auto const end = end_in(year) < begin ? end_in(year + years{1}) : end_in(year);
      if (begin <= when && when < end) {
        return daylight;
      }
    }
    return standard;
  }

  /// The first instant at which the local clock shows `date` or a later one.
  ///
  /// So a day has one start: where midnight is skipped, the instant that follows the gap; where it comes twice, the
  /// first of the two. It never moves back from one date to the next.
  [[nodiscard]] constexpr std::chrono::sys_seconds start_of(std::chrono::sys_days date) const noexcept {
    using namespace std::chrono;
    sys_seconds const midnight{date};
    auto start = midnight - std::min(standard, daylight); // by then the clock is there under either offset
    auto const consider = [&](sys_seconds when) {
      if (when < start && when + offset_at(when) >= midnight) {
        start = when;
      }
    };
    consider(midnight - std::max(standard, daylight));
    auto const current = year_month_day{date}.year();
    for (auto year = current - years{1}; year <= current + years{1}; ++year) {
      consider(begin_in(year));
      consider(end_in(year));
    }
    return start;
  }

  /// The first start of a day strictly after `when`.
  [[nodiscard]] constexpr std::chrono::sys_seconds next_midnight(std::chrono::sys_seconds when) const noexcept {
    using namespace std::chrono;
    auto date = floor<days>(when + std::min(standard, daylight)); // this one has begun
    for (;;) {
      date += days{1};
      if (auto const start = start_of(date); start > when) {
        return start;
      }
    }
  }

private:
  [[nodiscard]] constexpr std::chrono::sys_seconds begin_in(std::chrono::year year) const noexcept {
    return daylight_begins.local_time_in(year) - standard;
  }
  [[nodiscard]] constexpr std::chrono::sys_seconds end_in(std::chrono::year year) const noexcept {
    return daylight_ends.local_time_in(year) - daylight;
  }
};

/// Reads a TZ string from left to right.
class posix_tz_parser {
public:
  constexpr explicit posix_tz_parser(std::string_view text) noexcept : in_{text} {}

  constexpr std::optional<posix_tz> parse() noexcept {
    auto const standard = abbreviation() ? offset() : std::nullopt;
    if (!standard) {
      return std::nullopt;
    }
    posix_tz const unchanging{.standard = *standard, .daylight = *standard};
    if (in_.done()) {
      return unchanging;
    }
    if (!abbreviation()) {
      return std::nullopt;
    }
    auto const daylight =
        in_.peek() == ',' ? std::optional<short_seconds>{*standard + std::chrono::hours{1}} : offset();
    auto const begins = daylight && in_.literal(",") ? transition() : std::nullopt;
    auto const ends = begins && in_.literal(",") ? transition() : std::nullopt;
    if (!ends || !in_.done()) {
      return std::nullopt;
    }
    return *daylight == *standard ? unchanging : posix_tz{*standard, *daylight, *begins, *ends};
  }

private:
  /// `PST`, `<-03>`: at least three characters.
  constexpr bool abbreviation() noexcept {
    constexpr std::string_view quotable = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-";
    constexpr auto letters = quotable.substr(0, 52);
    auto const quoted = in_.literal("<");
    auto length = 0;
    while (in_.one_of(quoted ? quotable : letters)) {
      ++length;
    }
    return length >= 3 && (!quoted || in_.literal(">"));
  }

  /// At most three digits.
  constexpr std::optional<int> number(int least, int most) noexcept {
    auto value = 0;
    auto digits = 0;
    for (auto digit = 0; digits < 3 && in_.number(digit, 1); ++digits) {
      value = value * 10 + digit;
    }
    return digits > 0 && value >= least && value <= most ? std::optional{value} : std::nullopt;
  }

  /// `8`, `-5:45`, `+167:59:59`
  constexpr std::optional<short_seconds> time(int most_hours) noexcept {
    auto const sign = in_.peek() == '-' ? -1 : 1;
    in_.one_of("+-");
    auto const hours = number(0, most_hours);
    auto minutes = 0;
    auto seconds = 0;
    if (!hours || (in_.literal(":") && (!in_.number(minutes, 2) || (in_.literal(":") && !in_.number(seconds, 2)))) ||
        minutes > 59 || seconds > 59) {
      return std::nullopt;
    }
    return short_seconds{sign * ((*hours * 60 + minutes) * 60 + seconds)};
  }

  /// Hours west of Greenwich in the text; east of it in the result.
  constexpr std::optional<short_seconds> offset() noexcept {
    auto const west = time(24);
    return west ? std::optional{-*west} : std::nullopt;
  }

  /// `M3.2.0`, `J60/-1`, `365/25:30`
  constexpr std::optional<yearly_transition> transition() noexcept {
    auto const day = in_.literal("M")   ? weekday_of_month()
                     : in_.literal("J") ? day_without_leap_day()
                                        : day_with_leap_day();
    auto const at = in_.literal("/") ? time(167) : std::optional<short_seconds>{std::chrono::hours{2}};
    return day && at ? std::optional{yearly_transition{*day, *at}} : std::nullopt;
  }

  constexpr std::optional<yearly_day> weekday_of_month() noexcept {
    auto const month = number(1, 12);
    auto const week = month && in_.literal(".") ? number(1, 5) : std::nullopt;
    auto const weekday = week && in_.literal(".") ? number(0, 6) : std::nullopt;
    if (!weekday) {
      return std::nullopt;
    }
    std::chrono::month const in_month{static_cast<unsigned>(*month)};
    std::chrono::weekday const on{static_cast<unsigned>(*weekday)};
    if (*week == 5) {
      return in_month / on[std::chrono::last];
    }
    return in_month / on[static_cast<unsigned>(*week)];
  }

  constexpr std::optional<yearly_day> day_without_leap_day() noexcept {
    using namespace std::chrono;
    auto const day = number(1, 365);
    if (!day) {
      return std::nullopt;
    }
    year_month_day const date{sys_days{year{2001} / January / 1} + days{*day - 1}}; // any year without February 29
    return date.month() / date.day();
  }

  constexpr std::optional<yearly_day> day_with_leap_day() noexcept {
    auto const day = number(0, 365);
    return day ? std::optional<yearly_day>{day_of_year{static_cast<std::uint16_t>(*day)}} : std::nullopt;
  }

  date_scanner in_;
};

/// Empty for what is not a TZ string, and for one that names daylight time without saying when: POSIX leaves that to
/// the system.
[[nodiscard]] constexpr std::optional<posix_tz> parse_posix_tz(std::string_view text) noexcept {
  return posix_tz_parser{text}.parse();
}

/// America/Los_Angeles since 2007.
inline constexpr posix_tz pacific_rules = parse_posix_tz("PST8PDT,M3.2.0,M11.1.0").value();

} // namespace rondo::detail
