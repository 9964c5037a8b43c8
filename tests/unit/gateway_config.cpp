// SPDX-License-Identifier: BSL-1.0
#include "../../examples/gateway/config.hpp"

#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/test/unit_test.hpp>

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

namespace {

namespace json = boost::json;

json::object good() {
  return json::parse(R"({
    "listen": "127.0.0.1:0", "admin": "127.0.0.1:0", "threads": 2, "caller_tokens": [],
    "pools": [{
      "name": "eleven", "prefix": "/", "provider": "elevenlabs", "base_url": "https://localhost:9443",
      "ca_file": "ca.pem", "strategy": "fill_first",
      "keys": [
        {"name": "k1", "secret": "sk_0123456789abcdef", "account": "team-a", "limits": {"quota": 10000}},
        {"env": "ELEVENLABS_API_KEYS"}, {"csv": "BASE.csv"}, {"dotenv": ".env", "service": "gemini"}],
      "limits": {"requests_per_minute": 60, "tokens_per_minute": 0, "concurrency": 4},
      "cooldown_ms": 60000, "refresh_ms": 0, "own_keys": "refuse",
      "proxies": ["socks5h://user:pass@127.0.0.1:1080", {"url": "http://127.0.0.1:3128", "concurrency": 1}],
      "proxy_strategy": "round_robin", "connect_ms": 5000, "idle_ms": 60000,
      "retry": {"max_attempts": 5, "deadline_ms": 30000, "unsafe": true}, "max_body_bytes": 1000
    }]})")
      .as_object();
}

json::object& pool_of(json::object& config) {
  return config["pools"].as_array()[0].as_object();
}

std::vector<std::string> faults_of(std::string_view text) {
  gateway::fault_list faults;
  (void)gateway::parse_settings(text, "/etc/gateway", faults);
  return faults.lines();
}

std::vector<std::string> faults_of(json::object const& config) {
  return faults_of(json::serialize(config));
}

// The one fault of a configuration begins with the path of the field.
void check_fault(json::object const& config, std::string_view path) {
  auto const faults = faults_of(config);
  BOOST_TEST_REQUIRE(faults.size() == 1U, "wanted one fault at " << path);
  BOOST_TEST(faults.front().substr(0, path.size() + 2) == std::string{path} + ": ");
}

} // namespace

BOOST_AUTO_TEST_SUITE(gateway_config)

BOOST_AUTO_TEST_CASE(everything_is_taken_over) {
  gateway::fault_list faults;
  auto const out = gateway::parse_settings(json::serialize(good()), "/etc/gateway", faults);
  BOOST_TEST_REQUIRE(faults.empty());
  BOOST_TEST(out.threads == 2U);
  BOOST_TEST(out.listen.address().to_string() == "127.0.0.1");
  auto const& pool = out.pools.at(0);
  BOOST_TEST(pool.base_url.port == 9443);
  BOOST_TEST(pool.trust.ca_file == "/etc/gateway/ca.pem");
  BOOST_TEST((pool.strategy == rondo::strategy::fill_first));
  BOOST_TEST((pool.own == gateway::own_keys::refuse));
  BOOST_TEST(pool.retry.max_attempts == 5U);
  BOOST_TEST(pool.retry.unsafe);
  BOOST_TEST(pool.max_body_bytes == 1000U);
  BOOST_TEST_REQUIRE(pool.keys.size() == 4U);
  BOOST_TEST(pool.keys[0].secret.reveal() == "sk_0123456789abcdef");
  BOOST_TEST((pool.keys[1].from == gateway::key_entry::kind::env));
  BOOST_TEST(pool.keys[2].file.string() == "/etc/gateway/BASE.csv");
  BOOST_TEST(pool.keys[3].service == "gemini");
  BOOST_TEST_REQUIRE(pool.proxies.size() == 2U);
  BOOST_TEST(pool.proxies[0].url.reveal() == "socks5h://user:pass@127.0.0.1:1080");
  BOOST_TEST(pool.proxies[1].concurrency == 1U);
}

