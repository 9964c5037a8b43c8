// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/client_failure.hpp>
#include <rondo/client_options.hpp>
#include <rondo/clock.hpp>
#include <rondo/detail/client_path.hpp>
#include <rondo/detail/client_task.hpp>
#include <rondo/detail/config.hpp>
#include <rondo/detail/jitter.hpp>
#include <rondo/error.hpp>
#include <rondo/http/client.hpp>
#include <rondo/http/exchange.hpp>
#include <rondo/http/message.hpp>
#include <rondo/key_pool.hpp>
#include <rondo/lease.hpp>
#include <rondo/provider/adapter.hpp>
#include <rondo/proxy_rotator.hpp>
#include <rondo/reply.hpp>
#include <rondo/retry_budget.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/system/result.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string_view>
#include <tuple>
#include <utility>

namespace rondo {

/// Sends requests to one provider with rotating keys, through rotating proxies if there are any, and fails over.
///
/// For each request a key that can pay for it is acquired, the request is sent, the answer classified, and the lease
/// settled or reported. What is the key's or its account's fault is repeated with another key, an untried account
/// first. What is the proxy's fault, before the request was written, is repeated through another proxy with the same
/// key and is no attempt. What may have been carried out already is only repeated if that is safe; such a request has
/// its answer only when the first byte of the body is there, so that one that breaks off before is repeated, too.
/// Everything ends within `retry_policy::max_attempts`, the budget of repeats and the deadline; then the provider's
/// last answer is passed on. When the provider says how long to wait before a repeat, it is not made earlier.
///
/// Faults of keys that take the key out of use are repeated whatever the budget says.
///
/// Under `proxy_strategy::sticky` each key goes through a proxy of its own. A request counts as in flight through its
/// proxy until the last byte of the answer. With `retry_policy::hedge_after` the attempt that loses is cancelled: its
/// key is refunded if nothing was written, and charged as reserved if it was.
///
/// Everything happens on the executor, which must be serialised: a context run by one thread, or a strand. Awaited
/// from elsewhere, `open` and `send` move there and back; a `reply` must be read on the client's executor. Distinct
/// objects: safe; they may share pool, rotator, adapter, budget and observer. Pool, rotator and client must outlive the
/// requests.
class client {
public:
  using executor_type = boost::asio::any_io_executor;
  using result = boost::system::result<reply, client_failure>;

  client(executor_type const& executor, key_pool& keys, std::shared_ptr<provider::adapter const> adapter,
         client_options options, proxy_rotator* proxies = nullptr)
      : executor_{executor}, keys_{keys}, adapter_{std::move(adapter)}, options_{std::move(options)},
        budget_{options_.budget ? options_.budget : std::make_shared<retry_budget>(options_.retry.budget)},
        path_{executor, options_, proxies, *budget_} {}
  client(client const&) = delete;
  client& operator=(client const&) = delete;

  [[nodiscard]] executor_type get_executor() const noexcept { return executor_; }
  [[nodiscard]] http::client& http_client() noexcept { return path_.http_client(); }

  /// Sends a request and completes when the head of the answer that counts is there. The target is the path below
  /// `client_options::base_url`; credentials of the caller must have been taken off, see `provider::adapter::detach`.
  ///
  /// Completion: with the answer, whatever its status, or with a `client_failure`.
  /// Executor: resumes on the coroutine's own.
  /// Cancellation: terminal, partial, total, as far as the calling coroutine lets them through. A request that waits
  /// leaves the line; one that was not written is refunded, one that was is charged as reserved.
  /// Errors: those of `key_pool::acquire` and `http::client::open`; `error::proxies_unavailable`;
  /// `error::deadline_exceeded`.
  /// Cost: beyond that of acquire and exchange, a field for the key, and a copy of what came of the body with the head.
  [[nodiscard]] boost::asio::awaitable<result> open(http::request message);

  /// The same and the whole body, up to `http::client_options::max_response`. \throws client_error
  /// \code
  /// auto const answer = co_await client.send(request);
  /// \endcode
  [[nodiscard]] boost::asio::awaitable<http::response> send(http::request message);

  /// Sends a request as it is, with whatever credentials it carries: no key of the pool, one attempt, no
  /// classification. Proxies, deadlines and everything else as for `open`.
  [[nodiscard]] boost::asio::awaitable<result> pass(http::request message);

private:
  using clock = std::chrono::steady_clock;
  using task = detail::client_task;

  static constexpr auto none = ~std::uint32_t{0};
  static constexpr std::size_t most_judged = 64 * 1024; ///< bytes of an error's body that are looked at
  static constexpr std::size_t beginning = 8192;        ///< bytes of a body that are read to see whether it comes
  static constexpr std::size_t first_piece = 16 * 1024; ///< room for a body of unknown length

