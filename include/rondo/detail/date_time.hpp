// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/clock.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

/// Dates as texts: RFC 3339 and its common relaxations, and the three forms of RFC 9110.
/// Written by hand because the standard library of g++ 12 cannot parse dates.
namespace rondo::detail {

/// Removes blanks and tabs at both ends.
[[nodiscard]] constexpr std::string_view trimmed(std::string_view text) noexcept {
  auto const first = text.find_first_not_of(" \t");
  return first == text.npos ? std::string_view{} : text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

[[nodiscard]] constexpr bool is_digit(char c) noexcept {
  return c >= '0' && c <= '9';
}
[[nodiscard]] constexpr char to_lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

/// Reads a text from left to right; every function consumes what it accepts and says whether it did.
class date_scanner {
public:
  constexpr explicit date_scanner(std::string_view text) noexcept : rest_{text} {}

  [[nodiscard]] constexpr bool done() const noexcept { return rest_.empty(); }
  [[nodiscard]] constexpr char peek() const noexcept { return rest_.empty() ? '\0' : rest_.front(); }

  constexpr bool one_of(std::string_view wanted) noexcept {
    if (rest_.empty() || wanted.find(rest_.front()) == wanted.npos) {
      return false;
    }
    rest_.remove_prefix(1);
    return true;
  }
  constexpr bool literal(std::string_view wanted) noexcept {
    if (!rest_.starts_with(wanted)) {
      return false;
    }
    rest_.remove_prefix(wanted.size());
    return true;
  }
  /// Exactly `digits` decimal digits.
  constexpr bool number(int& out, std::size_t digits) noexcept {
    if (rest_.size() < digits ||
        !std::all_of(rest_.begin(), rest_.begin() + static_cast<std::ptrdiff_t>(digits), is_digit)) {
      return false;
    }
    out = 0;
    for (auto const c : rest_.substr(0, digits)) {
      out = out * 10 + (c - '0');
    }
    rest_.remove_prefix(digits);
    return true;
  }
  /// Any number of digits after a decimal point, as nanoseconds; digits beyond the ninth are dropped.
  constexpr bool fraction(std::chrono::nanoseconds& out) noexcept {
    if (!is_digit(peek())) {
      return false;
    }
    std::int64_t nanos = 0;
    for (std::int64_t scale = 100'000'000; is_digit(peek()); scale /= 10) {
      nanos += (rest_.front() - '0') * scale;
      rest_.remove_prefix(1);
    }
    out = std::chrono::nanoseconds{nanos};
    return true;
  }
  /// The English abbreviation of a month, `Jan` to `Dec`.
  constexpr bool month(int& out) noexcept {
    constexpr std::string_view names = "JanFebMarAprMayJunJulAugSepOctNovDec";
    auto const at = rest_.size() < 3 ? names.npos : names.find(rest_.substr(0, 3));
    if (at == names.npos || at % 3 != 0) {
      return false;
    }
    out = static_cast<int>(at / 3) + 1;
    rest_.remove_prefix(3);
    return true;
  }
  /// `08:49:37`
  constexpr bool time_of_day(std::chrono::seconds& out) noexcept {
    int hour = 0;
    int minute = 0;
    int second = 0;
    if (!number(hour, 2) || !literal(":") || !number(minute, 2) || !literal(":") || !number(second, 2) || hour > 23 ||
        minute > 59 || second > 60) { // 60: a leap second
      return false;
    }
    out = std::chrono::hours{hour} + std::chrono::minutes{minute} + std::chrono::seconds{second};
    return true;
  }

private:
  std::string_view rest_;
};

/// The instant of a civil date and time in UTC; empty if the date does not exist or lies outside 1970 to 2199, where
/// the difference of any two fits nanoseconds in 64 bits.
[[nodiscard]] constexpr std::optional<wall_time> instant(int year, int month, int day,
                                                         std::chrono::nanoseconds time) noexcept {
  std::chrono::year_month_day const date{std::chrono::year{year}, std::chrono::month{static_cast<unsigned>(month)},
                                         std::chrono::day{static_cast<unsigned>(day)}};
  if (!date.ok() || year < 1970 || year > 2199) {
    return std::nullopt;
  }
  return wall_time{std::chrono::sys_days{date}} + std::chrono::duration_cast<wall_time::duration>(time);
}

/// RFC 3339 (`2026-04-24T00:01:00.5Z`), and what spreadsheets and scripts make of it: a blank for the `T`, no seconds,
/// no zone (then UTC), the date alone (then midnight UTC).
[[nodiscard]] constexpr std::optional<wall_time> parse_iso_date(std::string_view text) noexcept {
  date_scanner in{trimmed(text)};
  int year = 0;
  int month = 0;
  int day = 0;
  if (!in.number(year, 4) || !in.literal("-") || !in.number(month, 2) || !in.literal("-") || !in.number(day, 2)) {
    return std::nullopt;
  }
  if (in.done()) {
    return instant(year, month, day, {});
  }
  int hour = 0;
  int minute = 0;
  int second = 0;
  std::chrono::nanoseconds nanos{};
  if (!in.one_of("Tt ") || !in.number(hour, 2) || !in.literal(":") || !in.number(minute, 2) ||
      (in.literal(":") && (!in.number(second, 2) || (in.one_of(".,") && !in.fraction(nanos)))) || hour > 23 ||
      minute > 59 || second > 60) {
    return std::nullopt;
  }
  auto time = std::chrono::hours{hour} + std::chrono::minutes{minute} + std::chrono::seconds{second} + nanos;
  if (auto const sign = in.peek(); in.one_of("+-")) {
    int zone_hour = 0;
    int zone_minute = 0;
    if (!in.number(zone_hour, 2) || (in.literal(":"), !in.number(zone_minute, 2)) || zone_hour > 23 ||
        zone_minute > 59) {
      return std::nullopt;
    }
    auto const offset = std::chrono::hours{zone_hour} + std::chrono::minutes{zone_minute};
    time += sign == '+' ? -offset : offset;
  } else {
    in.one_of("Zz");
  }
  return in.done() ? instant(year, month, day, time) : std::nullopt;
}

/// The three date forms of RFC 9110, 5.6.7. The two-digit year of RFC 850 is taken to lie at most 50 years after `now`.
[[nodiscard]] constexpr std::optional<wall_time> parse_http_date(std::string_view text, wall_time now) noexcept {
  auto const whole = trimmed(text);
  auto const name = std::find_if(whole.begin(), whole.end(), [](char c) { return c == ',' || c == ' '; });
  date_scanner in{whole.substr(static_cast<std::size_t>(name - whole.begin()))};
  int year = 0;
  int month = 0;
  int day = 0;
  std::chrono::seconds time{};
  if (in.literal(", ")) {
    if (!in.number(day, 2)) {
      return std::nullopt;
    }
    if (in.literal(" ")) { // Sun, 06 Nov 1994 08:49:37 GMT
      if (!in.month(month) || !in.literal(" ") || !in.number(year, 4) || !in.literal(" ")) {
        return std::nullopt;
      }
    } else { // Sunday, 06-Nov-94 08:49:37 GMT
      if (!in.literal("-") || !in.month(month) || !in.literal("-") || !in.number(year, 2) || !in.literal(" ")) {
        return std::nullopt;
      }
      auto const today = std::chrono::year_month_day{std::chrono::floor<std::chrono::days>(now)};
      auto const this_year = static_cast<int>(today.year());
      year += this_year - this_year % 100;
      if (year > this_year + 50) {
        year -= 100;
      }
    }
    if (!in.time_of_day(time) || !in.literal(" GMT")) {
      return std::nullopt;
    }
  } else { // Sun Nov  6 08:49:37 1994
    if (!in.literal(" ") || !in.month(month) || !in.literal(" ") ||
        !(in.literal(" ") ? in.number(day, 1) : in.number(day, 2)) || !in.literal(" ") || !in.time_of_day(time) ||
        !in.literal(" ") || !in.number(year, 4)) {
      return std::nullopt;
    }
  }
  return in.done() ? instant(year, month, day, time) : std::nullopt;
}

/// RFC 3339 in UTC with milliseconds: `2026-04-24T00:01:00.500Z`.
[[nodiscard]] inline std::string to_rfc3339(wall_time when) {
  auto const millis = std::chrono::floor<std::chrono::milliseconds>(when);
  auto const day = std::chrono::floor<std::chrono::days>(millis);
  std::chrono::year_month_day const date{day};
  std::chrono::hh_mm_ss const time{millis - day};
  std::string out = "0000-00-00T00:00:00.000Z";
  auto const put = [&out](std::size_t at, std::size_t width, std::int64_t value) {
    for (auto i = at + width; i-- > at; value /= 10) {
      out[i] = static_cast<char>('0' + value % 10);
    }
  };
  put(0, 4, static_cast<int>(date.year()));
  put(5, 2, static_cast<unsigned>(date.month()));
  put(8, 2, static_cast<unsigned>(date.day()));
  put(11, 2, time.hours().count());
  put(14, 2, time.minutes().count());
  put(17, 2, time.seconds().count());
  put(20, 3, time.subseconds().count());
  return out;
}

/// The first instant of the next month in UTC.
[[nodiscard]] constexpr wall_time next_month(wall_time now) noexcept {
  using namespace std::chrono;
  year_month_day const today{floor<days>(now)};
  return wall_time{sys_days{(today.year() / today.month() + months{1}) / day{1}}};
}

} // namespace rondo::detail
