// SPDX-License-Identifier: BSL-1.0
#include "client_fixture.hpp"
#include <rondo/client.hpp>
#include <rondo/client_observer.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/test/unit_test.hpp>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

using namespace rondo::test;
using namespace std::chrono_literals;
using rondo::error;

namespace {

struct recorder final : rondo::client_observer {
  std::vector<std::string> lines;
  rondo::attempt_result last;

  void attempt_started(rondo::attempt_info const& a) noexcept override { lines.push_back("start " + text(a)); }
  void attempt_ended(rondo::attempt_info const& a, rondo::attempt_result const& r) noexcept override {
    lines.push_back("end " + text(a) + " status " + std::to_string(r.status) + " blame " +
                    std::to_string(static_cast<int>(r.who)) + (r.ec ? " failed" : ""));
    last = r;
  }
  static std::string text(rondo::attempt_info const& a) {
    return std::to_string(a.number) + " " + std::string{a.key_name} + "/" + std::string{a.proxy_name};
  }
};

std::string ended(unsigned number, std::string_view key, std::string_view proxy, unsigned status, rondo::blame who,
                  bool failed = false) {
  return "end " + std::to_string(number) + " " + std::string{key} + "/" + std::string{proxy} + " status " +
         std::to_string(status) + " blame " + std::to_string(static_cast<int>(who)) + (failed ? " failed" : "");
}

constexpr auto head_only = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n";
constexpr auto chunked_head_only = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

} // namespace

BOOST_FIXTURE_TEST_SUITE(client_repeats, client_fixture)

// --- before the first byte

BOOST_AUTO_TEST_CASE(an_answer_that_breaks_off_before_its_first_byte_is_repeated_when_that_is_safe) {
  for (auto const* const beginning : {head_only, chunked_head_only}) {
    keys = rondo::key_pool{context.get_executor(), {.clock = &clock, .seed = 1}};
    add("k1");
    add("k2");
    answers("k1", beginning);
    broken = {"secret-k1"};
    seen.clear();
    make_client();
    auto const got = send(get());
    BOOST_TEST(got.status == 200U);
    BOOST_TEST(got.body == "audio");
    BOOST_TEST(got.attempts == 2U);
    BOOST_TEST(state("k1").in_flight == 0U);
    BOOST_TEST(state("k1").failures == 1U);

    seen.clear();
    while (seen.empty() || seen.back() != "secret-k1") {
      auto const posted = send(post()); // it may have been carried out
      BOOST_TEST(posted.attempts == 1U);
      BOOST_TEST(posted.status == 200U);
      BOOST_TEST((seen.back() == "secret-k1") == static_cast<bool>(posted.failure.ec));
    }
  }
}

BOOST_AUTO_TEST_CASE(after_the_first_byte_nothing_is_repeated) {
  add("k1");
  add("k2");
  for (auto const* const key : {"k1", "k2"}) {
    answers(key, "HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nbeginning");
    broken.insert(std::string{"secret-"} + key);
  }
  make_client();
  auto const got = send(get());
  BOOST_TEST(got.status == 200U);
  BOOST_TEST(got.body == "beginning");
  BOOST_TEST((got.failure.ec == error::truncated_response));
  BOOST_TEST(seen.size() == 1U);
}

BOOST_AUTO_TEST_CASE(what_was_read_ahead_is_handed_out_in_order_and_settled) {
  add("k1");
  answers("k1", answer(200, std::string(5000, 'a') + std::string(5000, 'b'), "character-cost: 7\r\n"));
  make_client();
  auto const got = send(get());
  BOOST_TEST(got.body == std::string(5000, 'a') + std::string(5000, 'b'));
  BOOST_TEST(state("k1").character_count == 7);
  BOOST_TEST(state("k1").in_flight == 0U);
}

