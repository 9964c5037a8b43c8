// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstdint>

namespace rondo::detail {

/// A number that has nothing to do with `z` but is the same for the same `z` (the finalizer of splitmix64).
[[nodiscard]] constexpr std::uint64_t mixed(std::uint64_t z) noexcept {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

/// One of `buckets` (at least 1) for a hash: all about equally often, and of those that were elsewhere only those move
/// that a new bucket takes over (Lamping and Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm", 2014).
[[nodiscard]] constexpr std::uint32_t bucket_of(std::uint64_t hash, std::uint32_t buckets) noexcept {
  std::int64_t bucket = -1;
  std::int64_t next = 0;
  while (next < buckets) {
    bucket = next;
    hash = hash * 2862933555777941757U + 1;
    next = static_cast<std::int64_t>(static_cast<double>(bucket + 1) * (static_cast<double>(std::int64_t{1} << 31) /
                                                                        static_cast<double>((hash >> 33) + 1)));
  }
  return static_cast<std::uint32_t>(bucket);
}

} // namespace rondo::detail
