// SPDX-License-Identifier: BSL-1.0
#include "unit/provider_support.hpp"
#include <rondo/provider/provider.hpp>

#include <boost/test/unit_test.hpp>

#include <chrono>
#include <random>
#include <string>

using namespace provider_test;
using namespace std::chrono_literals;
using rondo::outcome;

namespace {

rondo::provider::generic const provider;

std::string judge(unsigned status, std::string_view body, fields const& extra = {}) {
  return what(provider.judge(head("POST", "/"), answer(status, extra), body, noon));
}

} // namespace

BOOST_AUTO_TEST_SUITE(generic_provider)

BOOST_AUTO_TEST_CASE(every_name_makes_its_adapter) {
  for (auto const* name : {"elevenlabs", "openai", "gemini", "generic"}) {
    BOOST_TEST_REQUIRE(rondo::provider::make(name));
    BOOST_TEST(rondo::provider::make(name)->name() == name);
  }
  BOOST_TEST(!rondo::provider::make("anthropic"));
  BOOST_TEST(!rondo::provider::make(""));
}

BOOST_AUTO_TEST_CASE(header_and_prefix_can_be_set) {
  rondo::provider::generic const deepgram{{.header = "Authorization", .prefix = "Token ", .statuses = {}}};
  auto h = head("GET", "/");
  deepgram.attach(h, "k");
  BOOST_TEST(h["authorization"] == "Token k");
  BOOST_TEST(deepgram.detach(h).value().equals("k"));
  rondo::provider::generic const anthropic{{.header = "X-Api-Key", .prefix = "", .statuses = {}}};
  BOOST_TEST(anthropic.key_header() == "x-api-key");
  anthropic.attach(h, "k");
  BOOST_TEST(h["x-api-key"] == "k");
}

BOOST_AUTO_TEST_CASE(the_status_table_can_be_set_and_the_body_still_comes_first) {
  rondo::provider::generic const own{
      {.header = "k",
       .prefix = "",
       .statuses = {{404, outcome::invalid_key()}, {420, outcome::rate_limited()}, {503, outcome::exhausted(5s)}}}};
  auto const ask = [&](unsigned status, std::string_view body, fields const& extra = {}) {
    return what(own.judge(head("GET", "/"), answer(status, extra), body, noon));
  };
  BOOST_TEST(ask(404, "") == "invalid_key");
  BOOST_TEST(ask(420, "", {{"retry-after", "3"}}) == "rate_limited 3000ms");
  BOOST_TEST(ask(503, "", {{"retry-after", "3"}}) == "exhausted 5000ms");
  BOOST_TEST(ask(404, R"({"code":"insufficient_quota"})") == "exhausted");
  BOOST_TEST(ask(429, "") == "rate_limited lane");
}

BOOST_AUTO_TEST_CASE(the_bodies_of_other_providers_are_understood) {
  // Anthropic
  BOOST_TEST(judge(401, R"({"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}})") ==
             "invalid_key");
  BOOST_TEST(judge(403, R"({"type":"error","error":{"type":"permission_error","message":"no"}})") == "rate_limited");
  BOOST_TEST(judge(429, R"({"type":"error","error":{"type":"rate_limit_error","message":"..."}})",
                   {{"retry-after", "12"}}) == "rate_limited 12000ms lane");
  // until 2026-12-01 00:00 UTC
  BOOST_TEST(
      judge(
          429,
          R"({"type":"error","error":{"type":"rate_limit_error","message":"...","details":{"error_code":"enforced_spend_limit_reached"}}})") ==
      "exhausted until 1796083200");
  BOOST_TEST(
      judge(
          400,
          R"({"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the API."}})") ==
      "exhausted");
  BOOST_TEST(
      judge(
          400,
          R"({"type":"error","error":{"type":"invalid_request_error","message":"You have reached your specified API usage limits."}})") ==
      "exhausted");
  BOOST_TEST(judge(529, R"({"type":"error","error":{"type":"overloaded_error"}})") == "overloaded");
  BOOST_TEST(judge(429, "{}",
                   {{"anthropic-ratelimit-requests-remaining", "0"},
                    {"anthropic-ratelimit-requests-reset", "2026-11-21T12:00:30Z"}}) == "rate_limited 30000ms lane");
  // Venice
  BOOST_TEST(judge(401, R"({"error":"AUTHENTICATION_FAILED"})") == "invalid_key");
  BOOST_TEST(judge(401, R"({"error":"Admin API key required"})") == "rate_limited");
  BOOST_TEST(judge(402, R"({"error":"INSUFFICIENT_BALANCE"})") == "exhausted");
  BOOST_TEST(judge(429, R"({"code":"MODEL_OVERLOADED"})") == "overloaded");
  BOOST_TEST(judge(503, R"({"code":"MODEL_AT_CAPACITY"})") == "overloaded");
  BOOST_TEST(judge(429, R"({"error":"RATE_LIMIT_EXCEEDED"})",
                   {{"x-ratelimit-remaining-tokens", "0"}, {"x-ratelimit-reset-tokens", "42"}}) ==
             "rate_limited 42000ms lane");
  // Mistral, Groq, Deepgram
  BOOST_TEST(
      judge(
          429,
          R"({"object":"error","message":"Rate limit exceeded","type":"rate_limited","param":null,"code":"1300","raw_status_code":429})") ==
      "rate_limited lane");
  BOOST_TEST(
      judge(
          429,
          R"({"error":{"message":"Rate limit reached for model gemma2-9b-it. Please try again in 5.289s. Visit ...","type":"tokens","code":"rate_limit_exceeded"}})") ==
      "rate_limited 5289ms lane");
  BOOST_TEST(
      judge(
          429,
          R"({"err_code":"TOO_MANY_REQUESTS","err_msg":"Too many requests. Please try again later","request_id":"uuid"})") ==
      "concurrency_limited");
  BOOST_TEST(judge(401, R"({"err_code":"INVALID_AUTH","err_msg":"Invalid credentials."})") == "invalid_key");
  BOOST_TEST(judge(402, R"({"err_code":"ASR_PAYMENT_REQUIRED"})") == "exhausted");
}

BOOST_AUTO_TEST_CASE(no_body_is_too_strange) {
  std::mt19937 random{1};
  std::string const alphabet = "{}[]\":,\\ue0159.-code status message error detail details null\x80\xff\n";
  std::uniform_int_distribution<std::size_t> pick{0, alphabet.size() - 1};
  std::uniform_int_distribution<std::size_t> length{1, 200};
  for (auto const* name : {"elevenlabs", "openai", "gemini", "generic"}) {
    auto const adapter = rondo::provider::make(name);
    for (int round = 0; round < 2'000; ++round) {
      std::string body(length(random), ' ');
      for (auto& c : body) {
        c = alphabet[pick(random)];
      }
      for (auto const status : {400U, 401U, 403U, 429U}) {
        auto const v = adapter->judge(head("POST", "/"), answer(status), body, noon);
        if (body.find_first_not_of(" \t\r\n") != body.npos) {
          BOOST_REQUIRE_MESSAGE(v.failure && v.failure->what() != outcome::kind::invalid_key, body);
        }
      }
      (void)adapter->describe(head("POST", body), body);
      (void)adapter->parse_balance(200, body);
    }
    (void)adapter->judge(head("POST", "/"), answer(401), std::string(1'000'000, '['), noon);
    (void)adapter->judge(head("POST", "/"), answer(401), "{\"error\":\"" + std::string(1'000'000, 'x') + "\"}", noon);
  }
}

BOOST_AUTO_TEST_SUITE_END()
