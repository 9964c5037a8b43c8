// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/detail/mixing.hpp>

#include <concepts>
#include <cstdint>
#include <string_view>

namespace rondo {

/// What makes requests belong together: a conversation whose prompt the provider has cached, a voice, a user.
///
/// Requests with the same affinity go to the same key while that key can serve. When it cannot, each affinity moves to
/// a key of its own choice, so that those of one key spread over all others, and comes back when the key does. A new
/// key takes over only its fair share of them. An affinity is a wish, never a reason to refuse or to wait.
///
/// A plain value, made from a text or a number; of the text only a hash is kept. Empty text and the default: none.
class affinity {
public:
  constexpr affinity() noexcept = default;
  constexpr affinity(std::string_view text) noexcept : hash_{of(text)} {}
  constexpr affinity(char const* text) noexcept : hash_{of(text)} {}
  template <std::integral Number>
  constexpr affinity(Number number) noexcept : hash_{detail::mixed(static_cast<std::uint64_t>(number)) | 1} {}

  /// 0 when there is none. The same in every process, but not between versions of the library.
  [[nodiscard]] constexpr std::uint64_t hash() const noexcept { return hash_; }

  friend constexpr bool operator==(affinity, affinity) noexcept = default;

private:
  [[nodiscard]] static constexpr std::uint64_t of(std::string_view text) noexcept { // FNV-1a
    if (text.empty()) {
      return 0;
    }
    std::uint64_t out = 0xcbf29ce484222325;
    for (auto const c : text) {
      out = (out ^ static_cast<unsigned char>(c)) * 0x100000001b3;
    }
    return detail::mixed(out) | 1;
  }

  std::uint64_t hash_ = 0;
};

} // namespace rondo
