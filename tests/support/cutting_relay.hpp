// SPDX-License-Identifier: BSL-1.0
// Stands between a client and a server of the loopback, and cuts the line after a given byte.
#pragma once

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

namespace rondo::test {

namespace asio = boost::asio;
using asio::ip::tcp;

/// Which bytes a cut counts.
enum class direction : std::uint8_t { to_server, to_client };

/// Passes bytes both ways between whoever connects to it and one loopback port.
class cutting_relay {
public:
  cutting_relay(asio::io_context& context, std::uint16_t target)
      : state_{std::make_shared<state>(context, target)}, port_{state_->acceptor.local_endpoint().port()} {
    asio::co_spawn(context, accept(state_), asio::detached);
  }
  cutting_relay(cutting_relay const&) = delete;
  cutting_relay& operator=(cutting_relay const&) = delete;
  ~cutting_relay() {
    boost::system::error_code ignored;
    state_->acceptor.close(ignored);
  }

  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }

  /// Each connection from now on ends, on both sides, as soon as `bytes` have been passed on that way.
  void cut(direction way, std::size_t bytes) noexcept {
    state_->way = way;
    state_->bytes = bytes;
  }
  void heal() noexcept { state_->bytes.reset(); }

private:
  struct state {
    state(asio::io_context& context, std::uint16_t t)
        : acceptor{context, {asio::ip::address_v4::loopback(), 0}}, target{t} {}
    tcp::acceptor acceptor;
    std::uint16_t target;
    direction way = direction::to_server;
    std::optional<std::size_t> bytes;
  };

  struct line {
    line(tcp::socket c, tcp::socket s) : client{std::move(c)}, server{std::move(s)} {}
    tcp::socket client;
    tcp::socket server;

    void close() {
      boost::system::error_code ignored;
      client.close(ignored);
      server.close(ignored);
    }
  };

  static asio::awaitable<void> accept(std::shared_ptr<state> s) {
    for (;;) {
      auto [ec, client] = co_await s->acceptor.async_accept(asio::as_tuple(asio::use_awaitable));
      if (ec) {
        co_return;
      }
      auto const executor = s->acceptor.get_executor();
      auto const both = std::make_shared<line>(std::move(client), tcp::socket{executor});
      both->server.connect({asio::ip::address_v4::loopback(), s->target}, ec);
      if (ec) {
        continue;
      }
      auto const limit = [&](direction way) { return s->way == way ? s->bytes : std::nullopt; };
      asio::co_spawn(executor, pass(both, direction::to_server, limit(direction::to_server)), asio::detached);
      asio::co_spawn(executor, pass(both, direction::to_client, limit(direction::to_client)), asio::detached);
    }
  }

  static asio::awaitable<void> pass(std::shared_ptr<line> both, direction way, std::optional<std::size_t> limit) {
    auto& from = way == direction::to_server ? both->client : both->server;
    auto& to = way == direction::to_server ? both->server : both->client;
    char bytes[4096];
    for (;;) {
      if (limit && *limit == 0) {
        break;
      }
      auto const space = asio::buffer(bytes, limit ? std::min(*limit, sizeof(bytes)) : sizeof(bytes));
      auto const [ec, n] = co_await from.async_read_some(space, asio::as_tuple(asio::use_awaitable));
      if (ec) {
        break;
      }
      auto const piece = asio::buffer(bytes, n);
      auto const [failed, sent] = co_await asio::async_write(to, piece, asio::as_tuple(asio::use_awaitable));
      if (failed) {
        break;
      }
      if (limit) {
        *limit -= sent;
      }
    }
    both->close();
  }

  std::shared_ptr<state> state_;
  std::uint16_t port_;
};

} // namespace rondo::test