BOOST_AUTO_TEST_CASE(a_body_that_is_bad_from_the_start_fails_at_once_and_is_charged_where_it_may_have_cost) {
  add("k1");
  add("k2");
  for (auto const* const key : {"k1", "k2"}) {
    answers(key, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nno chunk at all\r\n");
  }
  make_client({.max_attempts = 2});
  auto const posted = send(post());
  BOOST_TEST((posted.failure.ec == error::bad_response));
  BOOST_TEST(posted.attempts == 1U);
  BOOST_TEST(state("k1").character_count + state("k2").character_count == 5); // what was reserved
  seen.clear();
  auto const got = send(get());
  BOOST_TEST((got.failure.ec == error::bad_response));
  BOOST_TEST(got.attempts == 2U);
  BOOST_TEST(state("k1").character_count + state("k2").character_count == 5);
  BOOST_TEST(state("k1").in_flight + state("k2").in_flight == 0U);
}

// --- what the provider wants, and the deadline

BOOST_AUTO_TEST_CASE(a_repeat_is_not_made_before_the_provider_wants_it) {
  add("k1");
  add("k2");
  int asked = 0;
  behaviour["secret-k1"] = behaviour["secret-k2"] = [&](std::string const&) {
    return ++asked == 1 ? answer(500, "oops", "retry-after-ms: 300\r\n") : answer(200, "ok");
  };
  make_client();
  auto const begun = std::chrono::steady_clock::now();
  auto const got = send(get());
  BOOST_TEST(got.status == 200U);
  BOOST_TEST(got.attempts == 2U);
  BOOST_TEST((std::chrono::steady_clock::now() - begun >= 300ms));
}

BOOST_AUTO_TEST_CASE(a_caller_who_goes_away_before_a_repeat_takes_no_other_key) {
  add("k1");
  add("k2");
  for (auto const* const key : {"k1", "k2"}) {
    answers(key, answer(500, "oops", "retry-after: 1\r\n"));
  }
  make_client();
  auto const got = send_and_leave(get(), [&] { return state("k1").failures + state("k2").failures > 0; });
  BOOST_TEST_REQUIRE(got.has_value());
  BOOST_TEST((got->failure.ec == asio::error::operation_aborted));
  BOOST_TEST(seen.size() == 1U);
  BOOST_TEST(state("k1").requests + state("k2").requests == 1U);
}

BOOST_AUTO_TEST_CASE(a_wait_beyond_the_deadline_is_not_begun) {
  add("k1");
  add("k2");
  answers("k1", answer(500, "oops", "retry-after: 3600\r\n"));
  answers("k2", answer(500, "oops", "retry-after: 3600\r\n"));
  make_client();
  auto const got = send(get());
  BOOST_TEST(got.status == 500U);
  BOOST_TEST(got.body == "oops");
  BOOST_TEST(got.attempts == 1U);
}

BOOST_AUTO_TEST_CASE(the_body_of_an_error_does_not_outlive_the_deadline) {
  add("k1");
  answers("k1", "HTTP/1.1 429 Too Many\r\ncontent-length: 100\r\n\r\n{");
  make_client({.deadline = 500ms});
  auto const got = send(post()); // between bytes it may take a minute
  BOOST_TEST((got.failure.ec == error::idle_timeout));
  BOOST_TEST(state("k1").in_flight == 0U);
  BOOST_TEST((state("k1").status == rondo::key_status::rate_limited));
}

// --- the budget

BOOST_AUTO_TEST_CASE(without_a_budget_an_outage_is_not_multiplied_but_keys_still_rotate) {
  for (auto const* name : {"k1", "k2", "k3", "k4"}) {
    add(name);
    answers(name, answer(500, "oops"));
  }
  make_client({.budget = {.share = 0.2, .floor = 2}});
  for (int i = 0; i < 20; ++i) {
    BOOST_TEST(send(get()).status == 500U);
  }
  BOOST_TEST(seen.size() == 20U + 2U + 4U); // the floor, and a fifth
  answers("k1", answer(401, invalid_key));
  answers("k2", answer(401, invalid_key));
  behaviour.erase("secret-k3");
  behaviour.erase("secret-k4");
  for (int i = 0; i < 4; ++i) {
    BOOST_TEST(send(get()).status == 200U);
  }
}

// --- two at once

BOOST_AUTO_TEST_CASE(a_second_attempt_overtakes_the_first) {
  add("k1", {.quota = 1000});
  add("k2");
  answers("k1", std::string{hang});
  make_client({.hedge_after = 200ms});
  auto const got = send(get("/v1/models"));
  BOOST_TEST(got.status == 200U);
  BOOST_TEST(got.key == "k2");
  BOOST_TEST(got.attempts == 2U);
  BOOST_TEST(seen.size() == 2U);
  BOOST_TEST(state("k1").in_flight == 0U);
  BOOST_TEST(state("k1").requests == 1U);
  BOOST_TEST((state("k1").status == rondo::key_status::active)); // to be slow is no fault
  BOOST_TEST(client->http_client().active_connections() == 0U);
}

BOOST_AUTO_TEST_CASE(there_is_no_second_attempt_without_need_or_where_it_would_do_harm) {
  add("k1");
  add("k2");
  make_client({.hedge_after = 10s});
  BOOST_TEST(send(get()).status == 200U);
  BOOST_TEST(seen.size() == 1U);
  seen.clear();
  answers("k1", std::string{hang});
  answers("k2", std::string{hang});
  make_client({.deadline = 1s, .hedge_after = 1ms});
  BOOST_TEST((send(post()).failure.ec == error::deadline_exceeded)); // a POST is not sent twice
  BOOST_TEST(seen.size() == 1U);
  seen.clear();
  BOOST_TEST((send(get()).failure.ec == error::deadline_exceeded));
  BOOST_TEST(seen.size() == 2U); // and no third
}

BOOST_AUTO_TEST_CASE(a_bad_second_answer_does_not_beat_the_first) {
  add("k1");
  add("k2");
  answers("k2", answer(500, "oops"));
  int asked = 0;
  behaviour["secret-k1"] = [&](std::string const&) { return ++asked == 1 ? std::string{hang} : answer(200, "ok"); };
  make_client({.deadline = 1s, .hedge_after = 1ms});
  auto const got = send(get());
  BOOST_TEST(got.attempts >= 2U);
  BOOST_TEST((got.status == 500U || got.failure.ec == error::deadline_exceeded));
  BOOST_TEST(state("k1").in_flight + state("k2").in_flight == 0U);
}

BOOST_AUTO_TEST_CASE(a_good_second_answer_counts_while_the_first_waits_to_be_repeated) {
  add("k1");
  add("k2");
  answers("k1", answer(500, "oops", "retry-after: 5\r\n"));
  while (keys.try_acquire(1).value().key_name() != "k2") { // the turn is at k1
  }
  make_client({.hedge_after = 1ms});
  auto const got = send(get());
  BOOST_TEST(got.status == 200U);
  BOOST_TEST(got.key == "k2");
  BOOST_TEST(seen.size() == 2U);
  BOOST_TEST(state("k1").in_flight + state("k2").in_flight == 0U);
}

BOOST_AUTO_TEST_CASE(a_caller_who_goes_away_ends_both) {
  add("k1");
  add("k2");
  answers("k1", std::string{hang});
  answers("k2", std::string{hang});
  make_client({.hedge_after = 1ms});
  send_and_leave(get(), [&] { return seen.size() == 2; });
  BOOST_TEST(state("k1").in_flight + state("k2").in_flight == 0U);
  BOOST_TEST(client->http_client().active_connections() == 0U);
}

BOOST_AUTO_TEST_CASE(the_second_attempt_goes_through_another_proxy) {
  add("k1");
  add("k2");
  scripted_proxy one{*this, tunnel};
  scripted_proxy two{*this, tunnel};
  answers("k1", std::string{hang});
  make_client({.hedge_after = 200ms}, true);
  auto const got = send(get());
  BOOST_TEST(got.status == 200U);
  BOOST_TEST(one.server.accepted() == 1U);
  BOOST_TEST(two.server.accepted() == 1U);
  for (auto const& each : proxies.snapshot()) {
    BOOST_TEST(!each.resting);
    BOOST_TEST(each.in_flight == 0U);
  }
}

// --- who watches

BOOST_AUTO_TEST_CASE(what_is_passed_on_for_a_caller_who_has_gone_is_no_attempt) {
  auto const watch = std::make_shared<recorder>();
  options.observer = watch;
  make_client();
  asio::cancellation_signal gone;
  std::optional<rondo::client::result> got;
  auto const asks = [&]() -> asio::awaitable<void> {
    co_await asio::this_coro::throw_if_cancelled(false);
    gone.emit(asio::cancellation_type::terminal);
    got = co_await client->pass(get());
  };
  auto over = false;
  asio::co_spawn(context, asks, asio::bind_cancellation_slot(gone.slot(), [&](std::exception_ptr) { over = true; }));
  context.restart();
  while (!over && context.run_one() > 0) {
  }
  BOOST_TEST_REQUIRE((got && !*got));
  BOOST_TEST((got->error().ec == asio::error::operation_aborted));
  BOOST_TEST(watch->lines.empty());
  BOOST_TEST(seen.empty());
}

BOOST_AUTO_TEST_CASE(every_attempt_is_told_with_whom_it_blames_and_no_secret) {
  add("k1");
  add("k2");
  scripted_proxy closes{*this, drop};
  scripted_proxy good{*this, tunnel};
  answers("k1", answer(401, invalid_key));
  auto const watch = std::make_shared<recorder>();
  options.observer = watch;
  make_client({}, true);
  BOOST_TEST(send(post()).status == 200U);
  std::vector<std::string> const expected{
      "start 1 k1/" + closes.name, ended(1, "k1", closes.name, 0, rondo::blame::proxy, true),
      "start 2 k1/" + good.name,   ended(2, "k1", good.name, 401, rondo::blame::pool),
      "start 3 k2/" + good.name,   ended(3, "k2", good.name, 200, rondo::blame::nobody)};
  BOOST_TEST(watch->lines == expected, boost::test_tools::per_element());
  for (auto const& line : watch->lines) {
    BOOST_TEST(line.find("secret") == std::string::npos);
    BOOST_TEST(line.find("password") == std::string::npos);
  }
  BOOST_TEST((watch->last.whole >= watch->last.acquire + watch->last.connect + watch->last.first_byte));
  BOOST_TEST((watch->last.first_byte > 0s));
}

BOOST_AUTO_TEST_CASE(a_stream_that_breaks_off_ends_its_attempt_with_a_fault) {
  add("k1");
  answers("k1", "HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nbeginning");
  broken.insert("secret-k1");
  auto const watch = std::make_shared<recorder>();
  options.observer = watch;
  make_client();
  BOOST_TEST((send(post()).failure.ec == error::truncated_response));
  BOOST_TEST(watch->lines.back() == ended(1, "k1", "", 200, rondo::blame::origin, true));
}

BOOST_AUTO_TEST_SUITE_END()
