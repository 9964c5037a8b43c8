// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/balance.hpp>
#include <rondo/clock.hpp>
#include <rondo/detail/key_ring.hpp>
#include <rondo/detail/wait_operation.hpp>
#include <rondo/error.hpp>
#include <rondo/event.hpp>
#include <rondo/lease.hpp>
#include <rondo/limits.hpp>
#include <rondo/pool_snapshot.hpp>
#include <rondo/request.hpp>
#include <rondo/secret.hpp>
#include <rondo/strategy.hpp>
#include <rondo/subscription.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/config.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace rondo {

/// Settings of a pool.
struct pool_options {
  rondo::strategy strategy = rondo::strategy::round_robin;
  std::string name{}; ///< in status documents and metrics
  /// Rest after `outcome::rate_limited()` without a time; doubles with each repetition. Default 60 s.
  std::chrono::steady_clock::duration cooldown = std::chrono::seconds{60};
  /// Longest rest that doubling leads to. Default 1 h.
  std::chrono::steady_clock::duration most_cooldown = std::chrono::hours{1};
  /// An account of which so many requests failed within `failure_period` is held back for as long, before its provider
  /// blocks it; requests that were rejected count, transport errors do not. 0 = any number, the default; at most
  /// 262,143.
  std::uint32_t most_failures = 0;
  std::chrono::steady_clock::duration failure_period = std::chrono::seconds{30};
  clock_source const* clock = nullptr; ///< must outlive pool and leases; null = the system's
  std::uint64_t seed = 0;              ///< of the jitter; 0 = from the system
};

/// The balance of an account is being asked for: what was charged when the question was sent.
struct balance_mark {
  std::int64_t charged;
};

/// Keys that rotate: hands out a lease on a key that can pay for a request now.
///
/// Distinct objects: safe. Shared objects: safe, except for destruction and assignment.
///
/// Destroying a pool with waiters completes them with `operation_aborted`, through their executors. Leases that are out
/// stay usable and end without effect; all secrets are wiped when the last of them ends. A pool must not outlive the
/// execution context of its executor, nor one on which somebody waits; when such a context stops, waiters stay parked
/// until it runs again.
///
/// Most callers want `acquire`: it waits its turn. `try_acquire` never waits; `async_acquire` takes any completion
/// token.
class key_pool {
  using quick_grant = detail::key_ring::quick_grant;
  using progress = detail::key_ring::progress;

  template <class CompletionToken> auto initiate(detail::patient_demand const& what, CompletionToken&& token) {
    return boost::asio::async_initiate<CompletionToken, void(error_code, lease)>(detail::initiate_acquire{ring_}, token,
                                                                                 what);
  }

  [[nodiscard]] auto wait(detail::acquisition& what) {
    return boost::asio::async_initiate<boost::asio::deferred_t const, void()>(
        detail::initiate_acquisition{ring_, &what}, boost::asio::deferred);
  }

public:
  using executor_type = boost::asio::any_io_executor;

  /// Timers and event handlers run on `executor`.
  explicit key_pool(executor_type const& executor, pool_options options = {})
      : ring_{new detail::key_ring{executor, core_options(options), std::move(options.name)}} {}
  key_pool(key_pool&& other) noexcept : ring_{std::exchange(other.ring_, nullptr)} {}
  key_pool& operator=(key_pool&& other) noexcept {
    std::swap(ring_, other.ring_);
    return *this;
  }
  ~key_pool() {
    if (ring_) {
      ring_->shut_down();
    }
  }

  [[nodiscard]] executor_type get_executor() const { return ring_->get_executor(); }

  // --- taking

