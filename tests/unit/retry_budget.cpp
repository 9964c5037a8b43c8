// SPDX-License-Identifier: BSL-1.0
#include <rondo/retry_budget.hpp>

#include <boost/test/unit_test.hpp>

#include <chrono>

using namespace std::chrono_literals;

namespace {

struct fixture {
  rondo::retry_budget budget{{.share = 0.2, .floor = 3, .window = 10s}};
  rondo::steady_time now{1000s};

  void requests(int n) {
    for (int i = 0; i < n; ++i) {
      budget.add_request(now);
    }
  }
  /// How many repeats it grants now.
  int spend() {
    int n = 0;
    while (n < 100'000 && budget.try_spend(now)) {
      ++n;
    }
    return n;
  }
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(retry_budget, fixture)

BOOST_AUTO_TEST_CASE(a_quiet_client_has_the_floor) {
  BOOST_TEST(spend() == 3);
  BOOST_TEST(budget.refused() == 1U);
}

BOOST_AUTO_TEST_CASE(a_share_of_the_requests_comes_on_top) {
  requests(100);
  BOOST_TEST(spend() == 23);
  requests(5);
  BOOST_TEST(spend() == 1);
}

BOOST_AUTO_TEST_CASE(requests_and_repeats_slide_out_of_the_window) {
  requests(100);
  BOOST_TEST(spend() == 23);
  now += 5s;
  requests(50);
  BOOST_TEST(spend() == 10);
  now += 5s; // the first hundred and what was repeated for them have gone
  BOOST_TEST(spend() == 3);
  now += 1h;
  BOOST_TEST(spend() == 3);
}

BOOST_AUTO_TEST_CASE(in_no_window_is_more_granted_than_the_share_and_the_floor) {
  int granted = 0;
  for (int tick = 0; tick < 200; ++tick) { // two windows of an outage
    requests(10);
    granted += spend();
    now += 100ms;
  }
  BOOST_TEST(granted <= 2 * (200 + 3) + 20);
  BOOST_TEST(granted >= 380);
}

BOOST_AUTO_TEST_CASE(a_clock_that_stands_or_goes_back_changes_nothing) {
  requests(10);
  now -= 3s;
  requests(10);
  BOOST_TEST(spend() == 7);
}

BOOST_AUTO_TEST_CASE(a_negative_share_is_no_bound) {
  rondo::retry_budget free{{.share = -1, .floor = 0}};
  for (int i = 0; i < 1000; ++i) {
    BOOST_TEST_REQUIRE(free.try_spend(now));
  }
}

BOOST_AUTO_TEST_SUITE_END()
