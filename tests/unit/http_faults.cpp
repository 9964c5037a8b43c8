// SPDX-License-Identifier: BSL-1.0
// What a bad origin or a bad path can do to an exchange.
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include <chrono>
#include <string>

#include <support/http_fixture.hpp>

namespace {

using namespace std::chrono_literals;
using rondo::test::peer;
using rondo::test::scripted_server;
using rondo::test::asio::awaitable;
using verb = rondo::http::beast_http::verb;

rondo::http::exchange_options within(std::chrono::milliseconds deadline) {
  rondo::http::exchange_options options;
  options.deadline = std::chrono::steady_clock::now() + deadline;
  options.idle_timeout = 2s; // what should fail otherwise is found out soon
  return options;
}

/// Reads the request, writes `answer`, and ends the connection: orderly or with a reset.
scripted_server::script cut(std::string_view answer, bool reset = false) {
  return [answer, reset](peer& p) -> awaitable<void> {
    co_await p.read_request();
    co_await p.write(answer);
    if (reset) {
      p.reset();
    }
  };
}

scripted_server::script hang(std::string_view answer) {
  return [answer](peer& p) -> awaitable<void> {
    co_await p.read_request();
    co_await p.write(answer);
    co_await p.wait_for_close();
  };
}

struct fault_fixture : rondo::test::http_fixture {
  void expect(rondo::http::url const& to, rondo::http::exchange_options const& options, rondo::error e,
              rondo::blame who, bool written, std::string_view about = "") {
    auto const request = request_of(verb::post, "/", "{}");
    auto const got = run(client->send(to, request, options));
    BOOST_TEST((!got && got.error().ec == e), (got ? "an answer" : got.error().ec.message()) << " for " << about);
    if (!got) {
      BOOST_TEST((got.error().who == who), "blame for " << about);
      BOOST_TEST(got.error().written == written, "written for " << about);
    }
    BOOST_TEST(client->idle_connections() == 0, about);
    BOOST_TEST(client->active_connections() == 0, about);
  }
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(http_faults, fault_fixture)

BOOST_AUTO_TEST_CASE(the_connection_ends_at_every_byte) {
  using rondo::blame;
  using rondo::error;
  for (std::string const whole :
       {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"}) {
    for (std::size_t n = 0; n < whole.size(); ++n) {
      auto const part = whole.substr(0, n);
      scripted_server server{context, cut(part)};
      auto const to = url_of("http", "127.0.0.1", server.port());
      expect(to, {}, n == 0 ? error::connection_lost : error::truncated_response, n == 0 ? blame::path : blame::origin,
             true, part);
      BOOST_TEST(server.accepted() == 1); // a written POST is never repeated
    }
  }
}

BOOST_AUTO_TEST_CASE(the_connection_is_reset) {
  for (std::string_view const part : {"", "HTTP/1.1 200 OK\r\n"}) {
    scripted_server server{context, cut(part, true)};
    auto const to = url_of("http", "127.0.0.1", server.port());
    auto const request = request_of(verb::post, "/", "{}");
    auto const got = run(client->send(to, request));
    // a reset may overtake what was sent before it
    BOOST_TEST((!got && (got.error().ec == rondo::error::connection_lost ||
                         (!part.empty() && got.error().ec == rondo::error::truncated_response))));
    BOOST_TEST(client->idle_connections() == 0);
  }
}

BOOST_AUTO_TEST_CASE(no_answer_ends_at_the_deadline) {
  scripted_server server{context, hang("")};
  auto const to = url_of("http", "127.0.0.1", server.port());
  auto const begin = std::chrono::steady_clock::now();
  auto const options = within(60ms);
  expect(to, options, rondo::error::deadline_exceeded, rondo::blame::path, true);
  BOOST_TEST((std::chrono::steady_clock::now() >= begin + 60ms));
}

BOOST_AUTO_TEST_CASE(an_informational_answer_does_not_lift_the_deadline) {
  scripted_server server{context, [](peer& p) -> awaitable<void> {
                           co_await p.read_request();
                           co_await p.write(
                               "HTTP/1.1 102 Proc"); // in two pieces, so that the idle timeout was in force
                           boost::asio::steady_timer pause{p.socket().get_executor(), 10ms};
                           co_await pause.async_wait(boost::asio::use_awaitable);
                           co_await p.write("essing\r\n\r\n");
                           co_await p.wait_for_close();
                         }};
  auto const to = url_of("http", "127.0.0.1", server.port());
  expect(to, within(60ms), rondo::error::deadline_exceeded, rondo::blame::path, true);
}

BOOST_AUTO_TEST_CASE(a_deadline_that_has_passed_does_nothing) {
  scripted_server server{context, hang("")};
  auto const to = url_of("http", "127.0.0.1", server.port());
  expect(to, within(0ms), rondo::error::deadline_exceeded, rondo::blame::path, false);
  BOOST_TEST(server.accepted() == 0);
}

BOOST_AUTO_TEST_CASE(the_deadline_counts_while_the_body_is_not_taken) {
  scripted_server server{context, [](peer& p) -> awaitable<void> {
                           co_await p.read_until("\r\n\r\n"); // and not a byte more
                           co_await p.socket().async_wait(boost::asio::socket_base::wait_error,
                                                          boost::asio::use_awaitable);
                         }};
  auto const to = url_of("http", "127.0.0.1", server.port());
  auto const request = request_of(verb::put, "/", std::string(20'000'000, 'x'));
  auto const options = within(100ms);
  auto const got = run(client->send(to, request, options));
  BOOST_TEST((!got && got.error().ec == rondo::error::deadline_exceeded && got.error().written));
}

BOOST_AUTO_TEST_CASE(silence_after_the_first_byte_ends_at_the_idle_timeout) {
  for (std::string_view const part : {"H", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
                                      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"}) {
    scripted_server server{context, hang(part)};
    auto const to = url_of("http", "127.0.0.1", server.port());
    auto options = within(20s);
    options.idle_timeout = 60ms;
    expect(to, options, rondo::error::idle_timeout, rondo::blame::path, true, part);
  }
}

BOOST_AUTO_TEST_CASE(a_head_byte_by_byte_does_not_outlast_the_idle_timeout) {
  scripted_server server{context, [](peer& p) -> awaitable<void> {
                           co_await p.read_request();
                           co_await p.write("HTTP/1.1 200 OK\r\nA: ");
                           boost::asio::steady_timer pause{p.socket().get_executor()};
                           for (;;) {
                             pause.expires_after(5ms);
                             co_await pause.async_wait(boost::asio::use_awaitable);
                             co_await p.write("x");
                           }
                         }};
  auto const to = url_of("http", "127.0.0.1", server.port());
  auto options = within(20s);
  options.idle_timeout = 100ms;
  expect(to, options, rondo::error::idle_timeout, rondo::blame::path, true);
}

BOOST_AUTO_TEST_CASE(a_slow_body_outlasts_the_deadline) {
  scripted_server server{context, [](peer& p) -> awaitable<void> {
                           co_await p.read_request();
                           co_await p.write("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n");
                           boost::asio::steady_timer pause{p.socket().get_executor()};
                           for (auto i = 0; i < 20; ++i) {
                             pause.expires_after(10ms);
                             co_await pause.async_wait(boost::asio::use_awaitable);
                             co_await p.write("x");
                           }
                           co_await p.wait_for_close();
                         }};
  auto const to = url_of("http", "127.0.0.1", server.port());
  auto const request = request_of(verb::get);
  auto options = within(20s);
  auto opened = run(client->open(to, request, {}, options));
  BOOST_REQUIRE(opened);
  auto const got = run(client->send(to, request));
  BOOST_TEST((got && got->body().size() == 20U));
}

BOOST_AUTO_TEST_CASE(what_is_no_answer) {
  auto const zeros = std::string_view{"HTTP/1.1 200 OK\r\nA: \0\r\n\r\n", 24};
  for (std::string_view const answer :
       {std::string_view{"SSH-2.0-OpenSSH\r\n\r\n"},
        std::string_view{"HTTP/2 200 OK\r\n\r\n"},
        std::string_view{"HTTP/1.2 200 OK\r\n\r\n"},
        std::string_view{"HTTP/1.1 000 OK\r\n\r\n"},
        std::string_view{"HTTP/1.1 099 OK\r\n\r\n"},
        std::string_view{"HTTP/1.1 600 OK\r\n\r\n"},
        std::string_view{"HTTP/1.1 999 OK\r\n\r\n"},
        std::string_view{"HTTP/1.1 2x0 OK\r\n\r\n"},
        std::string_view{"HTTP/1.1 101 Switching Protocols\r\n\r\n"},
        std::string_view{"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
        std::string_view{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
        std::string_view{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"},
        std::string_view{"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello"},
        std::string_view{"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nhello"},
        std::string_view{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"},
        std::string_view{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcXY\r\n0\r\n\r\n"},
        std::string_view{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n"},
        std::string_view{"HTTP/1.1 200 OK\r\nna me: x\r\n\r\n"},
        std::string_view{"HTTP/1.1 200 OK\r\nname\r\n\r\n"},
        zeros}) {
    scripted_server server{context, hang(answer)};
    auto const to = url_of("http", "127.0.0.1", server.port());
    expect(to, within(20s), rondo::error::bad_response, rondo::blame::origin, true, answer);
  }
  std::string informational;
  for (auto i = 0; i < 17; ++i) {
    informational += "HTTP/1.1 100 Continue\r\n\r\n";
  }
  scripted_server server{context, hang(informational)};
  auto const to = url_of("http", "127.0.0.1", server.port());
  expect(to, within(20s), rondo::error::bad_response, rondo::blame::origin, true);
}

BOOST_AUTO_TEST_CASE(heads_have_a_largest_size) {
  auto const tail = std::string{"\r\nContent-Length: 0\r\n\r\n"};
  auto const begin = std::string{"HTTP/1.1 200 OK\r\nA: "};
  auto const room = 64 * 1024 - begin.size() - tail.size();
  auto const fits = begin + std::string(room, 'x') + tail;
  {
    scripted_server server{context, hang(fits)};
    auto const to = url_of("http", "127.0.0.1", server.port());
    auto const request = request_of(verb::get);
    BOOST_TEST(run(client->send(to, request, within(20s))).has_value());
    client->close_idle();
  }
  std::string many = "HTTP/1.1 200 OK\r\n";
  for (auto i = 0; i < 300; ++i) {
    many += "A: b\r\n";
  }
  std::string in_parts = "HTTP/1.1 200 OK\r\n";
  while (in_parts.size() <= 66 * 1024) {
    in_parts += "A: " + std::string(1000, 'x') + "\r\n";
  }
  for (auto const& answer : {begin + "x" + std::string(room, 'x') + tail, begin + std::string(100'000, 'x'),
                             "HTTP/1.1 200 " + std::string(100'000, 'x'), many + "\r\n", in_parts + "\r\n"}) {
    scripted_server server{context, hang(answer)};
    auto const to = url_of("http", "127.0.0.1", server.port());
    expect(to, within(20s), rondo::error::response_head_too_large, rondo::blame::origin, true, answer.substr(0, 40));
  }
}

BOOST_AUTO_TEST_CASE(a_chunk_header_without_end) {
  auto const answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;" + std::string(200'000, 'x');
  scripted_server server{context, hang(answer)};
  auto const to = url_of("http", "127.0.0.1", server.port());
  expect(to, within(20s), rondo::error::bad_response, rondo::blame::origin, true);
}

BOOST_AUTO_TEST_CASE(nobody_listens) {
  auto const to = [&] {
    scripted_server const gone{context, hang("")};
    return url_of("http", "127.0.0.1", gone.port());
  }();
  expect(to, {}, rondo::error::connect_failed, rondo::blame::origin, false);
}

BOOST_AUTO_TEST_CASE(a_name_that_cannot_exist) {
  // longer than a label may be: fails without asking anybody
  auto const to = url_of("https", std::string(64, 'a'), 443);
  expect(to, {}, rondo::error::resolve_failed, rondo::blame::origin, false);
}

BOOST_AUTO_TEST_CASE(a_server_that_never_says_hello) {
  scripted_server server{context, [](peer& p) -> awaitable<void> { co_await p.wait_for_close(); }};
  auto const to = url_of("https", "localhost", server.port());
  rondo::http::exchange_options options;
  options.connect_timeout = 60ms;
  expect(to, options, rondo::error::connect_timeout, rondo::blame::origin, false);
  options = within(60ms);
  expect(to, options, rondo::error::deadline_exceeded, rondo::blame::path, false);
}

BOOST_AUTO_TEST_CASE(a_server_that_speaks_no_tls) {
  for (auto const* const hello : {"", "HTTP/1.1 400 Bad Request\r\n\r\n"}) {
    scripted_server server{context, [hello](peer& p) -> awaitable<void> {
                             co_await p.more();
                             co_await p.write(hello);
                           }};
    auto const to = url_of("https", "localhost", server.port());
    expect(to, {}, rondo::error::tls_handshake_failed, rondo::blame::origin, false);
  }
}

BOOST_AUTO_TEST_SUITE_END()
