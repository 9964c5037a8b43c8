// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/clock.hpp>
#include <rondo/detail/pool_core.hpp>
#include <rondo/detail/stable_array.hpp>
#include <rondo/error.hpp>
#include <rondo/outcome.hpp>
#include <rondo/secret.hpp>
#include <rondo/strategy.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace rondo {

/// A proxy to be added to a rotator.
struct proxy_params {
  std::string name{};            ///< unique in the rotator, not empty; appears in status and logs
  rondo::secret url{};           ///< `scheme://user:password@host:port`; the rotator does not look into it
  std::uint32_t concurrency = 0; ///< most requests in flight through it; 0 = no limit
};

/// Settings of a rotator.
struct rotator_options {
  rondo::strategy strategy = rondo::strategy::round_robin;
  /// Rest after a failure; doubles with each repetition. Default 5 s.
  std::chrono::steady_clock::duration cooldown = std::chrono::seconds{5};
  /// Longest rest that doubling leads to. Default 10 min.
  std::chrono::steady_clock::duration most_cooldown = std::chrono::minutes{10};
  clock_source const* clock = nullptr; ///< must outlive rotator and leases; null = the system's
  std::uint64_t seed = 0;              ///< of the jitter; 0 = from the system
};

/// One proxy at the moment of a snapshot.
struct proxy_state {
  std::string name;
  bool resting = false;
  std::uint32_t in_flight = 0;
  std::uint64_t requests = 0;
  std::uint64_t failures = 0;
};

namespace detail {

struct proxy_record {
  proxy_params params;
  bool removed = false;
};

/// The proxies behind the slots.
class proxy_ring final : public pool_core {
public:
  explicit proxy_ring(core_options const& options) : pool_core{options} {}

  std::uint32_t add(proxy_params params) {
    if (params.name.empty() || params.url.empty()) {
      throw boost::system::system_error{error::invalid_argument, "proxy '" + params.name + "'"};
    }
    std::lock_guard const lock{admin_};
    if (by_name_.contains(params.name)) {
      throw boost::system::system_error{error::duplicate_name, "proxy '" + params.name + "'"};
    }
    auto const index = table().size();
    records_.grow_to(index);
    auto& s = add_slot();
    limits l;
    l.concurrency = params.concurrency;
    table().set_limits(s, l, false, 0);
    by_name_.emplace(params.name, index);
    records_[index].params = std::move(params);
    set_population(by_name_.size());
    table().set_off(s, false);
    return index;
  }

  bool remove(std::string_view name) {
    std::lock_guard const lock{admin_};
    auto const at = by_name_.find(name);
    if (at == by_name_.end()) {
      return false;
    }
    records_[at->second].removed = true;
    auto& s = table()[at->second];
    table().set_off(s, true);
    s.gate.fetch_or(gate::retired);
    wipe_if_unused(s);
    by_name_.erase(at);
    set_population(by_name_.size());
    return true;
  }

  [[nodiscard]] proxy_params const& params(std::uint32_t index) const noexcept { return records_[index].params; }

  [[nodiscard]] std::size_t size() {
    std::lock_guard const lock{admin_};
    return by_name_.size();
  }

  [[nodiscard]] std::vector<proxy_state> snapshot() {
    std::lock_guard const lock{admin_};
    auto const at = now();
    std::vector<proxy_state> out;
    for (std::uint32_t i = 0, n = table().size(); i < n; ++i) {
      if (!records_[i].removed) {
        auto const& s = table()[i];
        auto const word = s.gate.load();
        out.push_back(
            {records_[i].params.name, s.cool_until.load() > at, gate::leases(word), s.granted(), s.failures.load()});
      }
    }
    return out;
  }

private:
  ~proxy_ring() override = default;

  void set_alarm(tick) noexcept override {} // nobody waits for a proxy
  void note(event_kind, grant const&) noexcept override {}
  void charged() noexcept override {}

  void retire(slot_type& s) noexcept override {
    std::lock_guard const lock{admin_};
    wipe_if_unused(s);
  }

