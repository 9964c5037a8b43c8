// SPDX-License-Identifier: BSL-1.0
// The simulated provider without its network, its time moved by hand.
#include <boost/json/parse.hpp>
#include <boost/test/unit_test.hpp>

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include <provider/simulator.hpp>

using namespace std::chrono_literals;
namespace http = boost::beast::http;
namespace json = boost::json;

BOOST_AUTO_TEST_SUITE(simulator)

namespace {

class hand_clock final : public rondo::clock_source {
public:
  rondo::steady_time steady_now() const noexcept override { return rondo::steady_time{} + at; }
  rondo::wall_time wall_now() const noexcept override {
    return rondo::wall_time{} + std::chrono::duration_cast<rondo::wall_time::duration>(at);
  }
  std::chrono::nanoseconds at = 1h;
};

struct fixture {
  explicit fixture(std::string_view config) : provider{read(config), clock} {}

  static sim::provider_options read(std::string_view config) {
    std::vector<std::string> faults;
    auto out = sim::parse_options(json::parse({config.data(), config.size()}), faults);
    BOOST_TEST_REQUIRE(faults.empty(), (faults.empty() ? "" : faults.front()));
    return out;
  }

  sim::plan ask(http::verb method, std::string_view target, std::string_view key, std::string body = {},
                std::string_view id = {}) {
    sim::request r{method, {target.data(), target.size()}, 11};
    r.set("xi-api-key", {key.data(), key.size()});
    if (!id.empty()) {
      r.set("x-request-id", {id.data(), id.size()});
    }
    r.body() = std::move(body);
    return provider.handle(r, "127.0.0.1", 1);
  }

  sim::plan speak(std::string_view key, std::string_view text, std::string_view id = {}) {
    return ask(http::verb::post, "/v1/text-to-speech/v", key, R"({"text":")" + std::string{text} + R"("})", id);
  }

  json::value report() { return parsed(ask(http::verb::get, "/_sim/report", "")); }
  json::value account(std::size_t i) { return report().at("accounts").at(i); }

  static json::value parsed(sim::plan const& p) { return json::parse(p.reply.pieces.at(0)); }
  static std::string header(sim::plan const& p, std::string_view name) {
    for (auto const& [n, v] : p.reply.headers) {
      if (n == name) {
        return v;
      }
    }
    return {};
  }

  hand_clock clock;
  sim::simulator provider;
};

std::int64_t number(json::value const& v) {
  return v.to_number<std::int64_t>();
}

} // namespace

BOOST_AUTO_TEST_CASE(a_window_refuses_says_when_to_come_back_and_counts_the_violation) {
  fixture f{R"({"tls": false, "accounts": [{"name": "a", "requests_per_minute": 2}],
                "keys": [{"name": "k1", "secret": "s1", "account": "a"}, {"name": "k2", "secret": "s2", "account": "a"}]})"};
  BOOST_TEST(f.speak("s1", "x").reply.status == 200U);
  f.clock.at += 20s;
  BOOST_TEST(f.speak("s2", "x").reply.status == 200U);
  f.clock.at += 30s;
  auto const refused = f.speak("s1", "x"); // the account's third, whichever key asks
  BOOST_TEST(refused.reply.status == 429U);
  BOOST_TEST(f.header(refused, "Retry-After") == "10");
  f.clock.at += 10s;
  BOOST_TEST(f.speak("s1", "x").reply.status == 200U);

  auto const a = f.account(0);
  BOOST_TEST(number(a.at("granted")) == 3);
  BOOST_TEST(number(a.at("greatest").at("requests_per_minute")) == 3);
  BOOST_TEST(number(a.at("violations").at("requests_per_minute")) == 1);
  BOOST_TEST(number(f.report().at("violations")) == 1);
}

