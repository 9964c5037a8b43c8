// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "population.hpp"
#include "timeout_queue.hpp"
#include <rondo/http/message.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/status.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/intrusive/list.hpp>

#include <array>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace gateway {

namespace asio = boost::asio;
namespace beast = boost::beast;

using caller_socket = asio::basic_stream_socket<asio::ip::tcp, asio::io_context::executor_type>;

class caller_connection;

/// What is done with a request whose head has arrived.
class request_handler {
public:
  virtual ~request_handler() = default;
  /// Answers one request through the connection's functions. An exception closes the connection.
  virtual asio::awaitable<void> handle(caller_connection& caller) = 0;
};

/// How long callers may take; shared by the connections of one thread.
struct caller_timeouts {
  caller_timeouts(asio::io_context& context, std::chrono::milliseconds head, std::chrono::milliseconds keep_alive,
                  std::chrono::milliseconds stall)
      : head_arrives{context, head}, next_request{context, keep_alive}, progress{context, stall},
        lingering{context, std::chrono::seconds{5}} {}

  timeout_queue head_arrives; ///< the whole head, from its first byte
  timeout_queue next_request; ///< an idle connection
  timeout_queue progress;     ///< a body, in or out, of which nothing moves
  timeout_queue lingering;    ///< each step of what a refused caller still sends
};

/// One caller's connection: the server's side of HTTP/1.1. Framing, timeouts and back-pressure are settled here; what
/// is answered is the handler's business.
///
/// An idle connection holds no buffer and no parser. Everything happens on the context of the socket, which is run by
/// one thread.
class caller_connection final
    : public std::enable_shared_from_this<caller_connection>,
      public timeout_queue::entry,
      public boost::intrusive::list_base_hook<boost::intrusive::link_mode<boost::intrusive::auto_unlink>> {
public:
  caller_connection(caller_socket socket, caller_timeouts& timeouts, population const& all);

  /// Serves requests until the connection ends; the connection stays alive as long as this runs.
  void start(std::shared_ptr<request_handler> handler);

  /// Closes an idle connection now, and any other one after its answer.
  void finish();
  /// Gives up whatever runs.
  void cut();

  // --- for the handler

  /// The request; its body is there after `read_body`. The handler may change it and move it away.
  [[nodiscard]] rondo::http::request& request() { return parser_->get(); }
  /// Reads the body of the request. False: it did not arrive or is larger than `greatest`; that has been answered.
  asio::awaitable<bool> read_body(std::size_t greatest);

  /// From here until the answer ends, a caller who goes away cancels the handler.
  void watch();

  /// A whole answer. `head` needs no framing fields; the connection is kept when the request has been read whole.
  /// \param attempts for `x-rondo-attempts`; empty: none of the pools' business
  asio::awaitable<void> answer(rondo::http::response_head head, std::string_view body, std::string attempts = {});

  /// Begins an answer whose body follows in pieces. Hop-by-hop fields of `head` are left out. A Content-Length among
  /// them is kept, otherwise the body is chunked, or ends with the connection for a caller of HTTP/1.0.
  void begin_answer(rondo::http::response_head const& head, std::string_view attempts, std::string_view masked_key);
  /// Sends the next piece (with the head, if that has not gone yet); `last` ends the answer. Returns when the kernel
  /// has taken it: a slow reader holds back nobody but himself.
  asio::awaitable<void> send(asio::const_buffer piece, bool last);
  /// The answer that was begun cannot be completed: the connection ends in a way that the caller notices.
  void break_off();

private:
  enum class framing { none, length, chunked, until_close };
  using parser = beast::http::request_parser<beast::http::string_body>;

  asio::awaitable<void> run(std::shared_ptr<request_handler> handler);
  asio::awaitable<bool> read_head();
  asio::awaitable<bool> fill(timeout_queue& limit);
  beast::error_code read_some();
  asio::awaitable<void> refuse(beast::http::status status, std::string_view type, std::string_view message);
  asio::awaitable<void> refuse(beast::error_code const& parse_error);
  asio::awaitable<void> linger();
  template <class Buffers> asio::awaitable<void> write(Buffers buffers);
  [[nodiscard]] int untaken();
  void unwatch();
  void on_watch(beast::error_code const& ec, unsigned round);
  void on_timeout() override;

  population::member presence_;
  caller_socket socket_;
  caller_timeouts& timeouts_;
  asio::cancellation_signal stop_;
  asio::cancellation_signal stop_watching_;
  beast::flat_buffer input_;
  std::unique_ptr<parser> parser_;
  std::string out_head_;
  framing framing_ = framing::none;
  std::array<char, 20> chunk_size_{};
  unsigned watch_round_ = 0;
  bool watching_ = false;
  bool idle_ = true;
  bool keep_ = true;
  bool is_old_ = false;    // HTTP/1.0
  bool head_only_ = false; // the answer to HEAD
  bool finishing_ = false;
  bool timed_out_ = false;
};

/// The JSON form of all errors that the gateway itself reports.
[[nodiscard]] std::string error_body(std::string_view type, std::string_view message);

} // namespace gateway
