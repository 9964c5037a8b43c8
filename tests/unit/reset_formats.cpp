// SPDX-License-Identifier: BSL-1.0
#include "unit/provider_support.hpp"
#include <rondo/detail/date_time.hpp>
#include <rondo/provider/reset_formats.hpp>

#include <boost/test/unit_test.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

using namespace provider_test;
using namespace std::chrono_literals;
using rondo::provider::rest_duration;

namespace {

constexpr rondo::wall_time at(int year, unsigned month, unsigned day, std::chrono::seconds time = 0s) {
  return rondo::wall_time{
             std::chrono::sys_days{std::chrono::year{year} / static_cast<int>(month) / static_cast<int>(day)}} +
         time;
}

/// In nanoseconds; -1 = ignored.
std::int64_t reset(std::string_view text, rondo::wall_time now = noon) {
  auto const rest = rondo::provider::parse_reset(text, now);
  return rest ? rest->count() : -1;
}

std::int64_t retry(fields const& extra, rondo::wall_time now = noon) {
  auto const rest = rondo::provider::retry_after(answer(429, extra), now);
  return rest ? std::chrono::duration_cast<std::chrono::milliseconds>(*rest).count() : -1;
}

std::int64_t ratelimit(fields const& extra) {
  auto const rest = rondo::provider::ratelimit_reset(answer(429, extra), noon);
  return rest ? std::chrono::duration_cast<std::chrono::milliseconds>(*rest).count() : -1;
}

constexpr std::int64_t second = 1'000'000'000;

} // namespace

BOOST_AUTO_TEST_SUITE(reset_formats)

