// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "options.hpp"
#include "simulator.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>

#include <optional>
#include <string>

namespace sim {

/// Accepts connections and carries out the simulator's plans on them, faults included.
class server {
public:
  /// Binds and listens; throws boost::system::system_error, and std::runtime_error for unusable certificates.
  server(boost::asio::io_context&, provider_options const&, simulator&);

  /// "https://127.0.0.1:9443", with the real port.
  [[nodiscard]] std::string url() const;

  /// Starts to accept; returns at once. The context stops the server by being stopped.
  void start();

private:
  boost::asio::io_context& context_;
  simulator& simulator_;
  std::optional<boost::asio::ssl::context> tls_;
  boost::asio::ip::tcp::acceptor acceptor_;
};

} // namespace sim
