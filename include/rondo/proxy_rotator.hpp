// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/affinity.hpp>
#include <rondo/clock.hpp>
#include <rondo/detail/proxy_ring.hpp>
#include <rondo/detail/proxy_wait_operation.hpp>
#include <rondo/error.hpp>
#include <rondo/proxy_filter.hpp>
#include <rondo/proxy_lease.hpp>
#include <rondo/proxy_params.hpp>
#include <rondo/proxy_strategy.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/post.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace rondo {

/// Settings of a rotator.
struct rotator_options {
  proxy_strategy strategy = proxy_strategy::sticky;
  /// Rest after a failure; doubles with each repetition. Default 5 s.
  std::chrono::steady_clock::duration cooldown = std::chrono::seconds{5};
  /// Longest rest that doubling leads to. Default 10 min.
  std::chrono::steady_clock::duration most_cooldown = std::chrono::minutes{10};
  clock_source const* clock = nullptr; ///< must outlive rotator and leases; null = the system's
  std::uint64_t seed = 0;              ///< of jitter and chance; 0 = from the system
};

/// What is asked of a rotator. It refers to its members' contents; a rotator reads them before its function returns.
struct proxy_request {
  rondo::affinity affinity{};             ///< for `proxy_strategy::sticky`: whose proxy this is
  std::string_view origin{};              ///< where the request goes: proxies refused there are left alone
  proxy_filter const* only = nullptr;     ///< null = any
  std::span<std::uint32_t const> avoid{}; ///< proxies that must not be used, by `proxy_lease::id`
  std::chrono::steady_clock::duration timeout = std::chrono::steady_clock::duration::max(); ///< of the wait
  /// Whether to wait for proxies that rest, too, and not only for those that are busy.
  bool wait_for_resting = false;
};

/// Proxies that rotate: the same machine as `key_pool`, with proxies in the slots. It knows nothing of HTTP: a proxy is
/// a name and a URL.
///
/// A proxy that failed rests, longer each time, and comes back by one request. One that has as many requests in flight
/// as it may have is busy, not away: `async_acquire` waits for it.
///
/// Distinct objects: safe. Shared objects: safe, except for destruction and assignment. Leases may outlive it; who
/// waits is told `operation_aborted`. A context may be destroyed with requests that wait here, but not while others use
/// the rotator.
class proxy_rotator {
public:
  explicit proxy_rotator(rotator_options const& options = {})
      : ring_{new detail::proxy_ring{core_options(options), options.strategy}} {}
  proxy_rotator(proxy_rotator&& other) noexcept : ring_{std::exchange(other.ring_, nullptr)} {}
  proxy_rotator& operator=(proxy_rotator&& other) noexcept {
    std::swap(ring_, other.ring_);
    return *this;
  }
  ~proxy_rotator() {
    if (ring_) {
      ring_->shut_down();
    }
  }

  /// Waiters are served by it. \throws system_error with `invalid_argument` or `duplicate_name`; the text names the
  /// proxy.
  void add(proxy_params params) { ring_->add(std::move(params)); }
  /// Requests under way through it go on. False if there is no such proxy.
  bool remove(std::string_view name) { return ring_->remove(name); }
  [[nodiscard]] std::size_t size() const { return ring_->size(); }

  /// The next proxy that is well, or empty when all rest, are busy, or are in `avoid` (by `proxy_lease::id`).
  /// Lock-free while nobody waits, but for an affinity under `proxy_strategy::sticky`, which locks briefly.
  [[nodiscard]] std::optional<proxy_lease> try_acquire(std::span<std::uint32_t const> avoid = {}) {
    return try_acquire(proxy_request{.avoid = avoid});
  }
  [[nodiscard]] std::optional<proxy_lease> try_acquire(proxy_request const& r) {
    detail::grant g;
    if (!ring_->try_take(to_demand(r), g)) {
      return {};
    }
    return detail::proxy_lease_factory::make(*ring_, g);
  }
  /// One whose rest is over, for the one request that tells whether it is well again; empty if there is none.
  [[nodiscard]] std::optional<proxy_lease> try_acquire_rested() {
    detail::grant g;
    if (!ring_->try_take_rested(g)) {
      return {};
    }
    return detail::proxy_lease_factory::make(*ring_, g);
  }

