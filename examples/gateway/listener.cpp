// SPDX-License-Identifier: BSL-1.0
#include "listener.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <sys/resource.h>

#include <chrono>
#include <utility>

namespace gateway {

namespace {

constexpr auto quietly = asio::as_tuple(asio::use_awaitable);
// Nothing tells when descriptors are free again, so ask; only while there is none.
constexpr std::chrono::milliseconds breath{50};

} // namespace

listener::listener(asio::io_context& context, asio::ip::tcp::endpoint const& address,
                   std::function<destination*()> next)
    : acceptor_{context}, pause_{context}, next_{std::move(next)} {
  acceptor_.open(address.protocol());
  acceptor_.set_option(asio::socket_base::reuse_address{true});
  acceptor_.bind(address);
  acceptor_.listen(4096);
  acceptor_.non_blocking(true);
}

void listener::start() {
  asio::co_spawn(acceptor_.get_executor(), run(), asio::detached);
}

asio::awaitable<void> listener::run() {
  while (acceptor_.is_open()) {
    auto* const to = next_();
    auto failed = to == nullptr;
    if (to != nullptr) {
      auto [ec, socket] = co_await acceptor_.async_accept(to->context, quietly);
      if (ec == asio::error::operation_aborted) {
        co_return;
      }
      if (!ec) {
        to->accepted(std::move(socket));
      }
      failed = ec && ec != asio::error::connection_aborted;
    }
    if (failed) { // out of descriptors or memory
      pause_.expires_after(breath);
      co_await pause_.async_wait(quietly);
    }
  }
}

void listener::stop() {
  boost::system::error_code ec;
  while (auto* const to = acceptor_.is_open() ? next_() : nullptr) {
    caller_socket socket{to->context};
    acceptor_.accept(socket, ec);
    if (ec) {
      break;
    }
    to->accepted(std::move(socket));
  }
  acceptor_.close(ec);
  pause_.cancel();
}

std::size_t raise_descriptor_limit() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  getrlimit(RLIMIT_NOFILE, &limit);
  return limit.rlim_cur;
}

} // namespace gateway
