// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/client.hpp>
#include <rondo/provider/provider.hpp>
#include <rondo/proxy_rotator.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/test/unit_test.hpp>

#include <chrono>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <support/manual_clock.hpp>
#include <support/scripted_server.hpp>

namespace rondo::test {

using namespace std::chrono_literals;

inline std::string answer(int status, std::string_view body, std::string_view fields = {}) {
  return "HTTP/1.1 " + std::to_string(status) + " Any\r\ncontent-length: " + std::to_string(body.size()) + "\r\n" +
         std::string{fields} + "\r\n" + std::string{body};
}

inline constexpr std::string_view speech = R"({"text":"hello"})"; // five characters
inline constexpr std::string_view invalid_key =
    R"({"detail":{"status":"invalid_api_key","message":"Invalid API key"}})";
inline constexpr auto drop = "";
inline constexpr std::string_view hang = "hang"; ///< never answers

/// A provider that answers each key as the test says, and a client with keys k1, k2, ... for it.
struct client_fixture {
  manual_clock clock;
  asio::io_context context;
  std::map<std::string, std::function<std::string(std::string const& request)>> behaviour;
  std::set<std::string> broken;  ///< keys whose connection ends after the answer
  std::vector<std::string> seen; ///< the key of each request that arrived
  scripted_server server{context, [this](peer& p) { return serve(p); }};
  rondo::key_pool keys{context.get_executor(), {.cooldown = 60s, .clock = &clock, .seed = 1}};
  rondo::proxy_rotator proxies{{.strategy = rondo::proxy_strategy::round_robin, .clock = &clock, .seed = 1}};
  rondo::client_options options; ///< of the client, but for where the provider is
  std::optional<rondo::client> client;

  ~client_fixture() {
    client.reset();
    server.close();
    context.restart();
    context.run();
  }

  asio::awaitable<void> serve(peer& p) {
    for (;;) {
      auto const request = co_await p.read_request();
      auto const field = request.find("xi-api-key: ");
      auto const key = field == std::string::npos ? std::string{}
                                                  : request.substr(field + 12, request.find('\r', field) - field - 12);
      seen.push_back(key);
      auto const what = behaviour.find(key);
      auto const reply =
          what == behaviour.end() ? answer(200, "audio", "character-cost: 5\r\n") : what->second(request);
      if (reply == drop) {
        co_return;
      }
      if (reply == hang) {
        co_await p.wait_for_close();
        co_return;
      }
      co_await p.write(reply);
      if (broken.contains(key)) {
        p.close();
        co_return;
      }
    }
  }

  void add(std::string name, rondo::limits const& l = {.quota = 1000}, std::string account = {}) {
    auto const secret = "secret-" + name;
    keys.add({.name = std::move(name), .secret = rondo::secret{secret}, .account = std::move(account), .limits = l});
  }
  void answers(std::string const& key, std::string reply) {
    behaviour["secret-" + key] = [reply = std::move(reply)](std::string const&) { return reply; };
  }

  void make_client(rondo::retry_policy retry = {}, bool through_proxies = false) {
    auto o = options;
    o.base_url = rondo::http::parse_url("http://127.0.0.1:" + std::to_string(server.port()) + "/").value();
    o.retry = retry;
    client.emplace(context.get_executor(), keys, rondo::provider::make("elevenlabs"), std::move(o),
                   through_proxies ? &proxies : nullptr);
  }

  static rondo::http::request post(std::string_view target = "/v1/text-to-speech/voice") {
    rondo::http::request r{rondo::http::beast_http::verb::post, {target.data(), target.size()}, 11};
    r.set("content-type", "application/json");
    r.body() = speech;
    return r;
  }

  static rondo::http::request get(std::string_view target = "/v1/voices") {
    return {rondo::http::beast_http::verb::get, {target.data(), target.size()}, 11};
  }

  struct outcome {
    unsigned status = 0;
    std::string fields;
    std::string body;
    unsigned attempts = 0;
    std::string key;
    std::string proxy;
    rondo::client_failure failure;
  };

  asio::awaitable<void> exchange(rondo::http::request message, std::optional<outcome>& out) {
    auto got = co_await client->open(std::move(message));
    outcome result;
    if (!got) {
      result.failure = got.error();
      result.attempts = got.error().attempts;
    } else {
      result.status = got->status();
      result.attempts = got->attempts();
      result.key = got->key_name();
      result.proxy = got->proxy_name();
      for (auto const& field : got->head()) {
        result.fields.append(field.name_string()).append(": ").append(field.value()).append("\n");
      }
      char piece[64];
      for (;;) {
        auto const read = co_await got->read(asio::buffer(piece));
        result.failure.ec = read.ec;
        if (read.n == 0) {
          break;
        }
        result.body.append(piece, read.n);
      }
    }
    out = std::move(result);
  }

  outcome send(rondo::http::request message) {
    std::optional<outcome> out;
    asio::co_spawn(context, exchange(std::move(message), out), [](std::exception_ptr e) {
      if (e) {
        std::rethrow_exception(e);
      }
    });
    context.restart();
    while (!out && context.run_one() > 0) {
    }
    BOOST_TEST_REQUIRE(out.has_value());
    BOOST_TEST(out->failure.masked_key.find("secret-k") == std::string::npos);
    return std::move(*out);
  }

  /// Sends, and goes away as soon as `when` holds. Empty if that ended in an exception.
  std::optional<outcome> send_and_leave(rondo::http::request message, std::function<bool()> const& when) {
    asio::cancellation_signal gone;
    std::optional<outcome> out;
    bool over = false;
    asio::co_spawn(context, exchange(std::move(message), out),
                   asio::bind_cancellation_slot(gone.slot(), [&](std::exception_ptr) { over = true; }));
    context.restart();
    while (!when() && context.run_one() > 0) {
    }
    gone.emit(asio::cancellation_type::terminal);
    while (!over && context.run_one() > 0) {
    }
    BOOST_TEST(over);
    return out;
  }

  rondo::key_state state(std::string_view name) const { return *keys.snapshot().find(name); }
};

/// A proxy that opens a tunnel and is itself the origin at its end, or fails as told.
struct scripted_proxy {
  /// \param answer to all requests through it; empty = as the fixture answers
  scripted_proxy(client_fixture& f, std::string reply, rondo::proxy_params params = {}, std::string answer = {})
      : server{f.context, [&f, reply = std::move(reply), answer = std::move(answer)](peer& p) {
                 return serve(f, p, reply, answer);
               }} {
    name = "proxy" + std::to_string(server.port());
    params.name = name;
    params.url = rondo::secret{"http://user:password@127.0.0.1:" + std::to_string(server.port())};
    f.proxies.add(std::move(params));
  }
  static asio::awaitable<void> serve(client_fixture& f, peer& p, std::string reply, std::string answer) {
    auto const connect = co_await p.read_until("\r\n\r\n");
    BOOST_TEST(connect.starts_with("CONNECT 127.0.0.1:"));
    BOOST_TEST(connect.find("secret-k") == std::string::npos);
    if (reply == drop) {
      co_return;
    }
    co_await p.write(reply);
    if (answer.empty()) {
      co_await f.serve(p);
      co_return;
    }
    for (;;) {
      co_await p.read_request();
      if (answer == cut) {
        co_return;
      }
      co_await p.write(answer);
    }
  }
  static constexpr std::string_view cut = "cut"; ///< takes the request and closes

  scripted_server server;
  std::string name;
};
inline constexpr auto tunnel = "HTTP/1.1 200 Connection established\r\n\r\n";

} // namespace rondo::test
