// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace rondo::test::fuzz {

/// Inputs near those of a corpus: the same ones in every run, with every compiler and library.
class mutations {
public:
  mutations(std::vector<std::string> const& corpus, std::uint32_t seed) : corpus_{corpus}, random_{seed} {}

  /// One to four changes to `text`.
  [[nodiscard]] std::string of(std::string text) {
    for (auto changes = 1 + below(4); changes > 0; --changes) {
      change(text);
    }
    return text;
  }

private:
  // the distributions of the standard library differ from one to the other
  std::size_t below(std::size_t n) { return n == 0 ? 0 : random_() % n; }

  void change(std::string& text) {
    using namespace std::string_view_literals;
    static constexpr auto telling = "\0\r\n\t \"'\\,;:=#%@/[]{}<>-+.*0019azAZ\x7f\x80\xc3\xff"sv;
    auto const at = below(text.size() + 1);
    auto const size = below(std::min<std::size_t>(text.size() - at, 16) + 1);
    switch (below(7)) {
    case 0:
      if (at < text.size()) {
        text[at] = static_cast<char>(text[at] ^ (1 << below(8)));
      }
      break;
    case 1: text.insert(at, 1, telling[below(telling.size())]); break;
    case 2:
      if (at < text.size()) {
        text[at] = telling[below(telling.size())];
      }
      break;
    case 3: text.erase(at, size); break;
    case 4: text.insert(at, text.substr(at, size)); break;
    case 5: text.resize(at); break;
    default: { // what another one holds
      auto const& other = corpus_[below(corpus_.size())];
      auto const from = below(other.size() + 1);
      text.insert(at, other, from, below(32));
    }
    }
  }

  std::vector<std::string> const& corpus_;
  std::mt19937 random_;
};

} // namespace rondo::test::fuzz
