// SPDX-License-Identifier: BSL-1.0
#include "unit/provider_support.hpp"
#include <rondo/provider/elevenlabs.hpp>

#include <boost/test/unit_test.hpp>

#include <chrono>
#include <string>

using namespace provider_test;
using kind = rondo::outcome::kind;
using namespace std::chrono_literals;

namespace {

rondo::provider::elevenlabs const provider;

rondo::provider::verdict judge(unsigned status, std::string_view body, fields extra = {}) {
  return provider.judge(head("POST", "/v1/text-to-speech/v"), answer(status, std::move(extra)), body, noon);
}

std::int64_t cost(std::string_view body, std::string_view method = "POST",
                  std::string_view target = "/v1/text-to-speech/v/stream") {
  return provider.describe(head(method, target), body).tokens;
}

} // namespace

BOOST_AUTO_TEST_SUITE(elevenlabs)

BOOST_AUTO_TEST_CASE(a_success_tells_cost_and_concurrency_in_its_head) {
  auto const v = judge(200, "", {{"character-cost", "173"}, {"maximum-concurrent-requests", "5"}});
  BOOST_TEST(!v.failure);
  BOOST_TEST(v.cost.value() == 173);
  BOOST_TEST(v.concurrency.value() == 5U);
  BOOST_TEST(provider.meter(answer(200, {{"character-cost", "173"}})).cost().value() == 173);
  BOOST_TEST(!provider.meter(answer(200)).cost());
  for (auto const* bad : {"", "-1", "1.5", "x", "99999999999999999999"}) {
    BOOST_TEST(!judge(200, "", {{"character-cost", bad}, {"maximum-concurrent-requests", bad}}).cost, bad);
    BOOST_TEST(!judge(200, "", {{"maximum-concurrent-requests", bad}}).concurrency, bad);
  }
}

BOOST_AUTO_TEST_CASE(a_401_with_quota_exceeded_is_exhausted_and_reveals_what_is_left) {
  auto v = judge(
      401,
      R"({"detail":{"status":"quota_exceeded","message":"This request exceeds your quota of 10000. You have 0 credits remaining, while 91 credits are required for this request."}})");
  BOOST_TEST(what(v) == "exhausted");
  BOOST_TEST(v.remaining.value() == 0);
  v = judge(
      401,
      R"({"detail":{"status":"quota_exceeded","message":"This request exceeds your quota. You have 11 characters remaining, while 70 characters are required for this request.","character_used":10059,"character_limit":10000}})");
  BOOST_TEST(what(v) == "exhausted");
  BOOST_TEST(v.remaining.value() == 11);
  v = judge(401, R"({"detail":{"status":"quota_exceeded","message":"You have insufficient quota"}})");
  BOOST_TEST(what(v) == "exhausted");
  BOOST_TEST(!v.remaining);
}

BOOST_AUTO_TEST_CASE(a_key_dies_only_when_the_body_says_so) {
  BOOST_TEST(what(judge(401, R"({"detail":{"status":"invalid_api_key","message":"Invalid API key"}})")) ==
             "invalid_key");
  BOOST_TEST(
      what(judge(
          401,
          R"({"detail":{"type":"authentication_error","code":"invalid_api_key","message":"x","status":"invalid_api_key"}})")) ==
      "invalid_key");
  BOOST_TEST(what(judge(401, R"({"detail":"Invalid API key"})")) == "invalid_key");
  BOOST_TEST(what(judge(403, R"({"detail":{"status":"invalid_api_key"}})")) == "invalid_key");
  BOOST_TEST(what(judge(401, "")) == "invalid_key");
  for (auto const* body :
       {R"({"detail":{"status":"missing_permissions"}})",
        R"({"detail":{"type":"authentication_error","code":"something_new"}})", R"({"detail":"who knows"})",
        R"({"detail":[]})", R"({"detail":null})", "<html>401</html>", "{", "[[[[", "\"\"", "0"}) {
    BOOST_TEST(what(judge(401, body)) == "rate_limited", body);
  }
}

BOOST_AUTO_TEST_CASE(a_402_or_403_is_about_credits) {
  BOOST_TEST(what(judge(402, R"({"detail":{"type":"payment_required","code":"insufficient_credits"}})")) ==
             "exhausted");
  BOOST_TEST(what(judge(402, "")) == "exhausted");
  BOOST_TEST(what(judge(403, R"({"detail":{"type":"authorization_error"}})")) == "exhausted");
  BOOST_TEST(what(judge(403, "whatever")) == "exhausted");
}

BOOST_AUTO_TEST_CASE(a_429_is_concurrency_load_or_rate) {
  BOOST_TEST(what(judge(429, R"({"detail":{"status":"too_many_concurrent_requests","message":"Too many"}})")) ==
             "concurrency_limited");
  auto const v = judge(
      429,
      R"({"detail":{"type":"rate_limit_error","code":"concurrent_limit_exceeded","message":"...","status":"too_many_concurrent_requests","request_id":"r","param":null}})",
      {{"maximum-concurrent-requests", "3"}});
  BOOST_TEST(what(v) == "concurrency_limited");
  BOOST_TEST(v.concurrency.value() == 3U);
  BOOST_TEST(what(judge(429, R"({"detail":{"status":"system_busy"}})")) == "overloaded");
  BOOST_TEST(what(judge(429, R"({"detail":{"type":"rate_limit_error","code":"system_busy"}})")) == "overloaded");
  BOOST_TEST(what(judge(503, R"({"detail":{"status":"system_busy"}})")) == "overloaded");
  BOOST_TEST(what(judge(429, R"({"detail":{"code":"rate_limit_exceeded"}})", {{"retry-after", "7"}})) ==
             "rate_limited 7000ms lane");
  BOOST_TEST(what(judge(429, "")) == "rate_limited lane");
}

