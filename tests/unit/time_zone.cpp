// SPDX-License-Identifier: BSL-1.0
#include "support/temporary_directory.hpp"
#include <rondo/detail/date_time.hpp>
#include <rondo/time_zone.hpp>

#include <boost/system/system_error.hpp>
#include <boost/test/unit_test.hpp>

#include <stdlib.h>

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

using namespace std::chrono_literals;
using rondo::error;
using std::chrono::sys_days;
using std::chrono::sys_seconds;

namespace {

rondo::wall_time utc(std::string_view text) {
  return rondo::detail::parse_iso_date(text).value();
}

constexpr auto los_angeles = "PST8PDT,M3.2.0,M11.1.0";
constexpr auto berlin = "CET-1CEST,M3.5.0,M10.5.0/3";
constexpr auto lord_howe = "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0";
constexpr auto havana = "CST5CDT,M3.2.0/0,M11.1.0/1";
constexpr auto cairo = "EET-2EEST,M4.5.5/0,M10.5.4/24";
constexpr auto nuuk = "<-02>2<-01>,M3.5.0/-1,M10.5.0/0";
constexpr auto dublin = "IST-1GMT0,M10.5.0,M3.5.0/1"; // its "daylight time" is the winter's, an hour behind
constexpr auto gaza = "EET-2EEST,M3.4.4/50,M10.4.4/50";
constexpr auto st_johns_2010 = "NST3:30NDT,M3.2.0/0:01,M11.1.0/0:01"; // back to the day before
constexpr auto gap_around_midnight = "AAA0BBB,M3.5.0/23:30,M10.5.0/0";
constexpr auto daylight_forever = "EST5EDT,0/0,J365/25"; // from RFC 9636, 3.3.1, like the next
constexpr auto daylight_forever_behind = "XXX3EDT4,0/0,J365/23";
constexpr auto begins_after_new_year = "AAA3BBB,J365/160,M7.1.0";
constexpr auto ends_before_new_year = "AAA3BBB,M7.1.0,J3/-100";
constexpr auto leap_days_counted = "<+01>-1<+00>0,59/1,90/3";        // 59: February 29 or March 1
constexpr auto leap_days_not_counted = "<+01>-1<+00>0,J59/23,J90/3"; // J59: always February 28
constexpr auto skips_a_day = "AAA-12BBB12,M6.1.1,M9.1.1";
constexpr auto farthest_apart = "AAA24:59BBB-24:59,M2.5.0/-167,M8.1.6/167";

/// The starts of days in a zone, in UTC; each must be the next one after the one before.
struct days {
  std::string_view zone;
  std::vector<std::string_view> starts;
};

template <class Call> void check_fails(Call call, error code, std::string_view mentions) {
  BOOST_CHECK_EXCEPTION(call(), boost::system::system_error, [&](boost::system::system_error const& e) {
    return e.code() == code && std::string_view{e.what()}.find(mentions) != std::string_view::npos;
  });
}

/// A TZif file with something in every part of its data.
std::string tzif(std::string_view footer, char version = '2') {
  std::string out;
  auto const block = [&out, version](std::size_t time_size) {
    out.append("TZif").append(1, version).append(15, '\0');
    for (auto const count : {2, 2, 1, 3, 2, 8}) { // indicators twice, leap seconds, transitions, types, characters
      out.append(3, '\0').append(1, static_cast<char>(count));
    }
    out.append(3 * (time_size + 1) + 2 * 6 + 8 + (time_size + 4) + 2 + 2, '\n');
  };
  block(4);
  block(8);
  return out.append("\n").append(footer).append("\n");
}

/// Zone files of our own, for as long as the object lives.
class zone_files {
public:
  zone_files() { ::setenv("TZDIR", directory_.path().c_str(), 1); }
  zone_files(zone_files const&) = delete;
  zone_files& operator=(zone_files const&) = delete;
  ~zone_files() { ::unsetenv("TZDIR"); }

  void write(std::string_view name, std::string_view content) const {
    std::filesystem::create_directories((directory_.path() / name).parent_path());
    directory_.write(name, content);
  }

private:
  rondo::test::temporary_directory directory_;
};

} // namespace

BOOST_AUTO_TEST_SUITE(time_zone)

