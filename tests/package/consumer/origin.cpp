// SPDX-License-Identifier: BSL-1.0
#include "origin.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <string>
#include <string_view>

namespace asio = boost::asio;
using asio::ip::tcp;

struct origin::server {
  tcp::acceptor acceptor;

  asio::awaitable<void> answer_one() {
    auto socket = co_await acceptor.async_accept(asio::use_awaitable);
    std::string request;
    co_await asio::async_read_until(socket, asio::dynamic_buffer(request), "\r\n\r\n", asio::use_awaitable);
    auto const known = request.find("Bearer sk_a\r\n") != std::string::npos;
    std::string_view const answer =
        known ? "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" : "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n";
    co_await asio::async_write(socket, asio::buffer(answer), asio::use_awaitable);
  }
};

origin::origin(asio::io_context& context)
    : server_{new server{tcp::acceptor{context, {asio::ip::address_v4::loopback(), 0}}}} {
  asio::co_spawn(context, server_->answer_one(), asio::detached);
}
origin::~origin() = default;

std::uint16_t origin::port() const {
  return server_->acceptor.local_endpoint().port();
}
