// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <boost/asio/io_context.hpp>

#include <cstdint>
#include <memory>

/// A web server on a free port of the loopback that answers one request: 200 to the key `sk_a`, 401 to any other.
class origin {
public:
  explicit origin(boost::asio::io_context& context);
  ~origin();

  [[nodiscard]] std::uint16_t port() const;

private:
  struct server;
  std::unique_ptr<server> server_;
};
