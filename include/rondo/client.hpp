// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/detail/jitter.hpp>
#include <rondo/error.hpp>
#include <rondo/http/client.hpp>
#include <rondo/http/exchange.hpp>
#include <rondo/http/header_rules.hpp>
#include <rondo/http/incoming.hpp>
#include <rondo/http/message.hpp>
#include <rondo/http/proxy.hpp>
#include <rondo/http/url.hpp>
#include <rondo/key_pool.hpp>
#include <rondo/lease.hpp>
#include <rondo/outcome.hpp>
#include <rondo/provider/adapter.hpp>
#include <rondo/provider/redact.hpp>
#include <rondo/proxy_rotator.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/http/field.hpp>
#include <boost/beast/http/verb.hpp>
#include <boost/system/result.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace rondo {

/// How often and how long one request is tried.
struct retry_policy {
  unsigned max_attempts = 4; ///< requests written to the provider at most, 1 or more
  std::chrono::steady_clock::duration deadline = std::chrono::seconds{30}; ///< until the first byte of the answer
  /// Whether a request that may have been carried out already is sent again although its method is not idempotent and
  /// it has no `idempotency-key`.
  bool unsafe = false;
};

/// Settings of a client.
struct client_options {
  http::url base_url{};        ///< the provider; its path is put before each target
  http::client_options http{}; ///< whom to trust, limits, kept connections
  retry_policy retry{};
  /// TCP, proxy handshake and TLS of one attempt; at most what is left of the deadline, divided by the attempts left.
  std::chrono::steady_clock::duration connect_timeout = std::chrono::seconds{5};
  std::chrono::steady_clock::duration idle_timeout = std::chrono::seconds{60}; ///< between bytes of the answer
};

/// Why a request got no answer.
struct client_failure {
  error_code ec;
  blame who = blame::nobody;
  /// When a key is expected to serve the request, if keys were the trouble and it is known.
  std::optional<std::chrono::steady_clock::duration> retry_after{};
  unsigned attempts = 0;    ///< requests written to the provider
  std::string masked_key{}; ///< of the last one
};

/// What `client::send` throws.
class client_error : public boost::system::system_error {
public:
  explicit client_error(client_failure failure) : system_error{failure.ec}, failure_{std::move(failure)} {}
  [[nodiscard]] client_failure const& failure() const noexcept { return failure_; }

private:
  client_failure failure_;
};

[[noreturn]] inline void throw_exception_from_error(client_failure const& f, boost::source_location const&) {
  throw client_error{f};
}

/// An answer whose head has arrived. The lease of a served request is settled before the piece that completes the body
/// is handed out: with what the provider says it cost, else with what was reserved. A reply that is destroyed before
/// settles the same way and closes its connection.
///
/// Distinct objects: safe, on the client's executor. Shared objects: unsafe. Must not be moved while a read is under
/// way.
class [[nodiscard]] reply {
public:
  reply() = default;
  reply(reply&&) = default;
  reply& operator=(reply&& other) noexcept {
    if (this != &other) {
      settle();
      stream_ = std::move(other.stream_);
      kept_ = std::move(other.kept_);
      offset_ = other.offset_;
      lease_ = std::move(other.lease_);
      meter_ = std::move(other.meter_);
      attempts_ = other.attempts_;
      masked_key_ = std::move(other.masked_key_);
      key_name_ = std::move(other.key_name_);
    }
    return *this;
  }
  ~reply() { settle(); }

  /// Status and fields as the provider sent them, hop-by-hop fields included.
  [[nodiscard]] http::response_head const& head() const noexcept { return stream_.head(); }
  [[nodiscard]] unsigned status() const noexcept { return stream_.status(); }
  /// Requests written to the provider for this answer.
  [[nodiscard]] unsigned attempts() const noexcept { return attempts_; }
  [[nodiscard]] std::string const& masked_key() const noexcept { return masked_key_; }
  [[nodiscard]] std::string const& key_name() const noexcept { return key_name_; }
  /// Nothing follows what has been read: head and body can go out in one write.
  [[nodiscard]] bool complete() const noexcept { return offset_ == kept_.size() && stream_.done(); }