  /// The same, and waits in the order of arrival for a proxy that is busy, or rests if `r` says so: no polling.
  ///
  /// Everything `r` refers to is copied when the operation is initiated, and must live until then.
  /// Completion: `void(error_code, proxy_lease)`, never from within this function. Executor: the handler's associated
  /// one, by default `executor`. Cancellation: terminal, partial, total; emitted on the handler's executor.
  /// Errors: `error::proxies_unavailable` when nothing can serve before the deadline, at once if that is known;
  /// `operation_aborted`. Cost: one allocation more when it has to wait.
  template <BOOST_ASIO_COMPLETION_TOKEN_FOR(void(error_code, proxy_lease)) CompletionToken = boost::asio::deferred_t>
  [[nodiscard]] auto async_acquire(boost::asio::any_io_executor const& executor, proxy_request const& r,
                                   CompletionToken&& token = CompletionToken{}) {
    return boost::asio::async_initiate<CompletionToken, void(error_code, proxy_lease)>(
        initiate_acquire{ring_, executor}, token, to_demand(r));
  }

  void set_strategy(proxy_strategy s) noexcept { ring_->set_proxy_strategy(s); }
  [[nodiscard]] std::vector<proxy_state> snapshot() const { return ring_->snapshot(); }

  /// Looks again at those who wait. Only needed after an injected clock was moved.
  void wake() { ring_->on_time(); }

  /// As long as it lives, nobody is offered a proxy that has rested: who holds it takes them by `try_acquire_rested`,
  /// and finds out whether they are well. The rotator must outlive it.
  class checker_mark {
  public:
    checker_mark() noexcept = default;
    explicit checker_mark(proxy_rotator& of) : ring_{of.ring_} { ring_->add_checker(); }
    checker_mark(checker_mark&& other) noexcept : ring_{std::exchange(other.ring_, nullptr)} {}
    checker_mark& operator=(checker_mark&& other) noexcept {
      checker_mark const ended{std::move(*this)};
      ring_ = std::exchange(other.ring_, nullptr);
      return *this;
    }
    ~checker_mark() {
      if (ring_) {
        ring_->remove_checker();
      }
    }

  private:
    detail::proxy_ring* ring_ = nullptr;
  };

private:
  class initiate_acquire {
  public:
    using executor_type = boost::asio::any_io_executor;

    initiate_acquire(detail::proxy_ring* ring, boost::asio::any_io_executor executor) noexcept
        : ring_{ring}, executor_{std::move(executor)} {}
    [[nodiscard]] executor_type get_executor() const noexcept { return executor_; }

    template <class Handler> void operator()(Handler&& handler, detail::proxy_demand const& want) const {
      auto const where = boost::asio::get_associated_executor(handler, executor_);
      detail::grant g;
      if (ring_->try_take(want, g)) {
        boost::asio::post(where, [h = std::decay_t<Handler>(std::forward<Handler>(handler)),
                                  lease = detail::proxy_lease_factory::make(*ring_, g)]() mutable {
          std::move(h)(error_code{}, std::move(lease));
        });
        return;
      }
      std::make_shared<detail::proxy_wait_operation>(*ring_, std::forward<Handler>(handler), where, want)->start();
    }

  private:
    detail::proxy_ring* ring_;
    boost::asio::any_io_executor executor_;
  };

  [[nodiscard]] detail::proxy_demand to_demand(proxy_request const& r) const {
    detail::proxy_demand out;
    out.affinity = r.affinity.hash();
    out.origin = &ring_->origin_of(r.origin);
    out.only = r.only;
    out.avoid = r.avoid;
    if (r.timeout != std::chrono::steady_clock::duration::max()) {
      out.deadline =
          detail::after(ring_->now(), std::max<detail::tick>(std::chrono::nanoseconds{r.timeout}.count(), 0));
    }
    out.wait_for_resting = r.wait_for_resting;
    return out;
  }

  [[nodiscard]] static detail::core_options core_options(rotator_options const& o) {
    detail::core_options out;
    out.cooldown = std::chrono::nanoseconds{o.cooldown}.count();
    out.most_cooldown = std::chrono::nanoseconds{o.most_cooldown}.count();
    out.clock = o.clock ? o.clock : &system_clocks();
    out.seed = o.seed;
    return out;
  }

  detail::proxy_ring* ring_;
};

} // namespace rondo
