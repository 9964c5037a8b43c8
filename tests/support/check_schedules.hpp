// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "support/sanitizers.hpp"
#include "support/schedule_explorer.hpp"

#include <boost/test/unit_test.hpp>

#include <cstdlib>
#include <sstream>
#include <string>

namespace rondo::test {

/// Preemptions that are left out where a schedule takes some fifty times as long, which is about as many times as there
/// are fewer schedules.
#if defined(RONDO_TEST_ASAN) || defined(RONDO_TEST_TSAN)
inline constexpr unsigned spared_preemptions = 1;
#else
inline constexpr unsigned spared_preemptions = 0;
#endif

/// The body of a test case: a scenario must hold under every schedule with so many preemptions at most, less what is
/// spared.
///
/// The environment variable RONDO_SCHEDULE repeats one schedule, as a failure prints it: for the debugger.
template <class Scenario> void check_schedules(unsigned most_preemptions) {
  auto const preemptions = most_preemptions - spared_preemptions;
  namespace framework = boost::unit_test::framework;
  auto const* const repeat = std::getenv("RONDO_SCHEDULE");
  auto const seen = explore<Scenario>({.preemptions = preemptions, .repeat = repeat ? repeat : ""});
  auto const name = framework::current_test_case().full_name();
  BOOST_TEST_MESSAGE(
      name << ": " << seen.schedules << " schedules, "
           << (seen.exhaustive ? "all there are" : "up to " + std::to_string(preemptions) + " preemptions"));
  std::ostringstream report;
  if (seen.found) {
    report << "fault found in " << name << ": " << seen.found->what << "\nschedule: " << seen.found->schedule << '\n'
           << seen.found->steps << "to repeat it: RONDO_SCHEDULE='" << seen.found->schedule << "' "
           << framework::master_test_suite().argv[0] << " --run_test=" << name;
  }
  BOOST_TEST(!seen.found.has_value(), report.str());
}

} // namespace rondo::test
