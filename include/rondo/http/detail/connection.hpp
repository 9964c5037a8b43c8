// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/clock.hpp>
#include <rondo/error.hpp>
#include <rondo/http/detail/answer_parser.hpp>
#include <rondo/http/detail/flat_input.hpp>
#include <rondo/http/detail/tls_layer.hpp>
#include <rondo/http/message.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/intrusive/list_hook.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <tuple>
#include <utility>

namespace rondo::http::detail {

namespace asio = boost::asio;
using asio::ip::tcp;

inline constexpr auto as_result = asio::as_tuple(asio::deferred);

class client_core;
struct pool_entry;

using active_hook = boost::intrusive::list_base_hook<boost::intrusive::link_mode<boost::intrusive::auto_unlink>>;

/// The place that a connection takes in the limits which count it; when it goes, others may have it.
class connection_slot {
public:
  connection_slot() noexcept = default;
  connection_slot(client_core& core, pool_entry& entry) noexcept;
  connection_slot(connection_slot&& other) noexcept
      : core_{std::exchange(other.core_, nullptr)}, entry_{std::exchange(other.entry_, nullptr)} {}
  connection_slot& operator=(connection_slot other) noexcept {
    std::swap(core_, other.core_);
    std::swap(entry_, other.entry_);
    return *this;
  }
  ~connection_slot();

  [[nodiscard]] pool_entry* entry() const noexcept { return entry_; }

private:
  client_core* core_ = nullptr;
  pool_entry* entry_ = nullptr;
};

/// One TCP connection, perhaps through tunnels, perhaps with TLS, and everything that is kept with it.
///
/// It has no timer of its own: the client's one timer calls `expire` when `limit` has passed.
class connection : public active_hook {
public:
  connection(asio::any_io_executor const& executor, client_core& owner, connection_slot place)
      : core{owner}, slot{std::move(place)}, entry{*slot.entry()}, socket{executor} {}
  connection(connection const&) = delete;
  connection& operator=(connection const&) = delete;
  ~connection();

  /// Makes whatever is under way end soon with an error.
  void abort() noexcept {
    error_code ignored;
    socket.close(ignored);
    if (wake != nullptr) {
      wake->cancel();
    }
  }

  void expire() noexcept {
    expired = true;
    limit = steady_time::max();
    if (gentle) {
      error_code ignored;
      socket.cancel(ignored);
    } else {
      abort();
    }
  }

  /// The error of a finished step: that of the limit, when the limit ended it.
  [[nodiscard]] error_code verdict(error_code ec) const noexcept { return expired ? make_error_code(on_limit) : ec; }

  /// Whether TLS has received bytes that nobody has read.
  [[nodiscard]] bool pending() const noexcept { return (tls && tls->pending()) || (inner_tls && inner_tls->pending()); }

  /// Whether an idle connection is open, with nothing to read: anything else would be taken for the next answer.
  [[nodiscard]] bool quiet() {
    if (!input.empty() || pending()) {
      return false;
    }
    char byte;
    error_code ec;
    socket.receive(asio::buffer(&byte, 1), tcp::socket::message_peek, ec);
    return ec == asio::error::would_block;
  }

  /// The TLS that requests go through; null if there is none.
  [[nodiscard]] tls_layer* innermost() noexcept { return inner_tls ? &*inner_tls : tls ? &*tls : nullptr; }

  /// Whether there can be nothing to read, because something was just written: to look would be in vain, and `ready`
  /// says when it is time.
  [[nodiscard]] bool awaits_answer() noexcept {
    wanted = tcp::socket::wait_read;
    return std::exchange(just_written, false) && !pending();
  }

  /// One step of receiving, which does not wait: bytes from whatever has been built so far, or an error. False: there
  /// is nothing yet, and `ready` says when to try again.
  [[nodiscard]] bool read_step(asio::mutable_buffer space, std::size_t& n, error_code& ec) {
    if (auto* const layer = innermost()) {
      auto const step = layer->read(space);
      n = step.n;
      ec = step.ec;
      wanted = wait_for(step);
      return !waits(step);
    }
    wanted = tcp::socket::wait_read;
    n = socket.read_some(asio::buffer(space), ec);
    return !waits(ec);
  }

