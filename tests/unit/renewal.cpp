// SPDX-License-Identifier: BSL-1.0
#include <rondo/detail/date_time.hpp>
#include <rondo/renewal.hpp>

#include <boost/test/unit_test.hpp>

#include <chrono>
#include <string>
#include <string_view>
#include <type_traits>

using namespace std::chrono_literals;
using rondo::time_zone;

namespace {

rondo::wall_time utc(std::string_view text) {
  return rondo::detail::parse_iso_date(text).value();
}

/// The next renewal as a text, or "never".
std::string next(rondo::renewal const& renewal, std::string_view after) {
  auto const when = renewal.next(utc(after));
  return when ? rondo::detail::to_rfc3339(*when) : "never";
}

struct limits {
  int before = 0;
  rondo::renewal renewal{};
  int after = 0;
  friend bool operator==(limits const&, limits const&) = default;
};

} // namespace

BOOST_AUTO_TEST_SUITE(renewal)

BOOST_AUTO_TEST_CASE(is_a_plain_value) {
  static_assert(std::is_trivially_copyable_v<rondo::renewal> && std::is_trivially_destructible_v<rondo::renewal>);
  static_assert(std::is_nothrow_default_constructible_v<rondo::renewal>);
  limits const daily{.renewal = rondo::renewal::daily(time_zone::utc()), .after = 1};
  BOOST_TEST((daily == limits{0, rondo::renewal::daily(time_zone::from_posix("GMT0")), 1}));
  BOOST_TEST((daily != limits{.after = 1}));
  BOOST_TEST((rondo::renewal{} == rondo::renewal::none()));
  BOOST_TEST((rondo::renewal::daily(time_zone::utc()) != rondo::renewal::daily(time_zone::pacific())));
  BOOST_TEST((rondo::renewal::monthly(utc("2026-01-05 10:00")) == rondo::renewal::monthly(utc("2030-12-05 10:00"))));
  BOOST_TEST((rondo::renewal::monthly(utc("2026-01-05 10:00")) != rondo::renewal::monthly(utc("2026-01-05 10:01"))));
}

BOOST_AUTO_TEST_CASE(none_never_comes) {
  BOOST_TEST(next(rondo::renewal::none(), "2026-11-21 12:00") == "never");
}

BOOST_AUTO_TEST_CASE(daily_comes_at_midnight_in_the_zone) {
  auto const pacific = rondo::renewal::daily(time_zone::pacific());
  BOOST_TEST(next(pacific, "2026-11-21 12:00") == "2026-11-22T08:00:00.000Z");
  BOOST_TEST(next(pacific, "2026-11-21 07:59:59.999999999") == "2026-11-21T08:00:00.000Z");
  BOOST_TEST(next(pacific, "2026-11-21 08:00") == "2026-11-22T08:00:00.000Z");
  BOOST_TEST(next(pacific, "2026-07-01 06:00") == "2026-07-01T07:00:00.000Z");
  // 2026: daylight time from March 8 to November 1
  BOOST_TEST(next(pacific, "2026-03-08 07:00") == "2026-03-08T08:00:00.000Z");
  BOOST_TEST(next(pacific, "2026-03-08 09:00") == "2026-03-09T07:00:00.000Z");
  BOOST_TEST(next(pacific, "2026-10-31 12:00") == "2026-11-01T07:00:00.000Z");
  BOOST_TEST(next(pacific, "2026-11-01 07:00") == "2026-11-02T08:00:00.000Z");
  BOOST_TEST(next(pacific, "2026-12-31 12:00") == "2027-01-01T08:00:00.000Z");
}

BOOST_AUTO_TEST_CASE(monthly_comes_on_the_day_of_the_anchor) {
  auto const monthly = rondo::renewal::monthly(utc("2026-05-17 13:45:30.25"));
  BOOST_TEST(next(monthly, "2026-05-17 13:45:30.249") == "2026-05-17T13:45:30.250Z");
  BOOST_TEST(next(monthly, "2026-05-17 13:45:30.25") == "2026-06-17T13:45:30.250Z");
  BOOST_TEST(next(monthly, "2026-12-17 13:45:31") == "2027-01-17T13:45:30.250Z");
  BOOST_TEST(next(monthly, "2026-01-01") == "2026-01-17T13:45:30.250Z"); // before the anchor too
  auto const first = rondo::renewal::monthly(utc("2026-05-01"));
  BOOST_TEST(next(first, "2026-12-31 23:59:59.999999999") == "2027-01-01T00:00:00.000Z");
  BOOST_TEST(next(first, "2027-01-01") == "2027-02-01T00:00:00.000Z");
}