BOOST_AUTO_TEST_CASE(a_key_names_some_limits_and_takes_the_others_from_its_pool) {
  gateway::fault_list faults;
  auto const out = gateway::parse_settings(json::serialize(good()), "", faults);
  auto const& pool = out.pools.at(0);
  auto const limits = pool.keys[0].limits.over(pool.limits.over({}));
  BOOST_TEST(limits.quota == 10000);
  BOOST_TEST(limits.requests_per_minute == 60U);
  BOOST_TEST(limits.concurrency == 4U);
  BOOST_TEST(limits.tokens_per_minute == 0U);
}

BOOST_AUTO_TEST_CASE(the_smallest_configuration) {
  auto const text = R"({"pools":[{"name":"p","provider":"openai","base_url":"https://api.example.com/v1",
                                   "keys":[{"secret":"sk-1"}]}]})";
  gateway::fault_list faults;
  auto const out = gateway::parse_settings(text, "", faults);
  BOOST_TEST_REQUIRE(faults.empty());
  BOOST_TEST(out.listen.port() == 8787);
  BOOST_TEST(out.admin.port() == 8788);
  BOOST_TEST(out.pools[0].prefix == "/");
  BOOST_TEST((out.pools[0].own == gateway::own_keys::pass));
  BOOST_TEST((out.pools[0].retry.deadline == std::chrono::seconds{30}));
}

BOOST_AUTO_TEST_CASE(everything_about_proxies_and_repeats_can_be_said) {
  auto config = good();
  auto& pool = pool_of(config);
  pool["proxies"] = json::array{json::object{{"url", "http://127.0.0.1:3128"},
                                             {"tags", {{"country", "de"}, {"kind", "home"}}},
                                             {"tier", 1},
                                             {"requests_per_tunnel", 5},
                                             {"tunnel_age_ms", 60000}}};
  pool["proxy_strategy"] = "latency";
  pool["proxy_tags"] = json::object{{"country", "de"}};
  pool["when_no_proxy"] = "wait";
  pool["proxy_check"] = json::object{{"target", "https://example.com/"}, {"timeout_ms", 900}};
  pool["address_refusals"] = json::array{json::object{{"status", 429}, {"marker", "your IP"}}};
  pool["retry"] =
      json::object{{"hedge_ms", 250}, {"budget_percent", 10}, {"budget_floor", 3}, {"budget_window_ms", 5000}};
  gateway::fault_list faults;
  auto const out = gateway::parse_settings(json::serialize(config), "", faults);
  BOOST_TEST_REQUIRE(faults.empty());
  auto const& got = out.pools.at(0);
  auto const& proxy = got.proxies.at(0);
  BOOST_TEST_REQUIRE(proxy.tags.size() == 2U);
  BOOST_TEST((proxy.tags[0] == rondo::proxy_tag{"country", "de"}));
  BOOST_TEST(proxy.tier == 1U);
  BOOST_TEST(proxy.requests_per_tunnel == 5U);
  BOOST_TEST(proxy.tunnel_age.count() == 60000);
  BOOST_TEST((got.proxy_strategy == rondo::proxy_strategy::latency));
  BOOST_TEST(got.proxy_tags.size() == 1U);
  BOOST_TEST((got.when_no_proxy == rondo::when_no_proxy::wait));
  BOOST_TEST(got.proxy_check.value().target.host == "example.com");
  BOOST_TEST(got.proxy_check.value().timeout.count() == 900);
  BOOST_TEST(got.address_refusals.at(0).status == 429U);
  BOOST_TEST(got.address_refusals.at(0).marker == "your IP");
  BOOST_TEST((got.retry.hedge_after == std::chrono::milliseconds{250}));
  BOOST_TEST(got.retry.budget.floor == 3U);
  BOOST_TEST((got.retry.budget.share > 0.09 && got.retry.budget.share < 0.11));
}

