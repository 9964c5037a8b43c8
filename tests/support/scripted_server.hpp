// SPDX-License-Identifier: BSL-1.0
// A server whose every byte is written by the test, in the test's own io_context.
#pragma once

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

namespace rondo::test {

namespace asio = boost::asio;
using asio::ip::tcp;

/// One accepted connection, as the script sees it. Reading beyond the end throws.
class peer {
public:
  peer(tcp::socket socket, unsigned number) : socket_{std::move(socket)}, number_{number} {}

  /// 0 for the first connection the server accepted.
  [[nodiscard]] unsigned number() const noexcept { return number_; }

  /// Speaks TLS from here on; the second time inside the first.
  asio::awaitable<void> start_tls(asio::ssl::context& context) {
    if (tls_) {
      inner_tls_.emplace(*tls_, context);
      co_await inner_tls_->async_handshake(asio::ssl::stream_base::server, asio::use_awaitable);
    } else {
      tls_.emplace(socket_, context);
      co_await tls_->async_handshake(asio::ssl::stream_base::server, asio::use_awaitable);
    }
  }
  // of the innermost TLS
  [[nodiscard]] bool resumed() { return SSL_session_reused(ssl()) == 1; }
  [[nodiscard]] std::string server_name() {
    auto const* const name = SSL_get_servername(ssl(), TLSEXT_NAMETYPE_host_name);
    return name != nullptr ? name : "";
  }

  /// Receives something; false at the end of the stream.
  asio::awaitable<bool> more() {
    char bytes[4096];
    boost::system::error_code ec;
    std::size_t n = 0;
    auto const space = asio::buffer(bytes);
    if (inner_tls_) {
      std::tie(ec, n) = co_await inner_tls_->async_read_some(space, asio::as_tuple(asio::use_awaitable));
    } else if (tls_) {
      std::tie(ec, n) = co_await tls_->async_read_some(space, asio::as_tuple(asio::use_awaitable));
    } else {
      std::tie(ec, n) = co_await socket_.async_read_some(space, asio::as_tuple(asio::use_awaitable));
    }
    input_.append(bytes, n);
    co_return n > 0;
  }

  /// Receives up to and with `end`.
  asio::awaitable<std::string> read_until(std::string_view end) {
    std::size_t at = 0;
    while ((at = input_.find(end)) == std::string::npos) {
      auto const open = co_await more();
      if (!open) {
        throw std::runtime_error{"the client closed early"};
      }
    }
    auto const size = at + end.size();
    co_return take(size);
  }

  asio::awaitable<std::string> read_exactly(std::size_t size) {
    while (input_.size() < size) {
      auto const open = co_await more();
      if (!open) {
        throw std::runtime_error{"the client closed early"};
      }
    }
    co_return take(size);
  }

  /// Receives a request's head and the body that a Content-Length promises, together.
  asio::awaitable<std::string> read_request() {
    auto request = co_await read_until("\r\n\r\n");
    auto const field = request.find("\r\nContent-Length: ");
    if (field != std::string::npos) {
      auto const size = std::stoul(request.substr(field + 18));
      auto const body = co_await read_exactly(size);
      request += body;
    }
    co_return request;
  }

  asio::awaitable<void> write(std::string_view bytes) {
    if (inner_tls_) {
      co_await asio::async_write(*inner_tls_, asio::buffer(bytes), asio::use_awaitable);
    } else if (tls_) {
      co_await asio::async_write(*tls_, asio::buffer(bytes), asio::use_awaitable);
    } else {
      co_await asio::async_write(socket_, asio::buffer(bytes), asio::use_awaitable);
    }
  }

  /// Waits until the client has closed its side; what it sends before is thrown away.
  asio::awaitable<void> wait_for_close() {
    for (auto open = true; open;) {
      open = co_await more();
    }
  }

  /// Says close_notify in the outermost TLS, which must be there.
  asio::awaitable<void> shut_down_tls() { co_await tls_->async_shutdown(asio::as_tuple(asio::use_awaitable)); }

  /// Closes with a reset instead of an orderly end.
  void reset() {
    socket_.set_option(asio::socket_base::linger{true, 0});
    socket_.close();
  }
  void close() { socket_.close(); }
  [[nodiscard]] tcp::socket& socket() noexcept { return socket_; }

private:
  SSL* ssl() { return inner_tls_ ? inner_tls_->native_handle() : tls_->native_handle(); }

  std::string take(std::size_t size) {
    auto out = input_.substr(0, size);
    input_.erase(0, size);
    return out;
  }

  tcp::socket socket_;
  std::optional<asio::ssl::stream<tcp::socket&>> tls_;
  std::optional<asio::ssl::stream<asio::ssl::stream<tcp::socket&>&>> inner_tls_;
  std::string input_;
  unsigned number_;
};

/// Accepts connections on a free loopback port and runs the script for each. A script that throws just ends.
class scripted_server {
public:
  using script = std::function<asio::awaitable<void>(peer&)>;

  scripted_server(asio::io_context& context, script run,
                  asio::ip::address const& where = asio::ip::address_v4::loopback())
      : state_{std::make_shared<state>(context, std::move(run), where)},
        port_{state_->acceptor.local_endpoint().port()} {
    asio::co_spawn(context, accept(state_), asio::detached);
  }
  scripted_server(scripted_server const&) = delete;
  scripted_server& operator=(scripted_server const&) = delete;
  ~scripted_server() { close(); }

  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
  /// How many connections have been accepted.
  [[nodiscard]] unsigned accepted() const noexcept { return state_->accepted; }
  /// How many of them are still open.
  [[nodiscard]] std::size_t open() const noexcept { return state_->peers.size(); }

  /// Accepts no more and ends all scripts.
  void close() {
    boost::system::error_code ignored;
    state_->acceptor.close(ignored);
    for (auto* const p : state_->peers) {
      p->socket().close(ignored);
    }
  }

private:
  struct state {
    state(asio::io_context& context, script s, asio::ip::address const& where)
        : acceptor{context, {where, 0}}, run{std::move(s)} {}
    tcp::acceptor acceptor;
    script run;
    unsigned accepted = 0;
    std::vector<peer*> peers;
  };

  struct registration {
    registration(std::vector<peer*>& list, peer* p) : peers{list}, self{p} { peers.push_back(self); }
    registration(registration const&) = delete;
    registration& operator=(registration const&) = delete;
    ~registration() { std::erase(peers, self); }
    std::vector<peer*>& peers;
    peer* self;
  };

  static asio::awaitable<void> accept(std::shared_ptr<state> s) {
    for (;;) {
      auto [ec, socket] = co_await s->acceptor.async_accept(asio::as_tuple(asio::use_awaitable));
      if (ec) {
        co_return;
      }
      asio::co_spawn(s->acceptor.get_executor(), serve(s, std::move(socket), s->accepted++), asio::detached);
    }
  }

  static asio::awaitable<void> serve(std::shared_ptr<state> s, tcp::socket socket, unsigned number) {
    peer p{std::move(socket), number};
    registration const listed{s->peers, &p};
    try {
      co_await s->run(p);
    } catch (std::exception const&) {
      // the client went away, which is what many tests make it do
    }
  }

  std::shared_ptr<state> state_;
  std::uint16_t port_;
};

} // namespace rondo::test