  /// Reads the next piece of the body: as `http::incoming::read`, with the same completion, cancellation and errors.
  [[nodiscard]] boost::asio::awaitable<http::read_result> read(boost::asio::mutable_buffer space) {
    if (offset_ < kept_.size()) {
      auto const n = std::min(space.size(), kept_.size() - offset_);
      std::memcpy(space.data(), kept_.data() + offset_, n);
      offset_ += n;
      co_return http::read_result{{}, n};
    }
    if (stream_.done()) {
      settle();
      co_return http::read_result{};
    }
    auto const got = co_await stream_.read(space);
    meter_.feed({static_cast<char const*>(space.data()), got.n});
    if (got.ec || got.n == 0 || stream_.done()) {
      settle();
    }
    co_return got;
  }

private:
  friend class client;

  void settle() noexcept {
    if (lease_) {
      lease_.settle(meter_.cost().value_or(lease_.tokens()));
    }
  }

  http::incoming stream_;
  std::string kept_; ///< the beginning of the body, read to see what the answer means
  std::size_t offset_ = 0;
  lease lease_;
  provider::usage_meter meter_;
  unsigned attempts_ = 0;
  std::string masked_key_;
  std::string key_name_;
};

// g++ 12 takes the memory of coroutine frames, which Asio recycles, for freed by the wrong function
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
#endif

/// Sends requests to one provider with rotating keys, through rotating proxies if there are any, and fails over.
///
/// For each request a key that can pay for it is acquired, the request is sent, the answer classified, and the lease
/// settled or reported. What is the key's or its account's fault is repeated with another key, an untried account
/// first. What is the proxy's fault, before the request was written, is repeated through another proxy with the same
/// key and is no attempt. What may have been carried out already is only repeated if that is safe. Everything ends
/// within `retry_policy::max_attempts` and the deadline; then the provider's last answer is passed on.
///
/// Everything happens on the executor, which must be serialised: a context run by one thread, or a strand. Awaited
/// from elsewhere, `open` and `send` move there and back; a `reply` must be read on the client's executor. Distinct
/// objects: safe; they may share pool, rotator and adapter. Pool, rotator and client must outlive the requests.
class client {
public:
  using executor_type = boost::asio::any_io_executor;
  using result = boost::system::result<reply, client_failure>;

  client(executor_type const& executor, key_pool& keys, std::shared_ptr<provider::adapter const> adapter,
         client_options options, proxy_rotator* proxies = nullptr)
      : executor_{executor}, keys_{keys}, adapter_{std::move(adapter)}, options_{std::move(options)}, proxies_{proxies},
        http_{executor, options_.http} {}

  [[nodiscard]] executor_type get_executor() const noexcept { return executor_; }
  [[nodiscard]] http::client& http_client() noexcept { return http_; }

  /// Sends a request and completes when the head of the answer that counts is there. The target is the path below
  /// `client_options::base_url`; credentials of the caller must have been taken off, see `provider::adapter::detach`.
  ///
  /// Completion: with the answer, whatever its status, or with a `client_failure`.
  /// Executor: resumes on the coroutine's own.
  /// Cancellation: terminal, partial, total, as far as the calling coroutine lets them through. A request that waits
  /// leaves the line; one that was not written is refunded, one that was is charged as reserved.
  /// Errors: those of `key_pool::acquire` and `http::client::open`; `error::proxies_unavailable`;
  /// `error::deadline_exceeded`.
  /// Cost: beyond that of acquire and exchange, a copy of the head.
  [[nodiscard]] boost::asio::awaitable<result> open(http::request message) {
    return on_own_executor(&client::open_here, std::move(message));
  }

