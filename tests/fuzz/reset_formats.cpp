// SPDX-License-Identifier: BSL-1.0
// The head of an answer, one field a line. Its values are also read one by one as lengths, resets and dates.
#include "fuzz/input.hpp"
#include "fuzz/property.hpp"
#include "fuzz/targets.hpp"
#include <rondo/clock.hpp>
#include <rondo/detail/date_time.hpp>
#include <rondo/http/message.hpp>
#include <rondo/provider/reset_formats.hpp>

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace rondo::test::fuzz {

namespace {

using namespace std::chrono_literals;
using provider::rest_duration;

constexpr wall_time now = std::chrono::sys_days{std::chrono::year{2026} / 11 / 21} + 12h;

void check_rest(std::optional<rest_duration> rest) {
  expect(!rest || (*rest > 0ns && *rest <= provider::longest_rest), "a rest is longer than nothing and not absurd");
}

void check_date(std::optional<wall_time> date) {
  if (!date) {
    return;
  }
  auto const day = std::chrono::floor<std::chrono::days>(*date);
  expect(day >= std::chrono::sys_days{std::chrono::year{1969} / 12 / 31} &&
             day <= std::chrono::sys_days{std::chrono::year{2200} / 1 / 2},
         "a date is one of 1970 to 2199, give or take the zone");
  // a zone may lead out of the years that are read
  auto const year = std::chrono::year_month_day{day}.year();
  auto const again = rondo::detail::parse_iso_date(rondo::detail::to_rfc3339(*date));
  expect(again ? *again == std::chrono::floor<std::chrono::milliseconds>(*date)
               : year < std::chrono::year{1970} || year > std::chrono::year{2199},
         "a date written and read again is the same to the millisecond");
}

void check_value(std::string_view text) {
  auto const length = provider::parse_duration(text);
  auto const reset = provider::parse_reset(text, now);
  check_rest(length);
  check_rest(reset);
  expect(!length || reset == length, "a length is a reset");
  expect(!length || provider::parse_reset(text, now + 1h) == length, "a length does not depend on the clock");
  auto const padded = " \t" + std::string{text} + "\t ";
  expect(provider::parse_duration(padded) == length && provider::parse_reset(padded, now) == reset,
         "blanks around a value mean nothing");
  auto const iso = rondo::detail::parse_iso_date(text);
  check_date(iso);
  check_date(rondo::detail::parse_http_date(text, now));
  if (iso && !length && reset && *reset < provider::longest_rest) {
    auto const difference = *iso - now - *reset;
    expect(difference < 1us && difference > -1us, "a date is a reset as far off as it is");
  }
}

} // namespace

void reset_formats(std::string_view input) {
  http::response_head head;
  for (fuzz_input in{input}; !in.empty();) {
    auto const line = in.line();
    auto const colon = std::min(line.find(':'), line.size());
    std::string const name{line.substr(0, colon)}; // ended: Beast 1.81 looks at one character more when it compares
    auto const value = line.substr(std::min(colon + 1, line.size()));
    check_value(value);
    if (!name.empty() && name.size() + value.size() < 4096) {
      head.insert(name, value);
    }
  }
  auto const asked = provider::retry_after(head, now);
  auto const limited = provider::ratelimit_reset(head, now);
  check_rest(asked);
  check_rest(limited);
  check_date(provider::sender_now(head, now));
  head.insert("Retry-After", "3");
  expect(provider::retry_after(head, now) == std::max(asked, std::optional<rest_duration>{3s}),
         "the longest of what is asked for counts");
  expect(provider::ratelimit_reset(head, now) == limited, "Retry-After is no limit that was used up");
}

} // namespace rondo::test::fuzz