BOOST_AUTO_TEST_CASE(is_a_plain_value) {
  static_assert(std::is_trivially_copyable_v<rondo::time_zone> && std::is_trivially_destructible_v<rondo::time_zone>);
  static_assert(rondo::time_zone{} == rondo::time_zone::utc());
  static_assert(rondo::time_zone::pacific() != rondo::time_zone::utc());
  static_assert(rondo::time_zone::pacific().next_midnight(sys_days{2026y / 7 / 1}) == sys_days{2026y / 7 / 1} + 7h);
}

// Computed by others, minute by minute: Python's zoneinfo from tzdata 2025b, and glibc for rules that no zone has.
BOOST_AUTO_TEST_CASE(days_start_as_the_zone_files_have_it) {
  for (auto const& expected : std::initializer_list<days>{
           {los_angeles, {"2026-03-07 08:00", "2026-03-08 08:00", "2026-03-09 07:00", "2026-03-10 07:00"}},
           {los_angeles, {"2026-10-31 07:00", "2026-11-01 07:00", "2026-11-02 08:00", "2026-11-03 08:00"}},
           {berlin, {"2026-03-27 23:00", "2026-03-28 23:00", "2026-03-29 22:00", "2026-03-30 22:00"}},
           {berlin, {"2026-10-23 22:00", "2026-10-24 22:00", "2026-10-25 23:00", "2026-10-26 23:00"}},
           {"<-03>3", {"2026-12-30 03:00", "2026-12-31 03:00", "2027-01-01 03:00"}}, // Sao Paulo
           {"<+0545>-5:45", {"2026-12-30 18:15", "2026-12-31 18:15", "2027-01-01 18:15"}},
           {"<+14>-14", {"2026-12-30 10:00", "2026-12-31 10:00", "2027-01-01 10:00"}},
           {lord_howe, {"2026-04-03 13:00", "2026-04-04 13:00", "2026-04-05 13:30", "2026-04-06 13:30"}},
           {lord_howe, {"2026-10-02 13:30", "2026-10-03 13:30", "2026-10-04 13:00", "2026-10-05 13:00"}},
           {havana, {"2026-03-07 05:00", "2026-03-08 05:00", "2026-03-09 04:00", "2026-03-10 04:00"}},
           {havana, {"2026-10-31 04:00", "2026-11-01 04:00", "2026-11-02 05:00", "2026-11-03 05:00"}},
           {cairo, {"2026-04-22 22:00", "2026-04-23 22:00", "2026-04-24 21:00", "2026-04-25 21:00"}},
           {cairo, {"2026-10-27 21:00", "2026-10-28 21:00", "2026-10-29 22:00", "2026-10-30 22:00"}},
           {nuuk, {"2026-03-28 02:00", "2026-03-29 01:00", "2026-03-30 01:00", "2026-03-31 01:00"}},
           {nuuk, {"2026-10-23 01:00", "2026-10-24 01:00", "2026-10-25 02:00", "2026-10-26 02:00"}},
           {dublin, {"2026-03-28 00:00", "2026-03-29 00:00", "2026-03-29 23:00", "2026-03-30 23:00"}},
           {dublin, {"2026-10-23 23:00", "2026-10-24 23:00", "2026-10-26 00:00", "2026-10-27 00:00"}},
           {gaza, {"2026-03-26 22:00", "2026-03-27 22:00", "2026-03-28 21:00", "2026-03-29 21:00"}},
           {gaza, {"2026-10-22 21:00", "2026-10-23 21:00", "2026-10-24 22:00", "2026-10-25 22:00"}},
           {st_johns_2010, {"2026-03-07 03:30", "2026-03-08 03:30", "2026-03-09 02:30", "2026-03-10 02:30"}},
           {st_johns_2010, {"2026-10-31 02:30", "2026-11-01 02:30", "2026-11-02 03:30", "2026-11-03 03:30"}},
           {gap_around_midnight, {"2026-03-29 00:00", "2026-03-29 23:30", "2026-03-30 23:00"}},
           {daylight_forever, {"2026-12-31 04:00", "2027-01-01 04:00", "2027-01-02 04:00"}},
           {daylight_forever_behind, {"2026-12-31 04:00", "2027-01-01 04:00", "2027-01-02 04:00"}},
           {leap_days_counted, {"2027-02-27 23:00", "2027-02-28 23:00", "2027-03-02 00:00", "2027-03-03 00:00"}},
           {leap_days_counted, {"2028-02-27 23:00", "2028-02-28 23:00", "2028-03-01 00:00", "2028-03-02 00:00"}},
           {leap_days_not_counted, {"2027-02-27 23:00", "2027-03-01 00:00", "2027-03-02 00:00"}},
           {leap_days_not_counted, {"2028-02-27 23:00", "2028-02-29 00:00", "2028-03-01 00:00", "2028-03-02 00:00"}},
       }) {
    auto const zone = rondo::time_zone::from_posix(expected.zone);
    for (std::size_t i = 1; i < expected.starts.size(); ++i) {
      auto const before = utc(expected.starts[i - 1]);
      auto const start = utc(expected.starts[i]);
      for (auto const after : {before, before + 1ns, start - 1s, start - 1ns}) {
        BOOST_TEST((zone.next_midnight(after) == start), expected.zone << " after " << expected.starts[i - 1]);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(days_start_when_the_clock_first_shows_a_later_date) {
  for (auto const* const text :
       {los_angeles, berlin, lord_howe, havana, cairo, nuuk, dublin, gaza, st_johns_2010, gap_around_midnight,
        daylight_forever, daylight_forever_behind, begins_after_new_year, ends_before_new_year, leap_days_counted,
        leap_days_not_counted, skips_a_day, farthest_apart}) {
    auto const zone = rondo::time_zone::from_posix(text);
    auto const rules = rondo::detail::parse_posix_tz(text).value();
    // every minute around every change of the clocks
    sys_seconds const end = sys_days{2025y / 2 / 1};
    for (sys_seconds change = sys_days{2023y / 12 / 1}; change < end; change += 6h) {
      if (rules.offset_at(change) == rules.offset_at(change + 6h)) {
        continue;
      }
      auto latest = sys_days::min();
      std::optional<sys_seconds> start;
      for (auto now = change - 100h; now < change + 100h; now += 1min) {
        if (auto const date = std::chrono::floor<std::chrono::days>(now + rules.offset_at(now)); date > latest) {
          BOOST_TEST((!start || zone.next_midnight(*start) == now), text << " at " << now.time_since_epoch().count());
          latest = date;
          start = now;
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(a_tz_string_may_be_written_in_many_ways) {
  auto const pacific = rondo::time_zone::pacific();
  for (auto const* const text :
       {"PST8PDT,M3.2.0,M11.1.0", "PST8PDT7,M3.2.0/2,M11.1.0/02:00:00", "<PST>+08:00:00<PDT>+07,M3.2.0/+2:00,M11.1.0/2",
        "aaa08zzzz,M03.2.0,M11.1.0", "<-08>8<-07>7,M3.2.0,M11.1.0"}) {
    BOOST_TEST((rondo::time_zone::from_posix(text) == pacific), text);
  }
  for (auto const* const text : {"UTC0", "GMT-0", "<+00>+00:00:00", "AAA0BBB0,M3.2.0,M11.1.0"}) {
    BOOST_TEST((rondo::time_zone::from_posix(text) == rondo::time_zone::utc()), text);
  }
  BOOST_TEST((rondo::time_zone::from_posix("AAA-0:30") == rondo::time_zone::from_posix("AAA-00:30:00")));
  BOOST_TEST((rondo::time_zone::from_posix("AAA-0:30") != rondo::time_zone::from_posix("AAA0:30")));
  BOOST_TEST(
      (rondo::time_zone::from_posix("AAA-24:59:59").next_midnight(utc("2026-01-01")) == utc("2026-01-01 23:00:01")));
}

BOOST_AUTO_TEST_CASE(what_is_not_a_tz_string_is_refused) {
  for (auto const* const text : {"",
                                 "P",
                                 "PS8",
                                 "PST",
                                 "PST8 ",
                                 " PST8",
                                 ":PST8",
                                 "8",
                                 "<>8",
                                 "<AB>8",
                                 "<ABC8",
                                 "<AB_C>8",
                                 "PST+",
                                 "PST--8",
                                 "PST25",
                                 "PST0008",
                                 "PST99999999999999999999",
                                 "PST8:",
                                 "PST8:5",
                                 "PST8:60",
                                 "PST8:00:",
                                 "PST8:00:60",
                                 "PST8:00:00:00",
                                 "PST8PDT", // when is left to the system
                                 "PST8PDT7",
                                 "PST8PD,M3.2.0,M11.1.0",
                                 "PST8,M3.2.0,M11.1.0",
                                 "PST8PDT,",
                                 "PST8PDT,M3.2.0",
                                 "PST8PDT,M3.2.0,",
                                 "PST8PDT,M3.2.0,M11.1.0,",
                                 "PST8PDT,M3.2.0,M11.1.0/",
                                 "PST8PDT,M3.2.0,M11.1.0/168",
                                 "PST8PDT,M3.2.0/-168,M11.1.0",
                                 "PST8PDT,M0.2.0,M11.1.0",
                                 "PST8PDT,M13.2.0,M11.1.0",
                                 "PST8PDT,M3.0.0,M11.1.0",
                                 "PST8PDT,M3.6.0,M11.1.0",
                                 "PST8PDT,M3.2.7,M11.1.0",
                                 "PST8PDT,M3.2.-1,M11.1.0",
                                 "PST8PDT,M3.2,M11.1.0",
                                 "PST8PDT,M3,M11.1.0",
                                 "PST8PDT,M,M11.1.0",
                                 "PST8PDT,J0,J300",
                                 "PST8PDT,J366,J300",
                                 "PST8PDT,J,J300",
                                 "PST8PDT,366,300",
                                 "PST8PDT,-1,300",
                                 "PST8PDT,M3.2.0,M11.1.0\n",
                                 "America/Los_Angeles",
                                 "\xff\xfe\xfd"
                                 "8"}) {
    check_fails([&] { return rondo::time_zone::from_posix(text); }, error::invalid_argument, text);
  }
  using namespace std::string_view_literals;
  check_fails([] { return rondo::time_zone::from_posix("PST8\0"sv); }, error::invalid_argument, "PST8");
}

BOOST_AUTO_TEST_CASE(a_named_zone_follows_the_rule_at_the_end_of_its_file) {
  zone_files const files;
  for (auto const version : {'2', '3', '4'}) {
    files.write("Zone-1_a+B", tzif(cairo, version));
    BOOST_TEST((rondo::time_zone::named("Zone-1_a+B") == rondo::time_zone::from_posix(cairo)), version);
  }
  BOOST_TEST((rondo::time_zone::named("America/Los_Angeles") == rondo::time_zone::pacific())); // no such file
  BOOST_TEST((rondo::time_zone::named("UTC") == rondo::time_zone::utc()));
  files.write("America/Argentina/La_Rioja", tzif("<-03>3"));
  BOOST_TEST((rondo::time_zone::named("America/Argentina/La_Rioja") == rondo::time_zone::from_posix("<-03>3")));
  files.write("UTC", tzif(lord_howe));
  BOOST_TEST((rondo::time_zone::named("UTC") == rondo::time_zone::from_posix(lord_howe)));
}

BOOST_AUTO_TEST_CASE(what_is_not_the_name_of_a_zone_is_refused) {
  zone_files const files;
  files.write("a.b", tzif(berlin));
  using namespace std::string_view_literals;
  for (auto const name : {""sv, "/"sv, "/etc/passwd"sv, "."sv, ".."sv, "../a"sv, "a/../b"sv, "a.b"sv, "a b"sv, "a\nb"sv,
                          "a\\b"sv, "a:b"sv, "~"sv, "*"sv, "a\0b"sv, "\xc3\xa9"sv}) {
    check_fails([&] { return rondo::time_zone::named(name); }, error::invalid_argument,
                name.substr(0, name.find('\0')));
  }
  for (auto const name : {"Europe/Berlim"sv, "berlin"sv, "-"sv, "a//b/"sv}) {
    check_fails([&] { return rondo::time_zone::named(name); }, error::unknown_name, name);
  }
  check_fails([] { return rondo::time_zone::named(std::string(100'000, 'a')); }, error::unknown_name, "aaa");
}

BOOST_AUTO_TEST_CASE(a_broken_zone_file_is_refused) {
  zone_files const files;
  auto const refused = [&files](std::string_view content) {
    files.write("Broken", content);
    check_fails([] { return rondo::time_zone::named("Broken"); }, error::file_malformed, "Broken");
  };
  auto const whole = tzif(berlin);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    refused(whole.substr(0, size));
  }
  refused(tzif(""));
  refused(tzif("PST8PDT"));
  refused(tzif(std::string{berlin} + "\n" + berlin));
  refused(whole + whole);
  refused(std::string(1'000'000, '\n'));
  refused(tzif("UTC0" + std::string(1'000'000, '\n')));
  for (std::size_t at = 20; at < 44; ++at) { // counts larger than the file
    auto wrong = whole;
    wrong[at] = '\xff';
    refused(wrong);
  }
  files.write("Europe/Berlin", whole);
  check_fails([] { return rondo::time_zone::named("Europe"); }, error::file_malformed, "Europe");
}

BOOST_AUTO_TEST_SUITE_END()
