// SPDX-License-Identifier: BSL-1.0
// What the keys of the gateway get from their entry, their pool and their account.
#include "../../examples/gateway/key_loading.hpp"

#include <boost/test/unit_test.hpp>

#include <string>

#include <support/temporary_directory.hpp>

namespace {

struct fixture {
  rondo::test::temporary_directory files;
  gateway::fault_list faults;

  gateway::loaded_keys load(std::string const& keys, std::string const& more = {}) {
    auto const text = R"({"pools":[{"name":"p","provider":"openai","base_url":"https://api.example.com","keys":)" +
                      keys + more + "}]}";
    faults = {};
    auto const settings = gateway::parse_settings(text, files.path(), faults);
    BOOST_TEST_REQUIRE(faults.empty(), (faults.empty() ? "" : faults.lines()[0]));
    return gateway::load_keys(settings.pools.at(0), faults);
  }
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(gateway_keys, fixture)

BOOST_AUTO_TEST_CASE(lanes_are_those_of_the_pool_and_of_the_key) {
  auto const got = load(R"([{"secret": "a"}, {"secret": "b", "weight": 2, "lane_limits": {"quota": 7},
                             "lanes": {"tts": {"concurrency": 9}, "pro": {"quota": 5}}}])",
                        R"(, "lanes": {"tts": {"concurrency": 1, "quota": 3}, "asr": {"quota": 4}},
                             "lane_limits": {"concurrency": 6}, "limits": {"quota_renewal": {"daily": "UTC"},
                             "day_renewal": {"daily": "America/Los_Angeles"}})");
  BOOST_TEST_REQUIRE(got.keys.size() == 2U);
  auto const& a = got.keys[0].params;
  BOOST_TEST(a.weight == 1U);
  BOOST_TEST(a.lanes.size() == 2U);
  BOOST_TEST((a.lanes.at("tts") == rondo::limits{.concurrency = 1, .quota = 3}));
  BOOST_TEST((a.lane_limits == rondo::limits{.concurrency = 6}));
  BOOST_TEST((a.limits == rondo::limits{.quota_renewal = rondo::renewal::daily(rondo::time_zone::utc()),
                                        .day_renewal = rondo::renewal::daily(rondo::time_zone::pacific())}));
  auto const& b = got.keys[1].params;
  BOOST_TEST(b.weight == 2U);
  BOOST_TEST(b.lanes.size() == 3U);
  BOOST_TEST((b.lanes.at("tts") == rondo::limits{.concurrency = 9, .quota = 3}));
  BOOST_TEST((b.lanes.at("pro") == rondo::limits{.quota = 5}));
  BOOST_TEST((b.lanes.at("asr") == rondo::limits{.quota = 4}));
  BOOST_TEST((b.lane_limits == rondo::limits{.concurrency = 6, .quota = 7}));
}

BOOST_AUTO_TEST_CASE(the_days_of_gemini_begin_at_midnight_in_california) {
  auto const parse = [&](std::string const& limits) {
    faults = {};
    auto const settings = gateway::parse_settings(
        R"({"pools": [{"name": "p", "provider": "gemini", "base_url": "https://api.example",
                       "keys": [{"secret": "a"}], )" +
            limits + "}]}",
        files.path(), faults);
    BOOST_TEST_REQUIRE(faults.empty(), (faults.empty() ? "" : faults.lines()[0]));
    return gateway::load_keys(settings.pools.at(0), faults).keys.at(0).params;
  };
  auto const pacific = rondo::renewal::daily(rondo::time_zone::pacific());
  auto const daily = parse(R"("limits": {"requests_per_day": 250}, "lane_limits": {"requests_per_minute": 10},
                              "lanes": {"flash": {"requests_per_day": 50}})");
  BOOST_TEST((daily.limits == rondo::limits{.requests_per_day = 250, .day_renewal = pacific}));
  BOOST_TEST((daily.lanes.at("flash") == rondo::limits{.requests_per_day = 50, .day_renewal = pacific}));
  BOOST_TEST((daily.lane_limits == rondo::limits{.requests_per_minute = 10}));
  auto const sliding = parse(R"("limits": {"requests_per_day": 250, "day_renewal": "none"})");
  BOOST_TEST((sliding.limits == rondo::limits{.requests_per_day = 250}));
}

BOOST_AUTO_TEST_CASE(keys_of_a_file_have_them_too) {
  files.write("BASE.csv", "API\na\nb\n");
  auto const got = load(R"([{"csv": "BASE.csv", "weight": 4, "lanes": {"tts": {"quota": 3}}}])");
  BOOST_TEST_REQUIRE(got.files.size() == 1U);
  BOOST_TEST(got.files[0].terms.weight == 4U);
  BOOST_TEST(got.files[0].terms.lanes.at("tts").quota == 3);
}

BOOST_AUTO_TEST_CASE(what_one_key_of_an_account_says_holds_for_all) {
  auto const got = load(R"([{"secret": "a", "account": "team"},
                            {"secret": "b", "account": "team", "weight": 3, "lanes": {"tts": {"quota": 3}}}])");
  BOOST_TEST(faults.empty());
  BOOST_TEST_REQUIRE(got.keys.size() == 2U);
  BOOST_TEST(got.keys[0].params.weight == 3U);
  BOOST_TEST((got.keys[0].params.lanes == got.keys[1].params.lanes));
}

BOOST_AUTO_TEST_CASE(keys_of_an_account_that_differ_are_named_with_the_field) {
  for (std::string const field : {"limits", "lane_limits", "weight", "lanes"}) {
    auto const value = [&](int n) {
      auto const number = std::to_string(n);
      return field == "weight"  ? number
             : field == "lanes" ? R"({"tts": {"quota": )" + number + "}}"
                                : R"({"quota": )" + number + "}";
    };
    auto const entry = [&](char const* secret, int n) {
      return R"({"secret": ")" + std::string{secret} + R"(", "account": "team", ")" + field + R"(": )" + value(n) + "}";
    };
    (void)load("[" + entry("a", 2) + ", " + entry("b", 2) + "]");
    BOOST_TEST(faults.empty());
    (void)load("[" + entry("a", 2) + ", " + entry("b", 3) + "]");
    BOOST_TEST_REQUIRE(faults.lines().size() == 1U);
    auto const place = "pools[0].keys[1]." + field + ": ";
    BOOST_TEST(faults.lines()[0].substr(0, place.size()) == place);
  }
}

BOOST_AUTO_TEST_SUITE_END()
