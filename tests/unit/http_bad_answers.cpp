// SPDX-License-Identifier: BSL-1.0
// Every way to answer badly: which error comes out, who is blamed, and that the connection is never used again.
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include <support/http_fixture.hpp>

namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;
using rondo::error;
using rondo::test::peer;
using rondo::test::scripted_server;
using rondo::test::asio::awaitable;
using verb = rondo::http::beast_http::verb;

enum class ending { hang, close, reset };

struct bad_answer {
  std::string what;
  std::string bytes;
  error expected;
  ending then = ending::hang; ///< a hanging server shows that nothing more is waited for
  verb method = verb::post;
};

std::string head(std::string_view fields, std::string_view status = "200 OK") {
  return "HTTP/1.1 "s.append(status).append("\r\n").append(fields).append("\r\n");
}

std::string chunked(std::string_view body) {
  return head("Transfer-Encoding: chunked\r\n").append(body);
}

std::string repeated(std::string_view piece, std::size_t times) {
  std::string out;
  while (times-- > 0) {
    out += piece;
  }
  return out;
}

std::vector<bad_answer> status_lines() {
  return {
      {"another protocol", "SSH-2.0-OpenSSH_9.2\r\n\r\n", error::bad_response},
      {"a TLS alert in clear", "\x15\x03\x03\x00\x02\x02\x46", error::truncated_response, ending::close},
      {"HTML without a head", "<html>\r\n<body>502</body></html>\r\n\r\n", error::bad_response},
      {"an ICY status line", "ICY 200 OK\r\n\r\n", error::bad_response},
      {"HTTP in small letters", "http/1.1 200 OK\r\n\r\n", error::bad_response},
      {"HTTP/0.9", "HTTP/0.9 200 OK\r\n\r\n", error::bad_response},
      {"HTTP/1.2", "HTTP/1.2 200 OK\r\n\r\n", error::bad_response},
      {"HTTP/2", "HTTP/2 200 OK\r\n\r\n", error::bad_response},
      {"HTTP/2 settings", "\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64\r\n\r\n"s, error::bad_response},
      {"no version", "200 OK\r\n\r\n", error::bad_response},
      {"a request", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", error::bad_response},
      {"two spaces", "HTTP/1.1  200 OK\r\n\r\n", error::bad_response},
      {"a tab", "HTTP/1.1\t200 OK\r\n\r\n", error::bad_response},
      {"a short status", "HTTP/1.1 20 OK\r\n\r\n", error::bad_response},
      {"a long status", "HTTP/1.1 2000 OK\r\n\r\n", error::bad_response},
      {"a status with letters", "HTTP/1.1 2x0 OK\r\n\r\n", error::bad_response},
      {"a negative status", "HTTP/1.1 -20 OK\r\n\r\n", error::bad_response},
      {"status 000", head("", "000 Zero"), error::bad_response},
      {"status 099", head("", "099 Low"), error::bad_response},
      {"status 600", head("", "600 High"), error::bad_response},
      {"status 999", head("", "999 Denied"), error::bad_response},
      {"101 that nobody asked for", head("Upgrade: h2c\r\nConnection: Upgrade\r\n", "101 Switching"),
       error::bad_response},
      {"a control character in the reason", "HTTP/1.1 200 O\x01K\r\n\r\n", error::bad_response},
      {"a blank line first", "\r\nHTTP/1.1 200 OK\r\n\r\n", error::bad_response},
      {"lines that end with LF", "HTTP/1.1 200 OK\nContent-Length: 0\n\n", error::bad_response},
      {"one line that ends with LF", "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n", error::bad_response},
  };
}

std::vector<bad_answer> fields() {
  return {
      {"no colon", head("Server\r\n"), error::bad_response},
      {"no name", head(": x\r\n"), error::bad_response},
      {"a space in a name", head("na me: x\r\n"), error::bad_response},
      {"a space before the colon", head("Content-Length : 0\r\n"), error::bad_response},
      {"a space before the first field", head(" Server: x\r\n"), error::bad_response},
      {"a folded value", head("A: x\r\n y\r\nContent-Length: 0\r\n"), error::bad_response},
      {"a folded length", head("Content-Length:\r\n\t0\r\n"), error::bad_response},
      {"NUL in a value", head("A: x\0y\r\n"s), error::bad_response},
      {"NUL in a name", head("A\0B: x\r\n"s), error::bad_response},
      {"CR in a value", head("A: x\rB: y\r\n"), error::bad_response},
      {"LF in a value", head("A: x\nB: y\r\n"), error::bad_response},
      {"a control character in a value", head("A: x\x01y\r\n"), error::bad_response},
      {"a byte above ASCII in a name", head("N\xe9: x\r\n"), error::bad_response},
      {"too many fields", head(repeated("A: b\r\n", 257)), error::response_head_too_large},
      {"too many fields in a notice", head(repeated("A: b\r\n", 257), "103 Early Hints"),
       error::response_head_too_large},
      {"a head without end", "HTTP/1.1 200 OK\r\n" + repeated("A: b\r\n", 12'000), error::response_head_too_large},
      {"a value without end", "HTTP/1.1 200 OK\r\nA: " + std::string(70'000, 'x'), error::response_head_too_large},
      {"a reason without end", "HTTP/1.1 200 " + std::string(70'000, 'x'), error::response_head_too_large},
      {"notices without end", repeated("HTTP/1.1 100 Continue\r\n\r\n", 17), error::bad_response},
      {"large notices", repeated(head("A: " + std::string(6000, 'x') + "\r\n", "103 Hints"), 12),
       error::response_head_too_large},
  };
}

std::vector<bad_answer> lengths() {
  auto const length = [](std::string_view value) {
    return head("Content-Length: "s.append(value).append("\r\n")) + "hello";
  };
  return {
      {"a negative length", length("-5"), error::bad_response},
      {"a length with a sign", length("+5"), error::bad_response},
      {"a hexadecimal length", length("0x5"), error::bad_response},
      {"a length with a fraction", length("5.0"), error::bad_response},
      {"an empty length", length(""), error::bad_response},
      {"a length with a space", length("5 0"), error::bad_response},
      {"a length above 64 bits", length("18446744073709551621"), error::bad_response},
      {"a length as large as can be", length("18446744073709551615"), error::response_too_large},
      {"a length above the limit", length("67108865"), error::response_too_large},
      {"different lengths", head("Content-Length: 5\r\nContent-Length: 6\r\n") + "hello", error::bad_response},
      {"different lengths in a list", length("5, 6"), error::bad_response},
      {"length and chunks", head("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n",
       error::bad_response},
      {"chunks and length", head("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n") + "0\r\n\r\n",
       error::bad_response},
      {"chunks in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", error::bad_response},
      {"a coding that nobody asked for", head("Transfer-Encoding: gzip\r\n") + "x", error::bad_response},
      {"a coding below the chunks", head("Transfer-Encoding: gzip, chunked\r\n") + "0\r\n\r\n", error::bad_response},
      {"chunks twice", head("Transfer-Encoding: chunked, chunked\r\n") + "0\r\n\r\n", error::bad_response},
      {"chunks in two fields", head("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n",
       error::bad_response},
      {"identity after chunks", head("Transfer-Encoding: chunked, identity\r\n") + "0\r\n\r\n", error::bad_response},
      {"a disguised coding",
       head("Transfer-Encoding: \x0b"
            "chunked\r\n") +
           "0\r\n\r\n",
       error::bad_response},
  };
}

std::vector<bad_answer> chunks() {
  return {
      {"no size", chunked("\r\nhello\r\n0\r\n\r\n"), error::bad_response},
      {"letters for a size", chunked("xyz\r\n"), error::bad_response},
      {"a negative size", chunked("-5\r\nhello\r\n0\r\n\r\n"), error::bad_response},
      {"a size with 0x", chunked("0x5\r\nhello\r\n0\r\n\r\n"), error::bad_response},
      {"a size above 64 bits", chunked("10000000000000005\r\nhello\r\n0\r\n\r\n"), error::bad_response},
      {"a size as large as can be", chunked("ffffffffffffffff\r\nhello"), error::truncated_response, ending::close},
      {"a size line that ends with LF", chunked("5\nhello\r\n0\r\n\r\n"), error::bad_response},
      {"more than the size", chunked("3\r\nhello\r\n0\r\n\r\n"), error::bad_response},
      {"less than the size", chunked("7\r\nhello\r\n0\r\n\r\n"), error::bad_response},
      {"no line end after a chunk", chunked("5\r\nhello0\r\n\r\n"), error::bad_response},
      {"a control character in an extension", chunked("5;a=\x01\r\nhello\r\n0\r\n\r\n"), error::bad_response},
      {"an extension without end", chunked("5;a=" + std::string(70'000, 'x')), error::bad_response},
      {"mostly extensions", chunked(repeated("1;a=" + std::string(1000, 'x') + "\r\na\r\n", 100)), error::bad_response},
      {"no last chunk", chunked("5\r\nhello\r\n"), error::truncated_response, ending::close},
      {"a last chunk without a blank line", chunked("5\r\nhello\r\n0\r\n"), error::truncated_response, ending::close},
      {"a trailer without a colon", chunked("0\r\nA\r\n\r\n"), error::bad_response},
      {"a length in the trailers", chunked("0\r\nContent-Length: 5\r\n\r\nhello"), error::bad_response},
      {"too many trailers", chunked("0\r\n" + repeated("A: b\r\n", 257) + "\r\n"), error::bad_response},
      {"trailers without end", chunked("0\r\n" + repeated("A: b\r\n", 12'000)), error::bad_response},
  };
}

std::vector<bad_answer> early_ends() {
  return {
      {"closed without a word", "", error::connection_lost, ending::close},
      {"reset without a word", "", error::connection_lost, ending::reset},
      {"closed within the status line", "HTTP/1.1 2", error::truncated_response, ending::close},
      {"closed after the status line", "HTTP/1.1 200 OK\r\n", error::truncated_response, ending::close},
      {"closed within a field", "HTTP/1.1 200 OK\r\nContent-Len", error::truncated_response, ending::close},
      {"closed before the blank line", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", error::truncated_response,
       ending::close},
      {"closed after a notice", "HTTP/1.1 100 Continue\r\n\r\n", error::truncated_response, ending::close},
      {"closed before the body", head("Content-Length: 5\r\n"), error::truncated_response, ending::close},
      {"closed within the body", head("Content-Length: 5\r\n") + "hell", error::truncated_response, ending::close},
      {"closed before the first chunk", chunked(""), error::truncated_response, ending::close},
      {"closed within a chunk size", chunked("5"), error::truncated_response, ending::close},
      {"closed within a chunk", chunked("5\r\nhe"), error::truncated_response, ending::close},
      {"silent in the head", "HTTP/1.1 200 OK\r\n", error::idle_timeout},
      {"silent in the body", head("Content-Length: 5\r\n") + "hell", error::idle_timeout},
      {"silent in a body without length", head("") + "hell", error::idle_timeout},
      {"silent after the last chunk", chunked("5\r\nhello\r\n0\r\n"), error::idle_timeout},
  };
}

struct bad_answer_fixture : rondo::test::http_fixture {
  enum class manner { whole, on_kept_connection, in_pieces };

  /// Byte by byte, or if that took long in larger pieces. The client reads in between.
  awaitable<void> write_in_pieces(peer& p, std::string_view bytes) {
    auto const size = bytes.size() <= 1000 ? std::size_t{1} : bytes.size() / 100;
    for (; !bytes.empty(); bytes.remove_prefix(std::min(size, bytes.size()))) {
      co_await p.write(bytes.substr(0, size));
      co_await boost::asio::post(context, boost::asio::use_awaitable);
    }
  }

  /// Runs the exchange three times: over a fresh connection, over one that has served a request before, and in pieces.
  void expect(bad_answer const& bad) {
    for (auto const way : {manner::whole, manner::on_kept_connection, manner::in_pieces}) {
      auto first = way == manner::on_kept_connection;
      scripted_server server{context, [&](peer& p) -> awaitable<void> {
                               if (std::exchange(first, false)) {
                                 co_await p.read_request();
                                 co_await p.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
                               }
                               co_await p.read_request();
                               if (way == manner::in_pieces) {
                                 co_await write_in_pieces(p, bad.bytes);
                               } else {
                                 co_await p.write(bad.bytes);
                               }
                               if (bad.then == ending::hang) {
                                 co_await p.wait_for_close();
                               } else if (bad.then == ending::reset) {
                                 p.reset();
                               }
                             }};
      auto const to = url_of("http", "127.0.0.1", server.port());
      auto const request = request_of(bad.method, "/", bad.method == verb::post ? "{}" : "");
      if (way == manner::on_kept_connection) {
        BOOST_TEST_REQUIRE(run(client->send(to, request)).has_value());
      }
      rondo::http::exchange_options options;
      options.idle_timeout = bad.expected == error::idle_timeout ? 40ms : 5s;
      auto const got = run(client->send(to, request, options));
      BOOST_TEST_CONTEXT(bad.what << ", manner " << static_cast<int>(way)) {
        BOOST_TEST((!got && got.error().ec == bad.expected), (got ? "an answer" : got.error().ec.message()));
        if (!got) {
          BOOST_TEST((got.error().who == rondo::blame_of(bad.expected)));
          BOOST_TEST(got.error().written);
        }
        BOOST_TEST(server.accepted() == 1U); // a POST is not repeated
        BOOST_TEST(client->idle_connections() == 0U);
        BOOST_TEST(client->active_connections() == 0U);
      }
      server.close();
      while (server.open() != 0) { // the script refers to what is here
        context.run_one();
      }
    }
  }

  void expect(std::vector<bad_answer> const& table) {
    for (auto const& bad : table) {
      expect(bad);
    }
  }

  /// An answer that is taken, after which the connection must be closed.
  void expect_taken_but_closed(std::string const& what, std::string const& bytes, std::string_view body,
                               verb method = verb::post) {
    scripted_server server{context, [&](peer& p) -> awaitable<void> {
                             co_await p.read_request();
                             co_await p.write(bytes);
                             co_await p.wait_for_close();
                           }};
    auto const to = url_of("http", "127.0.0.1", server.port());
    auto const request = request_of(method);
    auto const got = run(client->send(to, request));
    BOOST_TEST_CONTEXT(what) {
      BOOST_TEST_REQUIRE(got.has_value(), got.error().ec.message());
      BOOST_TEST(got->body() == body);
      BOOST_TEST(client->idle_connections() == 0U);
    }
  }
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(http_bad_answers, bad_answer_fixture)

BOOST_AUTO_TEST_CASE(bad_status_lines) {
  expect(status_lines());
}

BOOST_AUTO_TEST_CASE(bad_fields) {
  expect(fields());
}

BOOST_AUTO_TEST_CASE(bad_lengths) {
  expect(lengths());
}

BOOST_AUTO_TEST_CASE(bad_chunks) {
  expect(chunks());
}

BOOST_AUTO_TEST_CASE(answers_that_end_early) {
  expect(early_ends());
}

BOOST_AUTO_TEST_CASE(answers_that_spoil_their_connection) {
  auto const good = head("Content-Length: 5\r\n") + "hello";
  expect_taken_but_closed("two answers at once", good + good, "hello");
  expect_taken_but_closed("a byte after the end", good + "x", "hello");
  expect_taken_but_closed("a line end after the end", good + "\r\n", "hello");
  expect_taken_but_closed("a byte after the last chunk", chunked("5\r\nhello\r\n0\r\n\r\n") + "x", "hello");
  expect_taken_but_closed("a 204 with a length", head("Content-Length: 5\r\n", "204 None"), "");
  expect_taken_but_closed("a 204 with a body", head("Content-Length: 5\r\n", "204 None") + "hello", "");
  expect_taken_but_closed("a 204 with chunks", head("Transfer-Encoding: chunked\r\n", "204 None"), "");
  expect_taken_but_closed("a 304 with a body", head("Content-Length: 5\r\n", "304 Same") + "hello", "");
  expect_taken_but_closed("a HEAD with a body", good, "", verb::head);
  expect_taken_but_closed("closed as announced", head("Connection: close\r\nContent-Length: 5\r\n") + "hello", "hello");
  expect_taken_but_closed("close among others", head("Connection: foo, Close\r\nContent-Length: 5\r\n") + "hello",
                          "hello");
  expect_taken_but_closed("HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello");
}

BOOST_AUTO_TEST_CASE(what_looks_bad_and_is_not) {
  for (std::string const& bytes :
       {head("Content-Length: 5\r\nContent-Length: 5\r\n") + "hello",
        "HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\nhello"s,
        head("content-LENGTH:5\r\nA: \xe9t\xe9\r\nB:\r\n", "299 \xe9") + "hello",
        head("Content-Length: 5\r\n", "418 I'm a teapot") + "hello",
        chunked("00005;a;b=\"c\"\r\nhello\r\n000\r\nA: b\r\n\r\n"),
        head("transfer-encoding: CHUNKED\r\n") + "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        repeated("HTTP/1.1 102 Processing\r\n\r\n", 15) + head("Content-Length: 5\r\n") + "hello"}) {
    scripted_server server{context, [&](peer& p) -> awaitable<void> {
                             co_await p.read_request();
                             co_await p.write(bytes);
                             co_await p.wait_for_close();
                           }};
    auto const to = url_of("http", "127.0.0.1", server.port());
    auto const request = request_of(verb::post);
    auto const got = run(client->send(to, request));
    BOOST_TEST((got && got->body() == "hello"), bytes);
    BOOST_TEST(client->idle_connections() == 1U, bytes);
    client->close_idle();
  }
}

BOOST_AUTO_TEST_CASE(a_body_that_drips_ends_when_it_was_to_be_complete) {
  for (std::string_view const begin :
       {"", "HTTP/1.1 200 OK\r\nA: ", "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n"}) {
    scripted_server server{context, [begin](peer& p) -> awaitable<void> {
                             co_await p.read_request();
                             co_await p.write(begin);
                             if (begin.empty()) {
                               co_await p.wait_for_close();
                             }
                             boost::asio::steady_timer pause{p.socket().get_executor()};
                             for (;;) {
                               pause.expires_after(5ms);
                               co_await pause.async_wait(boost::asio::use_awaitable);
                               co_await p.write("x");
                             }
                           }};
    auto const to = url_of("http", "127.0.0.1", server.port());
    auto const request = request_of(verb::post, "/", "{}");
    rondo::http::exchange_options options;
    options.complete_by = std::chrono::steady_clock::now() + 60ms;
    auto const got = run(client->send(to, request, options));
    BOOST_TEST((!got && got.error().ec == error::deadline_exceeded), (got ? "taken" : got.error().ec.message()));
    BOOST_TEST((!got && got.error().who == rondo::blame::path && got.error().written));
    BOOST_TEST((std::chrono::steady_clock::now() >= options.complete_by));
    BOOST_TEST(client->idle_connections() == 0U);
  }
}

BOOST_AUTO_TEST_SUITE_END()
