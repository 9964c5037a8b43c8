// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/system/error_code.hpp>

#include <chrono>
#include <cstddef>
#include <memory>
#include <string_view>
#include <variant>

namespace sim {

/// One accepted connection, in clear or with TLS. Everything happens on the executor of its socket.
class connection : public std::enable_shared_from_this<connection> {
public:
  /// `tls` may be null: in clear.
  connection(boost::asio::ip::tcp::socket, boost::asio::ssl::context* tls);

  [[nodiscard]] boost::asio::awaitable<bool> handshake();
  /// Fewer bytes than one means the end or an error.
  [[nodiscard]] boost::asio::awaitable<std::size_t> read_some(boost::asio::mutable_buffer);
  [[nodiscard]] boost::asio::awaitable<bool> write(std::string_view);
  /// Waits; false as soon as the peer has gone away.
  [[nodiscard]] boost::asio::awaitable<bool> pause(std::chrono::steady_clock::duration);
  /// Ends the connection in order: close_notify first, where there is TLS.
  [[nodiscard]] boost::asio::awaitable<void> shutdown();
  /// Cuts it.
  void close();

  [[nodiscard]] boost::asio::ip::tcp::endpoint const& peer() const noexcept { return peer_; }

private:
  using tls_stream = boost::asio::ssl::stream<boost::asio::ip::tcp::socket>;

  [[nodiscard]] boost::asio::ip::tcp::socket& socket();
  void watch();
  [[nodiscard]] bool peer_is_gone();

  std::variant<boost::asio::ip::tcp::socket, tls_stream> stream_;
  boost::asio::ip::tcp::endpoint peer_;
  boost::asio::steady_timer timer_;
  bool watching_ = false;
  bool gone_ = false;
};

} // namespace sim
