// SPDX-License-Identifier: BSL-1.0
// A TZ string of POSIX, or a TZif file.
#include "fuzz/property.hpp"
#include "fuzz/targets.hpp"
#include <rondo/clock.hpp>
#include <rondo/detail/posix_tz.hpp>
#include <rondo/detail/tzif.hpp>
#include <rondo/renewal.hpp>
#include <rondo/time_zone.hpp>

#include <chrono>
#include <string>
#include <string_view>

namespace rondo::test::fuzz {

namespace {

using namespace std::chrono_literals;
using std::chrono::sys_days;
using std::chrono::sys_seconds;

void check_rules(std::string_view text) {
  auto const rules = rondo::detail::parse_posix_tz(text);
  if (!rules) {
    return;
  }
  auto const zone = time_zone::from_posix(text);
  for (auto const year : {1678, 1900, 1970, 2024, 2026, 2100, 2261}) {
    sys_seconds when = sys_days{std::chrono::year{year} / 1 / 1};
    for (auto i = 0; i < 24; ++i) { // through the year, hours included
      auto const offset = rules->offset_at(when);
      expect(offset == rules->standard || offset == rules->daylight, "an offset is one of the two");
      expect(offset > -25h && offset < 26h, "an offset is less than 25 hours, summer time an hour more");
      auto const next = zone.next_midnight(when);
      expect(next > when, "the next day begins later");
      expect(next <= when + 24h * 5, "the next day begins soon");
      expect(zone.next_midnight(next - 1s) == next, "a start of a day is one from just before it");
      auto const local = next + rules->offset_at(next);
      auto const before = next - 1s + rules->offset_at(next - 1s);
      expect(std::chrono::floor<std::chrono::days>(local) > std::chrono::floor<std::chrono::days>(before),
             "the local date changes when a day begins");
      when += 15 * 24h + 7h;
    }
  }
  auto const daily = renewal::daily(zone).next(sys_days{std::chrono::year{2026} / 6 / 1});
  expect(daily.has_value(), "there is a next day");
}

} // namespace

void time_zones(std::string_view input) {
  check_rules(input);
  auto const footer = rondo::detail::tzif_footer(input);
  if (!footer.empty()) {
    expect(footer.data() > input.data() && footer.data() + footer.size() < input.data() + input.size(),
           "the footer is a part of the file");
    check_rules(footer);
  }
  std::string const empty_block = "TZif2" + std::string(39, '\0');
  auto const file = empty_block + empty_block + "\n" + std::string{input} + "\n";
  expect(rondo::detail::tzif_footer(file) == input, "the footer of a file is found");
  if (rondo::detail::is_zone_name(input)) {
    expect(input.front() != '/' && input.find("..") == input.npos,
           "a name does not lead out of the folder of the zones");
  }
}

} // namespace rondo::test::fuzz
