// SPDX-License-Identifier: BSL-1.0
#include "caller_connection.hpp"

#include "log.hpp"
#include <rondo/http/header_rules.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/buffers_suffix.hpp>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/rfc7230.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <boost/system/system_error.hpp>

#include <sys/ioctl.h>

#include <algorithm>
#include <charconv>
#include <ctime>
#include <exception>
#include <stdexcept>
#include <string>
#include <utility>

#include <linux/sockios.h>

namespace gateway {

namespace http = beast::http;
using beast::error_code;

namespace {

constexpr auto quietly = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t greatest_head = 64U << 10U;
// What is read ahead of a caller who sends more while he waits; beyond it he is not read, and so not watched.
constexpr std::size_t greatest_backlog = 64U << 10U;
constexpr std::size_t greatest_framing = 60U << 10U; // the head of a chunk, or the trailers
constexpr std::chrono::seconds longest_linger{30};

// Connections end all the time, and that is what system errors tell; anything else is a fault in this program.
void log_unexpected(std::exception_ptr const& thrown) {
  try {
    if (thrown) {
      std::rethrow_exception(thrown);
    }
  } catch (boost::system::system_error const&) { // NOLINT(bugprone-empty-catch)
  } catch (std::exception const& e) {
    log_line(std::string{"a request failed: "} + e.what());
  }
}

// RFC 9110 6.6.1
std::string date_now() {
  auto const now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  std::array<char, 32> text{};
  return {text.data(), std::strftime(text.data(), text.size(), "%a, %d %b %Y %H:%M:%S GMT", &parts)};
}

// RFC 9112 2.2: some callers end a body with a line end that is not of it
void skip_empty_lines(beast::flat_buffer& input) {
  auto const* const text = static_cast<char const*>(input.data().data());
  std::size_t n = 0;
  while (n != input.size() && (text[n] == '\r' || text[n] == '\n')) {
    ++n;
  }
  input.consume(n);
}

} // namespace

std::string error_body(std::string_view type, std::string_view message) {
  boost::json::object error{{"type", type}, {"message", message}};
  return boost::json::serialize(boost::json::object{{"error", std::move(error)}});
}

caller_connection::caller_connection(caller_socket socket, caller_timeouts& timeouts, population const& all)
    : presence_{all}, socket_{std::move(socket)}, timeouts_{timeouts} {}

void caller_connection::start(std::shared_ptr<request_handler> handler) {
  auto served = run(std::move(handler));
  asio::co_spawn(socket_.get_executor(), std::move(served),
                 asio::bind_cancellation_slot(stop_.slot(), [self = shared_from_this()](std::exception_ptr const& e) {
                   log_unexpected(e);
                   self->unwatch();
                   self->leave();
                   error_code ignored;
                   self->socket_.close(ignored);
                 }));
}

void caller_connection::finish() {
  finishing_ = true;
  if (idle_) {
    error_code ignored;
    socket_.cancel(ignored);
  }
}

void caller_connection::cut() {
  stop_.emit(asio::cancellation_type::terminal);
  error_code ignored;
  socket_.close(ignored);
}

asio::awaitable<void> caller_connection::run(std::shared_ptr<request_handler> handler) {
  error_code ec;
  socket_.non_blocking(true, ec);
  socket_.set_option(asio::ip::tcp::no_delay{true}, ec);
  while (keep_) { // g++ 12 compiles `keep_ && co_await ...` as a condition to something that looks at keep_ again later
    auto const arrived = co_await read_head();
    if (!arrived) {
      break;
    }
    co_await handler->handle(*this);
    unwatch();
    parser_.reset();
    if (input_.size() == 0) {
      input_ = beast::flat_buffer{};
    }
  }
}

asio::awaitable<bool> caller_connection::read_head() {
  if (input_.size() == 0) {
    idle_ = true;
    auto const arrived = !finishing_ && co_await fill(timeouts_.next_request);
    idle_ = false;
    // a request that had already arrived when the gateway began to stop is served
    if (!arrived && read_some()) {
      co_return false;
    }
  }
  parser_ = std::make_unique<parser>();
  parser_->header_limit(greatest_head);
  parser_->body_limit(boost::none);
  error_code ec;
  for (auto first = true;; first = false) {
    if (!parser_->got_some()) {
      skip_empty_lines(input_);
    }
    input_.consume(parser_->put(input_.data(), ec));
    if (parser_->is_header_done()) {
      break;
    }
    if (ec && ec != http::error::need_more) {
      co_await refuse(ec);
      co_return false;
    }
    if (first) {
      timed_out_ = false;
      timeouts_.head_arrives.enter(*this);
    }
    // the deadline stands from the first byte, so that each further byte changes nothing
    auto const [waited] = co_await socket_.async_wait(caller_socket::wait_read, quietly);
    if (timed_out_) {
      co_await refuse(http::status::request_timeout, "request_timeout", "the head of the request took too long");
      co_return false;
    }
    if (auto const failed = waited ? waited : read_some(); failed && failed != asio::error::would_block) {
      co_return false;
    }
  }
  leave();
  auto const& request = parser_->get();
  auto const coded = request.find(http::field::transfer_encoding) != request.end();
  auto const known = request.version() == 10 || request.version() == 11;
  if (!known || (coded && (request.version() == 10 || !parser_->chunked()))) {
    co_await refuse(http::error::bad_transfer_encoding);
    co_return false;
  }
  framing_ = framing::none;
  keep_ = parser_->keep_alive();
  is_old_ = request.version() == 10;
  head_only_ = request.method() == http::verb::head;
  co_return true;
}

asio::awaitable<bool> caller_connection::read_body(std::size_t greatest) {
  if (parser_->is_done()) {
    co_return true;
  }
  auto const length = parser_->content_length();
  auto too_large = length && *length > greatest;
  if (!too_large) {
    if (auto const expected = request()[http::field::expect]; !expected.empty() && !is_old_) {
      if (!beast::iequals(expected, "100-continue")) {
        co_await refuse(http::status::expectation_failed, "expectation_failed", "only 100-continue can be expected");
        co_return false;
      }
      if (input_.size() == 0) {
        constexpr std::string_view go_on = "HTTP/1.1 100 Continue\r\n\r\n";
        co_await write(asio::const_buffer{go_on.data(), go_on.size()});
      }
    }
    parser_->body_limit(greatest);
    parser_->eager(true);
  }
  while (!too_large) {
    error_code ec;
    // the parser may assert that the last chunk is whole if it is the first; no chunked body is shorter
    auto const too_little = parser_->chunked() && parser_->get().body().empty() && input_.size() < 5;
    auto framing_too_large = false;
    if (!too_little) {
      try {
        input_.consume(parser_->put(input_.data(), ec));
      } catch (std::length_error const&) { // a trailer that is longer than Beast can hold
        framing_too_large = true;
      }
    }
    if (!framing_too_large && parser_->is_done()) {
      co_return true;
    }
    too_large = ec == http::error::body_limit;
    if (too_large) {
      break;
    }
    if (ec && ec != http::error::need_more) {
      co_await refuse(ec);
      co_return false;
    }
    // what is of the body has been taken out
    if (framing_too_large || input_.size() > greatest_framing) {
      co_await refuse(http::status::request_header_fields_too_large, "head_too_large",
                      "the trailers of the request, or the head of a chunk, are larger than 60 KiB");
      co_return false;
    }
    if (!co_await fill(timeouts_.progress)) {
      keep_ = false;
      if (timed_out_) {
        co_await refuse(http::status::request_timeout, "request_timeout", "the body of the request took too long");
      }
      co_return false;
    }
  }
  auto const message = "the body of the request is larger than " + std::to_string(greatest) + " bytes";
  co_await refuse(http::status::payload_too_large, "request_too_large", message);
  co_return false;
}

asio::awaitable<bool> caller_connection::fill(timeout_queue& limit) {
  timed_out_ = false;
  limit.enter(*this);
  error_code ec = asio::error::would_block;
  while (ec == asio::error::would_block) { // readiness may be reported for what has been read meanwhile
    auto const [waited] = co_await socket_.async_wait(caller_socket::wait_read, quietly);
    ec = waited ? waited : read_some();
  }
  leave();
  co_return !ec;
}

error_code caller_connection::read_some() {
  // small for a head, larger as a body grows
  auto const room = input_.prepare(std::min<std::size_t>(std::max<std::size_t>(4096, input_.size() * 2), 64U << 10U));
  error_code ec;
  auto const n = socket_.read_some(room, ec);
  input_.commit(n);
  return ec;
}

asio::awaitable<void> caller_connection::refuse(error_code const& parse_error) {
  if (parse_error == http::error::header_limit) {
    return refuse(http::status::request_header_fields_too_large, "head_too_large",
                  "the head of the request is larger than 64 KiB");
  }
  return refuse(http::status::bad_request, "bad_request", "the request is not valid HTTP/1.1");
}

asio::awaitable<void> caller_connection::refuse(http::status status, std::string_view type, std::string_view message) {
  leave();
  keep_ = false;
  rondo::http::response_head head;
  head.result(status);
  head.set(http::field::content_type, "application/json");
  auto const body = error_body(type, message);
  co_await answer(std::move(head), body);
}

asio::awaitable<void> caller_connection::answer(rondo::http::response_head head, std::string_view body,
                                                std::string attempts) {
  head.set(http::field::date, date_now());
  head.set(http::field::content_length, std::to_string(body.size()));
  auto const whole = parser_->is_done();
  keep_ = keep_ && whole;
  begin_answer(head, attempts, {});
  co_await send(asio::const_buffer{body.data(), body.size()}, true);
  if (!whole) {
    co_await linger();
  }
}

void caller_connection::watch() {
  if (watching_ || input_.size() >= greatest_backlog) {
    return;
  }
  watching_ = true;
  socket_.async_wait(
      caller_socket::wait_read,
      asio::bind_cancellation_slot(stop_watching_.slot(), [self = shared_from_this(), round = watch_round_](
                                                              error_code const& ec) { self->on_watch(ec, round); }));
}

void caller_connection::unwatch() {
  if (std::exchange(watching_, false)) {
    ++watch_round_; // an event that is already on its way finds itself outdated
    stop_watching_.emit(asio::cancellation_type::total);
  }
}

void caller_connection::on_watch(error_code const& ec, unsigned round) {
  if (ec || round != watch_round_) {
    return;
  }
  watching_ = false;
  auto const gone = read_some();
  if (gone && gone != asio::error::would_block) {
    cut();
  } else {
    watch();
  }
}

void caller_connection::on_timeout() {
  timed_out_ = true;
  error_code ignored;
  socket_.cancel(ignored);
}

void caller_connection::begin_answer(rondo::http::response_head const& head, std::string_view attempts,
                                     std::string_view masked_key) {
  auto const status = head.result_int();
  auto const bodiless = status < 200 || status == 204 || status == 304;
  auto const sized = head.find(http::field::content_length) != head.end();
  if (bodiless || head_only_) {
    framing_ = framing::none;
  } else if (sized) {
    framing_ = framing::length;
  } else {
    framing_ = is_old_ ? framing::until_close : framing::chunked;
  }
  keep_ = keep_ && !finishing_ && framing_ != framing::until_close;

  auto const field = [this](std::string_view name, std::string_view value) {
    out_head_.append(name).append(": ").append(value).append("\r\n");
  };
  out_head_ = "HTTP/1.1 ";
  out_head_.append(std::to_string(status)).append(" ");
  if (head.reason() != http::obsolete_reason(http::status::unknown)) { // what Beast makes up for want of one
    out_head_.append(std::string_view{head.reason()});
  }
  out_head_.append("\r\n");
  auto const [first, last] = head.equal_range(http::field::connection);
  auto const named = [first, last](beast::string_view name) {
    return std::any_of(first, last, [name](auto const& each) { return http::token_list{each.value()}.exists(name); });
  };
  for (auto const& each : head) {
    auto const ours = !attempts.empty() && beast::iequals(each.name_string().substr(0, 8), "x-rondo-");
    if (!ours && !rondo::http::is_hop_by_hop(each) && !(first != last && named(each.name_string()))) {
      field(std::string_view{each.name_string()}, std::string_view{each.value()});
    }
  }
  if (!attempts.empty()) {
    field("x-rondo-attempts", attempts);
  }
  if (!masked_key.empty()) {
    field("x-rondo-key", masked_key);
  }
  if (framing_ == framing::chunked) {
    field("Transfer-Encoding", "chunked");
  }
  if (!keep_) {
    field("Connection", "close");
  } else if (is_old_) {
    field("Connection", "keep-alive");
  }
  out_head_.append("\r\n");
}

asio::awaitable<void> caller_connection::send(asio::const_buffer piece, bool last) {
  auto const body = framing_ == framing::none ? asio::const_buffer{} : piece;
  std::array<asio::const_buffer, 4> out{asio::buffer(out_head_), {}, body, {}};
  if (framing_ == framing::chunked) {
    if (body.size() != 0) {
      auto* const end = std::to_chars(chunk_size_.data(), chunk_size_.data() + 16, body.size(), 16).ptr;
      end[0] = '\r';
      end[1] = '\n';
      out[1] = asio::const_buffer{chunk_size_.data(), static_cast<std::size_t>(end + 2 - chunk_size_.data())};
    }
    std::string_view const tail =
        last ? (body.size() != 0 ? "\r\n0\r\n\r\n" : "0\r\n\r\n") : (body.size() != 0 ? "\r\n" : "");
    out[3] = asio::const_buffer{tail.data(), tail.size()};
  }
  co_await write(out);
  out_head_.clear();
}

template <class Buffers> asio::awaitable<void> caller_connection::write(Buffers buffers) {
  beast::buffers_suffix<Buffers> rest{buffers};
  auto left = asio::buffer_size(buffers);
  while (left != 0) {
    error_code ec;
    auto const n = socket_.write_some(rest, ec);
    rest.consume(n);
    left -= n;
    // The kernel calls a socket writable when much of its buffer is free; a slow reader may take minutes for that and
    // is alive all the same.
    for (auto queued = untaken(); ec == asio::error::would_block;) {
      timed_out_ = false;
      timeouts_.progress.enter(*this);
      auto const [waited] = co_await socket_.async_wait(caller_socket::wait_write, quietly);
      leave();
      auto const before = std::exchange(queued, untaken());
      if (!timed_out_ || queued >= before) {
        ec = waited;
      }
    }
    if (ec) {
      keep_ = false;
      throw boost::system::system_error{ec};
    }
  }
}

/// Bytes that were written and that the caller has not taken yet.
int caller_connection::untaken() {
  int bytes = 0;
  ::ioctl(socket_.native_handle(), SIOCOUTQ, &bytes);
  return bytes;
}

void caller_connection::break_off() {
  keep_ = false;
  error_code ignored;
  if (framing_ == framing::until_close) {
    // an orderly end would look like a whole body
    socket_.set_option(asio::socket_base::linger{true, 0}, ignored);
  }
  socket_.close(ignored);
}

// A socket that is closed with unread input resets the connection, and the caller may never see the answer.
asio::awaitable<void> caller_connection::linger() {
  unwatch();
  error_code ec;
  socket_.shutdown(caller_socket::shutdown_send, ec);
  auto const end = std::chrono::steady_clock::now() + longest_linger;
  while (!ec && !finishing_ && std::chrono::steady_clock::now() < end) {
    input_.clear();
    if (!co_await fill(timeouts_.lingering)) {
      break;
    }
  }
}

} // namespace gateway
