// SPDX-License-Identifier: BSL-1.0
#include "unit/provider_support.hpp"
#include <rondo/provider/openai.hpp>
#include <rondo/provider/redact.hpp>

#include <boost/test/unit_test.hpp>

#include <string>

using namespace provider_test;

namespace {

rondo::provider::openai const provider;

std::string judge(unsigned status, std::string_view body, fields const& extra = {}) {
  return what(provider.judge(head("POST", "/v1/chat/completions"), answer(status, extra), body, noon));
}

rondo::provider::work describe(std::string_view body, std::string_view target = "/v1/chat/completions") {
  return provider.describe(head("POST", target), body);
}

std::string error(std::string_view message, std::string_view type, std::string_view code) {
  return std::string{R"({"error":{"message":")"}
      .append(message)
      .append(R"(","type":")")
      .append(type)
      .append(R"(","param":null,"code":")")
      .append(code)
      .append("\"}}");
}

} // namespace

BOOST_AUTO_TEST_SUITE(openai)

BOOST_AUTO_TEST_CASE(a_rate_limit_says_when_to_come_back) {
  auto const body = error("Rate limit reached for gpt-4o-mini in project proj_x organization org-x on tokens per min "
                          "(TPM): Limit 50000, Used 47949, Requested 3006. Please try again in 1.146s. Visit https://x",
                          "tokens", "rate_limit_exceeded");
  BOOST_TEST(judge(429, body) == "rate_limited 1146ms lane");
  BOOST_TEST(judge(429, body, {{"Retry-After", "2"}}) == "rate_limited 2000ms lane");
  BOOST_TEST(judge(429, body, {{"Retry-After", "1"}}) == "rate_limited 1146ms lane");
  BOOST_TEST(judge(429, error("Please try again in 6m0s.", "requests", "rate_limit_exceeded")) ==
             "rate_limited 360000ms lane");
  BOOST_TEST(judge(429, error("Slow down", "requests", "rate_limit_exceeded")) == "rate_limited lane");
}

BOOST_AUTO_TEST_CASE(reset_headers_count_only_for_what_is_used_up) {
  auto const body = error("Rate limit reached", "requests", "rate_limit_exceeded");
  BOOST_TEST(judge(429, body,
                   {{"x-ratelimit-remaining-requests", "0"},
                    {"x-ratelimit-reset-requests", "1m26.4s"},
                    {"x-ratelimit-remaining-tokens", "149984"},
                    {"x-ratelimit-reset-tokens", "6m0s"}}) == "rate_limited 86400ms lane");
  BOOST_TEST(judge(429, body, {{"x-ratelimit-remaining-requests", "59"}, {"x-ratelimit-reset-requests", "1s"}}) ==
             "rate_limited lane");
  BOOST_TEST(judge(429, body, {{"x-ratelimit-limit-requests", "-1"}, {"x-ratelimit-reset-requests", "0"}}) ==
             "rate_limited lane");
}

BOOST_AUTO_TEST_CASE(a_request_too_large_is_nobodys_fault_but_the_callers) {
  BOOST_TEST(judge(429,
                   error("Request too large for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, "
                         "Requested 34307. The input or output tokens must be reduced in order to run successfully.",
                         "tokens", "rate_limit_exceeded"),
                   {{"retry-after", "5"}}) == "too_large");
}

BOOST_AUTO_TEST_CASE(a_quota_that_is_gone_is_exhausted) {
  BOOST_TEST(judge(429, error("You exceeded your current quota, please check your plan and billing details.",
                              "insufficient_quota", "insufficient_quota")) == "exhausted");
  BOOST_TEST(judge(400, error("Billing hard limit has been reached", "invalid_request_error",
                              "billing_hard_limit_reached")) == "exhausted");
  BOOST_TEST(judge(402, "") == "exhausted");
}

BOOST_AUTO_TEST_CASE(a_key_dies_only_when_the_body_says_so) {
  BOOST_TEST(judge(401, error("Incorrect API key provided: sk-ab****yz.", "invalid_request_error",
                              "invalid_api_key")) == "invalid_key");
  BOOST_TEST(judge(401, error("Incorrect API key provided: sk-ab****yz.", "invalid_request_error", "")) ==
             "invalid_key");
  BOOST_TEST(judge(401, "") == "invalid_key");
  BOOST_TEST(judge(401, error("You must be a member of an organization", "invalid_request_error", "")) ==
             "rate_limited");
  BOOST_TEST(judge(403, error("Country, region, or territory not supported", "request_forbidden",
                              "unsupported_country_region_territory")) == "rate_limited");
  BOOST_TEST(judge(403, "") == "rate_limited");
  BOOST_TEST(what(provider.judge(head("HEAD", "/v1/models"), answer(401), "", noon)) == "rate_limited");
  // a message may quote the caller
  BOOST_TEST(judge(400, error("Invalid value: 'invalid api key'", "invalid_request_error", "invalid_value")) ==
             "rejected");
}

