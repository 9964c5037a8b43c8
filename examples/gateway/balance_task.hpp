// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "served_pool.hpp"

#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/io_context.hpp>

#include <memory>

namespace gateway {

/// Asks the provider for the balances of a pool, at once and then in intervals, from construction to destruction.
///
/// Everything happens on the context given.
class balance_task {
public:
  balance_task(boost::asio::io_context& context, std::shared_ptr<served_pool const> pool);
  balance_task(balance_task const&) = delete;
  balance_task& operator=(balance_task const&) = delete;
  ~balance_task();

private:
  // outlives this, as the coroutine ends only after it was told to
  std::shared_ptr<boost::asio::cancellation_signal> stop_ = std::make_shared<boost::asio::cancellation_signal>();
};

} // namespace gateway