BOOST_AUTO_TEST_CASE(monthly_takes_the_last_day_of_a_month_that_is_too_short) {
  auto const last = rondo::renewal::monthly(utc("2027-12-31 23:59:59"));
  BOOST_TEST(next(last, "2027-12-31 23:59:59") == "2028-01-31T23:59:59.000Z");
  BOOST_TEST(next(last, "2028-01-31 23:59:59") == "2028-02-29T23:59:59.000Z");
  BOOST_TEST(next(last, "2028-02-29 23:59:59") == "2028-03-31T23:59:59.000Z");
  BOOST_TEST(next(last, "2028-03-31 23:59:59") == "2028-04-30T23:59:59.000Z");
  BOOST_TEST(next(last, "2028-04-30 23:59:59") == "2028-05-31T23:59:59.000Z");
  BOOST_TEST(next(last, "2027-02-01") == "2027-02-28T23:59:59.000Z");
  BOOST_TEST(next(last, "2100-02-01") == "2100-02-28T23:59:59.000Z"); // no leap year
  BOOST_TEST(next(rondo::renewal::monthly(utc("2026-01-30")), "2028-02-01") == "2028-02-29T00:00:00.000Z");
  BOOST_TEST(next(rondo::renewal::monthly(utc("2026-01-29")), "2028-02-01") == "2028-02-29T00:00:00.000Z");
  BOOST_TEST(next(rondo::renewal::monthly(utc("2026-01-29")), "2027-02-01") == "2027-02-28T00:00:00.000Z");
  BOOST_TEST(next(rondo::renewal::monthly(utc("2026-01-28")), "2028-02-01") == "2028-02-28T00:00:00.000Z");
  // an anchor on a short month's last day means that day
  BOOST_TEST(next(rondo::renewal::monthly(utc("2026-02-28")), "2026-03-01") == "2026-03-28T00:00:00.000Z");
  BOOST_TEST(next(rondo::renewal::monthly(utc("2028-02-29")), "2028-03-01") == "2028-03-29T00:00:00.000Z");
}

BOOST_AUTO_TEST_CASE(every_day_and_month_renews_exactly_once) {
  auto const run = [](rondo::renewal const& renewal) {
    auto count = 0;
    for (auto when = renewal.next(utc("2026-01-01") - 1ns); when < utc("2066-01-01"); when = renewal.next(*when)) {
      ++count;
    }
    return count;
  };
  constexpr auto forty_years = 40 * 365 + 10;
  BOOST_TEST(run(rondo::renewal::daily(time_zone::utc())) == forty_years);
  BOOST_TEST(run(rondo::renewal::daily(time_zone::pacific())) == forty_years);
  BOOST_TEST(run(rondo::renewal::daily(time_zone::from_posix("NST3:30NDT,M3.2.0/0:01,M11.1.0/0:01"))) == forty_years);
  for (auto const* const anchor :
       {"2026-01-01", "2026-01-28 12:00", "2026-01-29", "2026-01-30", "2026-01-31 23:59:59"}) {
    BOOST_TEST(run(rondo::renewal::monthly(utc(anchor))) == 40 * 12);
  }
}

BOOST_AUTO_TEST_CASE(the_ends_of_time_overflow_nothing) {
  using std::chrono::sys_days;
  constexpr auto earliest = rondo::wall_time::min();
  constexpr auto latest = rondo::wall_time::max();
  constexpr rondo::wall_time first = sys_days{1678y / 1 / 1};
  constexpr rondo::wall_time end = sys_days{2262y / 1 / 1};
  auto const farthest = time_zone::from_posix("AAA24:59:59BBB-24:59:59,0/-167,J365/167");
  for (auto const& renewal :
       {rondo::renewal::daily(time_zone::utc()), rondo::renewal::daily(time_zone::pacific()),
        rondo::renewal::daily(farthest), rondo::renewal::monthly(utc("2026-01-31 12:00")),
        rondo::renewal::monthly(earliest), rondo::renewal::monthly(earliest + 1ns), rondo::renewal::monthly(latest)}) {
    for (auto const never : {earliest, earliest + 1ns, first - 1ns, end, latest - 1ns, latest}) {
      BOOST_TEST(!renewal.next(never));
    }
    for (auto const after : {first, end - 1ns}) {
      auto const when = renewal.next(after);
      BOOST_TEST((when > after && *when <= after + 32 * 24h));
    }
  }
  for (auto const extreme : {earliest, latest}) {
    (void)time_zone::pacific().next_midnight(extreme);
    (void)farthest.next_midnight(extreme);
  }
  // the day of the earliest instant begins before it: 1677-09-21T00:12:43.145224192Z
  BOOST_TEST(next(rondo::renewal::monthly(earliest), "2026-01-01") == "2026-01-21T00:12:43.145Z");
  BOOST_TEST(next(rondo::renewal::monthly(latest), "2026-01-01") == "2026-01-11T23:47:16.854Z");
}

BOOST_AUTO_TEST_SUITE_END()