  /// A lease on a key that can serve `r`, waiting for one in the order of arrival.
  ///
  /// A ready key is handed over without a detour through the scheduler. Everything `r` refers to is copied before
  /// this returns; the pool must live until the coroutine waits or has its lease.
  ///
  /// Executor: resumes on the coroutine's own. Cancellation: terminal, partial and total alike; a request that was
  /// served already completes with its lease.
  ///
  /// \throws acquire_error with `would_miss_deadline` (a key will be back, but after the timeout: at once, with the
  ///   time in `retry_after()`), `exhausted` (no return is known), `no_keys`, `too_large` (no key could ever grant
  ///   that many tokens), `invalid_argument` (negative tokens), or `operation_aborted`. Hopes may fade while it waits:
  ///   what requests cost, reports, and changes of keys and limits are noticed within 1 ms; what is granted to those
  ///   before it, at the latest when the moment comes that it had hoped for.
  ///
  /// Thread safety: any thread. Cost: one coroutine frame, in which a request that waits does so too; lock-free when a
  /// key is ready.
  ///
  /// \code
  /// rondo::lease lease = co_await pool.acquire({.tokens = 200, .timeout = 2s});
  /// \endcode
  [[nodiscard]] boost::asio::awaitable<lease> acquire(request const& r) {
    return acquire_impl(detail::acquisition{to_demand(r)});
  }
  [[nodiscard]] boost::asio::awaitable<lease> acquire(std::int64_t tokens) { return acquire_impl(tokens); }

  /// The same with any completion token: `void(error_code, lease)`. The handler is never called from within this
  /// function. On failure the lease is empty and its `retry_after()` says when to come back.
  ///
  /// The request is read when this function is called, the place in the line is taken when the operation is
  /// initiated. Executor: the handler's associated one, by default the pool's. Cancellation: terminal, partial and
  /// total, through the handler's slot. Errors: as those of `acquire`. Cost: one allocation from the handler's
  /// associated allocator.
  template <BOOST_ASIO_COMPLETION_TOKEN_FOR(void(error_code, lease)) CompletionToken = boost::asio::deferred_t>
  [[nodiscard]] auto async_acquire(request const& r, CompletionToken&& token = CompletionToken{}) {
    return initiate(to_demand(r), std::forward<CompletionToken>(token));
  }
  template <BOOST_ASIO_COMPLETION_TOKEN_FOR(void(error_code, lease)) CompletionToken = boost::asio::deferred_t>
  [[nodiscard]] auto async_acquire(std::int64_t tokens, CompletionToken&& token = CompletionToken{}) {
    return initiate(to_demand(tokens), std::forward<CompletionToken>(token));
  }

  /// A lease if a key can serve now and nobody who came earlier wants it; never waits. `r.timeout` is not looked at.
  ///
  /// \param avoid accounts that must not be used, by `lease::account_id`
  [[nodiscard]] std::optional<lease> try_acquire(request const& r, std::span<std::uint32_t const> avoid = {}) {
    return try_take(to_demand(r).want, avoid);
  }
  [[nodiscard]] std::optional<lease> try_acquire(std::int64_t tokens) {
    auto const got = ring_->take_quickly(tokens);
    if (got.how == progress::taken) [[likely]] {
      if (auto const owner = detail::key_ring::owner_of(*got.from); owner.is_one_key()) [[likely]] {
        return std::optional<lease>{std::in_place,
                                    detail::quick_lease{*ring_, tokens, {got.from}, {owner.key(), false}}};
      }
    }
    return try_take(tokens, got);
  }

  // --- keys

