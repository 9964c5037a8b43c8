// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/detail/tick.hpp>

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace rondo::detail {

/// Counts failures within a sliding period in one atomic word, for providers that block whoever fails too often
/// (Venice: more than 20 failed requests in 30 s).
///
/// The period is cut into 8 parts and the part under way; a part counts to 15 and then stands for "too many". A part
/// is forgotten when it is wholly out of the period, so the count is never too low.
class failure_guard {
public:
  /// \param most failures per `period` (in ns); 0 = any number
  constexpr failure_guard(std::uint32_t most, tick period) noexcept
      : most_{most}, part_{std::max<tick>(period / parts, 1)} {}

  /// Adds one failure. True if there are now `most` or more within the period; they are forgotten then.
  template <template <class> class Atomic> bool count(Atomic<std::uint64_t>& word, tick now) const noexcept {
    if (most_ == 0) {
      return false;
    }
    auto const number = static_cast<std::uint64_t>(now / part_) & number_mask;
    auto seen = word.load(std::memory_order_relaxed);
    std::uint64_t next = 0;
    bool reached = false;
    do {
      auto const behind = (number - (seen >> counts)) & number_mask;
      auto const late = seen != 0 && behind > number_mask - most_late; // another thread was here with a later time
      auto const kept = late ? seen & counts_mask : behind > parts ? 0 : seen << (behind * bits) & counts_mask;
      auto const newest = kept & most_in_part;
      auto const counted = newest == most_in_part ? kept : kept + 1;
      std::uint32_t sum = 0;
      bool full = false;
      for (std::uint64_t i = 0; i <= parts; ++i) {
        auto const n = counted >> (i * bits) & most_in_part;
        sum += static_cast<std::uint32_t>(n);
        full = full || n == most_in_part;
      }
      reached = full || sum >= most_;
      next = (late ? seen >> counts : number) << counts | (reached ? 0 : counted);
    } while (!word.compare_exchange_weak(seen, next, std::memory_order_relaxed));
    return reached;
  }

private:
  static constexpr std::uint64_t parts = 8;
  static constexpr std::uint64_t bits = 4;
  static constexpr std::uint64_t counts = (parts + 1) * bits; ///< bits 0-35: a count for each part, the newest lowest
  static constexpr std::uint64_t counts_mask = (std::uint64_t{1} << counts) - 1;
  static constexpr std::uint64_t number_mask = (std::uint64_t{1} << (64 - counts)) - 1;
  static constexpr std::uint64_t most_in_part = (1U << bits) - 1;
  static constexpr std::uint64_t most_late = 64; ///< parts

  std::uint32_t most_;
  tick part_;
};

} // namespace rondo::detail
