// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/balance.hpp>
#include <rondo/capability.hpp>
#include <rondo/detail/key_ring.hpp>
#include <rondo/detail/tick.hpp>
#include <rondo/outcome.hpp>

#include <boost/config.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

namespace rondo {

class key_pool;
class lease;

namespace detail {
class lease_factory;

/// What a pool makes a lease of if the grant needed no care.
class quick_lease {
  friend class rondo::key_pool;
  friend class rondo::lease;

  quick_lease(key_ring& ring, std::int64_t tokens, pool_core::timed_grant const& got,
              key_ring::choice const& chosen) noexcept
      : ring_{ring}, tokens_{tokens}, got_{got}, chosen_{chosen} {}

  key_ring& ring_;
  std::int64_t tokens_;
  pool_core::timed_grant got_;
  key_ring::choice chosen_;
};
} // namespace detail

/// A reservation on one key: move-only. Ends in exactly one of `settle`, `refund` and `report`; a lease that is
/// dropped is settled in full, because nobody can tell any more what its request cost.
///
/// A lease may outlive its pool; it then only keeps its secret readable. After it ended, or was moved from, it is
/// empty: every function but the queries of emptiness does nothing, and the texts are empty.
///
/// Distinct objects: safe. Shared objects: unsafe. All functions are lock-free unless somebody waits for capacity,
/// allocate nothing and do not throw, except where said. What is told to subscribers of events and changes allocates.
class [[nodiscard]] lease {
public:
  lease() noexcept { grant_.taken = detail::never; } // not defaulted: that would clear the whole object first
  lease(lease&& other) noexcept : ring_{std::exchange(other.ring_, nullptr)}, key_{other.key_}, grant_{other.grant_} {}
  lease& operator=(lease&& other) noexcept {
    if (this != &other) {
      drop();
      ring_ = std::exchange(other.ring_, nullptr);
      key_ = other.key_;
      grant_ = other.grant_;
    }
    return *this;
  }
  ~lease() { drop(); }
  /// Only a pool can make one.
  BOOST_FORCEINLINE explicit lease(detail::quick_lease const& r) noexcept
      : ring_{&r.ring_}, key_{&r.chosen_.key}, grant_{.from = r.got_.from,
                                                      .in = &r.ring_.lanes().unnamed(),
                                                      .tokens = r.tokens_,
                                                      .counted = r.got_.counted,
                                                      .counted_by_front = r.chosen_.counts_requests,
                                                      .taken = r.got_.taken,
                                                      .counted_since = r.got_.taken} {}

  /// True until the lease has ended.
  [[nodiscard]] explicit operator bool() const noexcept { return ring_ != nullptr; }

  /// The key's secret; valid while the lease lives and has not ended.
  [[nodiscard]] std::string_view secret() const noexcept {
    return ring_ ? key_->params.secret.reveal() : std::string_view{};
  }
  /// The secret in the form that may be shown.
  [[nodiscard]] std::string_view masked_secret() const noexcept {
    return ring_ ? std::string_view{key_->masked} : std::string_view{};
  }
  [[nodiscard]] std::string_view key_name() const noexcept {
    return ring_ ? std::string_view{key_->params.name} : std::string_view{};
  }
  [[nodiscard]] std::string_view account() const noexcept {
    return ring_ ? ring_->account_name(key_->slot) : std::string_view{};
  }
  /// A number that all leases of one account share, see `key_pool::try_acquire`.
  [[nodiscard]] std::uint32_t account_id() const noexcept { return ring_ ? key_->slot : ~std::uint32_t{0}; }
  /// Tokens reserved.
  [[nodiscard]] std::int64_t tokens() const noexcept { return ring_ ? grant_.tokens : 0; }
  /// In the empty lease of a failed `async_acquire`: time until a key is expected to serve, empty when unknown.
  [[nodiscard]] std::optional<std::chrono::steady_clock::duration> retry_after() const noexcept {
    if (key_ || grant_.taken == detail::never) {
      return {};
    }
    return std::chrono::duration_cast<std::chrono::steady_clock::duration>(std::chrono::nanoseconds{grant_.taken});
  }

  /// The request leaves now: rates count it from here, if it was acquired with `request::unsent`.
  void mark_sent() noexcept {
    if (ring_) {
      ring_->mark_sent(grant_);
    }
  }

  /// The request was served and cost `actual` tokens (negative counts as 0): the difference to what was reserved is
  /// given back, or debited. Ends the lease.
  void settle(std::int64_t actual) noexcept {
    if (auto* const ring = std::exchange(ring_, nullptr)) {
      ring->settle(grant_, actual);
    }
  }

  /// The request never left: everything is given back, the request count too. Ends the lease.
  void refund() noexcept {
    if (auto* const ring = std::exchange(ring_, nullptr)) {
      if (grant_.counted_by_front || key_->removed.load()) {
        key_->requests.fetch_sub(1);
      }
      ring->refund(grant_);
    }
  }

  /// The provider answered something else than success: tokens are given back, the request stays counted. Ends the
  /// lease. Locks briefly when the key is invalid; locks and allocates when a lane is refused for the first time.
  void report(outcome const& what) noexcept {
    if (auto* const ring = std::exchange(ring_, nullptr)) {
      if (what.what() != outcome::kind::rejected && what.what() != outcome::kind::too_large) {
        key_->failures.fetch_add(1);
      }
      if (what.what() == outcome::kind::invalid_key) {
        ring->invalidate(*key_);
      }
      ring->report(grant_, what);
    }
  }

  /// The key can no longer do this kind of work, and goes on with everything else. Does not end the lease; locks
  /// briefly.
  void bar(capability_set what) {
    if (ring_) {
      ring_->set_barred(*key_, what);
    }
  }

  /// The provider said what is left of the account's quota, see `key_pool::set_balance`. Does not end the lease; locks
  /// briefly.
  void set_balance(balance const& b) {
    if (ring_) {
      ring_->set_balance(key_->slot, b, {});
    }
  }

  /// The provider said how many requests it serves at once for this account (0 = forget it). Does not end the lease.
  void learn_concurrency(std::uint32_t most) noexcept {
    if (ring_) {
      ring_->learn_concurrency(*grant_.from, most);
    }
  }

private:
  friend class detail::lease_factory;

  void drop() noexcept {
    if (ring_) {
      settle(grant_.tokens);
    }
  }

  detail::key_ring* ring_ = nullptr;
  detail::key_record* key_ = nullptr;
  detail::grant grant_; ///< `taken` of one that never had a key is the time until a key is expected
};

} // namespace rondo