  /// A request and its answer. Apart from the coroutine's frame, whose memory Asio only keeps while it is small.
  struct call {
    call() {} // not defaulted: that would clear the whole object first

    task t;
    reply out;
  };

  [[nodiscard]] std::unique_ptr<call> begin(http::request&& message);

  /// The same call on the client's own executor, and back.
  template <class T>
  [[nodiscard]] boost::asio::awaitable<T> over_there(boost::asio::awaitable<T> (client::*f)(http::request),
                                                     http::request& message);

  /// Why there is no answer, or nothing if there is one.
  using ending = boost::system::result<void, client_failure>;

  /// What becomes of a request that gets a key.
  [[nodiscard]] boost::asio::awaitable<ending> serve(call& c);

  /// One attempt after the other, until an answer counts.
  [[nodiscard]] boost::asio::awaitable<ending> run(task& t, reply& out);

  // --- two attempts at once

  struct rivals {
    rivals(executor_type const& executor, task first) : wake{executor} { tasks[0] = std::move(first); }

    std::array<task, 2> tasks;
    std::array<reply, 2> answers;
    std::array<std::optional<ending>, 2> ends;
    std::array<boost::asio::cancellation_signal, 2> stops;
    std::exception_ptr thrown;
    boost::asio::steady_timer wake;
    unsigned running = 0;

    [[nodiscard]] bool has_good(std::size_t i) const { return ends[i] && *ends[i] && answers[i].good_; }
    [[nodiscard]] bool decided() const { return running == 0 || has_good(0) || has_good(1); }
  };

  [[nodiscard]] boost::asio::awaitable<ending> race(task& t, reply& out);

  void start(std::shared_ptr<rivals> const& both, std::size_t i);

  /// Until something happens or the time has come. True if we are cancelled.
  [[nodiscard]] static boost::asio::awaitable<bool> wait(rivals& both, steady_time until);

  [[nodiscard]] static ending outcome_of(rivals& both, bool cancelled, reply& out);

  // --- keys

  [[nodiscard]] static request wanted(task const& t);

  /// A key that is ready, of an untried account; else none.
  [[nodiscard]] lease acquire_at_once(task const& t);

  /// Whatever comes first, not before the provider wants it.
  [[nodiscard]] boost::asio::awaitable<std::tuple<error_code, lease>> acquire(task& t);

  /// A moment that grows with each attempt, and as long as the provider wants.
  [[nodiscard]] boost::asio::awaitable<void> pause(task& t);

  [[nodiscard]] bool may_repeat() noexcept { return budget_->try_spend(clock::now()); }

  /// No answer came. True if the request may be sent again.
  [[nodiscard]] bool end_failed(task const& t, lease& key, http::failure const& why) const;

  /// An answer came, and it is not a success. True if the request is to be sent again.
  [[nodiscard]] bool end_answered(task& t, reply& out, lease& key, provider::verdict const& verdict);

  [[nodiscard]] bool refuses_address(reply const& out) const;

  /// A good answer broke off before anything of its body was handed out. True if the request may be sent again.
  [[nodiscard]] bool give_back_broken(task& t, reply& out, error_code why) const;

  /// Whether doing it twice does no harm.
  [[nodiscard]] bool repeatable(http::request const& message) const;

  // --- answers

  /// Of an answer that is wanted whole.
  [[nodiscard]] error_code check_size(std::size_t body) const noexcept;
  [[nodiscard]] std::size_t room_for(reply const& answer, std::size_t size) const noexcept;

  /// The body of an error is small and decides what the error means; the rest of a large one is streamed.
  [[nodiscard]] boost::asio::awaitable<error_code> read_error_body(reply& out, task const& t);

  /// Keeps what has come of the body already. Its error, if it is bad.
  [[nodiscard]] static error_code keep_ready(reply& out);

  /// Reads a piece of the body, until `most` bytes are kept.
  [[nodiscard]] static boost::asio::awaitable<http::read_result> keep(reply& out, std::size_t most);

  /// Some providers echo the key in their errors, and the caller must not learn it.
  static void redact(reply& out, std::string_view key);

  executor_type executor_;
  key_pool& keys_;
  std::shared_ptr<provider::adapter const> adapter_;
  client_options options_;
  std::shared_ptr<retry_budget> budget_;
  detail::client_path path_; // refers to options and budget
  detail::jitter spread_{0};
  std::uint64_t calls_ = 0;
};

} // namespace rondo

#ifndef RONDO_SEPARATE_COMPILATION
#include <rondo/impl/client.hpp>
#endif
