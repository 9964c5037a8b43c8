// SPDX-License-Identifier: BSL-1.0
#include "support/pool_fixture.hpp"
#include <rondo/status_json.hpp>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/test/unit_test.hpp>

#include <string>

using namespace rondo::test;

BOOST_FIXTURE_TEST_SUITE(status_json_test, pool_fixture)

BOOST_AUTO_TEST_CASE(is_the_document_that_programs_read) {
  reset({.name = "elevenlabs"});
  pool->add({.name = "k1",
             .secret = rondo::secret{"sk_6c036526aabbccddeeff00112233445566778899a7a4d452b"},
             .account = "team",
             .limits = {.quota = 1000, .quota_reset = clock.wall_now() + 1h}});
  pool->add(key("k2"));
  pool->try_acquire(850)->settle(850);
  pool->try_acquire(1)->report(rondo::outcome::rate_limited(10min));
  auto const doc = rondo::to_json(pool->snapshot());
  auto const wanted = boost::json::parse(R"({
    "name": "elevenlabs", "totalKeys": 2, "activeKeys": 1, "exhaustedKeys": 0, "rateLimitedKeys": 1, "invalidKeys": 0,
    "nearLimitKeys": 1, "totalRemainingCharacters": 150,
    "keys": [
      {"name": "k1", "shortKey": "sk_6c036526a...7a4d452b", "account": "team", "status": "active",
       "characterCount": 850, "characterLimit": 1000, "remainingCharacters": 150, "usagePercentage": 8.5E1,
       "isOverLimit": false, "isNearLimit": true, "nextResetDate": "2026-11-21T01:00:00.000Z", "cooldownUntil": null,
       "inFlight": 0, "requests": 1, "failures": 0},
      {"name": "k2", "shortKey": "sec...", "account": "k2", "status": "rate_limited",
       "characterCount": 0, "characterLimit": 0, "remainingCharacters": null, "usagePercentage": 0E0,
       "isOverLimit": false, "isNearLimit": false, "nextResetDate": null, "cooldownUntil": "",
       "inFlight": 0, "requests": 1, "failures": 1}]})");
  auto compared = doc;
  auto& second = compared.at("keys").at(1).as_object();
  BOOST_TEST(second["cooldownUntil"].as_string().starts_with("2026-11-21T00:10:"));
  second["cooldownUntil"] = "";
  second["shortKey"] = "sec...";
  BOOST_TEST(boost::json::serialize(compared) == boost::json::serialize(wanted));
  BOOST_TEST(boost::json::serialize(doc).find("secret-of-k2") == std::string::npos);
}

BOOST_AUTO_TEST_SUITE_END()