BOOST_AUTO_TEST_CASE(without_a_word_proxies_turn_about_and_nothing_goes_direct) {
  auto config = good();
  pool_of(config).erase("proxy_strategy");
  gateway::fault_list faults;
  auto const out = gateway::parse_settings(json::serialize(config), "", faults);
  BOOST_TEST((out.pools.at(0).proxy_strategy == rondo::proxy_strategy::round_robin));
  BOOST_TEST((out.pools.at(0).when_no_proxy == rondo::when_no_proxy::fail));
}

BOOST_AUTO_TEST_CASE(faults_about_proxies_are_named_by_path) {
  auto const fault = [](char const* field, json::value value, char const* path) {
    auto config = good();
    pool_of(config)[field] = std::move(value);
    check_fault(config, path);
  };
  fault("proxy_strategy", "fill_first", "pools[0].proxy_strategy");
  fault("proxy_tags", json::object{{"country", 1}}, "pools[0].proxy_tags");
  fault("when_no_proxy", "hope", "pools[0].when_no_proxy");
  fault("proxy_check", json::object{{"target", "ftp://x"}}, "pools[0].proxy_check.target");
  fault("address_refusals", json::array{json::object{{"status", 200}}}, "pools[0].address_refusals[0].status");
  fault("proxies", json::array{json::object{{"url", "http://h:1"}, {"tier", 16}}}, "pools[0].proxies[0].tier");
  fault("retry", json::object{{"hedge_ms", -1}}, "pools[0].retry.hedge_ms");
}

BOOST_AUTO_TEST_CASE(unknown_fields_are_named_by_path) {
  auto config = good();
  config["liste"] = 1;
  check_fault(config, "liste");
  config = good();
  pool_of(config)["retry"].as_object()["attempts"] = 1;
  check_fault(config, "pools[0].retry.attempts");
  config = good();
  pool_of(config)["keys"].as_array()[0].as_object()["Secret"] = "x";
  check_fault(config, "pools[0].keys[0].Secret");
  config = good();
  pool_of(config)["keys"].as_array()[2].as_object()["name"] = "x";
  check_fault(config, "pools[0].keys[2].name");
  config = good();
  pool_of(config)["limits"].as_object()["rpm"] = 1;
  check_fault(config, "pools[0].limits.rpm");
}

BOOST_AUTO_TEST_CASE(types_and_ranges) {
  for (json::value const& wrong : {json::value{"2"}, json::value{2.5}, json::value{-1}, json::value{0},
                                   json::value{257}, json::value{18446744073709551615U}, json::value{nullptr}}) {
    auto config = good();
    config["threads"] = wrong;
    check_fault(config, "threads");
  }
  auto config = good();
  pool_of(config)["limits"].as_object()["concurrency"] = 4294967296;
  check_fault(config, "pools[0].limits.concurrency");
  config = good();
  pool_of(config)["retry"].as_object()["unsafe"] = 1;
  check_fault(config, "pools[0].retry.unsafe");
  config = good();
  pool_of(config)["strategy"] = "random";
  check_fault(config, "pools[0].strategy");
  config = good();
  pool_of(config)["keys"] = "sk_1";
  check_fault(config, "pools[0].keys");
  config = good();
  pool_of(config)["keys"].as_array()[1] = "sk_1";
  check_fault(config, "pools[0].keys[1]");
}

BOOST_AUTO_TEST_CASE(addresses_are_loopback_unless_callers_are_known) {
  for (auto const* const outside : {"0.0.0.0:0", "0.0.0.0:8787", "[::]:0", "192.168.1.2:80"}) {
    auto config = good();
    config["listen"] = outside;
    check_fault(config, "listen");
    config["caller_tokens"] = json::array{"token-of-a-caller"};
    BOOST_TEST(faults_of(config).empty());
    config = good();
    config["admin"] = outside;
    check_fault(config, "admin");
  }
  for (auto const* const loopback : {"127.8.9.1:1", "[::1]:0", "localhost:3"}) {
    auto config = good();
    config["listen"] = loopback;
    BOOST_TEST(faults_of(config).empty());
  }
  for (auto const* const malformed : {"127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:1x", "::1:80",
                                      "[127.0.0.1]:1", "example.com:80", ":1"}) {
    auto config = good();
    config["listen"] = malformed;
    check_fault(config, "listen");
  }
  auto config = good();
  config["listen"] = "127.0.0.1:81";
  config["admin"] = "127.0.0.1:81";
  check_fault(config, "admin");
}

