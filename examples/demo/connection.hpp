// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/ssl/ssl_stream.hpp>
#include <boost/json/value.hpp>

#include <memory>
#include <string>
#include <string_view>

namespace demo {

using request = boost::beast::http::request<boost::beast::http::string_body>;
using response = boost::beast::http::response<boost::beast::http::string_body>;

/// A kept-alive connection to a server on this machine. Not rondo's client on purpose: the driver judges the gateway
/// from outside, as any program in any language would see it.
class connection {
public:
  /// `url` is http://HOST:PORT or https://HOST:PORT; throws std::invalid_argument. `tls` may be null for the former.
  connection(boost::asio::any_io_executor, std::string_view url, boost::asio::ssl::context* tls);

  /// Sends and waits for the whole answer, a minute at most; throws boost::system::system_error. A connection that
  /// failed is opened again by the next call.
  [[nodiscard]] boost::asio::awaitable<response> send(request);
  /// GET of a JSON document; throws when the answer is none.
  [[nodiscard]] boost::asio::awaitable<boost::json::value> get_json(std::string_view target);

private:
  using tls_stream = boost::beast::ssl_stream<boost::beast::tcp_stream>;

  [[nodiscard]] boost::asio::awaitable<void> open();
  template <class Stream> [[nodiscard]] boost::asio::awaitable<response> exchange(Stream&, request const&);

  boost::asio::any_io_executor executor_;
  boost::asio::ssl::context* tls_;
  std::string host_;
  std::string port_;
  std::unique_ptr<boost::beast::tcp_stream> plain_;
  std::unique_ptr<tls_stream> secure_;
  boost::beast::flat_buffer buffer_;
};

} // namespace demo
