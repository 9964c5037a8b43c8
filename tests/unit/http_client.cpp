// SPDX-License-Identifier: BSL-1.0
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include <support/http_fixture.hpp>

namespace {

using namespace std::chrono_literals;
using rondo::http::body_source;
using rondo::test::ok;
using rondo::test::peer;
using rondo::test::scripted_server;
using rondo::test::asio::awaitable;
using verb = rondo::http::beast_http::verb;

/// Answers every request of a connection with the same bytes.
scripted_server::script always(std::string_view answer, std::string* seen = nullptr) {
  return [answer, seen](peer& p) -> awaitable<void> {
    for (;;) {
      auto const request = co_await p.read_request();
      if (seen != nullptr) {
        *seen += request;
      }
      co_await p.write(answer);
    }
  };
}

/// A source that gives `pieces` one after the other.
body_source source_of(std::vector<std::string> pieces, std::optional<std::uint64_t> size) {
  auto const left = std::make_shared<std::vector<std::string>>(std::move(pieces));
  auto read = [left](boost::asio::mutable_buffer space) -> awaitable<std::size_t> {
    if (left->empty()) {
      co_return 0;
    }
    auto& piece = left->front();
    auto const n = std::min(piece.size(), space.size());
    std::memcpy(space.data(), piece.data(), n);
    piece.erase(0, n);
    if (piece.empty()) {
      left->erase(left->begin());
    }
    co_return n;
  };
  return {size, std::move(read)};
}

/// The whole body of an answer, read in pieces of at most `step` bytes.
awaitable<std::string> read_all(rondo::http::incoming& answer, std::size_t step) {
  std::string out;
  std::string piece(step, '\0');
  for (;;) {
    auto const [ec, n] = co_await answer.read(boost::asio::buffer(piece));
    if (ec) {
      throw boost::system::system_error{ec};
    }
    if (n == 0) {
      co_return out;
    }
    out.append(piece, 0, n);
  }
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(http_client, rondo::test::http_fixture)

BOOST_AUTO_TEST_CASE(a_request_and_its_answer) {
  std::string seen;
  scripted_server server{context, always(ok, &seen)};
  auto const to = url_of("http", "127.0.0.1", server.port());
  auto const request = request_of(verb::post, "/v1/x?y=z", "{}");
  auto const answer = run(client->send(to, request));
  BOOST_REQUIRE(answer);
  BOOST_TEST(answer->body() == "hello");
  BOOST_TEST(answer->result_int() == 200);
  BOOST_TEST(seen == "POST /v1/x?y=z HTTP/1.1\r\nHost: 127.0.0.1:" + std::to_string(server.port()) +
                         "\r\nContent-Length: 2\r\n\r\n{}");
  BOOST_TEST(client->idle_connections() == 1);
  BOOST_TEST(client->active_connections() == 0);
}

BOOST_AUTO_TEST_CASE(the_url_has_the_target_when_the_head_has_none) {
  std::string seen;
  scripted_server server{context, always(ok, &seen)};
  auto const to = url_of("http", "localhost", server.port(), "/from/url?a=b");
  auto const request = request_of(verb::get, "");
  BOOST_REQUIRE(run(client->send(to, request)));
  BOOST_TEST(seen.starts_with("GET /from/url?a=b HTTP/1.1\r\n"));
  BOOST_TEST(seen.find("Content-Length") == std::string::npos);
}

BOOST_AUTO_TEST_CASE(head_and_small_body_leave_in_one_piece) {
  std::size_t first = 0;
  scripted_server server{context, [&](peer& p) -> awaitable<void> {
                           char bytes[4096];
                           auto const space = boost::asio::buffer(bytes);
                           first = co_await p.socket().async_read_some(space, boost::asio::use_awaitable);
                           co_await p.write(ok);
                         }};
  auto const to = url_of("http", "127.0.0.1", server.port());
  auto const request = request_of(verb::post, "/", std::string(1000, 'x'));
  BOOST_REQUIRE(run(client->send(to, request)));
  BOOST_TEST(first > 1000);
}

BOOST_AUTO_TEST_CASE(a_large_body_arrives_whole) {
  std::string seen;
  scripted_server server{context, always(ok, &seen)};
  auto const to = url_of("http", "127.0.0.1", server.port());
  std::string body(3'000'000, 'x');
  for (std::size_t i = 0; i < body.size(); i += 997) {
    body[i] = static_cast<char>('a' + i % 26);
  }
  auto const request = request_of(verb::put, "/", body);
  BOOST_REQUIRE(run(client->send(to, request)));
  BOOST_TEST((seen.substr(seen.find("\r\n\r\n") + 4) == body));
}

BOOST_AUTO_TEST_CASE(an_empty_post_says_so) {
  std::string seen;
  scripted_server server{context, always(ok, &seen)};
  auto const to = url_of("http", "127.0.0.1", server.port());
  auto const request = request_of(verb::post);
  BOOST_REQUIRE(run(client->send(to, request)));
  BOOST_TEST(seen.find("Content-Length: 0\r\n") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(bodies_of_every_framing_are_read_in_pieces_of_every_size) {
  struct framing {
    std::string_view answer;
    bool kept;
  };
  for (auto const& [answer, kept] :
       {framing{"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world", true},
        framing{
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;x=y\r\n \r\n005\r\nworld\r\n0\r\nT: "
            "railer\r\n\r\n",
            true},
        framing{"HTTP/1.1 200 OK\r\n\r\nhello world", false}, framing{"HTTP/1.0 200 OK\r\n\r\nhello world", false},
        framing{"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 11\r\n\r\nhello world", true},
        framing{"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 11\r\n\r\nhello world", false}}) {
    for (std::size_t const step : {1, 3, 4096}) {
      for (auto const byte_by_byte : {false, true}) {
        scripted_server server{context, [&, byte_by_byte](peer& p) -> awaitable<void> {
                                 co_await p.read_request();
                                 for (std::size_t i = 0; i < answer.size(); ++i) {
                                   auto const piece = byte_by_byte ? answer.substr(i, 1) : answer;
                                   co_await p.write(piece);
                                   co_await boost::asio::post(boost::asio::use_awaitable);
                                   if (!byte_by_byte) {
                                     break;
                                   }
                                 }
                                 if (kept) {
                                   co_await p.wait_for_close();
                                 }
                               }};
        auto const to = url_of("http", "127.0.0.1", server.port());
        auto const request = request_of(verb::get);
        auto opened = run(client->open(to, request));
        BOOST_REQUIRE(opened);
        BOOST_TEST(run(read_all(*opened, step)) == "hello world");
        BOOST_TEST(opened->done());
        BOOST_TEST(client->idle_connections() == (kept ? 1U : 0U), answer);
        auto const again = run(read_all(*opened, step));
        BOOST_TEST(again.empty());
        client->close_idle();
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(answers_without_a_body) {
  struct shape {
    verb method;
    std::string_view answer;
    bool kept;
  };
  for (auto const& [method, answer, kept] :
       {shape{verb::head, "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", true},
        shape{verb::get, "HTTP/1.1 204 No Content\r\n\r\n", true},
        shape{verb::get, "HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", true},
        shape{verb::get, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true},
        // the bytes of such a body would be taken for the next answer
        shape{verb::get, "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", false},
        shape{verb::get, "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", false},
        shape{verb::get, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n", false}}) {
    scripted_server server{context, always(answer)};
    auto const to = url_of("http", "127.0.0.1", server.port());
    auto const request = request_of(method);
    auto const got = run(client->send(to, request));
    BOOST_TEST_REQUIRE(got.has_value(), answer);
    BOOST_TEST(got->body().empty());
    BOOST_TEST(client->idle_connections() == (kept ? 1U : 0U), answer);
    client->close_idle();
  }
}

BOOST_AUTO_TEST_CASE(informational_answers_are_skipped) {
  scripted_server server{context, always("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
                                         "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")};
  auto const to = url_of("http", "127.0.0.1", server.port());
  auto const request = request_of(verb::get);
  auto const got = run(client->send(to, request));
  BOOST_REQUIRE(got);
  BOOST_TEST(got->result_int() == 200);
  BOOST_TEST(got->count("link") == 0U);
  BOOST_TEST(got->body() == "ok");
}

BOOST_AUTO_TEST_CASE(a_body_of_known_length_is_streamed_out) {
  std::string seen;
  scripted_server server{context, always(ok, &seen)};
  auto const to = url_of("http", "127.0.0.1", server.port());
  auto const head = request_of(verb::post);
  auto const big = std::string(40'000, 'b');
  auto const source = source_of({"abc", big, "def"}, 40'006);
  BOOST_REQUIRE(run(client->open(to, head, source)));
  BOOST_TEST(seen.find("Content-Length: 40006\r\n") != std::string::npos);
  BOOST_TEST((seen.substr(seen.find("\r\n\r\n") + 4) == "abc" + big + "def"));
}

BOOST_AUTO_TEST_CASE(a_body_of_unknown_length_goes_out_in_chunks) {
  std::string seen;
  scripted_server server{context, [&](peer& p) -> awaitable<void> {
                           seen = co_await p.read_until("0\r\n\r\n");
                           co_await p.write(ok);
                         }};
  auto const to = url_of("http", "127.0.0.1", server.port());
  auto const head = request_of(verb::post);
  auto const source = source_of({"abc", "defg"}, {});
  BOOST_REQUIRE(run(client->open(to, head, source)));
  BOOST_TEST(seen.ends_with("Transfer-Encoding: chunked\r\n\r\n0003\r\nabc\r\n0004\r\ndefg\r\n0\r\n\r\n"));
}

BOOST_AUTO_TEST_CASE(a_body_waits_for_leave_when_it_was_announced) {
  // what the server says to the head, and whether the body is sent then
  struct reaction {
    std::string_view words;
    bool body;
    unsigned status;
    bool kept;
  };
  for (auto const& [words, body, status, kept] :
       {reaction{"HTTP/1.1 100 Continue\r\n\r\n", true, 200, true},
        reaction{"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n", true, 200, true},
        reaction{"", true, 200, true}, // says nothing
        reaction{"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno", false, 417, false},
        reaction{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno", false, 200, false}}) {
    for (auto const size : {std::optional<std::uint64_t>{6}, std::optional<std::uint64_t>{}}) {
      std::string head;
      std::string rest;
      scripted_server server{context, [&](peer& p) -> awaitable<void> {
                               head = co_await p.read_until("\r\n\r\n");
                               co_await p.write(words);
                               if (body) {
                                 rest = co_await p.read_until(size ? "abcdef" : "0\r\n\r\n");
                                 co_await p.write(ok);
                               }
                               for (auto open = true; open;) {
                                 open = co_await p.more();
                               }
                               rest += co_await p.read_exactly(0);
                             }};
      auto const to = url_of("http", "127.0.0.1", server.port());
      auto const request = request_of(verb::post);
      auto read = 0;
      auto const plain = source_of({"abc", "def"}, size);
      body_source const source{size, [&](boost::asio::mutable_buffer space) {
                                 ++read;
                                 return plain.read(space);
                               }};
      rondo::http::exchange_options options;
      options.expect_continue = words.empty() ? 10ms : 10s;
      auto told = 0;
      options.on_sent = [&] { ++told; };
      auto opened = run(client->open(to, request, source, options));
      BOOST_TEST_REQUIRE(opened.has_value(), opened.error().ec.message());
      BOOST_TEST(head.find("\r\nExpect: 100-continue\r\n") != std::string::npos);
      BOOST_TEST(opened->status() == status);
      BOOST_TEST((read > 0) == body);
      BOOST_TEST(told == (body ? 1 : 0));
      BOOST_TEST(run(read_all(*opened, 100)) == (body ? "hello" : "no"));
      BOOST_TEST(client->idle_connections() == (kept ? 1U : 0U));
      client->close_idle();
      settle();
      BOOST_TEST(rest == (!body ? "" : size ? "abcdef" : "0003\r\nabc\r\n0003\r\ndef\r\n0\r\n\r\n"));
    }
  }
}

BOOST_AUTO_TEST_CASE(nothing_is_announced_that_is_not_there) {
  std::string seen;
  scripted_server server{context, always(ok, &seen)};
  auto const to = url_of("http", "127.0.0.1", server.port());
  rondo::http::exchange_options options;
  options.expect_continue = 1h;
  auto request = request_of(verb::post);
  auto const empty = source_of({}, 0);
  BOOST_TEST(run(client->open(to, request, empty, options)).has_value());
  request = request_of(verb::post, "/", "in memory");
  BOOST_TEST(run(client->send(to, request, options)).has_value());
  request.set("Expect", "100-continue");
  BOOST_TEST(run(client->send(to, request)).has_value());
  BOOST_TEST(seen.find("Expect") == std::string::npos);
}

BOOST_AUTO_TEST_CASE(waiting_for_leave_ends_with_the_connection_and_the_deadline) {
  auto closes = true;
  scripted_server server{context, [&](peer& p) -> awaitable<void> {
                           co_await p.read_until("\r\n\r\n");
                           if (!closes) {
                             co_await p.wait_for_close();
                           }
                         }};
  auto const to = url_of("http", "127.0.0.1", server.port());
  auto const request = request_of(verb::post);
  auto const source = source_of({"abc"}, 3);
  rondo::http::exchange_options options;
  options.expect_continue = 1h;
  auto got = run(client->open(to, request, source, options));
  BOOST_TEST((!got && got.error().ec == rondo::error::connection_lost && got.error().written));
  closes = false;
  options.deadline = std::chrono::steady_clock::now() + 500ms;
  got = run(client->open(to, request, source, options));
  BOOST_TEST((!got && got.error().ec == rondo::error::deadline_exceeded && got.error().written));
  BOOST_TEST(client->active_connections() == 0);
}

BOOST_AUTO_TEST_CASE(an_announced_body_survives_a_stale_connection) {
  std::string seen;
  scripted_server server{context, [&](peer& p) -> awaitable<void> {
                           co_await p.read_request();
                           co_await p.write(p.number() == 0 ? ok : "HTTP/1.1 100 Continue\r\n\r\n");
                           seen = co_await p.read_until(p.number() == 0 ? "\r\n\r\n" : "abc");
                           if (p.number() > 0) {
                             co_await p.write(ok);
                             co_await p.wait_for_close();
                           }
                         }};
  auto const to = url_of("http", "127.0.0.1", server.port());
  BOOST_TEST(run(client->send(to, request_of(verb::get))).has_value());
  auto const request = request_of(verb::put);
  auto const source = source_of({"abc"}, {});
  rondo::http::exchange_options options;
  options.expect_continue = std::chrono::steady_clock::duration::max(); // leave must be given
  options.deadline = std::chrono::steady_clock::now() + 30s;
  BOOST_TEST(run(client->open(to, request, source, options)).has_value());
  BOOST_TEST(seen == "0003\r\nabc");
  BOOST_TEST(server.accepted() == 2);
}

BOOST_AUTO_TEST_CASE(trailers_are_there_after_the_end) {
  scripted_server server{context,
                         always("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nA: head\r\n\r\n5\r\nhello\r\n"
                                "0\r\nA: tail\r\nX-Cost: 17\r\n\r\n")};
  auto const to = url_of("http", "127.0.0.1", server.port());
  auto const request = request_of(verb::get);
  for (auto i = 0; i < 2; ++i) {
    auto opened = run(client->open(to, request));
    BOOST_REQUIRE(opened);
    BOOST_TEST((opened->trailers().begin() == opened->trailers().end()));
    BOOST_TEST(run(read_all(*opened, 3)) == "hello");
    auto const moved = std::move(*opened);
    BOOST_TEST(moved.trailers().at("x-cost") == "17");
    BOOST_TEST(moved.trailers().at("a") == "tail");
    BOOST_TEST(moved.head().at("a") == "head");
    BOOST_TEST(moved.head().count("x-cost") == 0U);
  }
  BOOST_TEST(server.accepted() == 1);
}

BOOST_AUTO_TEST_CASE(a_field_longer_than_any_message_can_hold_is_refused) {
  rondo::http::client_options options;
  options.max_head = 1024 * 1024;
  use_client(options);
  std::string const chunked = "Transfer-Encoding: chunked\r\n";
  for (std::size_t const size : {65'533, 65'534, 100'000}) {
    auto const field = "A: " + std::string(size, 'x') + "\r\n";
    auto const in_head = "HTTP/1.1 200 OK\r\n" + chunked + field + "\r\n5\r\nhello\r\n0\r\n\r\n";
    auto const in_trailers = "HTTP/1.1 200 OK\r\n" + chunked + "\r\n5\r\nhello\r\n0\r\n" + field + "\r\n";
    for (auto const& answer : {in_head, in_trailers}) {
      scripted_server server{context, always(answer)};
      auto const got = run(client->send(url_of("http", "127.0.0.1", server.port()), request_of(verb::get)));
      if (size <= 65'533) {
        BOOST_TEST((got && got->body() == "hello"));
      } else {
        BOOST_TEST((!got && got.error().ec == (answer == in_head ? rondo::error::response_head_too_large
                                                                 : rondo::error::bad_response)));
      }
      client->close_idle();
    }
  }
}

BOOST_AUTO_TEST_CASE(a_source_that_does_not_keep_its_promise_is_the_callers_fault) {
  scripted_server server{context, always(ok)};
  auto const to = url_of("http", "127.0.0.1", server.port());
  auto const head = request_of(verb::post);
  auto const source = source_of({"abc"}, 4);
  auto const got = run(client->open(to, head, source));
  BOOST_TEST((!got && got.error().ec == rondo::error::invalid_argument));
  BOOST_TEST(client->idle_connections() == 0);
}

BOOST_AUTO_TEST_CASE(what_a_source_throws_comes_out) {
  scripted_server server{context, always(ok)};
  auto const to = url_of("http", "127.0.0.1", server.port());
  auto const head = request_of(verb::post);
  auto read = [](boost::asio::mutable_buffer) -> awaitable<std::size_t> {
    throw std::runtime_error{"the disk is gone"};
    co_return 0;
  };
  body_source const source{{}, std::move(read)};
  BOOST_CHECK_THROW(run(client->open(to, head, source)), std::runtime_error);
  BOOST_TEST(client->active_connections() == 0);
  BOOST_TEST(client->idle_connections() == 0);
}

BOOST_AUTO_TEST_CASE(the_deadline_ends_a_source_that_hangs) {
  scripted_server server{context, always(ok)};
  auto const to = url_of("http", "127.0.0.1", server.port());
  auto const head = request_of(verb::post);
  auto read = [](boost::asio::mutable_buffer) -> awaitable<std::size_t> {
    auto const executor = co_await boost::asio::this_coro::executor;
    boost::asio::steady_timer never{executor, rondo::steady_time::max()};
    co_await never.async_wait(boost::asio::use_awaitable);
    co_return 0;
  };
  body_source const source{{}, std::move(read)};
  rondo::http::exchange_options options;
  options.deadline = std::chrono::steady_clock::now() + 50ms;
  auto const got = run(client->open(to, head, source, options));
  BOOST_TEST((!got && got.error().ec == rondo::error::deadline_exceeded));
}

BOOST_AUTO_TEST_CASE(nothing_is_read_that_was_not_asked_for) {
  std::size_t sent = 0;
  scripted_server server{context, [&](peer& p) -> awaitable<void> {
                           co_await p.read_request();
                           co_await p.write("HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n");
                           auto const piece = std::string(100'000, 'x');
                           for (auto i = 0; i < 500; ++i) {
                             co_await p.write(piece);
                             sent += piece.size();
                           }
                           co_await p.wait_for_close();
                         }};
  auto const to = url_of("http", "127.0.0.1", server.port());
  auto const request = request_of(verb::get);
  auto opened = run(client->open(to, request));
  BOOST_REQUIRE(opened);
  settle();
  BOOST_TEST(sent < 20'000'000); // what fits into the buffers of the system
  BOOST_TEST(run(read_all(*opened, 65536)).size() == 50'000'000U);
  settle();
  BOOST_TEST(sent == 50'000'000U);
  BOOST_TEST(client->idle_connections() == 1);
}

BOOST_AUTO_TEST_CASE(an_answer_that_comes_before_the_body_was_sent_is_given) {
  scripted_server server{context, [](peer& p) -> awaitable<void> {
                           co_await p.read_until("\r\n\r\n");
                           co_await p.write("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno");
                           co_await p.wait_for_close();
                         }};
  auto const to = url_of("http", "127.0.0.1", server.port());
  auto const request = request_of(verb::post, "/", std::string(3'000'000, 'x'));
  auto const got = run(client->send(to, request));
  BOOST_REQUIRE(got);
  BOOST_TEST(got->result_int() == 413);
}

BOOST_AUTO_TEST_CASE(bodies_have_a_largest_size) {
  for (auto const* const answer :
       {"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nhello world\r\n0\r\n\r\n"}) {
    scripted_server server{context, always(answer)};
    auto const to = url_of("http", "127.0.0.1", server.port());
    auto const request = request_of(verb::get);
    rondo::http::exchange_options options;
    options.max_body = 11;
    BOOST_TEST(run(client->send(to, request, options)).has_value());
    client->close_idle();
    options.max_body = 10;
    auto const got = run(client->send(to, request, options));
    BOOST_TEST((!got && got.error().ec == rondo::error::response_too_large && got.error().written));
    BOOST_TEST(client->idle_connections() == 0);
  }
  scripted_server server{context, always("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n")};
  rondo::http::exchange_options options;
  options.max_body = 10;
  auto const to = url_of("http", "127.0.0.1", server.port());
  auto const request = request_of(verb::head); // is told a length, and gets nothing
  BOOST_TEST(run(client->send(to, request, options)).has_value());
  BOOST_TEST(client->idle_connections() == 1);
}

BOOST_AUTO_TEST_CASE(what_may_not_be_sent_is_refused_before_anything_happens) {
  scripted_server server{context, always(ok)};
  auto const to = url_of("http", "127.0.0.1", server.port());
  auto const refused = [&](rondo::http::url const& where, rondo::http::request const& what,
                           rondo::http::exchange_options const& how, rondo::error e) {
    auto const got = run(client->send(where, what, how));
    BOOST_TEST((!got && got.error().ec == e && got.error().who == rondo::blame::caller && !got.error().written),
               (got ? "sent" : got.error().ec.message()));
  };
  auto request = request_of(verb::get);
  request.set("xi-api-key", "sk\r\nX-Injected: 1");
  refused(to, request, {}, rondo::error::invalid_header);
  refused(to, request_of(verb::get, "/a b"), {}, rondo::error::invalid_header);
  refused(url_of("http", "api.example.com", 80), request_of(verb::get), {}, rondo::error::plaintext_refused);
  // a loopback origin of a distant proxy is not on this machine
  rondo::http::exchange_options distant;
  distant.via = std::make_shared<rondo::http::proxy const>(rondo::http::parse_proxy("http://proxy.example:1").value());
  refused(to, request_of(verb::get), distant, rondo::error::plaintext_refused);

  rondo::http::exchange_options broken;
  rondo::http::proxy via;
  via.kind = rondo::http::proxy_kind::http;
  via.host = "127.0.0.1";
  via.port = server.port();
  via.has_credentials = true;
  via.user = "a\r\nb";
  broken.via = std::make_shared<rondo::http::proxy const>(via);
  refused(to, request_of(verb::get), broken, rondo::error::invalid_credentials);
  via.kind = rondo::http::proxy_kind::socks5h;
  via.has_credentials = false;
  via.user = "";
  broken.via = std::make_shared<rondo::http::proxy const>(via);
  refused(url_of("https", std::string(256, 'a'), 443), request_of(verb::get), broken, rondo::error::name_too_long);
  BOOST_TEST(server.accepted() == 0);
}

BOOST_AUTO_TEST_CASE(the_end_of_sending_is_told_once) {
  auto told = 0;
  scripted_server server{context, [&](peer& p) -> awaitable<void> {
                           co_await p.read_request();
                           co_await p.write(ok);
                           co_await p.wait_for_close();
                         }};
  auto const to = url_of("http", "127.0.0.1", server.port());
  auto const request = request_of(verb::get);
  rondo::http::exchange_options options;
  options.on_sent = [&] { ++told; };
  BOOST_REQUIRE(run(client->send(to, request, options)));
  BOOST_TEST(told == 1);
}

BOOST_AUTO_TEST_CASE(any_completion_token_will_do) {
  scripted_server server{context, always(ok)};
  auto const to = url_of("http", "127.0.0.1", server.port());
  auto const strand = boost::asio::make_strand(context);
  auto called = 0;
  client->async_send(to, request_of(verb::get), {},
                     boost::asio::bind_executor(strand, [&](rondo::error_code ec, rondo::http::response answer) {
                       BOOST_TEST(!ec);
                       BOOST_TEST(strand.running_in_this_thread());
                       BOOST_TEST(answer.body() == "hello");
                       ++called;
                     }));
  auto deferred = client->async_open(to, request_of(verb::get), {}, {});
  BOOST_TEST(called == 0); // never from within the initiating function
  std::move(deferred)([&](rondo::error_code ec, rondo::http::incoming answer) {
    BOOST_TEST(!ec);
    BOOST_TEST(answer.status() == 200U);
    ++called;
  });
  client->async_send(url_of("http", "example.com", 80), request_of(verb::get), {},
                     [&](rondo::error_code ec, rondo::http::response const&) {
                       BOOST_TEST((ec == rondo::error::plaintext_refused));
                       ++called;
                     });
  context.restart();
  while (called < 3 && context.run_one() > 0) {
  }
  BOOST_TEST(called == 3);
}

BOOST_AUTO_TEST_CASE(an_idle_client_does_not_keep_its_context_running) {
  {
    scripted_server server{context, always(ok)};
    auto const to = url_of("http", "127.0.0.1", server.port());
    auto const request = request_of(verb::get);
    rondo::http::exchange_options patient;
    patient.connect_timeout = 1h;
    patient.deadline = std::chrono::steady_clock::now() + 1h;
    BOOST_REQUIRE(run(client->send(to, request, patient)));
  }
  BOOST_TEST(client->idle_connections() == 1);
  context.restart();
  context.run(); // comes back although the client and its connection live
}

BOOST_AUTO_TEST_CASE(a_client_may_go_while_an_exchange_is_under_way) {
  scripted_server server{context, [&](peer& p) -> awaitable<void> {
                           co_await p.read_request();
                           client.reset();
                           co_await p.write(ok);
                           co_await p.wait_for_close();
                         }};
  auto const to = url_of("http", "127.0.0.1", server.port());
  auto const request = request_of(verb::get);
  auto const got = run(client->send(to, request));
  BOOST_REQUIRE(got);
  BOOST_TEST(got->body() == "hello");
}

BOOST_AUTO_TEST_SUITE_END()
