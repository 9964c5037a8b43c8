// SPDX-License-Identifier: BSL-1.0
#include "client_fixture.hpp"
#include <rondo/client.hpp>
#include <rondo/provider/elevenlabs.hpp>
#include <rondo/provider/generic.hpp>
#include <rondo/provider/provider.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/detached.hpp>
#include <boost/test/unit_test.hpp>

#include <charconv>
#include <chrono>
#include <cstddef>
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

#include <support/http_fixture.hpp>
#include <support/manual_clock.hpp>
#include <support/scripted_server.hpp>

using namespace rondo::test;
using namespace std::chrono_literals;
using rondo::error;
using rondo::key_status;

BOOST_FIXTURE_TEST_SUITE(rotating_client, client_fixture)

BOOST_AUTO_TEST_CASE(a_served_request_is_settled_with_what_the_provider_says_it_cost) {
  add("k1");
  answers("k1", answer(200, "audio", "character-cost: 3\r\n"));
  make_client();
  auto const got = send(post());
  BOOST_TEST(got.status == 200U);
  BOOST_TEST(got.body == "audio");
  BOOST_TEST(got.attempts == 1U);
  BOOST_TEST(got.key == "k1");
  BOOST_TEST(state("k1").character_count == 3);
  BOOST_TEST(state("k1").in_flight == 0U);
}

