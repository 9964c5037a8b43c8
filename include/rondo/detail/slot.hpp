// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/detail/sliding_window.hpp>
#include <rondo/detail/tick.hpp>
#include <rondo/limits.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace rondo::detail {

/// The rates of a slot, one window each; a slot without rates has none of them.
template <template <class> class Atomic> class slot_rates {
public:
  enum kind : std::size_t {
    requests_per_second,
    requests_per_minute,
    tokens_per_minute,
    requests_per_day,
    tokens_per_day
  };
  static constexpr std::size_t kinds = 5;
  using window = sliding_window<Atomic>;

  ~slot_rates() {
    for (auto& w : windows_) {
      delete w.load(std::memory_order_relaxed);
    }
  }
  slot_rates() = default;
  slot_rates(slot_rates const&) = delete;
  slot_rates& operator=(slot_rates const&) = delete;

  /// One thread at a time.
  void set_limit(kind k, std::uint32_t limit) {
    auto& place = windows_[k];
    if (auto* const w = place.load(std::memory_order_relaxed)) {
      w->set_limit(limit);
    } else if (limit != 0) {
      place.store(new window{limit, period(k)}, std::memory_order_release); // pairs with operator[]
    }
  }

  /// Null when the rate never had a limit.
  [[nodiscard]] window* operator[](std::size_t k) const noexcept { return windows_[k].load(std::memory_order_acquire); }

  [[nodiscard]] static constexpr bool counts_tokens(std::size_t k) noexcept {
    return k == tokens_per_minute || k == tokens_per_day;
  }

private:
  [[nodiscard]] static constexpr tick period(kind k) noexcept {
    using std::chrono::nanoseconds;
    switch (k) {
    case requests_per_second: return nanoseconds{std::chrono::seconds{1}}.count();
    case requests_per_minute:
    case tokens_per_minute: return nanoseconds{std::chrono::minutes{1}}.count();
    default: return nanoseconds{std::chrono::hours{24}}.count();
    }
  }

  std::array<Atomic<window*>, kinds> windows_{};
};

/// The word that decides most acquires: what may be changed together stands in it together.
namespace gate {
inline constexpr std::uint64_t lease = 1;                   ///< bits 0-19: leases out
inline constexpr std::uint64_t lease_mask = (1U << 20) - 1; ///< at most a million at once
inline constexpr std::uint64_t off = 1U << 20;              ///< no usable key
inline constexpr std::uint64_t parked = 1U << 21;           ///< not in the ready index: who frees capacity puts it back
inline constexpr std::uint64_t probation = 1U << 22;        ///< after a cooldown: one request at a time
inline constexpr std::uint64_t probing = 1U << 23;          ///< that request is under way
inline constexpr std::uint64_t metered = 1U << 24;          ///< has a quota
inline constexpr std::uint64_t rated = 1U << 25;            ///< has rates
inline constexpr std::uint64_t closed = 1U << 26;           ///< the pool is gone; the last lease cleans up
inline constexpr std::uint64_t retired = 1U << 27;          ///< removed keys wait for the last lease to be wiped
inline constexpr std::uint64_t ending = std::uint64_t{1} << 28; ///< bits 28-35: leases that are just ending
inline constexpr std::uint64_t grant = std::uint64_t{1} << 36;  ///< bits 36-63: leases ever given, modulo 2^28
[[nodiscard]] constexpr std::uint32_t leases(std::uint64_t word) noexcept {
  return static_cast<std::uint32_t>(word & lease_mask);
}
[[nodiscard]] constexpr std::uint32_t endings(std::uint64_t word) noexcept {
  return static_cast<std::uint32_t>(word >> 28) & 255;
}
[[nodiscard]] constexpr std::uint32_t grants(std::uint64_t word) noexcept {
  return static_cast<std::uint32_t>(word >> 36);
}
} // namespace gate

/// Stands in place of the time of a reset while it is carried out.
inline constexpr tick renewing = 1;

/// What a cooldown came from; decides the status that is shown.
enum class rest_kind : std::uint8_t { rate_limited, exhausted };

/// The state of one account or proxy. The first line is what an acquire touches.
template <template <class> class Atomic> struct alignas(64) slot {
  Atomic<std::uint64_t> gate{gate::off | gate::parked};
  Atomic<std::int64_t> remaining{0};            ///< tokens of the quota that are neither spent nor reserved
  Atomic<tick> cool_until{0};                   ///< 0 = not cooling
  Atomic<std::uint32_t> concurrency{0};         ///< most leases at once; 0 = no limit
  Atomic<std::uint32_t> learned_concurrency{0}; ///< the same, as the provider made us learn it; 0 = nothing learned
  Atomic<slot_rates<Atomic>*> rates{nullptr};
  Atomic<std::uint32_t> barred{0};           ///< capabilities that none of its usable keys has
  Atomic<std::uint32_t> barred_somewhere{0}; ///< capabilities that one of them lacks
  Atomic<std::int64_t> charged{0};           ///< tokens ever charged

  alignas(64) Atomic<std::int64_t> quota{0}; ///< 0 = none
  Atomic<std::int64_t> base{0};              ///< quota left when `charged` was 0; moved when a balance is set
  Atomic<tick> quota_reset{0};               ///< 0 = unknown; `renewing` while the quota is being given back
  Atomic<std::int64_t> quota_reset_wall{0};  ///< the same for people, in ms since 1970
  Atomic<std::uint32_t> setbacks{0};         ///< cooldowns since the last success: the exponent of the next
  Atomic<rest_kind> resting_for{rest_kind::rate_limited};
  Atomic<std::uint64_t> failures{0};
  Atomic<tick> learn_after{0}; ///< when the learned cap may grow by one

  // owned by the return queue
  Atomic<tick> return_at{never};
  Atomic<bool> queued{false};
  slot* queue_next = nullptr;
  std::uint32_t heap_position = ~std::uint32_t{0};
  std::uint32_t index = 0;

  slot() = default;
  slot(slot const&) = delete;
  slot& operator=(slot const&) = delete;
  ~slot() { delete rates.load(std::memory_order_relaxed); }

  /// Leases that may be out at once; 0 = no limit.
  [[nodiscard]] std::uint32_t cap() const noexcept {
    auto const set = concurrency.load(std::memory_order_relaxed);
    auto const learned = learned_concurrency.load(std::memory_order_relaxed);
    return learned == 0 ? set : set == 0 ? learned : std::min(set, learned);
  }

  /// Quota that is left when all that is reserved is given back.
  [[nodiscard]] std::int64_t unspent() const noexcept {
    return base.load(std::memory_order_relaxed) - charged.load(std::memory_order_relaxed);
  }
};

} // namespace rondo::detail