  /// The same and the whole body, up to `http::client_options::max_response`. \throws client_error
  /// \code
  /// auto const answer = co_await client.send(request);
  /// \endcode
  [[nodiscard]] boost::asio::awaitable<http::response> send(http::request message) {
    auto const own = executor_;
    auto whole = send_here(std::move(message));
    if (co_await boost::asio::this_coro::executor == own) {
      co_return co_await std::move(whole);
    }
    co_return co_await boost::asio::co_spawn(own, std::move(whole), boost::asio::use_awaitable);
  }

  /// Sends a request as it is, with whatever credentials it carries: no key of the pool, one attempt, no
  /// classification. Proxies, deadlines and everything else as for `open`.
  [[nodiscard]] boost::asio::awaitable<result> pass(http::request message) {
    return on_own_executor(&client::pass_here, std::move(message));
  }

private:
  using clock = std::chrono::steady_clock;
  using maybe_incoming = boost::system::result<http::incoming, http::failure>;

  static constexpr std::size_t most_judged = 64 * 1024; ///< bytes of an error's body that are looked at

  /// A request on its way through attempts.
  struct task {
    http::request message;
    steady_time deadline;
    provider::work work{};
    unsigned attempts = 0;
    std::vector<std::uint32_t> tried_accounts{};
    bool pressed = false; ///< the last failure lets nobody rest: repeating it at once would only make it worse
    std::string masked_key{};
    std::string key_name{};

    [[nodiscard]] clock::duration left() const { return std::max(deadline - clock::now(), clock::duration::zero()); }
    [[nodiscard]] client_failure fail(error_code ec, blame who, std::optional<clock::duration> retry_after = {}) const {
      return {ec, who, retry_after, attempts, masked_key};
    }
  };

  /// What became of an attempt.
  enum class next_step { pass_on, try_again };

  [[nodiscard]] boost::asio::awaitable<result>
  on_own_executor(boost::asio::awaitable<result> (client::*what)(http::request), http::request message) {
    auto const own = executor_;
    auto work = (this->*what)(std::move(message));
    if (co_await boost::asio::this_coro::executor == own) {
      co_return co_await std::move(work);
    }
    co_return co_await boost::asio::co_spawn(own, std::move(work), boost::asio::use_awaitable);
  }

  [[nodiscard]] boost::asio::awaitable<http::response> send_here(http::request message) {
    auto opened = co_await open_here(std::move(message));
    if (!opened) {
      throw client_error{std::move(opened).error()};
    }
    auto answer = std::move(*opened);
    http::response whole;
    whole.base() = answer.head();
    std::string piece(16 * 1024, '\0');
    for (;;) {
      auto const space = boost::asio::buffer(piece);
      auto const got = co_await answer.read(space);
      auto ec = got.ec;
      if (!ec && whole.body().size() + got.n > options_.http.max_response) {
        ec = error::response_too_large;
      }
      if (ec) {
        throw client_error{{ec, blame_of(ec), {}, answer.attempts(), answer.masked_key()}};
      }
      if (got.n == 0) {
        co_return whole;
      }
      whole.body().append(piece, 0, got.n);
    }
  }

  [[nodiscard]] task make_task(http::request message) const {
    task t{std::move(message), clock::now() + options_.retry.deadline};
    http::remove_hop_by_hop(t.message); // a caller's Connection must not name the field that the key will stand in
    auto path = std::string_view{options_.base_url.target};
    path = path.substr(0, path.find('?'));
    if (path.ends_with('/')) {
      path.remove_suffix(1);
    }
    if (!path.empty()) {
      auto const target = t.message.target();
      t.message.target(std::string{path}.append(target.data(), target.size()));
    }
    return t;
  }

  [[nodiscard]] boost::asio::awaitable<result> pass_here(http::request message) {
    auto t = make_task(std::move(message));
    auto answer = co_await exchange(t, nullptr);
    if (!answer) {
      co_return t.fail(answer.error().ec, answer.error().who);
    }
    reply out;
    out.stream_ = std::move(*answer);
    out.attempts_ = t.attempts;
    co_return std::move(out);
  }

