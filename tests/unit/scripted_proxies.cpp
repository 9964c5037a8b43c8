// SPDX-License-Identifier: BSL-1.0
#include <rondo/client.hpp>
#include <rondo/provider/provider.hpp>
#include <rondo/proxy_rotator.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/write.hpp>
#include <boost/test/unit_test.hpp>

#include <chrono>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <support/certificates.hpp>
#include <support/http_fixture.hpp>
#include <support/scripted_server.hpp>

using namespace rondo::test;
using namespace std::chrono_literals;

namespace {

/// A provider behind TLS, and proxies good and bad in front of it.
struct scenario {
  asio::io_context context;
  boost::asio::ssl::context tls = server_context(test_trust::instance().root.issue());
  std::map<std::string, std::string> answers; ///< by key; others get a plain success
  std::vector<std::string> requests;          ///< as the provider saw them
  scripted_server origin{context, [this](peer& p) { return serve(p); }};
  rondo::key_pool keys{context.get_executor(), {.seed = 1}};
  rondo::proxy_rotator proxies{
      {.strategy = rondo::proxy_strategy::round_robin, .cooldown = 1h, .most_cooldown = 1h, .seed = 1}};
  std::map<std::string, std::string> seen_by; ///< all that each proxy was sent
  std::list<scripted_server> servers;
  std::optional<rondo::client> client;

  ~scenario() {
    client.reset();
    origin.close();
    for (auto& each : servers) {
      each.close();
    }
    context.restart();
    context.run();
  }

  asio::awaitable<void> serve(peer& p) {
    co_await p.start_tls(tls);
    for (;;) {
      auto const request = co_await p.read_request();
      requests.push_back(request);
      std::string reply = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\naudio";
      for (auto const& [key, other] : answers) {
        if (request.find(key) != std::string::npos) {
          reply = other;
        }
      }
      co_await p.write(reply);
    }
  }

  /// Adds a proxy. Its script begins when the CONNECT has arrived.
  void proxy(std::string const& name, std::function<asio::awaitable<void>(peer&, std::string&)> script,
             bool login_when_asked = false) {
    auto& log = seen_by[name];
    servers.emplace_back(context, [&log, name, script = std::move(script)](peer& p) -> asio::awaitable<void> {
      auto const connect = co_await p.read_until("\r\n\r\n");
      log += connect;
      co_await script(p, log);
    });
    add(name, servers.back().port(), login_when_asked);
  }
  void says(std::string const& name, std::string reply) {
    proxy(name, [reply = std::move(reply)](peer& p, std::string&) -> asio::awaitable<void> {
      co_await p.write(reply);
      co_await p.wait_for_close();
    });
  }
  void add(std::string const& name, unsigned port, bool login_when_asked = false) {
    proxies.add({.name = name,
                 .url = rondo::secret{"http://user-" + name + ":pass-" + name + "@127.0.0.1:" + std::to_string(port)},
                 .login_when_asked = login_when_asked});
  }

  /// Carries bytes to the provider and back; stops after `most` bytes of the provider's.
  asio::awaitable<void> relay(peer& p, std::string& log, std::size_t most = ~std::size_t{0}) {
    co_await p.write("HTTP/1.1 200 Connection established\r\n\r\n");
    tcp::socket there{context};
    co_await there.async_connect({asio::ip::address_v4::loopback(), origin.port()}, asio::use_awaitable);
    auto const shared = std::make_shared<tcp::socket>(std::move(there));
    asio::co_spawn(context, back(*this, p.socket(), shared, most), [shared](std::exception_ptr) {});
    char bytes[4096];
    for (;;) {
      auto const [ec, n] =
          co_await p.socket().async_read_some(asio::buffer(bytes), asio::as_tuple(asio::use_awaitable));
      if (ec) {
        shared->close();
        co_return;
      }
      log.append(bytes, n);
      auto const piece = asio::buffer(bytes, n);
      auto const [failed, written] = co_await asio::async_write(*shared, piece, asio::as_tuple(asio::use_awaitable));
      if (failed || written == 0) {
        co_return;
      }
    }
  }
  static asio::awaitable<void> back(scenario&, tcp::socket& to, std::shared_ptr<tcp::socket> from, std::size_t most) {
    char bytes[4096];
    while (most > 0) {
      auto const space = asio::buffer(bytes, std::min(most, sizeof bytes));
      auto const [ec, n] = co_await from->async_read_some(space, asio::as_tuple(asio::use_awaitable));
      if (ec) {
        co_return;
      }
      most -= n;
      auto const piece = asio::buffer(bytes, n);
      auto const [failed, written] = co_await asio::async_write(to, piece, asio::as_tuple(asio::use_awaitable));
      if (failed || written == 0) {
        co_return;
      }
    }
    to.close(); // in the middle of it
  }

