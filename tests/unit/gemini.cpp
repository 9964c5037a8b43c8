// SPDX-License-Identifier: BSL-1.0
#include "unit/provider_support.hpp"
#include <rondo/provider/gemini.hpp>

#include <boost/test/unit_test.hpp>

#include <string>

using namespace provider_test;

namespace {

rondo::provider::gemini const provider;
constexpr std::string_view generate = "/v1beta/models/gemini-2.0-flash:generateContent";

std::string judge(unsigned status, std::string_view body, fields const& extra = {}) {
  return what(provider.judge(head("POST", generate), answer(status, extra), body, noon));
}

std::string quota(std::string_view id, std::string_view delay) {
  return std::string{
      R"({"error":{"code":429,"message":"You exceeded your current quota, please check your plan and billing details.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaMetric":"m","quotaId":")"}
      .append(id)
      .append(
          R"(","quotaDimensions":{"model":"gemini-2.0-flash"},"quotaValue":"5"}]},{"@type":"type.googleapis.com/google.rpc.Help","links":[{"url":"..."}]},{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":")")
      .append(delay)
      .append("\"}]}}");
}

} // namespace

BOOST_AUTO_TEST_SUITE(gemini)

BOOST_AUTO_TEST_CASE(a_400_can_be_a_dead_key) {
  BOOST_TEST(
      judge(
          400,
          R"({"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com","metadata":{"service":"generativelanguage.googleapis.com"}},{"@type":"type.googleapis.com/google.rpc.LocalizedMessage","locale":"en-US","message":"API key not valid. Please pass a valid API key."}]}})") ==
      "invalid_key");
  BOOST_TEST(
      judge(
          400,
          R"({"error":{"code":400,"message":"API key expired. Please renew the API key.","status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}})") ==
      "invalid_key");
  BOOST_TEST(
      judge(
          400,
          R"({"error":{"code":400,"message":"API key expired. Please renew the API key.","status":"INVALID_ARGUMENT"}})") ==
      "invalid_key");
  BOOST_TEST(judge(400, R"([{"error":{"details":[{"reason":"API_KEY_INVALID"}]}}])") == "invalid_key");
  BOOST_TEST(
      judge(
          400,
          R"({"error":{"code":400,"message":"Invalid value at 'contents': \"API key not valid\"","status":"INVALID_ARGUMENT"}})") ==
      "rejected");
  BOOST_TEST(
      judge(
          403,
          R"({"error":{"code":403,"message":"Your API key was reported as leaked. Please use another API key.","status":"PERMISSION_DENIED"}})") ==
      "invalid_key");
  BOOST_TEST(judge(403, R"({"error":{"code":403,"message":"Permission denied","status":"PERMISSION_DENIED"}})") ==
             "rate_limited");
}

BOOST_AUTO_TEST_CASE(a_limit_per_minute_says_when_to_come_back) {
  auto const id = "GenerateRequestsPerMinutePerProjectPerModel-FreeTier";
  BOOST_TEST(judge(429, quota(id, "34s")) == "rate_limited 34000ms lane");
  BOOST_TEST(judge(429, quota(id, "34.074824224s")) == "rate_limited 34074ms lane");
  BOOST_TEST(judge(429, quota(id, "900ms")) == "rate_limited 900ms lane");
  BOOST_TEST(judge(429, quota(id, "-1s")) == "rate_limited lane");
  BOOST_TEST(judge(429, R"({"error":{"message":"Please retry in 34.07s.","status":"RESOURCE_EXHAUSTED"}})") ==
             "rate_limited 34070ms lane");
  BOOST_TEST(
      judge(
          429,
          R"({"error":{"message":"x","details":[{"reason":"RATE_LIMIT_EXCEEDED","metadata":{"quotaResetDelay":"156h14m36.75s"}}]}})") ==
      "rate_limited 562476750ms lane");
  BOOST_TEST(
      judge(
          429,
          R"({"error":{"message":"x","details":[{"reason":"QUOTA_EXHAUSTED","metadata":{"quotaResetDelay":"1h"}}]}})") ==
      "exhausted 3600000ms lane");
  BOOST_TEST(
      judge(
          429,
          R"({"error":{"message":"Resource has been exhausted","details":[1,null,{"violations":5},{"violations":[7]}]}})") ==
      "rate_limited lane");
}

