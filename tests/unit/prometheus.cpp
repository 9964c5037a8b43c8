// SPDX-License-Identifier: BSL-1.0
#include <rondo/monitor/prometheus.hpp>

#include <boost/test/unit_test.hpp>

#include <array>
#include <cstdint>
#include <string>

namespace {

bool holds(std::string const& text, std::string_view line) {
  return ("\n" + text).find("\n" + std::string{line} + "\n") != std::string::npos;
}

} // namespace

BOOST_AUTO_TEST_SUITE(prometheus)

BOOST_AUTO_TEST_CASE(samples_of_a_metric_stand_together) {
  rondo::monitor::prometheus_page page;
  page.counter("a_total", "Counts a.", {{"pool", "p"}}, 1);
  page.gauge("b", "Shows b.", {}, 2.5);
  page.counter("a_total", "Counts a.", {{"pool", "q"}}, 123456789);
  BOOST_TEST(page.text() == "# HELP a_total Counts a.\n# TYPE a_total counter\n"
                            "a_total{pool=\"p\"} 1\na_total{pool=\"q\"} 123456789\n"
                            "# HELP b Shows b.\n# TYPE b gauge\nb 2.5\n");
}

BOOST_AUTO_TEST_CASE(label_values_are_escaped) {
  rondo::monitor::prometheus_page page;
  page.gauge("b", "Shows b.", {{"key", "a\"b\\c\nd"}}, 0);
  BOOST_TEST(holds(page.text(), R"(b{key="a\"b\\c\nd"} 0)"));
}

BOOST_AUTO_TEST_CASE(buckets_are_cumulated) {
  rondo::monitor::prometheus_page page;
  std::array const bounds{0.5, 1.0};
  std::array<std::uint64_t, 3> const counts{2, 0, 3};
  page.histogram("h", "Shows h.", {{"pool", "p"}}, bounds, counts, 7.5);
  auto const text = page.text();
  BOOST_TEST(holds(text, R"(h_bucket{pool="p",le="0.5"} 2)"));
  BOOST_TEST(holds(text, R"(h_bucket{pool="p",le="1"} 2)"));
  BOOST_TEST(holds(text, R"(h_bucket{pool="p",le="+Inf"} 5)"));
  BOOST_TEST(holds(text, R"(h_sum{pool="p"} 7.5)"));
  BOOST_TEST(holds(text, R"(h_count{pool="p"} 5)"));
}

BOOST_AUTO_TEST_CASE(a_pool_is_described_without_secrets) {
  rondo::key_state first;
  first.name = "k1";
  first.short_key = "sk_abc...xyz";
  first.requests = 7;
  first.remaining = 30;
  rondo::key_state second;
  second.name = "k2";
  second.short_key = "sk_def...uvw";
  second.status = rondo::key_status::invalid;
  rondo::monitor::prometheus_page page;
  rondo::monitor::describe(page, rondo::pool_snapshot{"eleven", {first, second}, 30});
  auto const text = page.text();
  BOOST_TEST(holds(text, R"(rondo_pool_keys{pool="eleven",status="active"} 1)"));
  BOOST_TEST(holds(text, R"(rondo_pool_keys{pool="eleven",status="invalid"} 1)"));
  BOOST_TEST(holds(text, R"(rondo_key_requests_total{pool="eleven",key="k1"} 7)"));
  BOOST_TEST(holds(text, R"(rondo_key_remaining_tokens{pool="eleven",key="k1"} 30)"));
  BOOST_TEST(holds(text, R"(rondo_key_available{pool="eleven",key="k2"} 0)"));
  BOOST_TEST(text.find("sk_") == text.npos);
  BOOST_TEST(text.find("remaining_tokens{pool=\"eleven\",key=\"k2\"") == text.npos);
}

BOOST_AUTO_TEST_SUITE_END()
