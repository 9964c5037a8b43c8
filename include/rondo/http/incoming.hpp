// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/clock.hpp>
#include <rondo/http/detail/config.hpp>
#include <rondo/http/exchange.hpp>
#include <rondo/http/message.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>

namespace rondo::http {

namespace detail {
class client_core;
class connection;
struct connection_deleter {
  void operator()(connection* c) const noexcept;
};
using connection_ptr = std::unique_ptr<connection, connection_deleter>;

/// What an `incoming` is a handle to.
struct answer {
  answer() {} // not defaulted: that would clear the whole object first

  std::shared_ptr<client_core> core;
  connection_ptr from; // after the core, which it reports to when it goes; null when nothing more is to be read
  response_head head;
  fields trailers;
  std::optional<std::uint64_t> content_length{};
  std::uint64_t received = 0;
  std::uint64_t framing = 0; ///< bytes of chunk headers and trailers
  std::uint64_t max_body = 0;
  steady_time complete_by;
  std::chrono::steady_clock::duration idle_timeout{};
  bool reused = false;
  bool failed = false;
};
} // namespace detail

/// A response whose head has arrived; the body is read piece by piece, no faster than it is asked for.
///
/// When the last piece has been handed out the connection is already back in the client's pool. An object that is
/// destroyed before closes its connection. Distinct objects: safe, on the client's executor. Shared objects: unsafe;
/// it must not be moved while a read is under way.
class incoming {
public:
  /// Holds nothing; may only be assigned to and destroyed, like one that was moved from.
  incoming() noexcept;
  incoming(incoming&&) noexcept;
  incoming& operator=(incoming&&) noexcept;
  ~incoming();

  [[nodiscard]] response_head const& head() const noexcept { return answer_->head; }
  [[nodiscard]] response_head& head() noexcept { return answer_->head; }
  /// The fields that came after a chunked body, once it is done; nobody should trust them as those of the head.
  [[nodiscard]] fields const& trailers() const noexcept { return answer_->trailers; }
  [[nodiscard]] unsigned status() const noexcept { return answer_->head.result_int(); }

  /// The length of the body that the head promised.
  [[nodiscard]] std::optional<std::uint64_t> content_length() const noexcept { return answer_->content_length; }
  /// Whether the whole body has been handed out.
  [[nodiscard]] bool done() const noexcept { return !answer_ || !answer_->from; }
  /// Whether the request went over a connection that had served another before.
  [[nodiscard]] bool reused() const noexcept { return answer_->reused; }

  /// Replaces `exchange_options::idle_timeout` for the reads to come.
  void set_idle_timeout(std::chrono::steady_clock::duration most) noexcept { answer_->idle_timeout = most; }

  /// Reads the next piece of the body.
  ///
  /// Preconditions: `space` is not empty; no other read is under way.
  /// Lifetimes: `space` and this object must live until it completes.
  /// Completion: with 1 to `space.size()` bytes; or with none and no error, at the end of the body; or with an error,
  /// after which the connection is closed and every further read says `error::truncated_response`.
  /// Executor: the client's.
  /// Cancellation: terminal, partial, total; the connection is closed.
  /// Errors: `error::idle_timeout`, `error::deadline_exceeded` (`complete_by`), `error::truncated_response`,
  /// `error::response_too_large`, `error::bad_response`, `asio::error::operation_aborted`. Thread safety: none; on the
  /// client's executor. Cost: no allocation but the coroutine's frame, which Asio recycles; no
  /// system call while bytes are left over, one if some wait at the socket, else three.
  [[nodiscard]] boost::asio::awaitable<read_result> read(boost::asio::mutable_buffer space);

  /// The same without waiting: empty when a piece has to be waited for.
  [[nodiscard]] std::optional<read_result> try_read(boost::asio::mutable_buffer space);

private:
  friend class detail::client_core;

  explicit incoming(std::unique_ptr<detail::answer> answer) noexcept;

  void finish(error_code ec) noexcept;

  std::unique_ptr<detail::answer> answer_;
};

} // namespace rondo::http