  [[nodiscard]] boost::asio::awaitable<result> open_here(http::request message) {
    auto t = make_task(std::move(message));
    t.work = adapter_->describe(t.message, t.message.body());
    t.message.set(boost::beast::http::field::accept_encoding, "identity"); // errors and costs have to be read
    std::optional<reply> last; // passed on if the deadline comes before a better one
    for (;;) {
      auto [ec, key] = co_await acquire(t);
      if (ec) {
        co_return t.fail(ec, blame_of(ec), key.retry_after());
      }
      auto const state = co_await boost::asio::this_coro::cancellation_state;
      if (state.cancelled() != boost::asio::cancellation_type::none) {
        key.refund(); // the caller went away while the lease was on its way
        co_return t.fail(boost::asio::error::operation_aborted, blame::nobody);
      }
      adapter_->attach(t.message, key.secret());
      t.masked_key = key.masked_secret();
      t.key_name = key.key_name();
      auto answer = co_await exchange(t, &key);
      if (!answer) {
        auto const why = answer.error();
        if (!end_failed_attempt(t, key, why)) {
          if (last && !why.written && why.ec == error::deadline_exceeded) {
            co_return std::move(*last);
          }
          co_return t.fail(why.ec, why.who);
        }
        co_await pause(t);
        continue;
      }
      reply out;
      out.stream_ = std::move(*answer);
      auto const broken = co_await read_error_body(out);
      if (broken == boost::asio::error::operation_aborted) {
        key.settle(key.tokens());
        co_return t.fail(broken, blame::nobody);
      }
      auto const account = key.account_id();
      auto const verdict = adapter_->judge(t.message, out.head(), out.kept_, std::chrono::system_clock::now());
      if (verdict.concurrency) {
        key.learn_concurrency(*verdict.concurrency);
      }
      out.attempts_ = t.attempts;
      out.masked_key_ = t.masked_key;
      out.key_name_ = t.key_name;
      if (!verdict.failure) {
        out.meter_ = adapter_->meter(out.head());
        out.meter_.feed(out.kept_);
        out.lease_ = std::move(key);
        if (out.complete()) {
          out.settle();
        }
        co_return std::move(out);
      }
      redact(out, key.secret());
      auto const next = end_answered_attempt(t, key, verdict);
      auto const over = t.attempts >= options_.retry.max_attempts || t.left() == clock::duration::zero();
      if (next == next_step::pass_on || over) {
        if (broken) {
          co_return t.fail(broken, blame_of(broken)); // what came of it was enough to judge, not to pass on
        }
        co_return std::move(out);
      }
      if (!broken) {
        last = std::move(out);
      }
      t.tried_accounts.push_back(account);
    }
  }

  // --- keys

  /// An untried account if one is ready, else whatever comes first.
  [[nodiscard]] boost::asio::awaitable<std::tuple<error_code, lease>> acquire(task& t) {
    request want;
    want.tokens = t.work.tokens;
    want.lane = t.work.lane;
    want.needs = t.work.needs;
    want.unsent = true;
    if (!t.tried_accounts.empty()) {
      if (auto untried = keys_.try_acquire(want, t.tried_accounts)) {
        co_return std::tuple{error_code{}, std::move(*untried)};
      }
      if (t.pressed) {
        co_await pause(t);
      }
    }
    if (auto ready = keys_.try_acquire(want)) {
      co_return std::tuple{error_code{}, std::move(*ready)};
    }
    want.timeout = t.left();
    co_return co_await keys_.async_acquire(want, boost::asio::as_tuple(boost::asio::use_awaitable));
  }

  /// A moment that grows with each attempt.
  [[nodiscard]] boost::asio::awaitable<void> pause(task const& t) {
    auto const base = std::chrono::milliseconds{25} * (1U << std::min(t.attempts + 1, 6U));
    boost::asio::steady_timer timer{executor_};
    timer.expires_after(
        std::min<clock::duration>(std::chrono::nanoseconds{spread_(std::chrono::nanoseconds{base}.count())}, t.left()));
    auto const [ec] = co_await timer.async_wait(boost::asio::as_tuple(boost::asio::use_awaitable));
    static_cast<void>(ec);
  }