BOOST_AUTO_TEST_CASE(load_is_nobodys_fault) {
  BOOST_TEST(judge(503, error("The engine is currently overloaded, please try again later", "server_error", "")) ==
             "overloaded");
  BOOST_TEST(judge(503, "") == "overloaded");
  BOOST_TEST(judge(529, "") == "overloaded");
  BOOST_TEST(judge(429, error("The model is overloaded", "server_error", "")) == "overloaded");
  BOOST_TEST(judge(429, R"({"error":"MODEL_OVERLOADED"})") == "overloaded");
  BOOST_TEST(judge(500, "overloaded") == "transport_error");
  BOOST_TEST(judge(502, "") == "transport_error");
  BOOST_TEST(judge(504, "") == "transport_error");
  BOOST_TEST(judge(404, "overloaded") == "rejected");
  BOOST_TEST(judge(302, "") == "rejected");
  BOOST_TEST(judge(200, error("x", "insufficient_quota", "insufficient_quota")) == "served");
}

BOOST_AUTO_TEST_CASE(a_request_reserves_its_cap_and_its_prompt) {
  auto const w = describe(R"({"model":"gpt-4o","messages":[{"role":"user","content":"12345678"}],"max_tokens":50})");
  BOOST_TEST(w.tokens == 52);
  BOOST_TEST(w.lane == "gpt-4o");
  BOOST_TEST(
      describe(
          R"({"max_completion_tokens":70,"messages":[{"content":[{"type":"text","text":"1234"},{"type":"image_url","image_url":{"url":"data:,aaaaaaaaaaaaaaaaaaaaaaaa"}}]}]})")
          .tokens == 71);
  BOOST_TEST(describe(R"({"input":"1234","max_output_tokens":10})", "/v1/responses").tokens == 11);
  BOOST_TEST(describe(R"({"messages":[]})").tokens == 256);
  BOOST_TEST(describe(R"({"model":"e","input":["1234","5678"]})", "/v1/embeddings").tokens == 2);
  BOOST_TEST(describe("").tokens == 0);
  BOOST_TEST(describe(R"({"max_tokens":-5})").tokens == 256);
  BOOST_TEST(describe(R"({"max_tokens":1e300})").tokens == 1'000'000'000);
  BOOST_TEST(describe(R"({"tool":{"max_tokens":7,"model":"x"},"max_tokens":5})").tokens == 5);
  BOOST_TEST(describe(R"({"model":")" + std::string(100'000, 'm') + "\"}").lane.size() == 256U);
  BOOST_TEST(describe(R"({"model":5})").lane.empty());
  BOOST_TEST(describe(std::string(5'000'000, '[')).tokens == 256);
}

BOOST_AUTO_TEST_CASE(the_key_is_a_bearer_token) {
  auto h = head("POST", "/v1/chat/completions", {{"Authorization", "bearer  mine"}});
  BOOST_TEST(provider.credentials(h).size() == 1U);
  BOOST_TEST(provider.detach(h).value().equals("mine"));
  BOOST_TEST(h.count("authorization") == 0U);
  provider.attach(h, "sk-pool");
  BOOST_TEST(h["Authorization"] == "Bearer sk-pool");
  auto const of = [](std::string const& value) {
    auto other = head("GET", "/", {{"authorization", value}});
    auto taken = provider.detach(other);
    return taken ? std::string{taken->reveal()} : "none";
  };
  BOOST_TEST(of("Token abc") == "abc");
  BOOST_TEST(of("abc") == "abc");
  BOOST_TEST(of("Bearer ") == "Bearer");
  BOOST_TEST(of("") == "none");
}

BOOST_AUTO_TEST_CASE(an_echoed_key_is_not_passed_on) {
  std::string const key = "sk-proj-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGH";
  auto const clean = [&](std::string const& text) { return rondo::provider::redacted(text, key); };
  BOOST_TEST(clean("Incorrect API key provided: " + key + ".") ==
             "Incorrect API key provided: " + rondo::masked(key) + ".");
  BOOST_TEST(clean("key " + key.substr(3, 20) + "!") == "key ***!");
  BOOST_TEST(clean(key.substr(0, 20) + key + key.substr(30)) == "***" + rondo::masked(key) + "***");
  // what providers show of a key themselves is no more than what we show, and short stretches prove nothing
  auto const shown = "key " + key.substr(0, 8) + "****" + key.substr(48) + ".";
  BOOST_TEST(clean(shown) == shown);
  BOOST_TEST(clean("nothing here") == "nothing here");
  BOOST_TEST(rondo::provider::redacted("abc", "") == "abc");
  BOOST_TEST(rondo::provider::redacted("the key is k1", "k1") == "the key is k1"); // too short to be told from prose
  BOOST_TEST(rondo::provider::redacted("secret hunter2!", "hunter2") == "secret " + rondo::masked("hunter2") + "!");
}

BOOST_AUTO_TEST_SUITE_END()