BOOST_AUTO_TEST_CASE(a_key_crosses_no_network_in_clear_by_accident) {
  auto config = good();
  pool_of(config)["base_url"] = "http://api.example.com";
  check_fault(config, "pools[0].base_url");
  pool_of(config)["allow_plaintext"] = true;
  BOOST_TEST(faults_of(config).empty());
  for (auto const* const local : {"http://127.0.0.1:1", "http://localhost", "http://[::1]:2/v1"}) {
    config = good();
    pool_of(config)["base_url"] = local;
    BOOST_TEST(faults_of(config).empty());
  }
  for (auto const* const bad : {"api.example.com", "ftp://x", "https://u:p@x", "https://x/#a", "https://x/?a=b", ""}) {
    config = good();
    pool_of(config)["base_url"] = bad;
    check_fault(config, "pools[0].base_url");
  }
}

BOOST_AUTO_TEST_CASE(whom_to_trust_and_who_to_be) {
  auto config = good();
  auto& pool = pool_of(config);
  pool["certificate_file"] = "own.pem";
  pool["key_file"] = "/keys/own.pem";
  pool["crl_file"] = "revoked.pem";
  pool["pins"] = json::array{"sha256//a", "b"};
  pool["proxy_ca_file"] = "proxies.pem";
  gateway::fault_list none;
  auto const out = gateway::parse_settings(json::serialize(config), "/etc/gateway", none);
  BOOST_TEST_REQUIRE(none.empty());
  auto const& got = out.pools[0];
  BOOST_TEST(got.trust.ca_file == "/etc/gateway/ca.pem");
  BOOST_TEST(got.trust.certificate_file == "/etc/gateway/own.pem");
  BOOST_TEST(got.trust.key_file == "/keys/own.pem");
  BOOST_TEST(got.trust.crl_file == "/etc/gateway/revoked.pem");
  BOOST_TEST(got.trust.pins == (std::vector<std::string>{"sha256//a", "b"}), boost::test_tools::per_element());
  BOOST_TEST(got.proxy_trust.ca_file == "/etc/gateway/proxies.pem");
  pool.erase("ca_file");
  BOOST_TEST(gateway::parse_settings(json::serialize(config), "/etc", none).pools[0].trust.ca_file.empty());

  for (auto const* const field : {"ca_file", "certificate_file", "key_file", "crl_file", "proxy_ca_file"}) {
    for (json::value const& wrong : {json::value{1}, json::value{""}, json::value{json::array{"a.pem"}}}) {
      auto broken = config;
      pool_of(broken)[field] = wrong;
      check_fault(broken, "pools[0]." + std::string{field});
    }
  }
  auto broken = config;
  pool_of(broken).erase("certificate_file");
  check_fault(broken, "pools[0].key_file");
  broken = config;
  pool_of(broken)["pins"] = "b";
  check_fault(broken, "pools[0].pins");
  pool_of(broken)["pins"] = json::array{};
  check_fault(broken, "pools[0].pins");
  pool_of(broken)["pins"] = json::array{"b", 2};
  check_fault(broken, "pools[0].pins[1]");
}

BOOST_AUTO_TEST_CASE(a_key_entry_is_of_one_kind) {
  auto config = good();
  pool_of(config)["keys"].as_array()[0].as_object()["env"] = "X";
  check_fault(config, "pools[0].keys[0]");
  config = good();
  pool_of(config)["keys"].as_array()[0].as_object().erase("secret");
  check_fault(config, "pools[0].keys[0]");
  config = good();
  pool_of(config)["keys"].as_array()[3].as_object().erase("service");
  check_fault(config, "pools[0].keys[3].service");
}

