// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <boost/config.hpp>

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace rondo::detail {

/// An array that grows without moving its elements: readers on other threads keep their references.
///
/// Chunk k holds 8 * 2^k elements. `grow_to`: one thread at a time; an index may be read by whoever learned of it
/// after it was grown to.
template <class T, template <class> class Atomic = std::atomic> class stable_array {
public:
  stable_array() = default;
  stable_array(stable_array const&) = delete;
  stable_array& operator=(stable_array const&) = delete;
  ~stable_array() {
    for (std::size_t k = 0; k < chunks_.size(); ++k) {
      if (auto const start = chunks_[k].load()) {
        delete[] reinterpret_cast<T*>(start + bias(k));
      }
    }
  }

  /// Makes elements 0 to `index` exist.
  void grow_to(std::uint32_t index) {
    for (std::size_t k = 0; k <= chunk_of(index); ++k) {
      if (!chunks_[k].load()) {
        auto const start = reinterpret_cast<std::uintptr_t>(new T[std::size_t{first_chunk} << k]);
        chunks_[k].store(start - bias(k), std::memory_order_release); // pairs with operator[]
      }
    }
  }

  [[nodiscard]] BOOST_FORCEINLINE T& operator[](std::uint32_t index) const noexcept {
    auto const start = chunks_[chunk_of(index)].load(); // pairs with grow_to()
    return *reinterpret_cast<T*>(start + (std::size_t{index} + first_chunk) * sizeof(T));
  }

  /// Whether the element `b`, which comes after `a`, stands right behind it in memory.
  [[nodiscard]] static constexpr bool are_neighbours(std::uint32_t a, std::uint32_t b) noexcept {
    return a + 1 == b && chunk_of(a) == chunk_of(b);
  }

private:
  static constexpr std::uint32_t first_chunk = 8;

  [[nodiscard]] static constexpr std::size_t chunk_of(std::uint32_t index) noexcept {
    return static_cast<std::size_t>(std::bit_width(std::uint64_t{index} + first_chunk)) - std::bit_width(first_chunk);
  }

  /// Chunk k begins with element `first_chunk << k`, counted from `first_chunk`; kept is where element 0 would be.
  [[nodiscard]] static constexpr std::uintptr_t bias(std::size_t k) noexcept {
    return (std::uintptr_t{first_chunk} << k) * sizeof(T);
  }

  std::array<Atomic<std::uintptr_t>, 30> chunks_{};
};

} // namespace rondo::detail
