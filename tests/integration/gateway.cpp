// SPDX-License-Identifier: BSL-1.0
// rondo-gateway as a program: what its callers see, and what it leaves on disk.
#include "gateway_fixture.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <support/background_upstream.hpp>

namespace json = boost::json;
namespace asio = boost::asio;
using namespace rondo::test;

namespace {

std::string const text_request = request("POST", "/v1/text-to-speech/v", R"({"text":"0123456789"})");

json::object key(std::string_view name, std::string_view secret) {
  return {{"name", name}, {"secret", secret}};
}

// long enough that their masked form hides most of them
std::string secret(std::string_view name) {
  return "sk_" + std::string{name} + "_f0e1d2c3b4a5968778695a4b3c2d1e0f00112233445566778899";
}

/// Keys of the provider and of the gateway with the same names.
json::array keys(std::vector<std::string_view> const& names) {
  json::array out;
  for (auto const name : names) {
    out.push_back(key(name, secret(name)));
  }
  return out;
}

std::int64_t number(json::value const& v) {
  return v.to_number<std::int64_t>();
}

json::object account_in(json::object const& report, std::string_view name) {
  for (auto const& each : report.at("accounts").as_array()) {
    if (each.at("name").as_string() == name) {
      return each.as_object();
    }
  }
  throw std::runtime_error{"no account"};
}

/// An upstream that notes each request and answers with the next text, the last one again and again.
background_upstream::script answers(std::vector<std::string> texts) {
  return [texts](background_upstream& up, peer& p) -> asio::awaitable<void> {
    for (;;) {
      auto const head = co_await p.read_request();
      up.note(head);
      auto const n = std::min<std::size_t>(up.count++, texts.size() - 1);
      auto const text = texts[n];
      co_await p.write(text);
      if (text.find("\r\nConnection: close") != text.npos) {
        p.close();
        co_return;
      }
    }
  };
}

std::string const fine = "HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nContent-Length: 4\r\n\r\nfine";

int cpu_ticks(pid_t pid) {
  std::ifstream in{"/proc/" + std::to_string(pid) + "/stat"};
  std::string word;
  int ticks = 0;
  for (int i = 1; i <= 15 && in >> word; ++i) {
    ticks += i >= 14 ? std::stoi(word) : 0;
  }
  return ticks;
}

} // namespace

BOOST_AUTO_TEST_SUITE(gateway)

// --- what comes through

BOOST_AUTO_TEST_CASE(answers_come_as_they_were_sent) {
  background_upstream up{answers({"HTTP/1.1 418 Short and stout\r\nContent-Type: text/plain\r\nX-Pot: brown\r\n"
                                  "X-Hop: 1\r\nConnection: X-Hop\r\nKeep-Alive: timeout=5\r\nContent-Length: 3\r\n"
                                  "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\ntea"})};
  gateway_program g{gateway_config(up.port(), keys({"k1"}))};
  auto const got = ask(g.port(), request("GET", "/v1/models?page=2", {},
                                         "X-Mine: yes\r\nConnection: X-Private\r\n"
                                         "X-Private: 1\r\nProxy-Authorization: no\r\n"));
  BOOST_TEST(got.status() == 418U);
  BOOST_TEST(std::string{got.message.reason()} == "Short and stout");
  BOOST_TEST(got.body() == "tea");
  BOOST_TEST(got.field("x-pot") == "brown");
  BOOST_TEST(got.message.count("set-cookie") == 2U);
  BOOST_TEST(got.message.count("x-hop") == 0U);
  BOOST_TEST(got.message.count("keep-alive") == 0U);
  BOOST_TEST(got.field("x-rondo-attempts") == "1");
  BOOST_TEST(got.field("x-rondo-key").find("...") != std::string::npos);
  auto const sent = up.notes().at(0);
  BOOST_TEST(sent.find("GET /v1/models?page=2 HTTP/1.1\r\n") == 0U);
  BOOST_TEST(sent.find("xi-api-key: " + secret("k1")) != sent.npos);
  BOOST_TEST(sent.find("X-Mine: yes") != sent.npos);
  BOOST_TEST(sent.find("X-Private:") == sent.npos);
  BOOST_TEST(sent.find("Proxy-Authorization") == sent.npos);
}

BOOST_AUTO_TEST_CASE(prefixes_pick_the_pool_and_are_cut_off) {
  background_upstream first{answers({fine})};
  background_upstream second{answers({fine})};
  auto config = gateway_config(first.port(), keys({"k1"}));
  auto other = pool_of(config);
  other["name"] = "other";
  other["prefix"] = "/other";
  other["base_url"] = "http://127.0.0.1:" + std::to_string(second.port()) + "/v1/";
  config["pools"].as_array().push_back(other);
  gateway_program g{config};
  for (auto const* const target : {"/other/a?b=c", "/other", "http://localhost/other/x", "/others", "/"}) {
    BOOST_TEST(ask(g.port(), request("GET", target)).status() == 200U);
  }
  BOOST_TEST_REQUIRE(second.notes().size() == 3U);
  BOOST_TEST(second.notes()[0].find("GET /v1/a?b=c HTTP") == 0U);
  BOOST_TEST(second.notes()[1].find("GET /v1/ HTTP") == 0U);
  BOOST_TEST(second.notes()[2].find("GET /v1/x HTTP") == 0U);
  BOOST_TEST_REQUIRE(first.notes().size() == 2U);
  BOOST_TEST(first.notes()[0].find("GET /others HTTP") == 0U);
}

BOOST_AUTO_TEST_CASE(streams_are_forwarded_as_they_come) {
  background_upstream up{[](background_upstream& u, peer& p) -> asio::awaitable<void> {
    co_await p.read_request();
    co_await p.write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
    asio::steady_timer pause{co_await asio::this_coro::executor};
    std::uint64_t wanted = 0;
    for (auto const* const piece : {"3\r\none\r\n", "3\r\ntwo\r\n", "0\r\n\r\n"}) {
      for (++wanted; u.count < wanted;) { // the caller says that it has what came before
        pause.expires_after(std::chrono::milliseconds{1});
        co_await pause.async_wait(asio::use_awaitable);
      }
      co_await p.write(piece);
    }
  }};
  gateway_program g{gateway_config(up.port(), keys({"k1"}))};
  caller c{g.port()};
  c.send(text_request);
  auto const head = c.read_head();
  BOOST_TEST(head.find("HTTP/1.1 200 OK\r\n") == 0U);
  BOOST_TEST(head.find("text/event-stream") != head.npos);
  std::string body;
  for (auto const* const piece : {"3\r\none\r\n", "3\r\ntwo\r\n", "0\r\n\r\n"}) {
    up.count++;
    body.clear();
    while (body.size() < std::string_view{piece}.size()) {
      char bytes[64];
      auto const n = c.read_into(bytes, sizeof bytes);
      BOOST_TEST_REQUIRE(n != 0U);
      body.append(bytes, n);
    }
    BOOST_TEST(body == piece);
  }
}