BOOST_AUTO_TEST_CASE(a_voice_limit_bars_from_voice_creation_and_nothing_else) {
  for (auto const status : {400U, 401U, 403U, 422U, 429U}) {
    auto const v = provider.judge(
        head("POST", "/v1/voices/add"), answer(status),
        R"({"detail":{"status":"voice_limit_reached","message":"You have reached your maximum amount of custom voices (10 / 10)."}})",
        noon);
    BOOST_TEST(what(v) == "rejected");
    BOOST_TEST(v.barred.contains(rondo::capability::voice_creation));
  }
  BOOST_TEST(provider.describe(head("POST", "/v1/voices/add"), "x").needs.contains(rondo::capability::voice_creation));
  BOOST_TEST(
      provider.describe(head("POST", "/v1/voices/add/?a=b"), "x").needs.contains(rondo::capability::voice_creation));
  BOOST_TEST(provider.describe(head("GET", "/v1/voices/add"), "").needs.empty());
  BOOST_TEST(provider.describe(head("POST", "/v1/text-to-speech/v"), "{}").needs.empty());
}

BOOST_AUTO_TEST_CASE(the_rest_is_the_callers_or_the_paths_fault) {
  for (auto const status : {301U, 400U, 404U, 409U, 413U, 422U}) {
    BOOST_TEST(
        what(judge(
            status,
            R"({"detail":[{"loc":["body"],"msg":"bad","type":"value_error","input":{"code":"invalid_api_key"}}]})")) ==
        "rejected");
  }
  for (auto const status : {500U, 502U, 504U}) {
    BOOST_TEST(what(judge(status, R"({"detail":{"status":"quota_exceeded"}})")) == "transport_error");
  }
}

BOOST_AUTO_TEST_CASE(a_text_costs_its_code_points) {
  BOOST_TEST(cost(R"({"text":"hello"})") == 5);
  BOOST_TEST(cost("{\"model_id\":\"m\",\"text\":\"h\xc3\xa9llo \xf0\x9f\x98\x80\"}") == 7);
  BOOST_TEST(cost(R"({"text":"\u00e9\ud83d\ude00\n"})") == 3);
  BOOST_TEST(cost(R"({"te\u0078t":"abc"})") == 3);
  BOOST_TEST(cost(R"({"voice_settings":{"text":"not this"},"previous_text":"nor this","text":"ab"})") == 2);
  BOOST_TEST(cost(R"({"inputs":[{"text":"ab","voice_id":"v"},{"text":"cde"}]})") == 5);
  BOOST_TEST(cost(R"({"text":"hello"})", "GET") == 0);
  BOOST_TEST(cost("") == 0);
  BOOST_TEST(cost("no json") == 0);
  BOOST_TEST(cost(R"({"text":5})") == 0);
  BOOST_TEST(cost(std::string(5'000'000, '[')) == 0);
  BOOST_TEST(cost(R"({"text":")" + std::string(5'000'000, 'x') + R"("})") == 5'000'000);
}

BOOST_AUTO_TEST_CASE(the_key_goes_into_its_own_header_and_every_credential_comes_off) {
  auto h = head("POST", "/v1/text-to-speech/v",
                {{"xi-api-key", "mine"}, {"Authorization", "Bearer token"}, {"XI-API-KEY", "second"}});
  auto const all = provider.credentials(h);
  BOOST_TEST_REQUIRE(all.size() == 3U);
  BOOST_TEST((all[0].place == rondo::provider::credential_place::own_header && all[0].value.equals("mine")));
  BOOST_TEST((all[2].place == rondo::provider::credential_place::bearer && all[2].value.equals("token")));
  BOOST_TEST(provider.detach(h).value().equals("mine"));
  BOOST_TEST(h.count("xi-api-key") == 0U);
  BOOST_TEST(h.count("authorization") == 0U);
  BOOST_TEST(!provider.detach(h));
  provider.attach(h, "sk_pool");
  BOOST_TEST(h["xi-api-key"] == "sk_pool");
  provider.attach(h, "sk_other");
  BOOST_TEST(h.count("xi-api-key") == 1U);
}

BOOST_AUTO_TEST_CASE(the_balance_is_read_from_the_subscription) {
  auto const request = provider.balance_request().value();
  BOOST_TEST(request.method_string() == "GET");
  BOOST_TEST(request.target() == "/v1/user/subscription");
  auto const b =
      provider
          .parse_balance(
              200,
              R"({"tier":"starter","character_count":1000,"character_limit":10000,"next_character_count_reset_unix":1738356858,"status":"active"})")
          .value();
  BOOST_TEST(b.limit == 10000);
  BOOST_TEST(b.remaining == 9000);
  BOOST_TEST((b.reset == rondo::wall_time{1738356858s}));
  auto const over =
      provider
          .parse_balance(200,
                         R"({"character_count":10059,"character_limit":10000,"next_character_count_reset_unix":null})")
          .value();
  BOOST_TEST(over.remaining == 0);
  BOOST_TEST(!over.reset);
  for (auto const* body :
       {"", "{}", "[]", "{", R"({"character_count":1})", R"({"character_count":-1,"character_limit":5})",
        R"({"character_count":"1","character_limit":5})"}) {
    BOOST_TEST(!provider.parse_balance(200, body), body);
  }
  BOOST_TEST(!provider.parse_balance(401, R"({"character_count":1,"character_limit":5})"));
}

BOOST_AUTO_TEST_SUITE_END()
