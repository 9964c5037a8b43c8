// SPDX-License-Identifier: BSL-1.0
#pragma once

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
    for (auto& chunk : chunks_) {
      delete[] chunk.load(std::memory_order_relaxed);
    }
  }

  /// Makes elements 0 to `index` exist.
  void grow_to(std::uint32_t index) {
    for (std::size_t k = 0; k <= chunk_of(index); ++k) {
      if (!chunks_[k].load(std::memory_order_relaxed)) {
        chunks_[k].store(new T[std::size_t{first_chunk} << k], std::memory_order_release); // pairs with operator[]
      }
    }
  }

  [[nodiscard]] T& operator[](std::uint32_t index) const noexcept {
    auto const k = chunk_of(index);
    auto const first = (std::uint32_t{first_chunk} << k) - first_chunk;
    return chunks_[k].load(std::memory_order_acquire)[index - first];
  }

private:
  static constexpr std::uint32_t first_chunk = 8;

  [[nodiscard]] static constexpr std::size_t chunk_of(std::uint32_t index) noexcept {
    return static_cast<std::size_t>(std::bit_width(index / first_chunk + 1)) - 1;
  }

  std::array<Atomic<T*>, 28> chunks_{};
};

} // namespace rondo::detail