  void make_client(rondo::client_options o = {}) {
    o.base_url = rondo::http::parse_url("https://localhost:" + std::to_string(origin.port())).value();
    o.http.tls = rondo::http::make_tls_context({test_trust::instance().ca_file}).value();
    client.emplace(context.get_executor(), keys, rondo::provider::make("elevenlabs"), std::move(o), &proxies);
  }

  struct end {
    unsigned status = 0;
    std::string proxy;
    std::string key;
    rondo::client_failure failure;
  };

  asio::awaitable<void> exchange(rondo::http::request message, std::optional<end>& out) {
    auto opening = client->open(std::move(message));
    auto got = co_await std::move(opening);
    end result;
    if (!got) {
      result.failure = got.error();
    } else {
      result.status = got->status();
      result.proxy = got->proxy_name();
      result.key = got->key_name();
      char piece[64];
      for (;;) {
        auto const read = co_await got->read(asio::buffer(piece));
        if (read.n == 0) {
          break;
        }
      }
    }
    out = std::move(result);
  }

  end send() {
    rondo::http::request r{rondo::http::beast_http::verb::post, "/v1/text-to-speech/voice", 11};
    r.set("content-type", "application/json");
    r.body() = R"({"text":"hello"})";
    std::optional<end> out;
    asio::co_spawn(context, exchange(std::move(r), out), [](std::exception_ptr e) {
      if (e) {
        std::rethrow_exception(e);
      }
    });
    context.restart();
    while (!out && context.run_one() > 0) {
    }
    BOOST_TEST_REQUIRE(out.has_value());
    return std::move(*out);
  }