  // a slot is not used again, so nothing can take a lease on it any more
  void wipe_if_unused(slot_type& s) noexcept {
    if (gate::leases(s.gate.load()) == 0) {
      records_[s.index].params.url.wipe();
    }
  }

  stable_array<proxy_record> records_;
  std::mutex admin_;
  std::map<std::string, std::uint32_t, std::less<>> by_name_;
};

} // namespace detail

/// A proxy in use: move-only. Ends in one of `succeed`, `fail` and `release`; dropping it releases it.
///
/// Distinct objects: safe. Shared objects: unsafe. Nothing here throws or allocates.
class [[nodiscard]] proxy_lease {
public:
  proxy_lease() noexcept = default;
  proxy_lease(proxy_lease&& other) noexcept : ring_{std::exchange(other.ring_, nullptr)}, grant_{other.grant_} {}
  proxy_lease& operator=(proxy_lease&& other) noexcept {
    if (this != &other) {
      release();
      ring_ = std::exchange(other.ring_, nullptr);
      grant_ = other.grant_;
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

  /// The tunnel stood: ends a probation.
  void succeed() noexcept {
    if (auto* const ring = std::exchange(ring_, nullptr)) {
      ring->settle(grant_, 0);
    }
  }
  /// The proxy is to blame: it rests, longer each time.
  void fail() noexcept {
    if (auto* const ring = std::exchange(ring_, nullptr)) {
      ring->report(grant_, outcome::rate_limited());
    }
  }
  /// Nothing was learned about it.
  void release() noexcept {
    if (auto* const ring = std::exchange(ring_, nullptr)) {
      ring->refund(grant_);
    }
  }

private:
  friend class proxy_rotator;
  proxy_lease(detail::proxy_ring& ring, detail::grant const& g) noexcept : ring_{&ring}, grant_{g} {}

  detail::proxy_ring* ring_ = nullptr;
  detail::grant grant_;
};

/// Proxies that rotate: the same machine as `key_pool`, with proxies in the slots. It knows nothing of HTTP: a proxy is
/// a name and a URL.
///
/// Distinct objects: safe. Shared objects: safe, except for destruction and assignment. Leases may outlive it.
class proxy_rotator {
public:
  explicit proxy_rotator(rotator_options const& options = {}) : ring_{new detail::proxy_ring{core_options(options)}} {}
  proxy_rotator(proxy_rotator&& other) noexcept : ring_{std::exchange(other.ring_, nullptr)} {}
  proxy_rotator& operator=(proxy_rotator&& other) noexcept {
    std::swap(ring_, other.ring_);
    return *this;
  }
  ~proxy_rotator() {
    if (ring_) {
      ring_->close();
    }
  }

  /// \throws system_error with `invalid_argument` or `duplicate_name`; the text names the proxy.
  void add(proxy_params params) { ring_->add(std::move(params)); }
  /// Requests under way through it go on. False if there is no such proxy.
  bool remove(std::string_view name) { return ring_->remove(name); }
  [[nodiscard]] std::size_t size() const { return ring_->size(); }

  /// The next proxy that is well, or empty when all rest, are full, or are in `avoid` (by `proxy_lease::id`).
  /// Lock-free.
  [[nodiscard]] std::optional<proxy_lease> try_acquire(std::span<std::uint32_t const> avoid = {}) {
    detail::demand want;
    want.in = &ring_->lanes().unnamed();
    detail::grant g;
    if (!ring_->try_take(want, g, avoid)) {
      return {};
    }
    return proxy_lease{*ring_, g};
  }

  void set_strategy(strategy s) noexcept { ring_->set_strategy(s); }
  [[nodiscard]] std::vector<proxy_state> snapshot() const { return ring_->snapshot(); }

private:
  [[nodiscard]] static detail::core_options core_options(rotator_options const& o) {
    detail::core_options out;
    out.strategy = o.strategy;
    out.cooldown = std::chrono::nanoseconds{o.cooldown}.count();
    out.most_cooldown = std::chrono::nanoseconds{o.most_cooldown}.count();
    out.clock = o.clock ? o.clock : &system_clocks();
    out.seed = o.seed;
    return out;
  }

  detail::proxy_ring* ring_;
};

} // namespace rondo
