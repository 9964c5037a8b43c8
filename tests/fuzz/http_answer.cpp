// SPDX-License-Identifier: BSL-1.0
// What an origin answers to a request of http::client, over a socket of the loopback. The first byte says how the
// answer falls into pieces, see piece_sizes; the second is `H` for a HEAD request, anything else for GET.
#include "fuzz/input.hpp"
#include "fuzz/property.hpp"
#include "fuzz/targets.hpp"
#include <rondo/error.hpp>
#include <rondo/http/client.hpp>
#include <rondo/http/exchange.hpp>
#include <rondo/http/message.hpp>
#include <rondo/http/url.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/field.hpp>
#include <boost/beast/http/verb.hpp>

#include <sys/ioctl.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <linux/sockios.h>

namespace rondo::test::fuzz {

namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;
using asio::ip::tcp;
using beast_verb = boost::beast::http::verb;
using beast_field = boost::beast::http::field;

constexpr auto as_result = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t most_body = 64 * 1024;

using sent = boost::system::result<http::response, http::failure>;

/// Answers the first request with the input, all others with `ok`.
class origin {
public:
  origin(asio::io_context& context, std::string_view answer, piece_sizes pieces)
      : acceptor_{context, {asio::ip::address_v4::loopback(), 0}}, answer_{answer}, pieces_{pieces} {
    asio::co_spawn(context, accept(), asio::detached);
  }

  [[nodiscard]] http::url url() const {
    http::url out;
    out.scheme = "http";
    out.host = "127.0.0.1";
    out.port = acceptor_.local_endpoint().port();
    return out;
  }
  /// Closes the way to the client once everything is written: an answer without an end would be waited for.
  void end_answer() {
    if (written_) {
      for (auto& connection : connections_) {
        boost::system::error_code ignored;
        connection->shutdown(tcp::socket::shutdown_send, ignored);
      }
    }
  }
  /// Whether the client's end has received all that was written.
  [[nodiscard]] bool has_arrived() const {
    return std::all_of(connections_.begin(), connections_.end(), [](auto const& connection) {
      tcp_info info{};
      socklen_t size = sizeof(info);
      return ::getsockopt(connection->native_handle(), IPPROTO_TCP, TCP_INFO, &info, &size) != 0 ||
             info.tcpi_state == TCP_CLOSE || info.tcpi_unacked == 0;
    });
  }

private:
  asio::awaitable<void> accept() {
    for (;;) {
      auto [ec, socket] = co_await acceptor_.async_accept(as_result);
      if (ec) {
        co_return;
      }
      socket.set_option(tcp::no_delay{true}, ec);
      connections_.push_back(std::make_unique<tcp::socket>(std::move(socket)));
      asio::co_spawn(acceptor_.get_executor(), serve(*connections_.back()), asio::detached);
    }
  }

  asio::awaitable<void> serve(tcp::socket& socket) {
    std::string request;
    for (;;) {
      auto const [ec, n] =
          co_await asio::async_read_until(socket, asio::dynamic_buffer(request), "\r\n\r\n", as_result);
      if (ec) {
        co_return;
      }
      request.erase(0, n);
      std::string_view answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
      auto sizes = piece_sizes{0};
      if (!std::exchange(answered_, true)) {
        answer = answer_;
        sizes = pieces_;
      }
      written_ = false;
      for (auto piece = 0; !answer.empty(); ++piece) {
        auto const size = piece < 64 ? sizes.next(answer.size()) : answer.size();
        auto const [failed, written] =
            co_await asio::async_write(socket, asio::buffer(answer.substr(0, size)), as_result);
        if (failed) {
          co_return;
        }
        answer.remove_prefix(written);
      }
      written_ = true;
    }
  }

  tcp::acceptor acceptor_;
  std::string_view answer_;
  piece_sizes pieces_;
  bool answered_ = false; ///< the input was taken
  bool written_ = false;  ///< there is nothing more to write now
  std::vector<std::unique_ptr<tcp::socket>> connections_;
};

sent exchange(asio::io_context& context, http::client& client, origin& server, http::request const& request) {
  std::optional<sent> out;
  std::exception_ptr thrown;
  http::exchange_options options;
  options.max_body = most_body;
  auto const to = server.url();
  asio::co_spawn(context, client.send(to, request, options), [&](std::exception_ptr e, sent result) {
    thrown = e;
    out.emplace(std::move(result));
  });
  while (!out) {
    if (context.poll() > 0) {
      continue;
    }
    server.end_answer();
    expect(context.run_one_for(20s) > 0, "an answer that has ended ends the request");
  }
  if (thrown) {
    std::rethrow_exception(thrown);
  }
  do { // receives the rest of the answer, which a kept connection must not be found with later
    context.poll();
  } while (!server.has_arrived());
  return *std::move(out);
}

sent ask(std::string_view answer, piece_sizes pieces, beast_verb method) {
  asio::io_context context{1};
  origin server{context, answer, pieces};
  http::client client{context.get_executor()};
  http::request request{method, "/", 11};
  auto first = exchange(context, client, server, request);
  request.method(beast_verb::get);
  auto const second = exchange(context, client, server, request);
  expect(second.has_value() && second->result_int() == 200 && second->body() == "ok",
         "what follows an answer is never taken for that to the next request");
  expect(client.active_connections() == 0, "nothing is under way any more");
  return first;
}

} // namespace

void http_answer(std::string_view input) {
  fuzz_input in{input};
  piece_sizes const pieces{in.byte()};
  auto const method = in.byte() == 'H' ? beast_verb::head : beast_verb::get;
  auto const whole = ask(in.rest(), piece_sizes{0}, method);
  auto const cut = ask(in.rest(), pieces, method);
  expect(whole.has_value() == cut.has_value(), "the pieces do not change the outcome");
  if (!whole) {
    // Beast looks at a head as a whole: one that is broken and cut off may be called either
    auto const broken = [](error_code ec) { return ec == error::bad_response || ec == error::truncated_response; };
    expect(whole.error().ec == cut.error().ec || (broken(whole.error().ec) && broken(cut.error().ec)),
           "the pieces do not change the error");
    expect(whole.error().who == blame::origin || whole.error().who == blame::path,
           "the origin or the path is to blame");
    return;
  }
  auto const& a = *whole;
  expect(a.body() == cut->body() && a.result_int() == cut->result_int() &&
             std::equal(a.begin(), a.end(), cut->begin(), cut->end(),
                        [](auto const& x, auto const& y) {
                          return x.name_string() == y.name_string() && x.value() == y.value();
                        }),
         "the pieces do not change the answer");
  expect(a.result_int() >= 200 && a.result_int() <= 599, "a final status is one of 200 to 599");
  expect(a.body().size() <= most_body, "a body is no larger than allowed");
  if (method == beast_verb::head || a.result_int() == 204 || a.result_int() == 304) {
    expect(a.body().empty(), "there is no body where there can be none");
  } else if (auto const length = a[beast_field::content_length]; !length.empty() && !a.chunked()) {
    expect(length == std::to_string(a.body().size()) || length.front() == '0' || length.find(',') != length.npos,
           "a body has the length that was promised");
  }
}

} // namespace rondo::test::fuzz
