// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/secret.hpp>

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace rondo::provider {

/// A provider's text without the key in it: some echo it in their errors, whole or in part.
///
/// The whole key, from 4 characters up, becomes its masked form; any other stretch of a quarter of the key, and at
/// least 12 characters, becomes `***`: shorter ones occur in texts that have nothing to do with it. Works on a whole
/// text: a key cut in two by a chunk border is not found. Linear in the text, up to the length of the key; the length
/// of the text may change.
[[nodiscard]] inline std::string redacted(std::string_view text, std::string_view key) {
  constexpr std::size_t shortest = 4;
  auto const window = std::max<std::size_t>(key.size() / 4, 12);
  if (key.size() < shortest || text.size() < shortest) {
    return std::string{text};
  }
  std::vector<std::string_view> pieces;
  for (std::size_t i = 0; i + window <= key.size(); ++i) {
    pieces.push_back(key.substr(i, window));
  }
  std::sort(pieces.begin(), pieces.end());

  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    if (text.substr(at).starts_with(key)) {
      out.append(masked(key));
      at += key.size();
    } else if (std::binary_search(pieces.begin(), pieces.end(), text.substr(at, window))) {
      // up to the end of the stretch, or to where the whole key begins
      at += window;
      while (at < text.size() && !text.substr(at).starts_with(key) &&
             std::binary_search(pieces.begin(), pieces.end(), text.substr(at - window + 1, window))) {
        ++at;
      }
      out.append("***");
    } else {
      out.push_back(text[at++]);
    }
  }
  return out;
}

} // namespace rondo::provider