BOOST_AUTO_TEST_CASE(secrets_can_be_sent_and_are_never_shown) {
  auto config = good();
  for (auto const* const wrong : {"", "a b", "sk_0123\r\nx: y", "sk_\xc3\xa4"}) {
    pool_of(config)["keys"].as_array()[0].as_object()["secret"] = wrong;
    check_fault(config, "pools[0].keys[0].secret");
  }
  config = good();
  config["caller_tokens"] = json::array{"good", "super secret"};
  pool_of(config)["proxies"] = json::array{"socks9://user:super-secret@host:1", "super-secret"};
  pool_of(config)["base_url"] = "https://super-secret@host";
  pool_of(config)["own_keys"] = "super-secret";
  pool_of(config)["prefix"] = "super-secret";
  auto const faults = faults_of(config);
  BOOST_TEST(faults.size() == 6U);
  for (auto const& line : faults) {
    BOOST_TEST(line.find("super") == line.npos, line);
  }
}

BOOST_AUTO_TEST_CASE(what_a_generic_provider_is_like) {
  auto config = good();
  pool_of(config)["provider"] = "generic";
  pool_of(config)["provider_options"] = json::parse(
      R"({"header": "X-Key", "header_prefix": "", "statuses": {"418": "exhausted", "500": "overloaded"},
          "default_output_tokens": 100})");
  gateway::fault_list none;
  auto const out = gateway::parse_settings(json::serialize(config), "", none);
  BOOST_TEST_REQUIRE(none.empty());
  auto const& options = out.pools[0].provider.options;
  BOOST_TEST(options.header == "X-Key");
  BOOST_TEST(options.prefix.empty());
  BOOST_TEST(options.default_output_tokens == 100);
  BOOST_TEST_REQUIRE(options.statuses.size() == 2U);
  BOOST_TEST(options.statuses[0].status == 418U);
  BOOST_TEST((options.statuses[0].meaning == rondo::outcome::exhausted()));

  pool_of(config)["provider_options"] = json::parse(R"({"statuses": {"429": "tired"}})");
  check_fault(config, "pools[0].provider_options.statuses.429");
  pool_of(config)["provider_options"] = json::parse(R"({"statuses": {"200": "rejected"}})");
  check_fault(config, "pools[0].provider_options.statuses.200");
  pool_of(config)["provider"] = "elevenlabs";
  pool_of(config)["provider_options"] = json::parse(R"({"header": "X-Key"})");
  check_fault(config, "pools[0].provider_options.header");
}

BOOST_AUTO_TEST_CASE(quotas_return_at_a_date) {
  using namespace std::chrono;
  auto config = good();
  pool_of(config)["limits"].as_object()["quota_reset"] = "2026-12-01T06:30:00Z";
  gateway::fault_list none;
  auto const out = gateway::parse_settings(json::serialize(config), "", none);
  BOOST_TEST_REQUIRE(none.empty());
  BOOST_TEST((out.pools[0].limits.quota_reset == sys_days{2026y / 12 / 1} + 6h + 30min));
  for (auto const* const wrong : {"2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z", "tomorrow", "2026-12-01T24:00:00Z",
                                  "2026-12-01 00:00:00Z", "2026-12-0aT00:00:00Z"}) {
    pool_of(config)["limits"].as_object()["quota_reset"] = wrong;
    check_fault(config, "pools[0].limits.quota_reset");
  }
}