BOOST_AUTO_TEST_CASE(an_answer_is_sent_whole_whatever_its_size_and_framing) {
  options.http.max_response = 100'000;
  add("k1");
  make_client();
  auto const whole = [this](rondo::http::request message) {
    std::optional<std::string> body;
    rondo::error_code ec;
    asio::co_spawn(context, client->send(std::move(message)), [&](std::exception_ptr e, rondo::http::response r) {
      body = std::move(r.body());
      try {
        if (e) {
          std::rethrow_exception(e);
        }
      } catch (rondo::client_error const& failed) {
        ec = failed.failure().ec;
      }
    });
    context.restart();
    while (!body && context.run_one() > 0) {
    }
    return std::pair{ec, body.value_or("")};
  };
  for (std::size_t const size : {0U, 1U, 200U, 4095U, 4096U, 4097U, 16'384U, 60'000U, 100'000U}) {
    std::string const body(size, 'x');
    answers("k1", answer(200, body));
    BOOST_TEST(whole(get()).second == body);
    BOOST_TEST(whole(post()).second == body);
    auto const half = size / 2;
    std::string framed = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    for (auto const n : {half, size - half}) {
      if (n > 0) {
        char digits[16];
        framed.append(digits, std::to_chars(digits, digits + sizeof(digits), n, 16).ptr);
        framed.append("\r\n").append(n, 'x').append("\r\n");
      }
    }
    answers("k1", framed + "0\r\n\r\n");
    BOOST_TEST(whole(get()).second == body);
    BOOST_TEST(whole(post()).second == body);
  }
  answers("k1", answer(200, std::string(100'001, 'x')));
  BOOST_TEST((whole(get()).first == error::response_too_large));
  options.http.max_response = 10;
  make_client();
  answers("k1", answer(200, "ten bytes."));
  BOOST_TEST(whole(get()).second == "ten bytes.");
  answers("k1", answer(200, "eleven byte"));
  BOOST_TEST((whole(get()).first == error::response_too_large));
  BOOST_TEST((whole(post()).first == error::response_too_large));
  answers("k1", answer(400, "no"));
  BOOST_TEST(whole(get()).second == "no"); // what the provider said, whatever it was
  BOOST_TEST(state("k1").in_flight == 0U);
}

/// Takes every answer for a good one.
struct content_with_all final : rondo::provider::generic {
  rondo::provider::verdict judge(rondo::http::request_head const&, rondo::http::response_head const&, std::string_view,
                                 rondo::wall_time) const override {
    return {};
  }
};

BOOST_AUTO_TEST_CASE(an_error_that_an_adapter_accepts_comes_whole) {
  add("k1");
  options.base_url = rondo::http::parse_url("http://127.0.0.1:" + std::to_string(server.port()) + "/").value();
  client.emplace(context.get_executor(), keys, std::make_shared<content_with_all const>(), options);
  auto const body = std::string(60'000, 'a') + std::string(60'000, 'b');
  behaviour[""] = [&](std::string const&) { return answer(404, body); };
  BOOST_TEST(send(get()).body == body);
  BOOST_TEST(send(post()).body == body);
}

BOOST_AUTO_TEST_CASE(dead_limited_and_empty_keys_never_reach_the_caller) {
  for (auto const* name : {"k1", "k2", "k3", "k4"}) {
    add(name);
  }
  answers("k1", answer(401, invalid_key));
  answers("k2", answer(429, R"({"detail":{"status":"rate_limit_exceeded"}})", "retry-after: 30\r\n"));
  answers("k3", answer(402, R"({"detail":{"code":"insufficient_credits","type":"payment_required"}})"));
  make_client();
  auto const got = send(post());
  BOOST_TEST(got.status == 200U);
  BOOST_TEST(got.attempts == 4U);
  BOOST_TEST(got.key == "k4");
  BOOST_TEST((state("k1").status == key_status::invalid));
  BOOST_TEST((state("k2").status == key_status::rate_limited));
  BOOST_TEST((state("k3").status == key_status::exhausted));
  for (auto const* name : {"k1", "k2", "k3"}) {
    BOOST_TEST(state(name).character_count == 0);
    BOOST_TEST(state(name).in_flight == 0U);
  }
}

BOOST_AUTO_TEST_CASE(an_untried_account_is_preferred_to_a_sister_key) {
  add("k1", {}, "one");
  add("k2", {}, "one");
  add("k3", {}, "two");
  auto const busy = answer(503, R"({"detail":{"status":"system_busy"}})");
  answers("k1", busy);
  answers("k2", busy);
  make_client();
  auto const got = send(post());
  BOOST_TEST(got.key == "k3");
  BOOST_TEST(got.attempts <= 2U);
}

BOOST_AUTO_TEST_CASE(when_attempts_are_used_up_the_last_answer_is_passed_on_whole) {
  add("k1");
  add("k2");
  add("k3");
  for (auto const* name : {"k1", "k2", "k3"}) {
    answers(name, answer(401, invalid_key, "x-from: " + std::string{name} + "\r\n"));
  }
  make_client({.max_attempts = 2});
  auto const got = send(post());
  BOOST_TEST(got.status == 401U);
  BOOST_TEST(got.body == invalid_key);
  BOOST_TEST(got.attempts == 2U);
  BOOST_TEST(seen.size() == 2U);
}

BOOST_AUTO_TEST_CASE(a_key_that_the_provider_echoes_is_masked_before_the_caller_sees_it) {
  add("k1-of-a-length-that-keys-have");
  answers("k1-of-a-length-that-keys-have",
          answer(401,
                 R"({"detail":{"status":"invalid_api_key","message":"secret-k1-of-a-length-that-keys-have is bad"}})",
                 "x-echo: secret-k1-of-a-length-that-keys-have\r\n"));
  make_client({.max_attempts = 1});
  auto const got = send(post());
  BOOST_TEST(got.status == 401U);
  BOOST_TEST(got.body.ends_with(" is bad\"}}"));
  BOOST_TEST(got.body.find("length-that-keys-have") == std::string::npos);
  BOOST_TEST(got.fields.find("length-that-keys-have") == std::string::npos);
  BOOST_TEST(got.fields.find("Content-Length: " + std::to_string(got.body.size())) != std::string::npos);
}

BOOST_AUTO_TEST_CASE(fields_and_bodies_without_the_key_come_as_they_came) {
  keys.add({.name = "k1", .secret = rondo::secret{"a"}});
  behaviour["a"] = [](std::string const&) {
    return answer(400, R"({"detail":"a bad apple"})", "x-twice: a\r\nx-twice: banana\r\n");
  };
  make_client();
  auto const got = send(post());
  BOOST_TEST(got.body == R"({"detail":"a bad apple"})");
  BOOST_TEST(got.fields.find("x-twice: a\nx-twice: banana\n") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_callers_connection_field_cannot_take_the_key_away) {
  add("k1");
  make_client();
  auto message = post();
  message.set("connection", "keep-alive, xi-api-key");
  BOOST_TEST(send(std::move(message)).status == 200U);
  BOOST_TEST(seen.at(0) == "secret-k1");
}

BOOST_AUTO_TEST_CASE(a_refusal_whose_body_breaks_off_still_rotates) {
  add("k1");
  add("k2");
  behaviour["secret-k1"] = [](std::string const&) {
    return "HTTP/1.1 429 Too Many\r\ncontent-length: 10000\r\nconnection: close\r\nretry-after: 30\r\n\r\n{";
  };
  broken.insert("secret-k1");
  make_client();
  auto const got = send(post());
  BOOST_TEST(got.status == 200U);
  BOOST_TEST(got.key == "k2");
  BOOST_TEST((state("k1").status == key_status::rate_limited));
}

BOOST_AUTO_TEST_CASE(the_last_answer_is_passed_on_when_the_deadline_comes_first) {
  add("k1");
  answers("k1", answer(503, R"({"detail":{"status":"system_busy"}})"));
  make_client({.max_attempts = 1000, .deadline = 300ms});
  auto const got = send(post());
  BOOST_TEST(got.status == 503U);
}

BOOST_AUTO_TEST_CASE(the_callers_fault_is_passed_on_once) {
  add("k1");
  add("k2");
  for (auto const status : {400, 404, 413, 422, 302}) {
    seen.clear();
    auto const reply = answer(status, R"({"detail":[{"loc":["body"],"msg":"wrong","type":"value_error"}]})");
    answers("k1", reply);
    answers("k2", reply);
    make_client();
    auto const got = send(post());
    BOOST_TEST(got.status == static_cast<unsigned>(status));
    BOOST_TEST(seen.size() == 1U);
  }
  BOOST_TEST((state("k1").status == key_status::active));
  BOOST_TEST(state("k1").character_count == 0);
}

BOOST_AUTO_TEST_CASE(when_all_keys_rest_too_long_it_fails_at_once_and_says_when_to_come_back) {
  add("k1");
  answers("k1", answer(429, "{}", "retry-after: 40\r\n"));
  make_client({.deadline = 10s});
  auto const got = send(post());
  BOOST_TEST((got.failure.ec == error::would_miss_deadline));
  BOOST_TEST((got.failure.who == rondo::blame::pool));
  BOOST_TEST_REQUIRE(got.failure.retry_after.has_value());
  BOOST_TEST((*got.failure.retry_after >= 40s && *got.failure.retry_after <= 44s));
  BOOST_TEST(got.attempts == 1U);
}

BOOST_AUTO_TEST_CASE(it_waits_for_a_key_that_will_be_back_in_time) {
  add("k1");
  int asked = 0;
  behaviour["secret-k1"] = [&](std::string const&) {
    return ++asked == 1 ? answer(429, "{}", "retry-after: 20\r\n") : answer(200, "late");
  };
  make_client();
  std::optional<outcome> got;
  asio::co_spawn(context, exchange(post(), got), asio::detached);
  while (asked == 0 || state("k1").status != key_status::rate_limited) {
    context.run_one();
  }
  context.poll();
  BOOST_TEST(!got.has_value());
  clock.advance(22s);
  keys.wake();
  while (!got && context.run_one() > 0) {
  }
  BOOST_TEST(got->body == "late");
  BOOST_TEST(got->attempts == 2U);
}

BOOST_AUTO_TEST_CASE(what_may_have_been_carried_out_is_only_repeated_when_that_is_safe) {
  add("k1", {.requests_per_day = 10});
  answers("k1", drop);
  make_client();
  auto const lost = send(post());
  BOOST_TEST((lost.failure.ec == error::connection_lost));
  BOOST_TEST(lost.attempts == 1U);
  BOOST_TEST(seen.size() == 1U);

  seen.clear();
  auto repeatable = post();
  repeatable.set("idempotency-key", "42");
  BOOST_TEST((send(std::move(repeatable)).failure.ec == error::connection_lost));
  BOOST_TEST(seen.size() == 4U);

  seen.clear();
  make_client({.max_attempts = 2, .unsafe = true});
  static_cast<void>(send(post()));
  BOOST_TEST(seen.size() == 2U);

  answers("k1", answer(500, "oops"));
  seen.clear();
  make_client();
  auto const failed = send(post());
  BOOST_TEST(failed.status == 500U);
  BOOST_TEST(failed.body == "oops");
  BOOST_TEST(seen.size() == 1U);
  BOOST_TEST(state("k1").requests == 8U); // each was granted
  BOOST_TEST((state("k1").status == key_status::active));
}

BOOST_AUTO_TEST_CASE(a_request_that_dies_on_a_kept_connection_is_granted_anew) {
  add("k1", {.requests_per_day = 3});
  int asked = 0;
  behaviour["secret-k1"] = [&](std::string const&) { return ++asked == 2 ? drop : answer(200, "ok"); };
  make_client();
  rondo::http::request get{rondo::http::beast_http::verb::get, "/v1/voices", 11};
  BOOST_TEST(send(get).status == 200U);
  auto const second = send(get);
  BOOST_TEST(second.status == 200U);
  BOOST_TEST(second.attempts == 2U);
  BOOST_TEST(asked == 3);
  BOOST_TEST((send(get).failure.ec == error::would_miss_deadline)); // three were granted, three arrived
}

BOOST_AUTO_TEST_CASE(a_concurrency_refusal_waits_for_a_lease_not_for_a_time) {
  add("k1");
  int asked = 0;
  behaviour["secret-k1"] = [&](std::string const&) {
    return ++asked == 1 ? answer(429, R"({"detail":{"status":"too_many_concurrent_requests"}})",
                                 "maximum-concurrent-requests: 3\r\ncurrent-concurrent-requests: 3\r\n")
                        : answer(200, "ok");
  };
  make_client();
  auto const got = send(post());
  BOOST_TEST(got.status == 200U);
  BOOST_TEST(got.attempts == 2U);
  BOOST_TEST((state("k1").status == key_status::active));
}

BOOST_AUTO_TEST_CASE(a_balance_too_small_for_this_request_is_learned_and_serves_smaller_ones) {
  add("k1");
  add("k2");
  answers("k1",
          answer(401, R"({"detail":{"status":"quota_exceeded","message":"This request exceeds your quota of 10000. )"
                      R"(You have 4 credits remaining, while 5 credits are required for this request."}})"));
  make_client();
  auto const got = send(post());
  BOOST_TEST(got.key == "k2");
  BOOST_TEST(*state("k1").remaining == 4);
  BOOST_TEST((state("k1").status == key_status::active));
}

BOOST_AUTO_TEST_CASE(a_key_that_may_make_no_more_voices_goes_on_speaking) {
  add("k1");
  add("k2");
  answers("k1", answer(400, R"({"detail":{"status":"voice_limit_reached","message":"You have reached your limit"}})"));
  make_client();
  auto const got = send(post("/v1/voices/add"));
  BOOST_TEST(got.status == 200U);
  BOOST_TEST(got.key == "k2");
  BOOST_TEST(state("k1").barred.contains(rondo::capability::voice_creation));
  behaviour.clear();
  std::string spoken;
  for (int i = 0; i < 2; ++i) {
    spoken += send(post()).key;
  }
  BOOST_TEST(spoken.find("k1") != std::string::npos);
  BOOST_TEST(send(post("/v1/voices/add")).key == "k2");
}

BOOST_AUTO_TEST_CASE(pass_sends_the_callers_own_key_and_touches_no_pool) {
  add("k1");
  make_client();
  auto message = post();
  message.set("xi-api-key", "callers-own");
  std::optional<unsigned> status;
  asio::co_spawn(
      context,
      [&]() -> asio::awaitable<void> {
        auto got = co_await client->pass(message);
        status = got ? got->status() : 0;
      },
      asio::detached);
  while (!status && context.run_one() > 0) {
  }
  BOOST_TEST(*status == 200U);
  BOOST_TEST(seen.at(0) == "callers-own");
  BOOST_TEST(state("k1").requests == 0U);
}

BOOST_AUTO_TEST_CASE(codings_are_the_callers_own_where_nobody_else_reads_the_answer) {
  add("k1");
  std::string request;
  for (auto const* const key : {"secret-k1", "callers-own"}) {
    behaviour[key] = [&](std::string const& r) {
      request = r;
      return answer(200, "ok");
    };
  }
  make_client();
  auto message = get();
  message.set("accept-encoding", "gzip");
  BOOST_TEST(send(message).status == 200U);
  BOOST_TEST(request.find("\r\nAccept-Encoding: identity\r\n") != std::string::npos);
  BOOST_TEST(request.find("gzip") == std::string::npos);
  message.set("xi-api-key", "callers-own");
  request.clear();
  bool done = false;
  asio::co_spawn(context, client->pass(message), [&](std::exception_ptr, rondo::client::result) { done = true; });
  context.restart();
  while (!done && context.run_one() > 0) {
  }
  BOOST_TEST(request.find("gzip") != std::string::npos);
  BOOST_TEST(request.find("identity") == std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_reply_dropped_half_way_is_charged_and_frees_its_key) {
  add("k1", {.concurrency = 1, .quota = 1000});
  answers("k1", "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nbeginning");
  make_client();
  bool done = false;
  asio::co_spawn(
      context,
      [&]() -> asio::awaitable<void> {
        {
          auto got = co_await client->open(post());
          BOOST_TEST(state("k1").in_flight == 1U);
          BOOST_TEST(state("k1").character_count == 0);
        }
        done = true;
      },
      asio::detached);
  while (!done && context.run_one() > 0) {
  }
  BOOST_TEST(state("k1").in_flight == 0U);
  BOOST_TEST(state("k1").character_count == 5); // what was reserved: nobody said what it cost
  BOOST_TEST(client->http_client().idle_connections() == 0U);
}

BOOST_AUTO_TEST_CASE(a_caller_who_goes_away_while_waiting_leaves_the_line) {
  add("k1", {.concurrency = 1});
  make_client();
  auto held = keys.try_acquire(1);
  asio::cancellation_signal gone;
  std::optional<outcome> got;
  bool ended = false;
  asio::co_spawn(context, exchange(post(), got),
                 asio::bind_cancellation_slot(gone.slot(), [&](std::exception_ptr) { ended = true; }));
  context.restart();
  context.poll();
  gone.emit(asio::cancellation_type::terminal);
  context.poll();
  BOOST_TEST(ended);
  BOOST_TEST(seen.empty());
  held->settle(1);
  BOOST_TEST(keys.try_acquire(1).has_value());
}

// --- proxies

BOOST_AUTO_TEST_CASE(a_bad_proxy_costs_neither_the_key_nor_an_attempt) {
  add("k1");
  scripted_proxy closes{*this, drop};
  scripted_proxy refuses{*this, "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n"};
  scripted_proxy good{*this, tunnel};
  make_client({}, true);
  for (int i = 0; i < 3; ++i) {
    auto const got = send(post());
    BOOST_TEST(got.status == 200U);
    BOOST_TEST(got.attempts == 1U);
  }
  BOOST_TEST(state("k1").requests == 3U);
  BOOST_TEST(state("k1").failures == 0U);
  auto const shown = proxies.snapshot();
  BOOST_TEST((shown[0].resting && shown[1].resting && !shown[2].resting));
}

BOOST_AUTO_TEST_CASE(when_all_proxies_rest_it_does_not_go_direct) {
  add("k1");
  scripted_proxy closes{*this, drop};
  make_client({}, true);
  for (int i = 0; i < 2; ++i) {
    auto const got = send(post());
    BOOST_TEST((got.failure.who == rondo::blame::proxy));
    BOOST_TEST(got.attempts == 0U);
  }
  BOOST_TEST(seen.empty());
  BOOST_TEST(state("k1").requests == 0U);
  BOOST_TEST(state("k1").in_flight == 0U);
}

BOOST_AUTO_TEST_CASE(an_origin_that_no_proxy_reaches_rests_none_of_them) {
  add("k1");
  auto const unreachable = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
  scripted_proxy one{*this, unreachable};
  scripted_proxy two{*this, unreachable};
  make_client({}, true);
  auto const got = send(post());
  BOOST_TEST((got.failure.ec == error::origin_unreachable_via_proxy));
  BOOST_TEST((got.failure.who == rondo::blame::path));
  auto const shown = proxies.snapshot();
  BOOST_TEST((!shown[0].resting && !shown[1].resting));
}

BOOST_AUTO_TEST_CASE(a_proxy_that_fails_where_another_gets_through_is_to_blame) {
  add("k1");
  scripted_proxy lies{*this, "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"};
  scripted_proxy good{*this, tunnel};
  make_client({}, true);
  BOOST_TEST(send(post()).status == 200U);
  BOOST_TEST(proxies.snapshot()[0].resting);
}

BOOST_AUTO_TEST_SUITE_END()
