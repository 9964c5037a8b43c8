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
/// The whole key becomes its masked form; any other stretch of 8 or more characters of it (a third of the key, when
/// that is less, but at least 4) becomes `***`. Works on a whole text: a key cut in two by a chunk border is not found.
/// Linear in the text, up to the length of the key; the length of the text may change.
[[nodiscard]] inline std::string redacted(std::string_view text, std::string_view key) {
  auto const window = std::clamp<std::size_t>(key.size() / 3, 4, 8);
  if (key.size() < window || text.size() < window) {
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