  std::set<std::string> resting() {
    std::set<std::string> out;
    for (auto const& each : proxies.snapshot()) {
      if (each.resting) {
        out.insert(each.name);
      }
      BOOST_TEST(each.in_flight == 0U);
    }
    return out;
  }
  void add_key(std::string const& name) {
    keys.add({.name = name, .secret = rondo::secret{"very-secret-" + name}, .limits = {.quota = 100'000}});
  }
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(scripted_proxies, scenario)

BOOST_AUTO_TEST_CASE(a_dozen_proxies_of_which_two_are_good_answer_everything) {
  add_key("k1");
  add_key("k2");
  unsigned nobody_there = 0;
  {
    scripted_server gone{context, [](peer&) -> asio::awaitable<void> { co_return; }};
    nobody_there = gone.port();
  }
  add("refuses", nobody_there);
  proxy("hangs", [](peer& p, std::string&) -> asio::awaitable<void> { co_await p.wait_for_close(); });
  proxy("good", [this](peer& p, std::string& log) { return relay(p, log); });
  proxy("resets", [](peer& p, std::string&) -> asio::awaitable<void> {
    p.reset();
    co_return;
  });
  says("bad_gateway", "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 4\r\n\r\nnope");
  says("wants_login", "HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic\r\n\r\n");
  says("garbage", "SSH-2.0-OpenSSH_9.2\r\n\r\n");
  says("speaks_first", "HTTP/1.1 200 OK\r\n\r\nwelcome");
  proxy("resets_after", [](peer& p, std::string&) -> asio::awaitable<void> {
    co_await p.write("HTTP/1.1 200 OK\r\n\r\n");
    co_await p.more();
    p.reset();
  });
  proxy("cuts_in_tls", [this](peer& p, std::string& log) { return relay(p, log, 100); });
  says("denies", "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n");
  proxy("also_good", [this](peer& p, std::string& log) { return relay(p, log); });
  rondo::client_options o;
  o.connect_timeout = 2s; // the good ones need some of it on a busy machine
  make_client(std::move(o));
  for (int i = 0; i < 30; ++i) {
    auto const got = send();
    BOOST_TEST(got.status == 200U);
    BOOST_TEST((got.proxy == "good" || got.proxy == "also_good"));
  }
  std::set<std::string> const bad{"refuses", "hangs",        "resets",       "bad_gateway", "wants_login",
                                  "garbage", "speaks_first", "resets_after", "cuts_in_tls", "denies"};
  BOOST_TEST(resting() == bad, boost::test_tools::per_element());
  BOOST_TEST(requests.size() == 30U); // each once
  for (auto const& request : requests) {
    BOOST_TEST(request.find("Proxy-") == std::string::npos);
    BOOST_TEST(request.find("pass-") == std::string::npos);
  }
  for (auto const& [name, bytes] : seen_by) {
    BOOST_TEST(bytes.find("very-secret") == std::string::npos);
    BOOST_TEST(bytes.find("xi-api-key") == std::string::npos);
    BOOST_TEST(bytes.find("CONNECT localhost:" + std::to_string(origin.port())) == 0U);
  }
  for (auto const& key : keys.snapshot()) {
    BOOST_TEST(key.failures == 0U); // nothing of it was a key's fault
    BOOST_TEST(key.in_flight == 0U);
  }
}

BOOST_AUTO_TEST_CASE(an_origin_that_is_down_through_all_of_them_rests_nobody) {
  add_key("k1");
  for (auto const* const name : {"one", "two", "three"}) {
    says(name, "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n");
  }
  make_client();
  for (int i = 0; i < 3; ++i) {
    BOOST_TEST((send().failure.who == rondo::blame::path));
  }
  BOOST_TEST(resting().empty());
}

BOOST_AUTO_TEST_CASE(a_certificate_that_is_wrong_through_one_proxy_only_is_that_proxys_doing) {
  add_key("k1");
  leaf_params other;
  other.alternative_names = {"DNS:somebody.else"};
  auto stranger = server_context(test_trust::instance().root.issue(other));
  proxy("spies", [&](peer& p, std::string&) -> asio::awaitable<void> {
    co_await p.write("HTTP/1.1 200 OK\r\n\r\n");
    co_await p.start_tls(stranger);
    co_await p.read_request();
  });
  proxy("good", [this](peer& p, std::string& log) { return relay(p, log); });
  make_client();
  BOOST_TEST(send().proxy == "good");
  BOOST_TEST((resting() == std::set<std::string>{"spies"}));
  BOOST_TEST(requests.size() == 1U);
}

BOOST_AUTO_TEST_CASE(what_the_provider_says_through_a_tunnel_blames_no_proxy) {
  for (auto const* const name : {"limited", "dead", "good"}) {
    add_key(name);
  }
  answers["very-secret-limited"] = "HTTP/1.1 429 Too Many\r\nretry-after: 30\r\ncontent-length: 2\r\n\r\n{}";
  answers["very-secret-dead"] =
      "HTTP/1.1 401 Unauthorized\r\ncontent-length: 39\r\n\r\n{\"detail\":{\"status\":\"invalid_api_key\"}} ";
  proxy("one", [this](peer& p, std::string& log) { return relay(p, log); });
  proxy("two", [this](peer& p, std::string& log) { return relay(p, log); });
  make_client();
  for (int i = 0; i < 5; ++i) {
    auto const got = send();
    BOOST_TEST(got.status == 200U);
    BOOST_TEST(got.key == "good");
  }
  BOOST_TEST(resting().empty());
  BOOST_TEST((keys.snapshot().find("limited")->status == rondo::key_status::rate_limited));
  BOOST_TEST((keys.snapshot().find("dead")->status == rondo::key_status::invalid));
  BOOST_TEST(requests.size() == 7U);
}

BOOST_AUTO_TEST_CASE(a_login_is_shown_at_once_or_to_who_asks) {
  add_key("k1");
  proxy("at_once", [this](peer& p, std::string& log) { return relay(p, log); });
  auto const asking = [this](peer& p, std::string& log) -> asio::awaitable<void> {
    if (log.find("Proxy-Authorization: ") == log.npos) {
      co_await p.write("HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\n\r\n");
      co_await p.wait_for_close();
    }
    co_await relay(p, log);
  };
  proxy("asks", asking, true);
  make_client();
  BOOST_TEST(send().proxy == "at_once");
  BOOST_TEST(send().proxy == "asks");
  BOOST_TEST(servers.front().accepted() == 1U);
  BOOST_TEST(servers.back().accepted() == 2U);
  BOOST_TEST(resting().empty());
}

BOOST_AUTO_TEST_CASE(a_proxys_own_401_is_never_taken_for_the_providers) {
  add_key("k1");
  says("tinyproxy", "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Basic\r\ncontent-length: 0\r\n\r\n");
  proxy("good", [this](peer& p, std::string& log) { return relay(p, log); });
  make_client();
  BOOST_TEST(send().status == 200U);
  BOOST_TEST((resting() == std::set<std::string>{"tinyproxy"}));
  BOOST_TEST((keys.snapshot().find("k1")->status == rondo::key_status::active));
}

BOOST_AUTO_TEST_SUITE_END()