BOOST_AUTO_TEST_CASE(an_answer_that_breaks_off_is_not_completed) {
  for (auto const* const broken : {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
                                   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"}) {
    background_upstream up{[broken](background_upstream&, peer& p) -> asio::awaitable<void> {
      co_await p.read_request();
      co_await p.write(broken);
      p.close();
    }};
    gateway_program g{gateway_config(up.port(), keys({"k1"}))};
    auto const got = ask(g.port(), text_request);
    BOOST_TEST(got.status() == 200U);
    BOOST_TEST(got.ec.failed(), "a broken answer was completed");
    // HTTP/1.0 knows the end by the end of the connection: it must not look orderly
    caller old{g.port()};
    old.send("POST /v1/text-to-speech/v HTTP/1.0\r\nContent-Length: 12\r\n\r\n{\"text\":\"a\"}");
    BOOST_TEST(old.read().ec.failed());
  }
}

BOOST_AUTO_TEST_CASE(a_body_of_which_nothing_came_is_answered_for) {
  background_upstream up{answers({"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 10\r\n\r\n"})};
  gateway_program g{gateway_config(up.port(), keys({"k1"}))};
  caller c{g.port()};
  for (int i = 0; i < 2; ++i) { // and the connection goes on
    c.send(text_request);
    auto const got = c.read();
    BOOST_TEST(got.status() == 502U);
    BOOST_TEST(got.error_type() == "upstream_protocol");
    BOOST_TEST(got.field("x-rondo-attempts") == "1");
  }
}

// --- failing over

BOOST_AUTO_TEST_CASE(an_invalid_key_is_found_out_and_nobody_notices) {
  provider_program provider{{{"keys", keys({"good"})}}};
  gateway_program g{gateway_config(provider.port(), keys({"bad", "good"}))};
  for (int i = 0; i < 6; ++i) {
    auto const got = ask(g.port(), text_request);
    BOOST_TEST(got.status() == 200U);
  }
  BOOST_TEST(g.key("bad").at("status").as_string() == "invalid");
  BOOST_TEST(number(g.status().at("invalidKeys")) == 1);
  BOOST_TEST(number(provider.report().at("refused").at("invalid_key")) <= 2); // one for each thread at most
}

BOOST_AUTO_TEST_CASE(the_callers_fault_is_passed_on_once) {
  provider_program provider{{{"keys", keys({"k1", "k2"})},
                             {"faults", {json::object{{"status", 422}, {"body", {{"detail", "no such voice"}}}}}}}};
  gateway_program g{gateway_config(provider.port(), keys({"k1", "k2"}))};
  auto const got = ask(g.port(), text_request);
  BOOST_TEST(got.status() == 422U);
  BOOST_TEST(got.body() == R"({"detail":"no such voice"})");
  BOOST_TEST(got.field("x-rondo-attempts") == "1");
  BOOST_TEST(number(provider.report().at("requests")) == 1);
  BOOST_TEST(number(g.status().at("activeKeys")) == 2);
}

BOOST_AUTO_TEST_CASE(the_paths_fault_is_repeated_only_where_it_is_safe) {
  provider_program provider{
      {{"keys", keys({"k1", "k2"})}, {"faults", {json::object{{"every", 2}, {"action", "drop"}}}}}};
  gateway_program g{gateway_config(provider.port(), keys({"k1", "k2"}))};
  auto const dropped = ask(g.port(), text_request); // 1, 3, 5... are hit
  BOOST_TEST(dropped.status() == 502U);
  BOOST_TEST(dropped.error_type() == "upstream_unreachable");
  BOOST_TEST(number(provider.report().at("requests")) == 1);
  BOOST_TEST(ask(g.port(), text_request).status() == 200U);
  auto const repeated =
      ask(g.port(), request("POST", "/v1/text-to-speech/v", R"({"text":"a"})", "Idempotency-Key: 1\r\n"));
  BOOST_TEST(repeated.status() == 200U);
  BOOST_TEST(repeated.field("x-rondo-attempts") == "2");
}

BOOST_AUTO_TEST_CASE(what_is_not_http_is_a_fault_of_the_upstream) {
  background_upstream up{answers({"SSH-2.0-OpenSSH_9\r\n\r\n"})};
  gateway_program g{gateway_config(up.port(), keys({"k1"}))};
  auto const got = ask(g.port(), text_request);
  BOOST_TEST(got.status() == 502U);
  BOOST_TEST(got.error_type() == "upstream_protocol");
}

BOOST_AUTO_TEST_CASE(nobody_there) {
  gateway_program g{gateway_config(free_port(), keys({"k1"}))};
  auto const got = ask(g.port(), text_request);
  BOOST_TEST(got.status() == 502U);
  BOOST_TEST(got.error_type() == "upstream_unreachable");
  BOOST_TEST(number(g.key("k1").at("requests")) == 0);
}

BOOST_AUTO_TEST_CASE(dead_proxies_are_named_and_their_passwords_are_not) {
  background_upstream up{answers({fine})};
  auto config = gateway_config(up.port(), keys({"k1"}));
  pool_of(config)["proxies"] = {"http://agent:proxy-password@127.0.0.1:" + std::to_string(free_port()),
                                "socks5h://agent:proxy-password@127.0.0.1:" + std::to_string(free_port())};
  gateway_program g{config};
  auto const got = ask(g.port(), text_request);
  BOOST_TEST(got.status() == 502U);
  BOOST_TEST(got.error_type() == "proxy_unreachable");
  BOOST_TEST(up.notes().empty());
  auto const proxies = ask(g.admin(), request("GET", "/proxies")).body();
  BOOST_TEST(proxies.find("http://a***:***@127.0.0.1") != proxies.npos);
  BOOST_TEST(proxies.find("proxy-password") == proxies.npos);
  BOOST_TEST(number(g.key("k1").at("failures")) == 0);
}

BOOST_AUTO_TEST_CASE(a_file_of_proxies_is_followed_and_those_that_stay_keep_their_state) {
  background_upstream up{answers({fine})};
  temporary_directory files;
  auto const one = "http://127.0.0.1:" + std::to_string(free_port());
  auto const two = "http://127.0.0.1:" + std::to_string(free_port());
  auto const list = files.write("proxies.txt", one + "\n");
  auto config = gateway_config(up.port(), keys({"k1"}));
  pool_of(config)["proxies"] = json::array{json::object{{"file", list}}};
  pool_of(config)["proxy_cooldown_ms"] = 3'600'000;
  pool_of(config)["proxy_most_cooldown_ms"] = 3'600'000;
  gateway_program g{config};
  auto const proxies = [&g] {
    auto const page = json::parse(ask(g.admin(), request("GET", "/proxies")).body());
    std::map<std::string, bool> out;
    for (auto const& each : page.at("pools").at(0).at("proxies").as_array()) {
      out[std::string{each.at("name").as_string()}] = each.at("resting").as_bool();
    }
    return out;
  };
  BOOST_TEST(ask(g.port(), text_request).error_type() == "proxy_unreachable");
  BOOST_TEST((proxies() == std::map<std::string, bool>{{one, true}}));
  files.write("proxies.txt", two + "\n" + one + "\n");
  g.reload(config);
  BOOST_TEST(eventually([&] { return proxies().size() == 2; }));
  BOOST_TEST((proxies() == std::map<std::string, bool>{{one, true}, {two, false}}));
  files.write("proxies.txt", two + "\nrubbish\n");
  g.reload(config);
  BOOST_TEST(eventually([&] { return g.output().find("pools[0].proxies[0].file: ") != std::string::npos; }));
  BOOST_TEST(proxies().size() == 2U);
  files.write("proxies.txt", two + "\n");
  g.reload(config);
  BOOST_TEST(eventually([&] { return proxies().size() == 1; }));
}

BOOST_AUTO_TEST_CASE(all_keys_resting) {
  provider_program provider{
      {{"keys", keys({"k1", "k2"})},
       {"faults",
        {json::object{{"action", "refuse"}, {"reason", "requests_per_minute"}, {"retry_after_ms", 100'000}}}}}};
  gateway_program g{gateway_config(provider.port(), keys({"k1", "k2"}))};
  (void)ask(g.port(), text_request);
  auto const got = ask(g.port(), text_request);
  BOOST_TEST(got.status() == 503U);
  auto const error = json::parse(got.body()).at("error").as_object();
  BOOST_TEST(error.at("type").as_string() == "keys_unavailable");
  auto const wait = number(error.at("retry_after_ms"));
  BOOST_TEST(wait > 60'000);
  BOOST_TEST(wait <= 105'000);
  BOOST_TEST(got.field("retry-after") == std::to_string((wait + 999) / 1000));
  BOOST_TEST(number(provider.report().at("requests")) == 2);

  // an idle gateway uses no processor, however long its keys rest and however many callers are connected
  std::vector<std::unique_ptr<caller>> idle;
  for (int i = 0; i < 200; ++i) {
    idle.push_back(std::make_unique<caller>(g.port()));
  }
  BOOST_TEST(eventually([&] { return g.metric("rondo_gateway_connections") == 200; }));
  auto const before = cpu_ticks(g.running().pid());
  std::this_thread::sleep_for(1s); // nothing happens: that is what is measured
  BOOST_TEST(cpu_ticks(g.running().pid()) - before <= 1);
}

BOOST_AUTO_TEST_CASE(no_key_will_be_back) {
  provider_program provider{{{"keys", keys({"other"})}}};
  gateway_program g{gateway_config(provider.port(), keys({"k1"}))};
  (void)ask(g.port(), text_request);
  auto const got = ask(g.port(), text_request);
  BOOST_TEST(got.status() == 503U);
  BOOST_TEST(got.message.count("retry-after") == 0U);
  BOOST_TEST(json::parse(got.body()).at("error").at("retry_after_ms").is_null());
}

BOOST_AUTO_TEST_CASE(many_callers_and_no_limit_is_broken) {
  json::array provider_keys;
  json::array gateway_keys;
  json::array accounts;
  for (auto const* const name : {"k1", "k2", "k3"}) {
    provider_keys.push_back(key(name, secret(name)));
    auto limited = key(name, secret(name));
    limited["limits"] = {{"concurrency", 2}, {"quota", 2000}};
    gateway_keys.push_back(limited);
    accounts.push_back(json::object{{"name", name}, {"concurrency", 2}, {"quota", 2000}});
  }
  provider_program provider{{{"keys", provider_keys}, {"accounts", accounts}, {"latency_ms", 2}}};
  gateway_program g{gateway_config(provider.port(), gateway_keys)};
  std::atomic<int> served{0};
  {
    std::vector<std::jthread> callers;
    for (int i = 0; i < 12; ++i) {
      callers.emplace_back([&] {
        caller c{g.port()};
        for (int n = 0; n < 25; ++n) {
          c.send(text_request);
          served += c.read().status() == 200 ? 1 : 0;
        }
      });
    }
  }
  BOOST_TEST(served == 300);
  auto const counts = provider.report();
  BOOST_TEST(number(counts.at("violations")) == 0);
  BOOST_TEST(number(counts.at("granted")) == 300);
  std::int64_t spent = 0;
  auto const pool = g.status();
  for (auto const& each : pool.at("keys").as_array()) {
    spent += number(each.at("characterCount"));
    BOOST_TEST(number(each.at("inFlight")) == 0);
    BOOST_TEST(number(account_in(counts, std::string{each.at("name").as_string()}).at("quotaUsed")) ==
               number(each.at("characterCount")));
  }
  BOOST_TEST(spent == 3000);
}

// --- callers

BOOST_AUTO_TEST_CASE(who_may_call) {
  background_upstream up{answers({fine})};
  auto config = gateway_config(up.port(), keys({"k1"}));
  config["caller_tokens"] = {"caller-token-1", "caller-token-2"};
  pool_of(config)["own_keys"] = "pass";
  gateway_program g{config};
  auto const with = [&](std::string_view fields) { return ask(g.port(), request("GET", "/a", {}, fields)); };
  auto const none = with("");
  BOOST_TEST(none.status() == 401U);
  BOOST_TEST(none.error_type() == "unauthorized");
  BOOST_TEST(with("xi-api-key: caller-token-3\r\n").status() == 401U);
  BOOST_TEST(with("xi-api-key: caller-token-\r\n").status() == 401U);
  BOOST_TEST(with("xi-api-key: caller-token-2\r\n").status() == 200U);
  BOOST_TEST(with("Authorization: Bearer caller-token-1\r\n").status() == 200U);
  // his own key beside the token
  BOOST_TEST(with("Authorization: Bearer caller-token-1\r\nxi-api-key: callers-own-key\r\n").status() == 200U);
  // with tokens a name is no protection, and none is needed
  caller c{g.port()};
  c.send("GET /a HTTP/1.1\r\nHost: gateway.example\r\nxi-api-key: caller-token-1\r\n\r\n");
  BOOST_TEST(c.read().status() == 200U);

  auto const sent = up.notes();
  BOOST_TEST_REQUIRE(sent.size() == 4U);
  for (auto const& each : sent) {
    BOOST_TEST(each.find("caller-token") == each.npos);
  }
  BOOST_TEST(sent[1].find("xi-api-key: " + secret("k1")) != std::string::npos);
  BOOST_TEST(sent[2].find("xi-api-key: callers-own-key") != std::string::npos);
  BOOST_TEST(number(g.key("k1").at("requests")) == 3);
}

BOOST_AUTO_TEST_CASE(own_keys) {
  background_upstream up{answers({fine})};
  auto config = gateway_config(up.port(), keys({"k1"}));
  auto const call = [&](std::string_view policy) {
    pool_of(config)["own_keys"] = policy;
    gateway_program g{config};
    auto const got = ask(g.port(), request("GET", "/a", {}, "xi-api-key: callers-own-key\r\n"));
    return std::pair{got, number(g.key("k1").at("requests"))};
  };
  auto const [passed, untouched] = call("pass");
  BOOST_TEST(passed.status() == 200U);
  BOOST_TEST(passed.message.count("x-rondo-key") == 0U);
  BOOST_TEST(untouched == 0);
  auto const [replaced, used] = call("replace");
  BOOST_TEST(replaced.status() == 200U);
  BOOST_TEST(used == 1);
  auto const [refused, unused] = call("refuse");
  BOOST_TEST(refused.status() == 401U);
  BOOST_TEST(unused == 0);
  auto const sent = up.notes();
  BOOST_TEST_REQUIRE(sent.size() == 2U);
  BOOST_TEST(sent[0].find("xi-api-key: callers-own-key") != std::string::npos);
  BOOST_TEST(sent[1].find("callers-own-key") == std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_browser_cannot_be_led_here) {
  background_upstream up{answers({fine})};
  gateway_program g{gateway_config(up.port(), keys({"k1"}))};
  auto const status_of = [](std::uint16_t port, std::string_view target, std::string_view host) {
    caller c{port};
    c.send("GET " + std::string{target} + " HTTP/1.1\r\n" + std::string{host} + "\r\n");
    return c.read().status();
  };
  for (auto const* const good : {"Host: localhost\r\n", "Host: LOCALHOST:99\r\n", "Host: 127.0.0.1\r\n",
                                 "Host: 127.9.9.9:1\r\n", "Host: [::1]:8787\r\n", "Host: app.localhost\r\n"}) {
    BOOST_TEST(status_of(g.port(), "/a", good) == 200U, good);
    BOOST_TEST(status_of(g.admin(), "/status", good) == 200U, good);
  }
  for (auto const* const wrong : {"Host: evil.example\r\n", "Host: localhost.evil.example\r\n", "Host: 10.0.0.1\r\n"}) {
    BOOST_TEST(status_of(g.port(), "/a", wrong) == 403U, wrong);
    BOOST_TEST(status_of(g.admin(), "/status", wrong) == 403U, wrong);
  }
  for (auto const* const malformed :
       {"", "Host: \r\n", "Host: a b\r\n", "Host: localhost/x\r\n", "Host: u@localhost\r\n", "Host: localhost:x\r\n",
        "Host: localhost\r\nHost: localhost\r\n"}) {
    BOOST_TEST(status_of(g.port(), "/a", malformed) == 400U, malformed);
    BOOST_TEST(status_of(g.admin(), "/status", malformed) == 400U, malformed);
  }
  BOOST_TEST(up.notes().size() == 6U);
}

BOOST_AUTO_TEST_CASE(rubbish_is_refused_politely) {
  background_upstream up{answers({fine})};
  gateway_program g{gateway_config(up.port(), keys({"k1"}))};
  for (auto const* const rubbish :
       {"\x16\x03\x01\x02\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/3.7\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : localhost\r\n\r\n", "GET / HTTP/1.1\r\nHost: localhost\r\nX: a\x01\r\n\r\n",
        "CONNECT a:1 HTTP/1.1\r\nHost: localhost\r\n\r\n", "GET a HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"}) {
    caller c{g.port()};
    c.send(rubbish);
    auto const got = c.read();
    BOOST_TEST(got.status() == 400U, rubbish);
    BOOST_TEST(got.error_type() == "bad_request");
  }
  BOOST_TEST(ask(g.port(), request("GET", "/", {}, "X: " + std::string(70'000, 'a') + "\r\n")).status() == 431U);
  BOOST_TEST(ask(g.port(), request("POST", "/", "a", "Expect: miracles\r\n")).status() == 417U);
  BOOST_TEST(up.notes().empty());
}

BOOST_AUTO_TEST_CASE(a_body_that_is_too_large_is_refused_so_that_the_caller_can_read_it) {
  background_upstream up{answers({fine})};
  auto config = gateway_config(up.port(), keys({"k1"}));
  pool_of(config)["max_body_bytes"] = 1000;
  gateway_program g{config};
  std::string const large(3 << 20, 'a');
  auto const got = ask(g.port(), request("POST", "/", large));
  BOOST_TEST(got.status() == 413U);
  BOOST_TEST(got.error_type() == "request_too_large");
  caller c{g.port()};
  c.send("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
  for (int i = 0; i < 100; ++i) {
    c.send("7d00\r\n" + std::string(0x7d00, 'a') + "\r\n");
  }
  BOOST_TEST(c.read().status() == 413U);
  // who asks before he sends needs to send nothing
  caller polite{g.port()};
  polite.send("POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 1001\r\n\r\n");
  BOOST_TEST(polite.read().status() == 413U);
  BOOST_TEST(up.notes().empty());
  BOOST_TEST(ask(g.port(), request("POST", "/", std::string(1000, 'a'))).status() == 200U);
}

BOOST_AUTO_TEST_CASE(trailers_without_end_are_refused) {
  background_upstream up{answers({fine})};
  gateway_program g{gateway_config(up.port(), keys({"k1"}))};
  std::string const start = "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n";
  for (auto const& rest : {"0\r\nA: " + std::string(66'000, 'a') + "\r\n\r\n", "0\r\nA: " + std::string(300'000, 'a'),
                           "2;" + std::string(300'000, 'a')}) {
    caller c{g.port()};
    c.send(start + rest);
    auto const status = c.read().status();
    BOOST_TEST((status == 431U || status == 400U), "status " << status); // Boost finds some of it bad before it is long
  }
  BOOST_TEST(up.notes().empty());
  BOOST_TEST(ask(g.port(), request("POST", "/", "hi")).status() == 200U);
}

BOOST_AUTO_TEST_CASE(bodies_however_they_come) {
  background_upstream up{answers({fine})};
  gateway_program g{gateway_config(up.port(), keys({"k1"}))};
  caller c{g.port()};
  c.send("POST /1 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: "
         "1\r\n\r\n");
  BOOST_TEST(c.read().status() == 200U);
  c.send("POST /2 HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
  BOOST_TEST(c.read_head() == "HTTP/1.1 100 Continue\r\n\r\n");
  c.send("xyz");
  BOOST_TEST(c.read().status() == 200U);
  for (std::string const text :
       {"\r\nPOST /3 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi",
        "POST /4 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /5 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nho\r\n0\r\n\r\n"}) {
    for (auto const byte : text) {
      c.send({&byte, 1});
      BOOST_TEST_REQUIRE(ask(g.admin(), request("GET", "/healthz")).status() == 200U); // meanwhile the byte is read
    }
    BOOST_TEST(c.read().status() == 200U);
  }
  auto const sent = up.notes();
  BOOST_TEST_REQUIRE(sent.size() == 5U);
  BOOST_TEST(sent[0].substr(sent[0].size() - 9) == "\r\n\r\nabcde");
  BOOST_TEST(sent[0].find("Content-Length: 5") != std::string::npos);
  BOOST_TEST(sent[1].find("Expect") == std::string::npos);
  BOOST_TEST(sent[1].substr(sent[1].size() - 3) == "xyz");
  BOOST_TEST(sent[2].substr(sent[2].size() - 2) == "hi");
  BOOST_TEST(sent[3].ends_with("\r\n\r\n"));
  BOOST_TEST(sent[4].ends_with("\r\n\r\nho"));
}

BOOST_AUTO_TEST_CASE(kinds_of_connections) {
  background_upstream up{answers({fine})};
  gateway_program g{gateway_config(up.port(), keys({"k1"}))};
  caller pipelining{g.port()};
  pipelining.send(request("GET", "/1") + request("POST", "/2", "body") + request("GET", "/3"));
  for (auto const* const target : {"/1", "/2", "/3"}) {
    auto const got = pipelining.read();
    BOOST_TEST(got.status() == 200U, target);
    BOOST_TEST(got.body() == "fine");
  }
  caller old{g.port()};
  old.send("GET /4 HTTP/1.0\r\n\r\n");
  auto const last = old.read_all();
  BOOST_TEST(last.find("\r\nConnection: close\r\n") != last.npos);
  BOOST_TEST(last.substr(last.size() - 4) == "fine");
  caller older{g.port()};
  older.send("GET /5 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  BOOST_TEST(older.read().field("connection") == "keep-alive");
  older.send("GET /6 HTTP/1.0\r\n\r\n");
  BOOST_TEST(older.read().status() == 200U);
  caller leaving{g.port()};
  leaving.send(request("GET", "/7", {}, "Connection: close\r\n"));
  auto const all = leaving.read_all();
  BOOST_TEST(all.substr(all.size() - 4) == "fine");
  background_upstream headless{answers({"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"})};
  gateway_program h{gateway_config(headless.port(), keys({"k1"}))};
  caller brief{h.port()};
  brief.send(request("HEAD", "/8"));
  auto const head = brief.read(true);
  BOOST_TEST(head.field("content-length") == "4");
  BOOST_TEST(head.body().empty());
  brief.send(request("HEAD", "/9")); // nothing of a body stands in its way
  BOOST_TEST(brief.read(true).status() == 200U);
}

BOOST_AUTO_TEST_CASE(a_head_that_does_not_arrive) {
  background_upstream up{answers({fine})};
  auto config = gateway_config(up.port(), keys({"k1"}));
  config["head_ms"] = 300;
  gateway_program g{config};
  caller slow{g.port()};
  caller silent{g.port()};
  std::string const drip = "GET / HTTP/1.1\r\nX: " + std::string(2000, 'a');
  std::atomic<bool> enough{false};
  std::thread dripping{[&] {
    for (std::size_t i = 0; i < drip.size() && !enough && slow.try_send(drip.substr(i, 1)); ++i) {
      std::this_thread::sleep_for(10ms); // each byte well within the time for the head, the head not
    }
  }};
  BOOST_TEST(ask(g.port(), request("GET", "/")).status() == 200U); // the others are not hurt
  auto const got = slow.read();
  BOOST_TEST(got.status() == 408U);
  BOOST_TEST(got.error_type() == "request_timeout");
  enough = true;
  dripping.join();
  silent.send(request("GET", "/")); // who has not begun yet is not late
  BOOST_TEST(silent.read().status() == 200U);
}

BOOST_AUTO_TEST_CASE(a_slow_reader_holds_back_nobody_but_his_own_stream) {
  constexpr std::uint64_t total = 200U << 20U;
  background_upstream up{[](background_upstream& u, peer& p) -> asio::awaitable<void> {
    auto const head = co_await p.read_request();
    if (head.find("/large") == head.npos) {
      co_await p.write(fine);
      co_return;
    }
    co_await p.write("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(total) + "\r\n\r\n");
    std::string const block(1U << 20U, 'x');
    while (u.count < total) {
      co_await p.write(block);
      u.count += block.size();
    }
  }};
  gateway_program g{gateway_config(up.port(), keys({"k1"}))};
  caller slow{g.port()};
  slow.send(request("GET", "/large"));
  BOOST_TEST(slow.read_some() != 0U);
  // until the buffers between are full
  std::uint64_t last = 0;
  BOOST_TEST(eventually([&] {
    std::this_thread::sleep_for(100ms);
    return std::exchange(last, up.count) == up.count && up.count != 0;
  }));
  BOOST_TEST(last < total / 2);
  for (int i = 0; i < 20; ++i) {
    BOOST_TEST(ask(g.port(), request("GET", "/small")).status() == 200U);
  }
  BOOST_TEST(number(g.key("k1").at("inFlight")) == 1);
  slow.close();
  BOOST_TEST(eventually([&] { return number(g.key("k1").at("inFlight")) == 0; }));
}

BOOST_AUTO_TEST_CASE(a_reader_may_be_slow_but_must_not_stop) {
  background_upstream up{[](background_upstream& u, peer& p) -> asio::awaitable<void> {
    co_await p.read_request();
    co_await p.write("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
    std::string const block(1U << 20U, 'x');
    for (;;) {
      co_await p.write(block);
      u.count++;
    }
  }};
  auto config = gateway_config(up.port(), keys({"k1"}));
  config["stall_ms"] = 1000;
  gateway_program g{config};
  caller slow{g.port()};
  slow.send(request("GET", "/"));
  // for several times as long as nothing may move, far too little for the socket to become writable
  auto const end = std::chrono::steady_clock::now() + 3s;
  while (std::chrono::steady_clock::now() < end) {
    char bytes[40'000];
    BOOST_TEST_REQUIRE(slow.read_into(bytes, sizeof bytes) != 0U);
    std::this_thread::sleep_for(20ms);
  }
  BOOST_TEST(number(g.key("k1").at("inFlight")) == 1);
  BOOST_TEST(eventually([&] { return number(g.key("k1").at("inFlight")) == 0; })); // and now he has stopped
}

BOOST_AUTO_TEST_CASE(a_caller_who_goes_away_is_noticed) {
  background_upstream up{[](background_upstream& u, peer& p) -> asio::awaitable<void> {
    auto const head = co_await p.read_request();
    u.note(head);
    if (head.find("/stream") != head.npos) {
      co_await p.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n");
    }
    co_await p.wait_for_close();
    u.count++;
  }};
  auto config = gateway_config(up.port(), keys({"k1"}));
  pool_of(config)["limits"] = {{"concurrency", 1}};
  gateway_program g{config};
  caller streaming{g.port()};
  streaming.send(request("GET", "/stream"));
  BOOST_TEST(streaming.read_head().find("200 OK") != std::string::npos);
  caller waiting{g.port()};
  waiting.send(request("GET", "/never"));
  caller patient{g.port()};
  patient.send(request("GET", "/hang"));
  // both wait for the only key; one gives up, and the other gets it once the first caller leaves
  BOOST_TEST(eventually([&] { return g.metric("rondo_gateway_connections") == 3; }));
  waiting.close();
  BOOST_TEST(eventually([&] { return g.metric("rondo_gateway_abandoned_total{pool=\"p\"}") == 1; }));
  streaming.close();
  BOOST_TEST(eventually([&] { return up.count == 1; }));
  BOOST_TEST_REQUIRE(eventually([&] { return up.notes().size() == 2; }));
  BOOST_TEST(up.notes()[1].find("GET /hang") == 0U);
  patient.close();
  BOOST_TEST(eventually([&] { return up.count == 2; }));
  BOOST_TEST(eventually([&] { return number(g.key("k1").at("inFlight")) == 0; }));
  BOOST_TEST(eventually([&] { return g.metric("rondo_gateway_abandoned_total{pool=\"p\"}") == 3; }));
}

BOOST_AUTO_TEST_CASE(two_thousand_idle_callers) {
  background_upstream up{answers({fine})};
  gateway_program g{gateway_config(up.port(), keys({"k1"}))};
  std::vector<std::unique_ptr<caller>> idle;
  for (int i = 0; i < 2000; ++i) {
    idle.push_back(std::make_unique<caller>(g.port()));
  }
  BOOST_TEST(ask(g.port(), request("GET", "/")).status() == 200U);
  BOOST_TEST(eventually([&] { return g.metric("rondo_gateway_connections") >= 2000; }));
  idle.front()->send(request("GET", "/"));
  BOOST_TEST(idle.front()->read().status() == 200U);
}

// --- running it

BOOST_AUTO_TEST_CASE(a_configuration_is_checked_without_running) {
  temporary_directory files;
  auto const check = [&](std::string const& text) {
    files.write("output", "");
    process p{{.arguments = {RONDO_GATEWAY, "--config", files.write("c.json", text), "--check"},
               .output = (files.path() / "output").string(),
               .environment = {},
               .directory = {}}};
    return p.wait();
  };
  auto config = gateway_config(1, keys({"k1"}));
  BOOST_TEST(check(json::serialize(config)) == 0);
  BOOST_TEST(files.read("output").empty());
  config["threads"] = "many";
  pool_of(config)["ca_file"] = "missing.pem";
  pool_of(config)["base_url"] = "https://127.0.0.1:1";
  pool_of(config)["keys"].as_array().push_back(json::object{{"csv", "missing.csv"}});
  pool_of(config)["keys"].as_array().push_back(json::object{{"env", "RONDO_NO_SUCH_VARIABLE"}});
  pool_of(config)["keys"].as_array().push_back(key("k1", "another-secret"));
  auto shared = key("k2", "yet-another-secret");
  shared["account"] = "team";
  shared["limits"] = {{"concurrency", 1}};
  pool_of(config)["keys"].as_array().push_back(shared);
  shared["name"] = "k3";
  shared["secret"] = "the-last-secret";
  shared["limits"] = {{"concurrency", 2}};
  pool_of(config)["keys"].as_array().push_back(shared);
  BOOST_TEST(check(json::serialize(config)) == 2);
  auto const said = "\n" + files.read("output");
  for (auto const* const field : {"threads", "pools[0].ca_file", "pools[0].keys[1].csv", "pools[0].keys[2].env",
                                  "pools[0].keys[3].name", "pools[0].keys[5].limits"}) {
    BOOST_TEST(said.find("\n" + std::string{field} + ": ") != said.npos, field << " in" << said);
  }
  BOOST_TEST(std::count(said.begin(), said.end(), '\n') == 7);
  BOOST_TEST(said.find("secret") == said.npos);
}

BOOST_AUTO_TEST_CASE(the_file_or_pin_that_cannot_be_trusted_is_named) {
  temporary_directory files;
  files.write("empty.pem", "");
  auto const pin = [](char letter) { return std::string(43, letter) + "="; };
  auto const fault = [&](char const* field, json::value value, std::string const& place) {
    auto config = gateway_config(1, keys({"k1"}));
    pool_of(config)["base_url"] = "https://127.0.0.1:1";
    pool_of(config)["pins"] = json::array{"sha256//" + pin('A')};
    pool_of(config)[field] = std::move(value);
    files.write("output", "");
    process p{{.arguments = {RONDO_GATEWAY, "--config", files.write("c.json", json::serialize(config)), "--check"},
               .output = (files.path() / "output").string(),
               .environment = {},
               .directory = {}}};
    BOOST_TEST(p.wait() == (place.empty() ? 0 : 2));
    auto const said = files.read("output");
    BOOST_TEST(said.substr(0, said.find(':')) == place);
    BOOST_TEST(std::count(said.begin(), said.end(), '\n') == (place.empty() ? 0 : 1));
  };
  fault("prefix", "/", "");
  for (auto const* const field : {"ca_file", "certificate_file", "crl_file", "proxy_ca_file"}) {
    fault(field, "missing.pem", "pools[0]." + std::string{field});
    fault(field, "empty.pem", "pools[0]." + std::string{field});
  }
  fault("key_file", "missing.pem", "pools[0].key_file"); // without a certificate: asked for before any file is
  fault("pins", json::array{pin('A'), "too short"}, "pools[0].pins[1]");
}

BOOST_AUTO_TEST_CASE(keys_from_everywhere) {
  provider_program provider{{{"keys", keys({"env1", "env2", "dot1", "dot2", "csv"})}}};
  temporary_directory files;
  auto const dotenv =
      files.write(".env", "GEMINI_API_KEY = " + secret("dot1") + "\nGEMINI_API_KEY_1=\"" + secret("dot2") + "\"\n");
  auto const csv = files.write("BASE.csv", "API,available_tokens\n" + secret("csv") + ",500\n");
  auto config = gateway_config(provider.port(),
                               {json::object{{"env", "RONDO_TEST_KEYS"}},
                                json::object{{"dotenv", dotenv}, {"service", "gemini"}}, json::object{{"csv", csv}}});
  config["threads"] = 1;
  gateway_program g{config, {"RONDO_TEST_KEYS= " + secret("env1") + " , " + secret("env2")}};
  std::set<std::string> used;
  for (int i = 0; i < 5; ++i) {
    auto const got = ask(g.port(), text_request);
    BOOST_TEST(got.status() == 200U);
    used.insert(got.field("x-rondo-key"));
  }
  BOOST_TEST(used.size() == 5U);
  auto const row = g.key("BASE-1");
  BOOST_TEST(number(row.at("characterLimit")) == 500);
  BOOST_TEST(number(row.at("remainingCharacters")) == 490);
}

BOOST_AUTO_TEST_CASE(the_state_of_a_csv_survives_a_kill) {
  provider_program provider{{{"keys", keys({"a", "b"})}}};
  temporary_directory files;
  auto const csv = files.write("BASE.csv", "API,Date,available_tokens,last_checked,is_exhausted,voice_limit_reached\n" +
                                               secret("a") + ",2026-01-01,1000,,False,False\n" + secret("b") +
                                               ",2026-01-01,1000,,False,False\n");
  auto const config = gateway_config(provider.port(), {json::object{{"csv", csv}}});
  gateway_program g{config};
  for (int i = 0; i < 10; ++i) {
    BOOST_TEST(ask(g.port(), text_request).status() == 200U);
  }
  auto const remaining = [&] { return number(g.status().at("totalRemainingCharacters")); };
  BOOST_TEST(remaining() == 1900);
  auto const saved = [&] {
    std::int64_t sum = 0;
    std::istringstream rows{files.read("BASE.csv")};
    std::string row;
    std::getline(rows, row);
    while (std::getline(rows, row)) {
      auto const at = row.find(",2026-01-01,");
      sum += std::stoi(row.substr(at + 12));
    }
    return sum;
  };
  BOOST_TEST(eventually([&] { return saved() == 1900; }));
  g.running().kill(SIGKILL);
  g.running().wait();
  g.start();
  BOOST_TEST(remaining() == 1900);
  BOOST_TEST(ask(g.port(), text_request).status() == 200U);
  BOOST_TEST(g.running().stop() == 0); // the end saves at once
  BOOST_TEST(saved() == 1890);
  BOOST_TEST((std::filesystem::status(csv).permissions() == std::filesystem::perms{0600}));
}

BOOST_AUTO_TEST_CASE(a_reload_changes_keys_and_drops_nothing) {
  background_upstream up{[](background_upstream& u, peer& p) -> asio::awaitable<void> {
    for (;;) {
      auto const head = co_await p.read_request();
      u.note(head);
      asio::steady_timer pause{co_await asio::this_coro::executor};
      while (head.find("/hold") != head.npos && u.count == 0) {
        pause.expires_after(std::chrono::milliseconds{1});
        co_await pause.async_wait(asio::use_awaitable);
      }
      co_await p.write(fine);
    }
  }};
  auto config = gateway_config(up.port(), keys({"k1", "k2"}));
  auto const good = config;
  gateway_program g{config};
  BOOST_TEST(ask(g.port(), request("GET", "/a")).status() == 200U);
  auto const before = number(g.key("k1").at("requests")) + number(g.key("k2").at("requests"));
  BOOST_TEST(before == 1);
  caller held{g.port()};
  held.send(request("GET", "/hold"));
  BOOST_TEST(eventually([&] { return up.notes().size() == 2; }));

  pool_of(config)["keys"] = keys({"k2", "k3"});
  pool_of(config)["keys"].as_array()[0].as_object()["limits"] = {{"quota", 777}};
  g.reload(config);
  BOOST_TEST(eventually([&] { return g.metric("rondo_gateway_reloads_total") == 1; }));
  BOOST_TEST(number(g.status().at("totalKeys")) == 2);
  BOOST_TEST(number(g.key("k2").at("characterLimit")) == 777);
  BOOST_TEST(g.key("k3").at("status").as_string() == "active");
  up.count = 1;
  BOOST_TEST(held.read().status() == 200U);

  g.write_config(R"({"listen": 7})");
  g.running().kill(SIGHUP);
  BOOST_TEST(eventually([&] { return g.output().find("listen: must be a string") != std::string::npos; }));
  BOOST_TEST(number(g.status().at("totalKeys")) == 2);
  BOOST_TEST(ask(g.port(), request("GET", "/a")).status() == 200U);
  g.reload(good);
  BOOST_TEST(eventually([&] { return g.metric("rondo_gateway_reloads_total") == 2; }));
  BOOST_TEST(g.key("k1").at("status").as_string() == "active");
}

BOOST_AUTO_TEST_CASE(it_stops_when_the_requests_in_flight_have_ended) {
  background_upstream up{[](background_upstream& u, peer& p) -> asio::awaitable<void> {
    u.note(co_await p.read_request());
    asio::steady_timer pause{co_await asio::this_coro::executor};
    while (u.count == 0) {
      pause.expires_after(std::chrono::milliseconds{1});
      co_await pause.async_wait(asio::use_awaitable);
    }
    co_await p.write(fine);
  }};
  gateway_program g{gateway_config(up.port(), keys({"k1"}))};
  caller idle{g.port()};
  caller busy{g.port()};
  busy.send(request("GET", "/"));
  BOOST_TEST(eventually([&] { return up.notes().size() == 1; }));
  g.running().kill(SIGTERM);
  BOOST_TEST(idle.read_all().empty());
  BOOST_TEST(eventually([&] { return !port_answers(g.port()); }));
  BOOST_TEST(g.running().running());
  up.count = 1;
  auto const got = busy.read();
  BOOST_TEST(got.status() == 200U);
  BOOST_TEST(got.field("connection") == "close");
  BOOST_TEST(g.running().wait() == 0);
}

BOOST_AUTO_TEST_CASE(its_patience_when_stopping_is_limited) {
  background_upstream up{[](background_upstream& u, peer& p) -> asio::awaitable<void> {
    u.note(co_await p.read_request());
    co_await p.wait_for_close();
  }};
  auto config = gateway_config(up.port(), keys({"k1"}));
  config["drain_ms"] = 50;
  gateway_program g{config};
  caller busy{g.port()};
  busy.send(request("GET", "/"));
  BOOST_TEST(eventually([&] { return up.notes().size() == 1; }));
  g.running().kill(SIGINT);
  BOOST_TEST(g.running().wait() == 0);
  BOOST_TEST(busy.read().ec.failed());
}

BOOST_AUTO_TEST_CASE(admin_pages) {
  background_upstream up{answers({fine})};
  gateway_program g{gateway_config(up.port(), keys({"k1"}))};
  auto const health = ask(g.admin(), request("GET", "/healthz"));
  BOOST_TEST(health.status() == 200U);
  BOOST_TEST(health.body() == "ok");
  auto const all = json::parse(ask(g.admin(), request("GET", "/status")).body());
  BOOST_TEST(all.at("pools").as_array().size() == 1U);
  auto const one = g.status();
  for (auto const* const member : {"name", "totalKeys", "activeKeys", "exhaustedKeys", "rateLimitedKeys", "invalidKeys",
                                   "nearLimitKeys", "totalRemainingCharacters", "keys"}) {
    BOOST_TEST(one.contains(member), member);
  }
  BOOST_TEST(ask(g.admin(), request("GET", "/api/q-status")).status() == 404U);
  BOOST_TEST(ask(g.admin(), request("GET", "/")).status() == 404U);
  auto const posted = ask(g.admin(), request("POST", "/status", "x"));
  BOOST_TEST(posted.status() == 405U);
  BOOST_TEST(posted.field("allow") == "GET, HEAD");
  auto const metrics = ask(g.admin(), request("GET", "/metrics"));
  BOOST_TEST(metrics.field("content-type").find("text/plain; version=0.0.4") == 0U);
  BOOST_TEST(g.metric("rondo_pool_keys{pool=\"p\",status=\"active\"}") == 1);
  // the callers' address shows none of it
  BOOST_TEST(ask(g.port(), request("GET", "/metrics")).body() == "fine");
}

BOOST_AUTO_TEST_CASE(no_secret_is_ever_shown) {
  // every refusal and echo that a provider may send, and then everything that was ever received, and the log
  background_upstream up{[](background_upstream&, peer& p) -> asio::awaitable<void> {
    for (auto n = 0;; ++n) {
      auto const head = co_await p.read_request();
      auto const at = head.find("xi-api-key: ") + 12;
      auto const key = head.substr(at, head.find('\r', at) - at);
      auto const body =
          R"({"detail":{"status":"invalid_api_key","message":"Incorrect API key provided: )" + key + "\"}}";
      std::string const status = n % 2 == 0 ? "401 Unauthorized" : "400 Bad Request";
      co_await p.write("HTTP/1.1 " + status + "\r\nContent-Type: application/json\r\nContent-Length: " +
                       std::to_string(body.size()) + "\r\n\r\n" + body);
    }
  }};
  auto config = gateway_config(up.port(), keys({"k1", "k2"}));
  gateway_program g{config};
  for (int i = 0; i < 4; ++i) {
    (void)ask(g.port(), text_request);
  }
  for (auto const* const page : {"/status", "/metrics", "/proxies", "/api/p-status"}) {
    (void)ask(g.admin(), request("GET", page));
  }
  g.running().kill(SIGHUP);
  BOOST_TEST(eventually([&] { return g.output().find("taken over") != std::string::npos; }));
  auto const shown = everything_received().all() + g.output();
  for (auto const* const name : {"k1", "k2"}) {
    // the middle of it, which the masked form leaves out
    BOOST_TEST(shown.find(secret(name).substr(12, 20)) == shown.npos);
  }
  BOOST_TEST(shown.find("caller-token") == shown.npos);
  BOOST_TEST(shown.find("proxy-password") == shown.npos);
}

BOOST_AUTO_TEST_SUITE_END()
