// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/clock.hpp>
#include <rondo/error.hpp>
#include <rondo/http/proxy.hpp>

#include <boost/assert/source_location.hpp>
#include <boost/system/system_error.hpp>
#include <boost/throw_exception.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

namespace rondo::http {

/// How one request is sent.
struct exchange_options {
  std::shared_ptr<proxy const> via;          ///< the proxy to go through; null = direct
  steady_time deadline = steady_time::max(); ///< for the first byte of the answer; everything before counts
  /// For the last byte of the answer, also where the deadline is later; default none. Without it an answer may take as
  /// long as a byte comes within each idle timeout.
  steady_time complete_by = steady_time::max();
  /// For name resolution, TCP, proxy handshake and TLS together; default 5 s.
  std::chrono::steady_clock::duration connect_timeout = std::chrono::seconds{5};
  /// For the rest of the head once its first byte is there, then between bytes of the body while a read waits;
  /// default 60 s.
  std::chrono::steady_clock::duration idle_timeout = std::chrono::seconds{60};
  /// Largest body of the answer in bytes; empty = no limit for `open`, `client_options::max_response` for `send`.
  std::optional<std::uint64_t> max_body;
  /// Announces a body from a source with `Expect: 100-continue` and waits this long for leave to send it; then it is
  /// sent all the same. With a final answer in its stead the source is not read. Default 0 = the body goes at once.
  std::chrono::steady_clock::duration expect_continue{};
  /// Asks for an answer without content coding, whatever the head says of it.
  bool identity = false;
  /// Whether a replayable request is written a second time, on a new connection, when the kept one it was written to
  /// turns out to be dead. Whoever counts requests says no, and decides himself.
  bool resend = true;
  /// Called once, when the last byte of the request has been handed to the operating system. Must not throw.
  std::function<void()> on_sent;
};

/// Why there is no answer.
struct failure {
  error_code ec;
  /// Who is to blame: `blame_of(ec)`, but `blame::path` for a TLS handshake that failed inside a tunnel, because a
  /// lying proxy and a bad origin look alike there.
  blame who = blame::nobody;
  /// Whether a byte of the request may have reached the origin. If not, it can be sent again without any risk.
  bool written = false;
};

/// What `result<T, failure>::value` throws when there is no value.
[[noreturn]] inline void throw_exception_from_error(failure const& f, boost::source_location const& where) {
  boost::throw_exception(boost::system::system_error{f.ec}, where);
}

/// What a read of a body gave: `n` bytes, or an error. Neither: the body has ended.
struct read_result {
  error_code ec;
  std::size_t n = 0;
};

} // namespace rondo::http
