// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/error.hpp>

#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/ssl/error.hpp>

#include <cstdint>
#include <ostream>

namespace rondo::http::detail {

/// What a handshake with a proxy wants next. The machines are sans-IO: `resume` is called with the result of the last
/// action (the first time with nothing) and says the next; the buffers belong to the machine, which stays where it is.
struct tunnel_action {
  enum class kind : std::uint8_t {
    write, ///< send all of `output`
    read,  ///< receive at least one byte into `input`
    done,  ///< the tunnel stands; the next byte belongs to the origin
    fail,  ///< give the connection up with `ec`
  };
  kind what;
  boost::asio::const_buffer output;
  boost::asio::mutable_buffer input;
  error_code ec;

  [[nodiscard]] static tunnel_action write(boost::asio::const_buffer bytes) { return {kind::write, bytes, {}, {}}; }
  [[nodiscard]] static tunnel_action read(boost::asio::mutable_buffer space) { return {kind::read, {}, space, {}}; }
  [[nodiscard]] static tunnel_action done() { return {kind::done, {}, {}, {}}; }
  [[nodiscard]] static tunnel_action fail(error_code ec) { return {kind::fail, {}, {}, ec}; }

  friend std::ostream& operator<<(std::ostream& out, tunnel_action const& a) {
    switch (a.what) {
    case kind::write: return out << "write " << a.output.size();
    case kind::read: return out << "read up to " << a.input.size();
    case kind::done: return out << "done";
    case kind::fail: break;
    }
    return out << "fail: " << a.ec.message();
  }
};

/// What a failed read or write means while the proxy is being talked to.
[[nodiscard]] inline error_code tunnel_error(error_code ec) noexcept {
  if (ec == boost::asio::error::operation_aborted) {
    return ec;
  }
  // an alert that comes after the handshake: with TLS 1.3 that is how a missing client certificate is told
  auto const is_tls = ec.category() == boost::asio::error::get_ssl_category();
  return make_error_code(is_tls ? error::proxy_tls_failed : error::proxy_closed);
}

} // namespace rondo::http::detail