  /// No answer came. True if the request is to be sent again.
  [[nodiscard]] bool end_failed_attempt(task const& t, lease& key, http::failure const& why) const {
    if (!why.written) {
      key.refund();
      auto const final = why.who == blame::caller || why.ec == boost::asio::error::operation_aborted ||
                         why.ec == error::certificate_rejected || why.ec == error::certificate_not_pinned ||
                         why.ec == error::deadline_exceeded || proxies_ != nullptr;
      return !final && t.attempts < options_.retry.max_attempts && t.left() > clock::duration::zero();
    }
    if (why.ec == boost::asio::error::operation_aborted) {
      key.settle(key.tokens()); // it may have been carried out, and nobody will tell what it cost
      return false;
    }
    key.report(outcome::transport_error());
    return repeatable(t.message) && t.attempts < options_.retry.max_attempts && t.left() > clock::duration::zero();
  }

  /// An answer came, and it is not a success.
  [[nodiscard]] next_step end_answered_attempt(task& t, lease& key, provider::verdict const& verdict) {
    using kind = outcome::kind;
    auto const& what = *verdict.failure;
    t.pressed = what.what() == kind::concurrency_limited || what.what() == kind::overloaded;
    if (!verdict.barred.empty()) {
      key.bar(verdict.barred);
      key.report(what);
      return next_step::try_again;
    }
    switch (what.what()) {
    case kind::rejected:
    case kind::too_large: key.report(what); return next_step::pass_on;
    case kind::transport_error:
      key.report(what);
      return repeatable(t.message) ? next_step::try_again : next_step::pass_on;
    case kind::exhausted:
      if (verdict.remaining.value_or(0) > 0) {
        // Smaller requests still fit: the balance bars this one, and nobody needs to rest.
        key.set_balance({.remaining = *verdict.remaining});
        key.report(outcome::rejected());
      } else if (verdict.lane_only) {
        key.report(what.rest()    ? outcome::rate_limited(*what.rest())
                   : what.until() ? outcome::rate_limited(*what.until())
                                  : outcome::rate_limited());
      } else {
        key.report(what);
      }
      return next_step::try_again;
    case kind::rate_limited:
    case kind::concurrency_limited:
    case kind::invalid_key:
    case kind::overloaded: key.report(what); return next_step::try_again;
    }
    return next_step::pass_on;
  }

  /// Whether doing it twice does no harm.
  [[nodiscard]] bool repeatable(http::request const& message) const {
    using boost::beast::http::verb;
    auto const method = message.method();
    return options_.retry.unsafe || method == verb::get || method == verb::head || method == verb::put ||
           method == verb::delete_ || method == verb::options || method == verb::trace ||
           message.find("idempotency-key") != message.end();
  }

  /// The body of an error is small and decides what the error means; the rest of a large one is streamed.
  [[nodiscard]] boost::asio::awaitable<error_code> read_error_body(reply& out) {
    auto const status = out.status();
    if (status < 400) {
      co_return error_code{};
    }
    while (!out.stream_.done() && out.kept_.size() < most_judged) {
      auto const before = out.kept_.size();
      out.kept_.resize(std::min(before + 4096, most_judged));
      auto const space = boost::asio::buffer(out.kept_.data() + before, out.kept_.size() - before);
      auto const got = co_await out.stream_.read(space);
      out.kept_.resize(before + got.n);
      if (got.ec) {
        co_return got.ec;
      }
      if (got.n == 0) {
        break;
      }
    }
    co_return error_code{};
  }

