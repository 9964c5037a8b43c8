// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "caller_connection.hpp"
#include "config.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/intrusive/list.hpp>

#include <cstddef>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

namespace gateway {

/// The connections that one thread serves. Everything happens on the context, but `size`.
class connection_group {
public:
  connection_group(asio::io_context& context, settings const& general)
      : timeouts_{context, general.head_timeout, general.keep_alive_timeout, general.stall_timeout} {}

  void serve(caller_socket socket, std::shared_ptr<request_handler> handler) {
    auto const connection = std::make_shared<caller_connection>(std::move(socket), timeouts_, population_);
    connections_.push_back(*connection);
    connection->start(std::move(handler));
    if (finishing_) {
      connection->finish();
    }
  }

  /// Open connections; any thread may ask.
  [[nodiscard]] std::size_t size() const { return population_.size(); }

  /// Lets each connection end after its answer, the idle ones now, and calls `ended` when all have. Called once.
  void finish(std::function<void()> ended) {
    finishing_ = true;
    for (auto& each : connections_) {
      each.finish();
    }
    population_.when_empty(std::move(ended));
  }

  /// Ends all connections now.
  void cut() {
    // one at a time, as cutting takes a connection out of the list, now or later
    std::vector<std::shared_ptr<caller_connection>> all;
    for (auto& each : connections_) {
      all.push_back(each.shared_from_this());
    }
    for (auto const& each : all) {
      each->cut();
    }
  }

private:
  caller_timeouts timeouts_;
  boost::intrusive::list<caller_connection, boost::intrusive::constant_time_size<false>> connections_;
  population population_;
  bool finishing_ = false;
};

} // namespace gateway