BOOST_AUTO_TEST_CASE(lengths_in_the_spelling_of_go_and_protobuf) {
  BOOST_TEST(reset("1s") == second);
  BOOST_TEST(reset("12ms") == 12'000'000);
  BOOST_TEST(reset("6m0s") == 360 * second);
  BOOST_TEST(reset("1m26.4s") == 86'400'000'000);
  BOOST_TEST(reset("2m59.56s") == 179'560'000'000);
  BOOST_TEST(reset("7.66s") == 7'660'000'000);
  BOOST_TEST(reset("34s") == 34 * second);
  BOOST_TEST(reset("34.074824224s") == 34'074'824'224);
  BOOST_TEST(reset("900ms") == 900'000'000);
  BOOST_TEST(reset("156h14m36.75s") == 562'476'750'000'000);
  BOOST_TEST(reset("562476.752463453s") == 562'476'752'463'453);
  BOOST_TEST(reset("250us") == 250'000);
  BOOST_TEST(reset("250\xc2\xb5s") == 250'000);
  BOOST_TEST(reset(" 1s\t") == second);
}

BOOST_AUTO_TEST_CASE(bare_numbers_are_seconds_or_unix_times) {
  BOOST_TEST(reset("42") == 42 * second);
  BOOST_TEST(reset("120") == 120 * second);
  BOOST_TEST(reset("1.5") == 1'500'000'000);
  BOOST_TEST(reset("0.001") == 1'000'000);
  auto const before = rondo::wall_time{1735689600s} - 90s;
  BOOST_TEST(reset("1735689600", before) == 90 * second);
  BOOST_TEST(reset("1735689600000", before) == 90 * second);
  BOOST_TEST(reset("1735689600.5", before) / 1'000'000 == 90'500);
}

BOOST_AUTO_TEST_CASE(instants) {
  auto const before = at(2026, 4, 24);
  BOOST_TEST(reset("2026-04-24T00:01:00Z", before) == 60 * second);
  BOOST_TEST(reset("2026-04-24T00:01:00.25Z", before) == 60'250'000'000);
  BOOST_TEST(reset("2026-04-24T02:01:00+02:00", before) == 60 * second);
  BOOST_TEST(reset("2026-04-23t22:31:00-01:30", before) == 60 * second);
  auto const y2k = at(1999, 12, 31, 23h + 59min);
  BOOST_TEST(reset("Fri, 31 Dec 1999 23:59:59 GMT", y2k) == 59 * second);
  BOOST_TEST(reset("Friday, 31-Dec-99 23:59:59 GMT", y2k) == 59 * second);
  BOOST_TEST(reset("Fri Dec 31 23:59:59 1999", y2k) == 59 * second);
  BOOST_TEST(reset("Sun Nov  6 08:49:37 1994", at(1994, 11, 6, 8h + 49min)) == 37 * second);
  BOOST_TEST(reset("Sunday, 06-Nov-94 08:49:37 GMT", at(1994, 11, 6, 8h + 49min)) == 37 * second);
}

BOOST_AUTO_TEST_CASE(what_says_nothing_is_ignored) {
  for (auto const* text : {"",
                           " ",
                           "-1",
                           "0",
                           "0s",
                           "0m0s",
                           "NaN",
                           "nan",
                           "inf",
                           "-",
                           "+5",
                           "1e3",
                           "0x10",
                           ".",
                           "..5",
                           "1.2.3",
                           "s",
                           "5x",
                           "1s2",
                           "1 s",
                           "--",
                           "soon",
                           "1ms junk",
                           "2026-13-01T00:00:00Z",
                           "2026-02-30T00:00:00Z",
                           "2026-04-24T24:00:00Z",
                           "2026-04-24T00:01:00Zjunk",
                           "Fri, 31 Dec 1999 23:59:59 GMT",
                           "2001-01-01T00:00:00Z",
                           "1000000000",
                           "Fri, 32 Dec 2026 23:59:59 GMT",
                           "Fri, 31 Dec 2026 23:59:59 PST",
                           "Fri, 31 Foo 2026 23:59:59 GMT",
                           ",",
                           ", ",
                           "Sun Nov",
                           "\xff\xfe"}) {
    BOOST_TEST(reset(text) == -1, "'" << text << "'");
  }
}

BOOST_AUTO_TEST_CASE(absurd_values_are_ignored_and_long_ones_cut) {
  auto const most = rondo::provider::longest_rest.count();
  BOOST_TEST(reset("3000000") == most);
  BOOST_TEST(reset("800h") == most);
  BOOST_TEST(reset("10000h") == -1);
  BOOST_TEST(reset("99999999") == -1);
  BOOST_TEST(reset(std::string(400, '9')) == -1);
  BOOST_TEST(reset(std::string(400, '9') + "s") == -1);
  BOOST_TEST(reset("1." + std::string(400, '9') + "s") == 2 * second);
  BOOST_TEST(reset("0." + std::string(400, '0') + "1s") == -1);
  BOOST_TEST(reset("Fri, 31 Dec 9999 23:59:59 GMT") == -1);
}

BOOST_AUTO_TEST_CASE(retry_after_in_every_form) {
  BOOST_TEST(retry({}) == -1);
  BOOST_TEST(retry({{"Retry-After", "120"}}) == 120'000);
  BOOST_TEST(retry({{"retry-after", "1.5"}}) == 1'500);
  BOOST_TEST(retry({{"Retry-After", "Sat, 21 Nov 2026 12:00:30 GMT"}}) == 30'000);
  BOOST_TEST(retry({{"Retry-After", "Saturday, 21-Nov-26 12:00:30 GMT"}}) == 30'000);
  BOOST_TEST(retry({{"Retry-After", "Sat Nov 21 12:00:30 2026"}}) == 30'000);
  BOOST_TEST(retry({{"retry-after-ms", "250"}}) == 250);
  BOOST_TEST(retry({{"x-ms-retry-after-ms", "250.5"}}) == 250);
  BOOST_TEST(retry({{"Retry-After", "1"}, {"retry-after-ms", "1200"}}) == 1'200);
  for (auto const* bad : {"", "-1", "0", "soon", "NaN", "Sat, 21 Nov 2026 11:59:59 GMT", "99999999999999999999999"}) {
    BOOST_TEST(retry({{"Retry-After", bad}, {"retry-after-ms", bad}}) == -1, bad);
  }
}

BOOST_AUTO_TEST_CASE(the_senders_clock_corrects_ours) {
  // the provider is ten minutes ahead of us
  BOOST_TEST(retry({{"Date", "Sat, 21 Nov 2026 12:10:00 GMT"}, {"Retry-After", "Sat, 21 Nov 2026 12:10:30 GMT"}}) ==
             30'000);
  BOOST_TEST(retry({{"Date", "nonsense"}, {"Retry-After", "Sat, 21 Nov 2026 12:00:30 GMT"}}) == 30'000);
  BOOST_TEST(retry({{"Date", "Sat, 21 Nov 2026 12:10:00 GMT"}, {"Retry-After", "5"}}) == 5'000);
}

BOOST_AUTO_TEST_CASE(only_limits_that_are_used_up_have_a_reset) {
  BOOST_TEST(ratelimit({{"x-ratelimit-remaining-tokens", "0"},
                        {"x-ratelimit-reset-tokens", "6m0s"},
                        {"x-ratelimit-remaining-requests", "0"},
                        {"x-ratelimit-reset-requests", "1s"}}) == 360'000);
  BOOST_TEST(ratelimit({{"x-ratelimit-remaining-tokens", "5"}, {"x-ratelimit-reset-tokens", "6m0s"}}) == -1);
  BOOST_TEST(ratelimit({{"x-ratelimit-reset-tokens", "6m0s"}}) == -1);
  BOOST_TEST(ratelimit({{"X-RateLimit-Remaining", "0"}, {"X-RateLimit-Reset", "1795262430000"}}) == 30'000);
  BOOST_TEST(ratelimit({{"RateLimit", R"("default";r=50;t=30)"}}) == -1);
  BOOST_TEST(ratelimit({{"RateLimit", R"("default";r=0;t=30)"}}) == 30'000);
  BOOST_TEST(ratelimit({{"RateLimit", R"("burst";r=0;t=3, "daily"; t=60 ; r=0, "x";r=1;t=999)"}}) == 60'000);
  for (auto const* bad : {"", ";;;", ",,,", "r=0", "t=5", "r=0;t=", "r=0;t=-5", R"("a;r=)"}) {
    BOOST_TEST(ratelimit({{"RateLimit", bad}}) == -1, bad);
  }
}

BOOST_AUTO_TEST_CASE(dates_are_written_and_read_back) {
  using rondo::detail::parse_iso_date;
  using rondo::detail::to_rfc3339;
  BOOST_TEST(to_rfc3339(at(2026, 4, 24, 60s) + 500ms) == "2026-04-24T00:01:00.500Z");
  BOOST_TEST(to_rfc3339(at(1969, 12, 31, 86399s) + 999ms) == "1969-12-31T23:59:59.999Z");
  BOOST_TEST((parse_iso_date("2026-04-24T00:01:00.500Z") == at(2026, 4, 24, 60s) + 500ms));
  BOOST_TEST((parse_iso_date("2026-04-24") == at(2026, 4, 24)));
  BOOST_TEST((parse_iso_date("2026-04-24 13:45") == at(2026, 4, 24, 13h + 45min)));
  BOOST_TEST((parse_iso_date("2026-04-24 13:45:07.123456") == at(2026, 4, 24, 13h + 45min + 7s) + 123456us));
  BOOST_TEST((parse_iso_date("2026-04-24T13:45:07+0200") == at(2026, 4, 24, 11h + 45min + 7s)));
  for (auto const* bad : {"", "2026", "2026-4-24", "2026-04-24T", "2026-04-24T1:00", "2026-04-24X10:00", "24.04.2026",
                          "2026-04-24T10:00:00+25:00", "0000-01-01", "9999-01-01"}) {
    BOOST_TEST(!parse_iso_date(bad), bad);
  }
}

BOOST_AUTO_TEST_CASE(the_first_of_the_next_month) {
  BOOST_TEST((rondo::detail::next_month(at(2026, 11, 21, 12h)) == at(2026, 12, 1)));
  BOOST_TEST((rondo::detail::next_month(at(2026, 12, 31, 23h)) == at(2027, 1, 1)));
}

BOOST_AUTO_TEST_SUITE_END()