  /// Some providers echo the key in their errors, and the caller must not learn it.
  static void redact(reply& out, std::string_view key) {
    auto& head = out.stream_.head();
    std::vector<std::pair<std::string, std::string>> echoes;
    for (auto const& field : head) {
      std::string const value{field.value()};
      if (auto clean = provider::redacted(value, key); clean != value) {
        echoes.emplace_back(field.name_string(), std::move(clean));
      }
    }
    for (auto const& [name, value] : echoes) {
      head.erase(name);
    }
    for (auto const& [name, value] : echoes) {
      head.insert(name, value);
    }
    if (!out.stream_.done()) {
      return; // larger than any error that was ever seen: passed on as it comes
    }
    auto clean = provider::redacted(out.kept_, key);
    if (clean != out.kept_) {
      out.kept_ = std::move(clean);
      if (head.find(boost::beast::http::field::content_length) != head.end()) {
        head.set(boost::beast::http::field::content_length, std::to_string(out.kept_.size()));
      }
    }
  }

  // --- proxies

  /// One request to the origin, through as many proxies as it takes to get there.
  [[nodiscard]] boost::asio::awaitable<maybe_incoming> exchange(task& t, lease* key) {
    http::exchange_options how;
    how.deadline = t.deadline;
    how.idle_timeout = options_.idle_timeout;
    how.resend = false; // each request that may arrive was granted by the pool
    if (key) {
      how.on_sent = [key] { key->mark_sent(); };
    }
    std::vector<std::uint32_t> tried;
    // Tunnels that failed without proof of whose fault it was: if another proxy gets through, it was theirs.
    std::vector<proxy_lease> suspects;
    http::failure last{error::proxies_unavailable, blame::proxy, false};
    for (;;) {
      auto const attempts_left = std::max(options_.retry.max_attempts, t.attempts + 1) - t.attempts;
      // something must be left for another proxy when this one hangs
      how.connect_timeout = std::min(options_.connect_timeout, t.left() / (attempts_left + (proxies_ ? 1 : 0)));
      proxy_lease proxy;
      if (proxies_) {
        auto next = proxies_->try_acquire(tried);
        if (!next) {
          co_return last;
        }
        proxy = std::move(*next);
        tried.push_back(proxy.id());
        how.via = parsed(proxy);
        if (!how.via) {
          co_return http::failure{error::invalid_proxy, blame::caller, false};
        }
      }
      auto answer = co_await http_.open(options_.base_url, t.message, t.message.body(), how);
      if (answer || answer.error().written) {
        ++t.attempts;
      }
      if (answer) {
        for (auto& suspect : suspects) {
          suspect.fail();
        }
        proxy.succeed();
        co_return answer;
      }
      auto const& why = answer.error();
      auto const ours = why.who == blame::caller || why.ec == boost::asio::error::operation_aborted;
      if (!proxies_ && !why.written && !ours) {
        ++t.attempts; // a vain try to connect; through proxies their number is the bound
      }
      if (!proxies_ || why.written || ours) {
        co_return answer;
      }
      last = why;
      if (why.who == blame::proxy) {
        proxy.fail();
      } else {
        suspects.push_back(std::move(proxy));
      }
      if (t.left() == clock::duration::zero()) {
        co_return last.who == blame::proxy ? last : http::failure{error::deadline_exceeded, blame::path, false};
      }
    }
  }

  /// The proxy's URL is taken apart once.
  [[nodiscard]] std::shared_ptr<http::proxy const> parsed(proxy_lease const& lease) {
    if (lease.id() >= parsed_proxies_.size()) {
      parsed_proxies_.resize(lease.id() + 1);
    }
    auto& known = parsed_proxies_[lease.id()];
    if (!known) {
      if (auto fresh = http::parse_proxy(lease.url())) {
        known = std::make_shared<http::proxy const>(std::move(*fresh));
      }
    }
    return known;
  }

  executor_type executor_;
  key_pool& keys_;
  std::shared_ptr<provider::adapter const> adapter_;
  client_options options_;
  proxy_rotator* proxies_;
  http::client http_;
  std::vector<std::shared_ptr<http::proxy const>> parsed_proxies_;
  detail::jitter spread_{0};
};

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

} // namespace rondo
