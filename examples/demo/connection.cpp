// SPDX-License-Identifier: BSL-1.0
#include "connection.hpp"

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/write.hpp>
#include <boost/json/parse.hpp>

#include <chrono>
#include <stdexcept>
#include <utility>

namespace demo {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using tcp = asio::ip::tcp;

namespace {

constexpr std::chrono::seconds patience{60};

} // namespace

connection::connection(asio::any_io_executor executor, std::string_view url, asio::ssl::context* tls)
    : executor_{std::move(executor)}, tls_{tls} {
  bool const secure = url.starts_with("https://");
  auto const begin = url.find("://");
  auto const colon = url.rfind(':');
  if (begin == std::string_view::npos || colon <= begin || (!secure && !url.starts_with("http://")) ||
      (secure && !tls_)) {
    throw std::invalid_argument{"no usable address: " + std::string{url}};
  }
  host_ = url.substr(begin + 3, colon - begin - 3);
  port_ = url.substr(colon + 1);
  if (!secure) {
    tls_ = nullptr;
  }
}

asio::awaitable<void> connection::open() {
  buffer_.clear();
  tcp::endpoint const address{asio::ip::make_address(host_), static_cast<std::uint16_t>(std::stoi(port_))};
  auto stream = std::make_unique<beast::tcp_stream>(executor_);
  stream->expires_after(patience);
  co_await stream->async_connect(address, asio::use_awaitable);
  stream->socket().set_option(tcp::no_delay{true});
  if (!tls_) {
    plain_ = std::move(stream);
    co_return;
  }
  auto secure = std::make_unique<tls_stream>(std::move(*stream), *tls_);
  secure->set_verify_callback(asio::ssl::host_name_verification{host_});
  co_await secure->async_handshake(asio::ssl::stream_base::client, asio::use_awaitable);
  secure_ = std::move(secure);
}

template <class Stream> asio::awaitable<response> connection::exchange(Stream& stream, request const& r) {
  beast::get_lowest_layer(stream).expires_after(patience);
  co_await http::async_write(stream, r, asio::use_awaitable);
  response answer;
  co_await http::async_read(stream, buffer_, answer, asio::use_awaitable);
  co_return answer;
}

asio::awaitable<response> connection::send(request r) {
  r.set(http::field::host, host_ + ":" + port_);
  r.prepare_payload();
  if (!plain_ && !secure_) {
    co_await open();
  }
  response answer;
  try {
    if (secure_) {
      answer = co_await exchange(*secure_, r);
    } else {
      answer = co_await exchange(*plain_, r);
    }
  } catch (...) {
    plain_.reset();
    secure_.reset();
    throw;
  }
  if (!answer.keep_alive()) {
    plain_.reset();
    secure_.reset();
  }
  co_return answer;
}

asio::awaitable<boost::json::value> connection::get_json(std::string_view target) {
  request r{http::verb::get, {target.data(), target.size()}, 11};
  auto const answer = co_await send(std::move(r));
  if (answer.result() != http::status::ok) {
    throw std::runtime_error{std::string{target} + " answered " + std::to_string(answer.result_int())};
  }
  co_return boost::json::parse(answer.body());
}

} // namespace demo