BOOST_AUTO_TEST_CASE(quotas_return_by_the_calendar) {
  auto config = good();
  auto const set = [&](json::value renewal) {
    pool_of(config)["limits"].as_object()["quota_renewal"] = std::move(renewal);
  };
  auto const taken = [&] {
    gateway::fault_list none;
    auto const out = gateway::parse_settings(json::serialize(config), "", none);
    BOOST_TEST_REQUIRE(none.empty());
    return out.pools[0].limits.quota_renewal;
  };
  BOOST_TEST(!taken().has_value());
  set("none");
  BOOST_TEST((taken() == rondo::renewal::none()));
  set(json::object{{"daily", "America/Los_Angeles"}});
  BOOST_TEST((taken() == rondo::renewal::daily(rondo::time_zone::named("America/Los_Angeles"))));
  set(json::object{{"monthly", "2026-12-31T06:30:00Z"}});
  using namespace std::chrono;
  BOOST_TEST((taken() == rondo::renewal::monthly(sys_days{2026y / 12 / 31} + 6h + 30min)));

  std::string const place = "pools[0].limits.quota_renewal";
  for (json::value const& wrong :
       {json::value{1}, json::value{"daily"}, json::value{nullptr}, json::value{json::object{}},
        json::value{json::object{{"daily", "UTC"}, {"monthly", "2026-12-01T00:00:00Z"}}}}) {
    set(wrong);
    check_fault(config, place);
  }
  for (json::value const& wrong :
       {json::value{1}, json::value{""}, json::value{"Mars/Olympus"}, json::value{"../../etc/passwd"}}) {
    set(json::object{{"daily", wrong}});
    check_fault(config, place + ".daily");
  }
  for (json::value const& wrong : {json::value{1}, json::value{"2026-02-30T00:00:00Z"}, json::value{"UTC"}}) {
    set(json::object{{"monthly", wrong}});
    check_fault(config, place + ".monthly");
  }
  set(json::object{{"daily", "UTC"}, {"weekly", "UTC"}});
  check_fault(config, place + ".weekly");
}

BOOST_AUTO_TEST_CASE(lanes_and_weights) {
  auto config = good();
  auto& pool = pool_of(config);
  pool["lanes"] = {{"tts", {{"concurrency", 2}}}};
  pool["lane_limits"] = {{"requests_per_minute", 5}};
  auto const key = [&config]() -> json::object& { return pool_of(config)["keys"].as_array()[0].as_object(); };
  key()["lanes"] = {{"tts", {{"quota", 100}}}, {"pro", {{"quota_renewal", {{"daily", "UTC"}}}}}};
  key()["lane_limits"] = {{"concurrency", 1}};
  key()["weight"] = 3;
  pool["keys"].as_array()[2].as_object()["weight"] = 1'000'000; // a file
  pool["strategy"] = "weighted";
  gateway::fault_list none;
  auto const out = gateway::parse_settings(json::serialize(config), "", none);
  BOOST_TEST_REQUIRE(none.empty());
  auto const& got = out.pools[0];
  BOOST_TEST((got.strategy == rondo::strategy::weighted));
  BOOST_TEST(got.lanes.at("tts").concurrency.value() == 2U);
  BOOST_TEST(got.lane_limits.requests_per_minute.value() == 5U);
  BOOST_TEST(got.keys[0].lanes.size() == 2U);
  BOOST_TEST(got.keys[0].lanes.at("tts").quota.value() == 100);
  BOOST_TEST((got.keys[0].lanes.at("pro").quota_renewal == rondo::renewal::daily(rondo::time_zone::utc())));
  BOOST_TEST(got.keys[0].lane_limits.concurrency.value() == 1U);
  BOOST_TEST(got.keys[0].weight.value() == 3U);
  BOOST_TEST(!got.keys[1].weight.has_value());
  BOOST_TEST(got.keys[2].weight.value() == 1'000'000U);

  auto const good_one = config;
  auto const fault = [&](char const* field, json::value wrong, std::string const& place) {
    config = good_one;
    key()[field] = wrong;
    check_fault(config, "pools[0].keys[0]." + place);
    if (std::string_view{field} != "weight") {
      config = good_one;
      pool_of(config)[field] = wrong;
      check_fault(config, "pools[0]." + place);
    }
  };
  for (json::value const& wrong : {json::value{0}, json::value{1'000'001}, json::value{"3"}, json::value{nullptr}}) {
    fault("weight", wrong, "weight");
  }
  fault("lanes", json::array{"tts"}, "lanes");
  fault("lanes", {{"", json::object{}}}, "lanes");
  fault("lanes", {{"tts", 3}}, "lanes.tts");
  fault("lanes", {{"tts", {{"concurrency", -1}}}}, "lanes.tts.concurrency");
  fault("lanes", {{"tts", {{"weight", 1}}}}, "lanes.tts.weight");
  fault("lanes", {{"a\nb", {{"quota", "x"}}}}, "lanes.a?b.quota"); // a fault is one line
  fault("lane_limits", 1, "lane_limits");
  fault("lane_limits", {{"quota", "many"}}, "lane_limits.quota");
  config = good_one;
  pool_of(config)["weight"] = 2; // a pool has none
  check_fault(config, "pools[0].weight");
  config = good_one;
  for (int i = 0; i < 1023; ++i) { // with tts and pro one too many
    pool_of(config)["lanes"].as_object()[std::to_string(i)] = json::object{};
  }
  check_fault(config, "pools[0].lanes");
  pool_of(config)["lanes"].as_object().erase("7");
  BOOST_TEST(faults_of(config).empty());
}

