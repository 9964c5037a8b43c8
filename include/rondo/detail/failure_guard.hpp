// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/detail/tick.hpp>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdint>

namespace rondo::detail {

/// Counts failures within a sliding period in one atomic word, for providers that block whoever fails too often
/// (Venice: more than 20 failed requests in 30 s).
///
/// The period is cut into parts, up to 8 and fewer the higher the limit is, and the part under way. A part is forgotten
/// when it is wholly out of the period, so the count is never too low.
class failure_guard {
public:
  /// \param most failures per `period` (in ns); 0 = any number, and no more than 262,143
  constexpr failure_guard(std::uint32_t most, tick period) noexcept
      : most_{std::min(most, greatest)}, bits_{static_cast<std::uint64_t>(std::bit_width(most_ | 1))},
        parts_{std::min<std::uint64_t>(counts / bits_ - 1, 8)},
        part_{std::max<tick>(period / static_cast<tick>(parts_), 1)} {}

  /// Adds one failure. True if there are now `most` or more within the period; they are forgotten then.
  template <template <class> class Atomic> bool count(Atomic<std::uint64_t>& word, tick now) const noexcept {
    if (most_ == 0) {
      return false;
    }
    auto const used = (std::uint64_t{1} << (parts_ + 1) * bits_) - 1;
    auto const number = static_cast<std::uint64_t>(now / part_) & number_mask;
    auto seen = word.load();
    std::uint64_t next = 0;
    bool reached = false;
    do {
      auto const behind = (number - (seen >> counts)) & number_mask;
      auto const late = seen != 0 && behind > number_mask - most_late; // another thread was here with a later time
      auto const kept = late ? seen & used : behind > parts_ ? 0 : seen << (behind * bits_) & used;
      auto const counted = kept + 1; // there is room: the sum never reached the limit, or it was forgotten
      std::uint64_t sum = 0;
      for (std::uint64_t i = 0; i <= parts_; ++i) {
        sum += counted >> (i * bits_) & ((std::uint64_t{1} << bits_) - 1);
      }
      reached = sum >= most_;
      next = (late ? seen >> counts : number) << counts | (reached ? 0 : counted);
    } while (!word.compare_exchange_weak(seen, next));
    return reached;
  }

private:
  static constexpr std::uint64_t counts = 36; ///< bits 0-35: a count for each part, the newest lowest
  static constexpr std::uint64_t number_mask = (std::uint64_t{1} << (64 - counts)) - 1;
  static constexpr std::uint64_t most_late = 64; ///< parts
  static constexpr std::uint32_t greatest = (1U << counts / 2) - 1;

  std::uint32_t most_;
  std::uint64_t bits_;  ///< of a count
  std::uint64_t parts_; ///< that are over; one more is under way
  tick part_;
};

} // namespace rondo::detail
