// SPDX-License-Identifier: BSL-1.0
#include "connection.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <sys/socket.h>

#include <poll.h>

#include <array>
#include <utility>

namespace sim {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;
using boost::system::error_code;

namespace {

constexpr auto as_result = asio::as_tuple(asio::use_awaitable);
constexpr std::chrono::seconds patience{10};

} // namespace

connection::connection(tcp::socket socket, asio::ssl::context* tls)
    : stream_{std::move(socket)}, timer_{std::get<0>(stream_).get_executor()} {
  error_code ignored;
  auto& s = std::get<0>(stream_);
  s.set_option(tcp::no_delay{true}, ignored);
  peer_ = s.remote_endpoint(ignored);
  if (tls) {
    auto moved = std::move(s);
    stream_.emplace<tls_stream>(std::move(moved), *tls);
  }
}

tcp::socket& connection::socket() {
  auto* const tls = std::get_if<tls_stream>(&stream_);
  return tls ? tls->next_layer() : std::get<0>(stream_);
}

asio::awaitable<bool> connection::handshake() {
  auto* const tls = std::get_if<tls_stream>(&stream_);
  if (!tls) {
    co_return true;
  }
  auto [ec] = co_await tls->async_handshake(asio::ssl::stream_base::server, as_result);
  co_return !ec;
}

asio::awaitable<std::size_t> connection::read_some(asio::mutable_buffer into) {
  if (auto* const tls = std::get_if<tls_stream>(&stream_)) {
    auto [ec, n] = co_await tls->async_read_some(into, as_result);
    co_return n;
  }
  auto [ec, n] = co_await std::get<0>(stream_).async_read_some(into, as_result);
  co_return n;
}

asio::awaitable<bool> connection::write(std::string_view text) {
  auto const buffer = asio::buffer(text);
  if (auto* const tls = std::get_if<tls_stream>(&stream_)) {
    auto [ec, n] = co_await asio::async_write(*tls, buffer, as_result);
    co_return !ec;
  }
  auto [ec, n] = co_await asio::async_write(std::get<0>(stream_), buffer, as_result);
  co_return !ec;
}

asio::awaitable<bool> connection::pause(std::chrono::steady_clock::duration d) {
  watch();
  auto const end = std::chrono::steady_clock::now() + d;
  // cancelled only by the watcher, which also fires when more requests arrive
  while (!gone_ && std::chrono::steady_clock::now() < end) {
    timer_.expires_at(end);
    co_await timer_.async_wait(as_result);
  }
  co_return !gone_;
}

void connection::watch() {
  if (std::exchange(watching_, true)) {
    return;
  }
  socket().async_wait(tcp::socket::wait_read, [self = shared_from_this()](error_code ec) {
    self->watching_ = false;
    if (ec || self->peer_is_gone()) {
      self->gone_ = true;
      self->timer_.cancel();
    }
  });
}

bool connection::peer_is_gone() {
  auto const fd = socket().native_handle();
  pollfd state{fd, POLLRDHUP, 0};
  if (::poll(&state, 1, 0) > 0) {
    return true;
  }
  if (!std::holds_alternative<tls_stream>(stream_)) {
    return false;
  }
  // the close_notify may arrive a moment before the FIN: an alert, which TLS 1.3 hides in a record of 19 bytes
  std::array<unsigned char, 5> record{};
  auto const n = ::recv(fd, record.data(), record.size(), MSG_PEEK | MSG_DONTWAIT);
  bool const is_alert = record[0] == 21;
  bool const is_hidden_alert = record[0] == 23 && record[3] == 0 && record[4] == 19;
  return n == static_cast<ssize_t>(record.size()) && (is_alert || is_hidden_alert);
}

asio::awaitable<void> connection::shutdown() {
  // a peer that does not close its side must not hold the connection
  timer_.expires_after(patience);
  timer_.async_wait([self = shared_from_this()](error_code ec) {
    if (!ec) {
      self->close();
    }
  });
  if (auto* const tls = std::get_if<tls_stream>(&stream_)) {
    co_await tls->async_shutdown(as_result);
  } else {
    error_code ignored;
    std::get<0>(stream_).shutdown(tcp::socket::shutdown_send, ignored);
    // closing with unread bytes would reset the connection, and the answer might be lost with it
    std::array<char, 4096> rest;
    while (co_await read_some(asio::buffer(rest)) > 0) {
    }
  }
  timer_.cancel();
  close();
}

void connection::close() {
  error_code ignored;
  socket().close(ignored);
}

} // namespace sim
