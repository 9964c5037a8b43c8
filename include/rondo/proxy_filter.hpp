// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/affinity.hpp>
#include <rondo/detail/mixing.hpp>
#include <rondo/proxy_params.hpp>

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

namespace rondo {

/// Selects the proxies that have all of some tags; the default selects all proxies. A value, to be made once: of the
/// tags only 64-bit hashes are kept.
class proxy_filter {
public:
  proxy_filter() noexcept = default;
  explicit proxy_filter(std::span<proxy_tag const> tags) {
    for (auto const& tag : tags) {
      wanted_.push_back(hash_of(tag));
    }
    std::sort(wanted_.begin(), wanted_.end());
    wanted_.erase(std::unique(wanted_.begin(), wanted_.end()), wanted_.end());
  }

  [[nodiscard]] bool empty() const noexcept { return wanted_.empty(); }
  /// Whether something with the tags of `other` is selected by this.
  [[nodiscard]] bool selects(proxy_filter const& other) const noexcept {
    return std::includes(other.wanted_.begin(), other.wanted_.end(), wanted_.begin(), wanted_.end());
  }
  /// The same for filters that ask for the same.
  [[nodiscard]] std::uint64_t hash() const noexcept {
    std::uint64_t out = 0;
    for (auto const tag : wanted_) {
      out = detail::mixed(out + tag);
    }
    return out;
  }

private:
  [[nodiscard]] static std::uint64_t hash_of(proxy_tag const& tag) noexcept {
    return detail::mixed(affinity{tag.name}.hash() + 1) ^ affinity { tag.value }.hash();
  }

  std::vector<std::uint64_t> wanted_;
};

} // namespace rondo
