// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/detail/proxy_ring.hpp>
#include <rondo/detail/wait_line.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

namespace rondo {

namespace detail {
class proxy_lease_factory;
}

/// A proxy in use: move-only. Ends in one of `succeed`, `fail`, `doubt`, `refused_there` and
/// `release`; dropping it releases it.
/// A request counts as in flight through its proxy until then, so hold it until the last byte of the answer is there.
///
/// Distinct objects: safe. Shared objects: unsafe. Lock-free unless somebody waits for a proxy or one begins to rest.
class [[nodiscard]] proxy_lease {
public:
  using duration = std::chrono::steady_clock::duration;

  proxy_lease() noexcept = default;
  proxy_lease(proxy_lease&& other) noexcept
      : ring_{std::exchange(other.ring_, nullptr)}, grant_{other.grant_}, confirmed_{other.confirmed_} {}
  proxy_lease& operator=(proxy_lease&& other) noexcept {
    if (this != &other) {
      release();
      ring_ = std::exchange(other.ring_, nullptr);
      grant_ = other.grant_;
      confirmed_ = other.confirmed_;
    }
    return *this;
  }
  ~proxy_lease() { release(); }

  [[nodiscard]] explicit operator bool() const noexcept { return ring_ != nullptr; }
  /// Never given to another proxy of the same rotator.
  [[nodiscard]] std::uint32_t id() const noexcept { return ring_ ? grant_.from->index : ~std::uint32_t{0}; }
  [[nodiscard]] std::string_view name() const noexcept {
    return ring_ ? std::string_view{ring_->params(id()).name} : std::string_view{};
  }
  /// With credentials; valid while the lease has not ended.
  [[nodiscard]] std::string_view url() const noexcept {
    return ring_ ? ring_->params(id()).url.reveal() : std::string_view{};
  }
  /// See `proxy_params::requests_per_tunnel`.
  [[nodiscard]] std::uint32_t requests_per_tunnel() const noexcept {
    return ring_ ? ring_->params(id()).requests_per_tunnel : 0;
  }
  /// See `proxy_params::tunnel_age`.
  [[nodiscard]] duration tunnel_age() const noexcept { return ring_ ? ring_->params(id()).tunnel_age : duration{}; }
  /// See `proxy_params::login_when_asked`.
  [[nodiscard]] bool login_when_asked() const noexcept { return ring_ && ring_->params(id()).login_when_asked; }

  /// An answer came through it: ends a probation at once, and does not end the lease.
  ///
  /// \param latency how long the request waited for it, for `proxy_strategy::latency`
  void confirm(std::optional<duration> latency = {}) noexcept {
    if (ring_) {
      confirmed_ = true;
      ring_->confirm(grant_, latency ? std::optional{std::chrono::nanoseconds{*latency}.count()} : std::nullopt);
    }
  }
  /// `confirm`, and the request is over. Ends the lease.
  void succeed(std::optional<duration> latency = {}) noexcept {
    confirm(latency);
    release();
  }
  /// The proxy is to blame: it rests, longer each time. Ends the lease.
  void fail() noexcept {
    if (auto* const ring = std::exchange(ring_, nullptr)) {
      ring->fail(grant_);
    }
  }
  /// Another proxy got through where this one did not, though it need not have been its fault: the second time without
  /// a confirmed answer between it rests. Ends the lease.
  void doubt() noexcept {
    if (auto* const ring = std::exchange(ring_, nullptr)) {
      ring->doubt(grant_);
    }
  }
  /// The origin of the request refuses the proxy's address: the proxy rests for this origin, longer each time, or for
  /// as long as the origin said. Ends the lease.
  void refused_there(std::optional<duration> rest = {}) noexcept {
    if (auto* const ring = std::exchange(ring_, nullptr)) {
      ring->refused_there(grant_, rest);
    }
  }
  /// The request is over, and nothing was learned that was not confirmed. Ends the lease.
  void release() noexcept {
    if (auto* const ring = std::exchange(ring_, nullptr)) {
      if (confirmed_) {
        ring->succeed(grant_);
      } else {
        ring->release(grant_);
      }
    }
  }

private:
  friend class detail::proxy_lease_factory;

  detail::proxy_ring* ring_ = nullptr;
  detail::grant grant_;
  bool confirmed_ = false;
};

} // namespace rondo