  /// Adds a key; it can serve at once, and waiters are served by it. Refused, it has changed nothing.
  /// \throws system_error with `invalid_argument` (also for a negative quota, for limits of a lane without a name, and
  ///   for more than 1024 lanes), `duplicate_name` or `conflicting_limits`; the text names the key or the lane.
  void add(key_params params) { ring_->add(std::move(params)); }
  /// Removes a key. Leases on it stay valid, and its secret is wiped when the account's last lease ends. A key of the
  /// same account that is added later brings its own limits; what was spent stays spent. False if there is no such key.
  bool remove(std::string_view name) { return ring_->remove(name); }
  /// Gives a key another secret, and a second chance if the old one was invalid. Leases on it keep the old secret,
  /// which is wiped when the account's last lease ends; that it is invalid is no news then. \throws system_error with
  /// `unknown_name` or `invalid_argument`.
  void replace_secret(std::string_view key, rondo::secret fresh) { ring_->replace_secret(key, std::move(fresh)); }
  /// Replaces the limits of a key's account; what was spent stays spent. As long as they say the same of when the quota
  /// returns, its next return stays too: it neither comes twice nor gets lost, whoever named it and however the wall
  /// clock was set. Limits without a quota leave what is only known by a balance as it is. \throws system_error with
  /// `unknown_name`, or `invalid_argument` for a negative quota.
  void set_limits(std::string_view key, limits const& l) { ring_->set_limits(key, l); }
  /// Replaces the limits that a key's account has for one lane; what was spent stays spent.
  /// \throws system_error with `unknown_name`, or `invalid_argument` for a negative quota, for a lane without a name
  ///   and for more than 1024.
  void set_lane_limits(std::string_view key, std::string_view lane, limits const& l) {
    ring_->set_lane_limits(key, lane, l);
  }
  /// Replaces all limits that a key's account has for lanes: `others` for those that are not in `lanes`; what was spent
  /// stays spent. \throws as above; nothing has changed then.
  void set_lane_limits(std::string_view key, std::map<std::string, limits> const& lanes, limits const& others) {
    ring_->set_lane_limits(key, lanes, others);
  }
  /// See `key_params::weight`; holds from the next turn on. \throws system_error with `unknown_name`.
  void set_weight(std::string_view key, std::uint32_t weight) { ring_->set_weight(key, weight); }
  /// Takes a key out of use, or back into it. \throws system_error with `unknown_name`.
  void set_disabled(std::string_view key, bool disabled) { ring_->set_disabled(key, disabled); }
  /// Makes an invalid key usable again. \throws system_error with `unknown_name`.
  void revive(std::string_view key) { ring_->revive(key); }

  /// A copy of a key's secret, for requests that need no lease, such as the question for its balance.
  /// \throws system_error with `unknown_name`.
  [[nodiscard]] rondo::secret secret_of(std::string_view key) const { return ring_->secret_of(key); }

  /// To be called before the provider is asked for a balance; goes to `set_balance` with the answer.
  /// \throws system_error with `unknown_name`.
  [[nodiscard]] balance_mark begin_balance(std::string_view key) { return {ring_->charged_to(key)}; }
  /// What the provider says is left. Requests that were under way while it was asked may be in its figure or not; they
  /// are not counted twice. A balance above 0 ends a rest of kind "exhausted", with one request to probe it; one
  /// for another reason stays.
  /// \throws system_error with `unknown_name`.
  void set_balance(std::string_view key, balance const& b, balance_mark mark) {
    ring_->set_balance(key, b, mark.charged);
  }
  /// What is known to be left, all settled requests included. \throws system_error with `unknown_name`.
  void set_balance(std::string_view key, balance const& b) { ring_->set_balance(key, b, {}); }

  /// When the first key that rests until a known time comes back: the time of `steady_clock` (of the injected clock).
  /// Empty when none rests, or nobody knows for how long. Lanes that rest do not count, nor does a key that has as many
  /// leases out as it may. The cost does not grow with the number of keys; it spins for moments while another thread
  /// works on the same queue.
  [[nodiscard]] std::optional<steady_time> next_return() const noexcept {
    auto const at = ring_->next_return();
    if (at == detail::never) {
      return {};
    }
    return steady_time{std::chrono::duration_cast<steady_time::duration>(std::chrono::nanoseconds{at})};
  }

  void set_strategy(strategy s) noexcept { ring_->set_strategy(s); }
  /// See `pool_options::cooldown`.
  void set_cooldown(std::chrono::steady_clock::duration base) noexcept {
    ring_->set_cooldown(std::chrono::nanoseconds{base}.count());
  }

  // --- watching

  /// The state of all keys; does not stop anybody.
  [[nodiscard]] pool_snapshot snapshot() const { return ring_->snapshot(); }

  /// Calls `f` for every event from now on, in order, on the pool's executor, until the subscription ends. `f` may be
  /// called by one thread at a time only, whatever the executor. Events for which there is no memory are lost.
  [[nodiscard]] subscription on_event(std::function<void(event const&)> f) {
    return ring_->on_event(~std::uint32_t{0}, std::move(f));
  }
  /// The same for events of some kinds. Those that nobody wants cost nothing: `key_rotated` comes with nearly every
  /// lease, and calls the executor for it.
  [[nodiscard]] subscription on_event(std::initializer_list<event_kind> kinds, std::function<void(event const&)> f) {
    std::uint32_t bits = 0;
    for (auto const k : kinds) {
      bits |= detail::key_ring::bit(k);
    }
    return ring_->on_event(bits, std::move(f));
  }
  /// Calls `f` when the state of a key has changed for the first time since the last `snapshot`, on the thread that
  /// changed it, which may be in the middle of a settle: `f` must only make a note or post, and not throw.
  [[nodiscard]] subscription on_change(std::function<void()> f) { return ring_->on_change(std::move(f)); }