BOOST_AUTO_TEST_CASE(the_quota_is_charged_in_code_points_and_comes_back) {
  fixture f{R"({"tls": false, "accounts": [{"name": "a", "quota": 10, "used": 4, "quota_reset_ms": 60000}],
                "keys": [{"name": "k", "secret": "s", "account": "a"}]})"};
  auto const granted = f.speak("s", "h\xC3\xA9llo");
  BOOST_TEST(granted.reply.status == 200U);
  BOOST_TEST(f.header(granted, "character-cost") == "5");
  auto const refused = f.speak("s", "hello");
  BOOST_TEST(refused.reply.status == 401U);
  BOOST_TEST(std::string{f.parsed(refused).at("detail").at("message").as_string()} ==
             "This request exceeds your quota of 10. You have 1 credits remaining, while 5 credits are required for "
             "this request.");
  BOOST_TEST(f.speak("s", "x").reply.status == 200U); // a smaller one still fits

  auto const balance = f.parsed(f.ask(http::verb::get, "/v1/user/subscription", "s"));
  BOOST_TEST(number(balance.at("character_count")) == 10);
  BOOST_TEST(number(balance.at("next_character_count_reset_unix")) == 3660);
  f.clock.at += 60s;
  BOOST_TEST(f.speak("s", "hello").reply.status == 200U);
  BOOST_TEST(number(f.report().at("violations")) == 0); // an empty balance is nobody's excess
}

BOOST_AUTO_TEST_CASE(a_place_is_free_again_when_its_ticket_is_finished) {
  fixture f{R"({"tls": false, "accounts": [{"name": "a", "concurrency": 2}],
                "keys": [{"name": "k", "secret": "s", "account": "a"}]})"};
  auto one = f.speak("s", "x");
  auto two = f.speak("s", "x");
  auto const three = f.speak("s", "x");
  BOOST_TEST(three.reply.status == 429U);
  BOOST_TEST(f.header(three, "current-concurrent-requests") == "2");
  BOOST_TEST(f.header(three, "maximum-concurrent-requests") == "2");
  BOOST_TEST(f.header(three, "Retry-After") == "");
  one.place.finish(200);
  auto const four = f.speak("s", "x");
  BOOST_TEST(four.reply.status == 200U);
  BOOST_TEST(number(f.account(0).at("greatest").at("concurrency")) == 3);
  BOOST_TEST(number(f.account(0).at("violations").at("concurrency")) == 1);

  // those in flight are still there after a reset, and may finish
  f.ask(http::verb::post, "/_sim/reset", "");
  BOOST_TEST(number(f.account(0).at("inFlight")) == 2);
  two.place.finish(200);
  BOOST_TEST(number(f.account(0).at("inFlight")) == 1);
}

BOOST_AUTO_TEST_CASE(a_scripted_fault_counts_as_a_request_and_charges_nothing) {
  fixture f{R"({"tls": false, "accounts": [{"name": "a", "quota": 10, "requests_per_minute": 2}],
                "keys": [{"name": "k", "secret": "s", "account": "a"}],
                "faults": [{"key": "k", "nth": 1, "action": "refuse", "reason": "overloaded"},
                           {"key": "k", "nth": 2, "action": "truncate"}]})"};
  BOOST_TEST(std::string{f.parsed(f.speak("s", "xxx", "id-1")).at("detail").at("code").as_string()} == "system_busy");
  BOOST_TEST(number(f.account(0).at("quotaUsed")) == 0);
  auto const cut = f.speak("s", "xxx", "id-1"); // served, and cut on the way
  BOOST_TEST(cut.reply.status == 200U);
  BOOST_TEST(number(f.account(0).at("quotaUsed")) == 3);
  BOOST_TEST(f.speak("s", "xxx", "id-1").reply.status == 429U);
  auto const ids = f.report().at("ids");
  BOOST_TEST(ids.at("repeated").as_array().size() == 1U);
  BOOST_TEST(ids.at("grantedTwice").as_array().empty());
}

BOOST_AUTO_TEST_CASE(a_request_that_was_granted_twice_is_named) {
  fixture f{R"({"tls": false, "keys": [{"name": "k", "secret": "s"}]})"};
  f.speak("s", "x", "twin");
  f.speak("s", "x", "twin");
  f.speak("s", "x", "single");
  BOOST_TEST(f.report().at("ids").at("grantedTwice") == json::value(json::array{"twin"}));
}

BOOST_AUTO_TEST_CASE(voices_run_out_while_speech_goes_on) {
  fixture f{R"({"tls": false, "accounts": [{"name": "a", "voice_limit": 1}],
                "keys": [{"name": "k", "secret": "s", "account": "a"}]})"};
  BOOST_TEST(f.ask(http::verb::post, "/v1/voices/add", "s").reply.status == 200U);
  auto const refused = f.ask(http::verb::post, "/v1/voices/add", "s");
  BOOST_TEST(refused.reply.status == 400U);
  BOOST_TEST(std::string{f.parsed(refused).at("detail").at("status").as_string()} == "voice_limit_reached");
  BOOST_TEST(f.speak("s", "x").reply.status == 200U);
}