BOOST_AUTO_TEST_CASE(a_limit_per_day_lasts_until_midnight_in_california_whatever_the_delay_says) {
  // 2026-11-22 00:00 PST is 08:00 UTC
  auto const expected = "exhausted until 1795334400 lane";
  BOOST_TEST(judge(429, quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "34s")) == expected);
  BOOST_TEST(judge(429, quota("DailyRequests", "34s")) == expected);
  BOOST_TEST(judge(429, "[" + quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "34s") + "]") == expected);
}

BOOST_AUTO_TEST_CASE(load_is_nobodys_fault) {
  BOOST_TEST(
      judge(
          503,
          R"({"error":{"code":503,"message":"The model is overloaded. Please try again later.","status":"UNAVAILABLE"}})") ==
      "overloaded");
  BOOST_TEST(judge(500, R"({"error":{"code":500,"status":"INTERNAL"}})") == "transport_error");
}

BOOST_AUTO_TEST_CASE(the_lane_is_the_model_in_the_path) {
  auto const w = provider.describe(
      head("POST", generate),
      R"({"contents":[{"parts":[{"text":"12345678"},{"inlineData":{"data":"AAAAAAAAAAAA"}}]}],"generationConfig":{"maxOutputTokens":50}})");
  BOOST_TEST(w.lane == "gemini-2.0-flash");
  BOOST_TEST(w.tokens == 52);
  BOOST_TEST(provider.describe(head("POST", generate), R"({"generation_config":{"max_output_tokens":50}})").tokens ==
             50);
  BOOST_TEST(provider.describe(head("POST", generate), "{}").tokens == 256);
  auto const count = provider.describe(head("POST", "/v1beta/models/gemini-2.5-pro:countTokens?key=x"),
                                       R"({"contents":[{"parts":[{"text":"1234"}]}]})");
  BOOST_TEST(count.tokens == 1);
  BOOST_TEST(count.lane == "gemini-2.5-pro");
  BOOST_TEST(provider.describe(head("GET", "/v1beta/models"), "").lane.empty());
  BOOST_TEST(provider.describe(head("GET", "/v1beta/models/a"), "").lane == "a");
  BOOST_TEST(
      provider.describe(head("POST", "/v1beta/openai/chat/completions"), R"({"model":"m","max_tokens":3})").lane ==
      "m");
}

BOOST_AUTO_TEST_CASE(a_key_in_the_target_is_taken_out_of_it) {
  auto const strip = [](std::string const& target) {
    auto h = head("POST", target);
    auto const taken = provider.detach(h);
    return std::string{h.target()} + " | " + (taken ? std::string{taken->reveal()} : "none");
  };
  BOOST_TEST(strip("/p?key=abc") == "/p | abc");
  BOOST_TEST(strip("/p?alt=sse&key=abc") == "/p?alt=sse | abc");
  BOOST_TEST(strip("/p?key=abc&alt=sse") == "/p?alt=sse | abc");
  BOOST_TEST(strip("/p?a=1&key=abc&b=2&key=def") == "/p?a=1&b=2 | abc");
  BOOST_TEST(strip("/p?%6bey=a%2Fb%zz%4") == "/p | a/b%zz%4");
  BOOST_TEST(strip("/p?key") == "/p | none");
  BOOST_TEST(strip("/p?monkey=1&keys=2") == "/p?monkey=1&keys=2 | none");
  BOOST_TEST(strip("/p?") == "/p? | none");
  BOOST_TEST(strip("/p?a&&b=") == "/p?a&&b= | none");
  BOOST_TEST(strip("") == " | none");
}

BOOST_AUTO_TEST_CASE(the_providers_own_header_counts_first) {
  auto h = head("POST", "/p?key=query", {{"authorization", "Bearer token"}, {"x-goog-api-key", "own"}});
  auto const all = provider.credentials(h);
  BOOST_TEST_REQUIRE(all.size() == 3U);
  BOOST_TEST(all[0].value.equals("own"));
  BOOST_TEST(all[1].value.equals("query"));
  BOOST_TEST(all[2].value.equals("token"));
  provider.remove(h, rondo::provider::credential_place::query);
  BOOST_TEST(h.target() == "/p");
  BOOST_TEST(h["x-goog-api-key"] == "own");
  BOOST_TEST(provider.detach(h).value().equals("own"));
  BOOST_TEST(provider.credentials(h).empty());
  provider.attach(h, "AIza");
  BOOST_TEST(h["x-goog-api-key"] == "AIza");
}

BOOST_AUTO_TEST_SUITE_END()
