// SPDX-License-Identifier: BSL-1.0
#include <rondo/monitor/client_metrics.hpp>

#include <boost/test/unit_test.hpp>

#include <chrono>
#include <string>

using namespace std::chrono_literals;

BOOST_AUTO_TEST_SUITE(client_metrics)

BOOST_AUTO_TEST_CASE(attempts_are_counted_by_blame_and_timed_by_stage) {
  rondo::monitor::client_metrics metrics;
  rondo::attempt_info first{1, 1, "k1", "p1"};
  rondo::attempt_info second{1, 2, "k1", "p2"};
  metrics.attempt_started(first);
  metrics.attempt_ended(
      first, {.ec = rondo::error::proxy_timeout, .who = rondo::blame::proxy, .acquire = 2ms, .whole = 200ms});
  metrics.attempt_started(second);
  metrics.attempt_started(first);
  metrics.attempt_ended(second, {.status = 200, .acquire = 0ms, .connect = 30ms, .first_byte = 300ms, .whole = 2s});
  rondo::monitor::prometheus_page page;
  metrics.describe(page, "p");
  auto const text = "\n" + page.text();
  auto const holds = [&](std::string const& line) { return text.find("\n" + line + "\n") != std::string::npos; };
  BOOST_TEST(holds("rondo_client_attempts_total{pool=\"p\",blame=\"proxy\"} 1"));
  BOOST_TEST(holds("rondo_client_attempts_total{pool=\"p\",blame=\"nobody\"} 1"));
  BOOST_TEST(holds("rondo_client_repeats_total{pool=\"p\"} 1"));
  BOOST_TEST(holds("rondo_client_attempts_under_way{pool=\"p\"} 1"));
  BOOST_TEST(holds("rondo_client_stage_seconds_count{pool=\"p\",stage=\"acquire\"} 2"));
  BOOST_TEST(holds("rondo_client_stage_seconds_count{pool=\"p\",stage=\"connect\"} 1")); // the first got no answer
  BOOST_TEST(holds("rondo_client_stage_seconds_sum{pool=\"p\",stage=\"whole\"} 2.2"));
  BOOST_TEST(holds("rondo_client_stage_seconds_bucket{pool=\"p\",stage=\"first_byte\",le=\"0.25\"} 0"));
  BOOST_TEST(holds("rondo_client_stage_seconds_bucket{pool=\"p\",stage=\"first_byte\",le=\"0.5\"} 1"));
}

BOOST_AUTO_TEST_SUITE_END()