BOOST_AUTO_TEST_CASE(keys_that_fail_too_often) {
  auto config = good();
  pool_of(config)["most_failures"] = 20;
  pool_of(config)["failure_period_ms"] = 1000;
  gateway::fault_list none;
  auto const out = gateway::parse_settings(json::serialize(config), "", none);
  BOOST_TEST_REQUIRE(none.empty());
  BOOST_TEST(out.pools[0].most_failures == 20U);
  BOOST_TEST(out.pools[0].failure_period.count() == 1000);
  auto const fault = [&](char const* field, json::value const& wrong) {
    auto broken = config;
    pool_of(broken)[field] = wrong;
    check_fault(broken, "pools[0]." + std::string{field});
  };
  for (json::value const& wrong : {json::value{-1}, json::value{262'144}, json::value{"20"}, json::value{nullptr}}) {
    fault("most_failures", wrong);
  }
  for (json::value const& wrong : {json::value{0}, json::value{86'400'001}, json::value{true}}) {
    fault("failure_period_ms", wrong);
  }
}

BOOST_AUTO_TEST_CASE(pools_have_names_and_prefixes_of_their_own) {
  auto config = good();
  auto second = pool_of(config);
  config["pools"].as_array().push_back(second);
  auto const faults = faults_of(config);
  BOOST_TEST_REQUIRE(faults.size() == 2U);
  BOOST_TEST(faults[0] == "pools[1].name: is the name of another pool too");
  BOOST_TEST(faults[1] == "pools[1].prefix: is the prefix of another pool too");

  for (auto const* const prefix : {"openai", "/a//b", "/a?b", "/a b"}) {
    config = good();
    pool_of(config)["prefix"] = prefix;
    check_fault(config, "pools[0].prefix");
  }
  config = good();
  pool_of(config)["prefix"] = "/openai/";
  gateway::fault_list none;
  BOOST_TEST(gateway::parse_settings(json::serialize(config), "", none).pools[0].prefix == "/openai");
}

BOOST_AUTO_TEST_CASE(proxies) {
  auto config = good();
  pool_of(config)["proxies"] = json::array{"http://127.0.0.1:3128", "http://127.0.0.1:3128"};
  check_fault(config, "pools[0].proxies[1]");
  pool_of(config)["proxies"] = json::array{"http://127.0.0.1:3128", json::object{{"url", "http://a:1"}, {"wait", 1}}};
  check_fault(config, "pools[0].proxies[1].wait");
  pool_of(config)["proxies"] = json::array{1};
  check_fault(config, "pools[0].proxies[0]");
  auto const entry = [&](json::object fields, std::string_view place) {
    pool_of(config)["proxies"] = json::array{"http://a:1", std::move(fields)};
    check_fault(config, "pools[0].proxies[1]" + std::string{place});
  };
  entry({{"url", "http://b:1"}, {"login", "later"}}, ".login");
  entry({{"url", "http://b:1"}, {"login", true}}, ".login");
  entry({{"file", 1}}, ".file");
  entry({{"file", ""}}, ".file");
  entry({{"file", "a.txt"}, {"tier", 16}}, ".tier");
  entry({{"environment", "yes"}}, ".environment");
  entry({{"environment", false}}, ".environment");
  entry({{"url", "http://b:1"}, {"file", "a.txt"}}, "");
  entry({{"tier", 1}}, "");
}

BOOST_AUTO_TEST_CASE(proxies_from_everywhere) {
  auto config = good();
  pool_of(config)["proxies"] =
      json::parse(R"(["socks5h://a:1080|http://b:3128", {"url": "http://c:1", "login": "at_once"},
      {"file": "proxies.txt", "login": "when_asked", "concurrency": 2}, {"environment": true, "tier": 3}])");
  gateway::fault_list none;
  auto const out = gateway::parse_settings(json::serialize(config), "/etc/gateway", none);
  BOOST_TEST_REQUIRE(none.empty());
  auto const& got = out.pools[0].proxies;
  BOOST_TEST_REQUIRE(got.size() == 4U);
  BOOST_TEST(!got[0].login_when_asked);
  BOOST_TEST(!got[1].login_when_asked);
  BOOST_TEST((got[2].from == gateway::proxy_entry::kind::file));
  BOOST_TEST(got[2].file.string() == "/etc/gateway/proxies.txt");
  BOOST_TEST(got[2].login_when_asked);
  BOOST_TEST(got[2].concurrency == 2U);
  BOOST_TEST((got[3].from == gateway::proxy_entry::kind::environment));
  BOOST_TEST(got[3].tier == 3U);
}

BOOST_AUTO_TEST_CASE(connections_and_the_rest_of_proxies) {
  auto config = good();
  pool_of(config)["connections"] = {
      {"max_idle", 3}, {"idle_ms", 4}, {"max_age_ms", 5}, {"max_per_origin", 8}, {"max_per_proxy", 9}};
  pool_of(config)["proxy_cooldown_ms"] = 6;
  pool_of(config)["proxy_most_cooldown_ms"] = 7;
  gateway::fault_list none;
  auto const out = gateway::parse_settings(json::serialize(config), "", none);
  BOOST_TEST_REQUIRE(none.empty());
  auto const& pool = out.pools[0];
  BOOST_TEST(pool.max_idle_connections == 3U);
  BOOST_TEST(pool.max_per_origin == 8U);
  BOOST_TEST(pool.max_per_proxy == 9U);
  BOOST_TEST(pool.idle_connection_limit.count() == 4);
  BOOST_TEST(pool.connection_max_age.count() == 5);
  BOOST_TEST(pool.proxy_cooldown.count() == 6);
  BOOST_TEST(pool.proxy_most_cooldown.count() == 7);
  for (auto const* const field : {"max_idle", "max_per_origin", "max_per_proxy"}) {
    for (json::value const& wrong : {json::value{"3"}, json::value{-1}, json::value{100'001}, json::value{nullptr}}) {
      auto broken = config;
      pool_of(broken)["connections"].as_object()[field] = wrong;
      check_fault(broken, "pools[0].connections." + std::string{field});
    }
  }
  pool_of(config)["connections"].as_object()["max"] = 1;
  check_fault(config, "pools[0].connections.max");
}

BOOST_AUTO_TEST_CASE(all_faults_at_once) {
  auto config = good();
  config["threads"] = 0;
  config["extra"] = 0;
  pool_of(config)["prefix"] = "x";
  pool_of(config)["connect_ms"] = 0;
  pool_of(config).erase("name");
  BOOST_TEST(faults_of(config).size() == 5U);
}

BOOST_AUTO_TEST_CASE(what_is_not_json_is_located) {
  BOOST_TEST(faults_of("{\n  \"listen\": oops\n}").at(0).substr(0, 16) == "line 2, column 1");
  BOOST_TEST(faults_of("").size() == 1U);
  BOOST_TEST(faults_of("{} {}").size() == 1U);
  BOOST_TEST(faults_of("[]").at(0) == "must be an object");
  BOOST_TEST(faults_of("{}").at(0) == "pools: must name at least one pool");
  std::string const deep(100'000, '[');
  BOOST_TEST(faults_of(deep).size() == 1U);
}

BOOST_AUTO_TEST_SUITE_END()
