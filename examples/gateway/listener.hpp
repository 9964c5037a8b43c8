// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "caller_connection.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>

#include <functional>

namespace gateway {

/// Accepts connections and hands each one out, on a context that it asks for before.
///
/// Distinct objects: safe. Shared objects: unsafe; everything happens on the context given.
class listener {
public:
  struct destination {
    asio::io_context& context;
    std::function<void(caller_socket)> accepted; ///< called on the listener's context
  };

  /// Binds and listens; throws `boost::system::system_error` when the address cannot be had.
  listener(asio::io_context& context, asio::ip::tcp::endpoint const& address, std::function<destination*()> next);

  [[nodiscard]] asio::ip::tcp::endpoint address() const { return acceptor_.local_endpoint(); }
  void start();
  /// Hands out what has already been connected, and stops.
  void stop();

private:
  asio::awaitable<void> run();

  asio::basic_socket_acceptor<asio::ip::tcp, asio::io_context::executor_type> acceptor_;
  asio::steady_timer pause_;
  std::function<destination*()> next_; ///< null: no more connections for now
};

/// Lets the process open as many descriptors as the system allows it, and says how many those are.
[[nodiscard]] std::size_t raise_descriptor_limit();

} // namespace gateway
