// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstdint>
#include <initializer_list>

namespace rondo {

/// A kind of work that a key may be barred from while it still serves others.
enum class capability : std::uint8_t {
  voice_creation = 0, ///< ElevenLabs `POST /v1/voices/add`; barred once `voice_limit_reached`
  user_0 = 24,        ///< the values from here to 31 are free for programs
};

/// A set of capabilities; a plain value of four bytes.
class capability_set {
public:
  constexpr capability_set() noexcept = default;
  constexpr capability_set(capability c) noexcept : bits_{1U << static_cast<unsigned>(c)} {} // NOLINT: a set of one
  constexpr capability_set(std::initializer_list<capability> list) noexcept {
    for (auto const c : list) {
      *this |= c;
    }
  }

  [[nodiscard]] constexpr bool empty() const noexcept { return bits_ == 0; }
  [[nodiscard]] constexpr bool intersects(capability_set other) const noexcept { return (bits_ & other.bits_) != 0; }
  [[nodiscard]] constexpr bool contains(capability_set other) const noexcept {
    return (bits_ & other.bits_) == other.bits_;
  }
  constexpr capability_set& operator|=(capability_set other) noexcept {
    bits_ |= other.bits_;
    return *this;
  }
  [[nodiscard]] constexpr std::uint32_t bits() const noexcept { return bits_; }
  [[nodiscard]] static constexpr capability_set from_bits(std::uint32_t bits) noexcept {
    capability_set out;
    out.bits_ = bits;
    return out;
  }

  friend constexpr bool operator==(capability_set, capability_set) = default;

private:
  std::uint32_t bits_ = 0;
};

} // namespace rondo