  /// One step of sending, which does not wait; what was sent is taken off `bytes`. False: nobody takes more now, and
  /// `ready` says when to try again.
  [[nodiscard]] bool write_step(asio::const_buffer& bytes, error_code& ec) {
    std::size_t n = 0;
    auto blocked = false;
    if (auto* const layer = innermost()) {
      auto const step = layer->write(bytes);
      n = step.n;
      ec = step.ec;
      wanted = wait_for(step);
      blocked = waits(step);
    } else {
      wanted = tcp::socket::wait_write;
      n = socket.write_some(asio::buffer(bytes), ec);
      blocked = waits(ec);
    }
    bytes += n;
    if (n > 0) {
      written = just_written = true;
    }
    return !blocked;
  }

  /// What the last step waits for: `auto const [ec] = co_await c.ready();`
  [[nodiscard]] auto ready() {
    turns = 0;
    return socket.async_wait(wanted, as_result);
  }

  /// Lets others have their turn: a peer that is faster than we are never makes us wait.
  [[nodiscard]] auto yield() { return asio::post(socket.get_executor(), asio::deferred); }
  [[nodiscard]] bool must_yield() noexcept {
    turns = (turns + 1) % 16;
    return turns == 0;
  }

  /// Receives at least one byte.
  asio::awaitable<std::tuple<error_code, std::size_t>> read_some(asio::mutable_buffer space) {
    error_code ec;
    std::size_t n = 0;
    while (!ec && !expired && (awaits_answer() || !read_step(space, n, ec))) {
      std::tie(ec) = co_await ready();
    }
    co_return std::tuple{ec, n};
  }

  /// Sends all bytes.
  asio::awaitable<error_code> write(asio::const_buffer bytes) {
    while (bytes.size() > 0) {
      error_code ec;
      if (!write_step(bytes, ec)) {
        std::tie(ec) = co_await ready();
        // after an error other than a cancelled wait the system has taken nothing of this piece
        written = written || expired || ec == asio::error::operation_aborted;
      } else if (bytes.size() > 0 && must_yield()) {
        co_await yield();
      }
      if (ec || expired) {
        co_return verdict(ec);
      }
    }
    co_return error_code{};
  }

  /// One step of receiving into `input`; `no_buffer_space` when `most` bytes wait to be parsed already.
  [[nodiscard]] bool fill_step(std::size_t most, error_code& ec);

  /// Drives a TLS handshake to its end.
  asio::awaitable<error_code> shake_hands() {
    for (;;) {
      auto const step = innermost()->handshake();
      if (step.what == tls_step::kind::done || step.ec) {
        co_return step.ec;
      }
      wanted = wait_for(step);
      auto const [ec] = co_await ready();
      if (ec || expired) {
        co_return verdict(ec);
      }
    }
  }

  [[nodiscard]] static bool waits(tls_step const& step) noexcept {
    return step.what == tls_step::kind::wants_read || step.what == tls_step::kind::wants_write;
  }
  [[nodiscard]] static bool waits(error_code& ec) noexcept {
    auto const blocked = ec == asio::error::would_block;
    ec = blocked ? error_code{} : ec;
    return blocked;
  }
  [[nodiscard]] static tcp::socket::wait_type wait_for(tls_step const& step) noexcept {
    return step.what == tls_step::kind::wants_read ? tcp::socket::wait_read : tcp::socket::wait_write;
  }

  client_core& core;
  connection_slot slot; ///< given back after the socket has been closed
  pool_entry& entry;
  tcp::socket socket;
  std::optional<tls_layer> tls;       ///< over TCP: the proxy's, or else the origin's
  std::optional<tls_layer> inner_tls; ///< the origin's inside the proxy's
  flat_input input;
  std::optional<answer_parser> parser;

  steady_time limit = steady_time::max();
  error on_limit = error::deadline_exceeded;
  bool expired = false;
  bool just_written = false;          ///< nothing was read since
  bool gentle = false;                ///< the limit ends a wait and not the connection
  asio::steady_timer* wake = nullptr; ///< cancelled by `abort`: ends waits that are not for the socket

  steady_time retire_at = steady_time::max(); ///< takes no new request from then on
  steady_time idle_since{};
  steady_time idle_until = steady_time::max();
  std::uint32_t served = 0;
  std::uint32_t most_served = 0; ///< 0 = no limit

  tcp::socket::wait_type wanted = tcp::socket::wait_read; ///< by the last step
  unsigned turns = 0;                                     ///< steps without a wait

  // of the exchange under way
  std::size_t head_bytes = 0; ///< of all heads of the answer, informational ones included
  unsigned heads = 0;
  bool written = false;  ///< a byte of the request may have reached the origin
  bool answered = false; ///< a byte of the answer has arrived
  bool reusable = false;
};

} // namespace rondo::http::detail
