// SPDX-License-Identifier: BSL-1.0
#include "balance_task.hpp"

#include "log.hpp"
#include <rondo/account/balances.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <cstddef>
#include <exception>
#include <string>
#include <utility>

namespace gateway {

namespace {

boost::asio::awaitable<void> ask_forever(boost::asio::io_context& context, std::shared_ptr<served_pool const> pool) {
  auto const client = make_client(context.get_executor(), pool);
  boost::asio::steady_timer timer{context};
  std::size_t last_missing = 0;
  for (;;) {
    auto const result = co_await rondo::account::refresh_balances(*client, pool->keys->pool(), *pool->provider);
    auto const missing = result.asked - result.answered;
    if (std::exchange(last_missing, missing) != missing) {
      auto line = pool->settings.name + ": the provider told the balance of " + std::to_string(result.answered) +
                  " accounts out of " + std::to_string(result.asked);
      if (result.last_failure) {
        line += ": " + result.last_failure.message();
      }
      log_line(line);
    }
    timer.expires_after(pool->settings.refresh);
    co_await timer.async_wait(boost::asio::use_awaitable);
  }
}

} // namespace

balance_task::balance_task(boost::asio::io_context& context, std::shared_ptr<served_pool const> pool) {
  auto asking = ask_forever(context, std::move(pool));
  boost::asio::co_spawn(
      context, std::move(asking),
      boost::asio::bind_cancellation_slot(stop_->slot(), [keep = stop_](std::exception_ptr const&) {}));
}

balance_task::~balance_task() {
  stop_->emit(boost::asio::cancellation_type::terminal);
}

} // namespace gateway
