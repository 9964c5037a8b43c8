// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/clock.hpp>
#include <rondo/detail/posix_tz.hpp>
#include <rondo/detail/tzif.hpp>
#include <rondo/error.hpp>

#include <boost/system/system_error.hpp>

#include <chrono>
#include <string>
#include <string_view>

namespace rondo {

/// The present rules of a time zone: its offset from UTC and, where it has daylight time, when that begins and ends in
/// each year. Knows when days begin there.
///
/// A small, trivially copyable value that shares nothing; zones are equal when their rules are, whatever they are
/// called. It knows no history and does not follow an update of the system's zone files.
///
/// Distinct objects: safe. Shared objects: safe as long as none is assigned to.
class time_zone {
public:
  /// UTC.
  constexpr time_zone() noexcept = default;
  [[nodiscard]] static constexpr time_zone utc() noexcept { return {}; }

  /// Pacific Time, America/Los_Angeles, by the rules in force since 2007. Built in: needs no zone files.
  [[nodiscard]] static constexpr time_zone pacific() noexcept { return time_zone{detail::pacific_rules}; }

  /// The zone of this name in the system's time zone database, such as `Europe/Berlin`: the file in `$TZDIR`, or in
  /// `/usr/share/zoneinfo` if that is not set. Without a file, America/Los_Angeles is `pacific` and UTC is `utc`.
  ///
  /// Takes the rule at the end of the file (RFC 9636, 3.3), which holds after the last change that the file lists.
  /// Zones that move their clocks for Ramadan have such changes for decades to come; in that month days are taken to
  /// begin an hour early there. By the edition of 2025 these are Africa/Casablanca, Africa/El_Aaiun and, in some
  /// autumns from 2036 on, Asia/Gaza and Asia/Hebron.
  ///
  /// Reads the environment: must not run while another thread changes it.
  ///
  /// \throws boost::system::system_error, with the zone in its text:
  /// - `invalid_argument`: not the name of a zone, which has letters, digits, `_`, `+` and `-` between slashes
  /// - `unknown_name`: there is no such file, or it may not be read
  /// - `file_malformed`: the file is no TZif file of version 2 or later, is larger than 64 KiB, or gives no rule
  [[nodiscard]] static time_zone named(std::string_view name) {
    if (!detail::is_zone_name(name)) {
      fail(error::invalid_argument, name);
    }
    auto const path = detail::zone_directory().append("/").append(name);
    auto const file = detail::read_zone_file(path);
    if (!file) {
      if (name == "America/Los_Angeles") {
        return pacific();
      }
      if (name == "UTC") {
        return utc();
      }
      fail(error::unknown_name, path);
    }
    // no footer is read like an empty one, which gives no rule
    auto const rules = detail::parse_posix_tz(detail::tzif_footer(*file));
    if (!rules) {
      fail(error::file_malformed, path);
    }
    return time_zone{*rules};
  }

  /// The zone that a TZ string describes (IEEE Std 1003.1, 8.3): `PST8PDT,M3.2.0,M11.1.0`, `<-03>3`. The clocks change
  /// at 2:00 if it does not say when; it may say -167 to 167 hours (RFC 9636, 3.3.1).
  ///
  /// \throws boost::system::system_error `invalid_argument`, with `text` in its text, also where daylight time has no
  /// dates: POSIX leaves them to the system
  [[nodiscard]] static time_zone from_posix(std::string_view text) {
    auto const rules = detail::parse_posix_tz(text);
    if (!rules) {
      fail(error::invalid_argument, text);
    }
    return time_zone{*rules};
  }

  /// The first start of a local day strictly after `after`; defined for the years 1678 to 2261.
  ///
  /// A day starts when the local clock first shows its date or a later one: where the clocks skip midnight, right after
  /// the gap; where they show midnight twice, at the first. So no day starts twice, not even if the clocks go back
  /// to the day before.
  [[nodiscard]] constexpr std::chrono::sys_seconds next_midnight(wall_time after) const noexcept {
    return rules_.next_midnight(std::chrono::floor<std::chrono::seconds>(after));
  }

  friend constexpr bool operator==(time_zone const&, time_zone const&) = default;

private:
  constexpr explicit time_zone(detail::posix_tz const& rules) noexcept : rules_{rules} {}

  [[noreturn]] static void fail(error code, std::string_view zone) {
    throw boost::system::system_error{code, std::string{"time zone "}.append(zone)};
  }

  detail::posix_tz rules_{};
};

} // namespace rondo
