// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace rondo::test::fuzz {

/// The bytes of an input, taken from left to right.
class fuzz_input {
public:
  explicit fuzz_input(std::string_view bytes) noexcept : rest_{bytes} {}

  [[nodiscard]] std::string_view rest() const noexcept { return rest_; }
  [[nodiscard]] bool empty() const noexcept { return rest_.empty(); }

  /// The next byte, 0 at the end.
  std::uint8_t byte() noexcept {
    auto const text = bytes(1);
    return text.empty() ? std::uint8_t{0} : static_cast<std::uint8_t>(text.front());
  }
  /// The next `n` bytes, fewer at the end.
  std::string_view bytes(std::size_t n) noexcept {
    auto const text = rest_.substr(0, n);
    rest_.remove_prefix(text.size());
    return text;
  }
  /// Up to the next line feed, which is taken too.
  std::string_view line() noexcept {
    auto const text = rest_.substr(0, rest_.find('\n'));
    rest_.remove_prefix(std::min(text.size() + 1, rest_.size()));
    return text;
  }

private:
  std::string_view rest_;
};

/// How a stream falls into pieces: the same seed, the same pieces. Seed 0: all at once; '1': byte by byte.
class piece_sizes {
public:
  explicit piece_sizes(std::uint8_t seed) noexcept : seed_{seed}, state_{seed} {}

  /// From 1 to `most`.
  std::size_t next(std::size_t most) noexcept {
    state_ = state_ * 1664525 + 1013904223; // Numerical Recipes
    auto const size = seed_ == 0 ? most : seed_ == '1' ? std::size_t{1} : std::size_t{1} + (state_ >> 16) % seed_;
    return std::min(size, most);
  }

private:
  std::uint8_t seed_;
  std::uint32_t state_;
};

} // namespace rondo::test::fuzz