  /// Looks again at those who wait. Only needed after an injected clock was moved.
  void wake() { ring_->wake(); }

private:
  [[nodiscard]] static detail::core_options core_options(pool_options const& o) {
    detail::core_options out;
    out.strategy = o.strategy;
    out.cooldown = std::chrono::nanoseconds{o.cooldown}.count();
    out.most_cooldown = std::chrono::nanoseconds{o.most_cooldown}.count();
    out.most_failures = o.most_failures;
    out.failure_period = std::chrono::nanoseconds{o.failure_period}.count();
    out.clock = o.clock ? o.clock : &system_clocks();
    out.seed = o.seed;
    return out;
  }

  [[nodiscard]] detail::patient_demand to_demand(std::int64_t tokens) noexcept {
    detail::patient_demand out;
    out.want.tokens = tokens;
    out.want.in = &ring_->lanes().unnamed();
    return out;
  }
  [[nodiscard]] detail::patient_demand to_demand(request const& r) {
    detail::patient_demand out;
    out.want.tokens = r.tokens;
    out.want.in = &ring_->lane_of(r.lane);
    out.want.affinity = r.affinity.hash();
    out.want.needs = r.needs;
    out.want.unsent = r.unsent;
    if (r.timeout != std::chrono::steady_clock::duration::max()) {
      out.patience = std::max<detail::tick>(std::chrono::nanoseconds{r.timeout}.count(), 0);
    }
    return out;
  }

  [[nodiscard]] BOOST_NOINLINE std::optional<lease> try_take(std::int64_t tokens, quick_grant begun) {
    using answer = detail::key_ring::answer;
    detail::key_ring::timed_grant got;
    switch (ring_->take_on(tokens, begun, got)) {
    case answer::taken: {
      auto const chosen = ring_->choose(*got.from, {}, 0);
      return std::optional<lease>{std::in_place, detail::quick_lease{*ring_, tokens, got, chosen}};
    }
    case answer::refused: ring_->found_nothing(); return {};
    case answer::unclear: break;
    }
    return try_take(to_demand(tokens).want, {});
  }
  [[nodiscard]] std::optional<lease> try_take(detail::demand const& want, std::span<std::uint32_t const> avoid) {
    std::optional<lease> out{std::in_place};
    if (want.tokens < 0 || !detail::lease_factory::try_take(*ring_, want, *out, avoid)) [[unlikely]] {
      ring_->found_nothing();
      out.reset();
    }
    return out;
  }

  // One coroutine frame each, small enough for Asio to recycle. An operation that is awaited as such needs no frame.

  [[nodiscard]] boost::asio::awaitable<lease> acquire_impl(std::int64_t tokens) {
    auto const got = ring_->take_quickly(tokens);
    if (got.how == progress::taken) [[likely]] {
      if (auto const owner = detail::key_ring::owner_of(*got.from); owner.is_one_key()) [[likely]] {
        co_return detail::quick_lease{*ring_, tokens, {got.from}, {owner.key(), false}};
      }
    }
    detail::acquisition it{to_demand(tokens)}; // must not throw: something may have been taken
    if (!it.try_take_on(*ring_, got)) {
      auto waiting = wait(it);
      co_await std::move(waiting);
      throw_if_failed(it);
    }
    co_return std::move(it.result());
  }

  [[nodiscard]] boost::asio::awaitable<lease> acquire_impl(detail::acquisition it) {
    if (!it.try_take(*ring_)) [[unlikely]] {
      auto waiting = wait(it);
      co_await std::move(waiting);
      throw_if_failed(it);
    }
    co_return std::move(it.result());
  }

  static void throw_if_failed(detail::acquisition& it) {
    if (it.failure()) {
      throw acquire_error{it.failure(), it.result().retry_after()};
    }
  }

  detail::key_ring* ring_;
};

} // namespace rondo
