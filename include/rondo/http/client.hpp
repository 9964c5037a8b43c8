// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/http/body.hpp>
#include <rondo/http/client_options.hpp>
#include <rondo/http/exchange.hpp>
#include <rondo/http/incoming.hpp>
#include <rondo/http/message.hpp>
#include <rondo/http/url.hpp>

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/system/result.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

namespace rondo::http {

/// Sends requests to `http` and `https` origins, direct or through proxies, and keeps connections for the next ones.
///
/// A connection serves only requests with the same scheme, host, port and proxy, user and password of the proxy
/// included. A kept connection that turns out to be dead is replaced once by a new one through the same proxy, if no
/// byte of an answer has come and either nothing was written or the request is idempotent (or names an
/// `Idempotency-Key`). Where `client_options` limit the number of connections, requests wait in line until their
/// deadline; a connection that becomes free goes to whoever came first. Redirects are not followed; bodies are handed
/// over as they come, encodings included.
///
/// Everything happens on the executor, which must be serialised: a context run by one thread, or a strand. All
/// functions must be called from it. Distinct objects: safe. Shared objects: unsafe.
///
/// One timer serves all deadlines; it is pending only while an exchange is under way, so that an idle client costs
/// nothing and lets `io_context::run` return. Idle connections are closed when their time is over and something else
/// happens, on `close_idle`, and with the client. A client may be destroyed while exchanges are under way: they go on.
class client {
public:
  explicit client(boost::asio::any_io_executor executor, client_options options = {});
  client(client&&) noexcept;
  client& operator=(client&&) noexcept;
  ~client();

  /// Sends a request and completes when the head of the answer is there.
  ///
  /// `head` gives method, target (empty: the URL's) and fields. Host, Content-Length, Transfer-Encoding and Connection
  /// are set here; hop-by-hop fields of the caller and Expect are left out.
  ///
  /// Preconditions: on the client's executor.
  /// Lifetimes: all arguments are referred to until it completes; g++ 12 wants them to be named objects.
  /// Completion: with the answer, whatever its status, or with a `failure`; it throws only what a `body_source` throws
  /// and `std::bad_alloc`.
  /// Executor: the client's.
  /// Cancellation: terminal, partial, total, as far as the calling coroutine lets them through; the connection is
  /// closed and the failure is `asio::error::operation_aborted`. Errors: of the caller: `error::invalid_header`,
  /// `plaintext_refused`, `invalid_proxy`, `invalid_credentials`, `name_too_long`, `invalid_trust`, `invalid_argument`
  /// (a body source with other bytes than it promised); of the proxy: `proxy_*`; of the path: `origin_*_via_proxy`,
  /// `deadline_exceeded`, `connection_lost`, `idle_timeout`; of the origin: `resolve_failed`, `connect_failed`,
  /// `connect_timeout`, `tls_handshake_failed`, `certificate_rejected`, `certificate_not_pinned`, `bad_response`,
  /// `response_head_too_large`, `response_too_large`, `truncated_response`; of nobody: `no_resources` (no descriptor
  /// left), `connections_busy` (none became free before the deadline). Thread safety: none;
  /// on the client's executor. Cost: on a kept connection one write and as many reads as the head needs.
  /// ```
  /// auto const answer = co_await client.open(where, head, body, options);
  /// if (!answer) { log(answer.error().ec); }
  /// ```
  [[nodiscard]] boost::asio::awaitable<boost::system::result<incoming, failure>>
  open(url const& to, request_head const& head, body_view body, exchange_options const& options);
  [[nodiscard]] boost::asio::awaitable<boost::system::result<incoming, failure>>
  open(url const& to, request_head const& head, body_view body = {});

  /// Sends a request and completes when the whole answer is there. As `open` in everything else, and
  /// `error::response_too_large` when the body exceeds `exchange_options::max_body` or `client_options::max_response`.
  [[nodiscard]] boost::asio::awaitable<boost::system::result<response, failure>>
  send(url const& to, request const& message, exchange_options const& options);
  [[nodiscard]] boost::asio::awaitable<boost::system::result<response, failure>> send(url const& to,
                                                                                      request const& message);

  /// `open` for any completion token, with the signature `void(error_code, incoming)`. It owns its arguments.
  /// A cancellation must be emitted on the client's executor.
  template <class CompletionToken = boost::asio::deferred_t>
  auto async_open(url to, request_head head, std::string body, exchange_options options, CompletionToken&& token = {}) {
    return boost::asio::async_initiate<CompletionToken, void(error_code, incoming)>(
        initiate_open{core_}, token, std::move(to), std::move(head), std::move(body), std::move(options));
  }

  /// `send` for any completion token, with the signature `void(error_code, response)`. It owns its arguments.
  /// A cancellation must be emitted on the client's executor.
  template <class CompletionToken = boost::asio::deferred_t>
  auto async_send(url to, request message, exchange_options options, CompletionToken&& token = {}) {
    return boost::asio::async_initiate<CompletionToken, void(error_code, response)>(
        initiate_send{core_}, token, std::move(to), std::move(message), std::move(options));
  }

  [[nodiscard]] boost::asio::any_io_executor get_executor() const noexcept;
  /// Closes all idle connections.
  void close_idle() noexcept;
  [[nodiscard]] std::size_t idle_connections() const noexcept;
  /// Connections that are being made or used.
  [[nodiscard]] std::size_t active_connections() const noexcept;

private:
  using open_handler = boost::asio::any_completion_handler<void(error_code, incoming)>;
  using send_handler = boost::asio::any_completion_handler<void(error_code, response)>;

  struct initiate_open {
    std::shared_ptr<detail::client_core> core;
    using executor_type = boost::asio::any_io_executor;
    [[nodiscard]] executor_type get_executor() const noexcept;
    void operator()(open_handler handler, url to, request_head head, std::string body, exchange_options options) const;
  };
  struct initiate_send {
    std::shared_ptr<detail::client_core> core;
    using executor_type = boost::asio::any_io_executor;
    [[nodiscard]] executor_type get_executor() const noexcept;
    void operator()(send_handler handler, url to, request message, exchange_options options) const;
  };

  std::shared_ptr<detail::client_core> core_;
};

} // namespace rondo::http

#ifndef RONDO_SEPARATE_COMPILATION
#include <rondo/http/impl/client.hpp>
#endif