BOOST_AUTO_TEST_CASE(tokens_of_a_minute_and_requests_larger_than_that) {
  fixture f{R"({"tls": false, "completion_tokens": 10, "accounts": [{"name": "a", "tokens_per_minute": 30}],
                "keys": [{"name": "k", "secret": "s", "account": "a"}]})"};
  auto const chat = [&](std::string_view text) {
    sim::request r{http::verb::post, "/v1/chat/completions", 11};
    r.set(http::field::authorization, "Bearer s");
    r.body() = R"({"model":"m","messages":[{"role":"user","content":")" + std::string{text} + R"("}]})";
    return f.provider.handle(r, "127.0.0.1", 1);
  };
  auto const message = [&](sim::plan const& p) {
    return std::string{f.parsed(p).at("error").at("message").as_string()};
  };
  auto const served = chat("12345678");
  BOOST_TEST(number(f.parsed(served).at("usage").at("total_tokens")) == 12);
  BOOST_TEST(f.header(served, "x-ratelimit-remaining-tokens") == "18");
  f.clock.at += 1s;
  BOOST_TEST(chat("12345678").reply.status == 200U);
  auto const refused = chat("12345678");
  BOOST_TEST(refused.reply.status == 429U);
  BOOST_TEST(message(refused) == "Rate limit reached for m in organization org-simulated on tokens per min (TPM): "
                                 "Limit 30, Used 24, Requested 12. Please try again in 59s.");
  auto const large = chat(std::string(100, 'x'));
  BOOST_TEST(message(large).starts_with("Request too large for m"));
  BOOST_TEST(f.header(large, "Retry-After") == "");
  BOOST_TEST(number(f.account(0).at("violations").at("tokens_per_minute")) == 1);
}

BOOST_AUTO_TEST_CASE(gemini_calls_a_bad_key_a_bad_request) {
  fixture f{R"({"tls": false, "accounts": [{"name": "a", "requests_per_day": 1}],
                "keys": [{"name": "k", "secret": "s", "account": "a"}]})"};
  auto const generate = [&](std::string_view key) {
    auto const target = "/v1beta/models/gemini-2.0-flash:generateContent?key=" + std::string{key};
    sim::request r{http::verb::post, target, 11};
    r.body() = R"({"contents":[{"parts":[{"text":"hello"}]}]})";
    return f.provider.handle(r, "127.0.0.1", 1);
  };
  auto const bad = generate("nobody");
  BOOST_TEST(bad.reply.status == 400U);
  BOOST_TEST(std::string{f.parsed(bad).at("error").at("details").at(0).at("reason").as_string()} == "API_KEY_INVALID");
  BOOST_TEST(generate("s").reply.status == 200U);
  auto const day = f.parsed(generate("s"));
  BOOST_TEST(std::string{day.at("error").at("details").at(0).at("violations").at(0).at("quotaId").as_string()} ==
             "GenerateRequestsPerDayPerProjectPerModel-FreeTier");
  BOOST_TEST(std::string{day.at("error").at("details").at(2).at("retryDelay").as_string()} == "86400s");
}

BOOST_AUTO_TEST_CASE(what_should_not_have_arrived_is_a_leak) {
  fixture f{R"({"tls": false, "keys": [{"name": "k", "secret": "s"}], "canaries": ["hunter2"]})"};
  sim::request r{http::verb::get, "/v1/voices", 11};
  r.set("xi-api-key", "s");
  r.set("Authorization", "Bearer hunter2");
  r.set("Proxy-Authorization", "Basic x");
  r.set("X-Rondo-Attempts", "1");
  auto const served = f.provider.handle(r, "127.0.0.1", 1);
  BOOST_TEST(served.reply.status == 200U);
  auto const report = f.report();
  auto const& leaks = report.at("leaks").as_object();
  BOOST_TEST(leaks.size() == 4U);
  for (auto const* const name :
       {"proxy-authorization", "x-rondo-attempts", "several credentials", "canary in authorization"}) {
    BOOST_TEST(leaks.contains(name), name);
  }
}

BOOST_AUTO_TEST_SUITE_END()
