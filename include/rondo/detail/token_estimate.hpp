// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/detail/json_walk.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace rondo::detail {

/// The number of Unicode code points in (a part of) a UTF-8 text.
[[nodiscard]] inline std::int64_t code_points(std::string_view text) noexcept {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; });
}

/// What the body of a request to a language model says about its size.
struct token_finder {
  std::string model;
  std::optional<std::int64_t> output; ///< the largest of the fields that cap the answer
  std::int64_t prompt_characters = 0; ///< of everything that is read as text; attachments are left out

  void number(json_path const& path, std::int64_t value) {
    static constexpr std::array<std::string_view, 4> caps{"max_tokens", "max_completion_tokens", "max_output_tokens",
                                                          "maxOutputTokens"};
    auto const is_cap = std::find(caps.begin(), caps.end(), path.back()) != caps.end() &&
                        (path.depth() == 1 || path.is({"generationConfig", "maxOutputTokens"}) ||
                         path.is({"generation_config", "max_output_tokens"}));
    if (is_cap && value > 0) {
      output = std::max(output.value_or(0), std::min<std::int64_t>(value, most));
    }
  }

  void text(json_path const& path, std::string_view part, bool first) {
    static constexpr std::array<std::string_view, 6> prompts{"content", "text",         "input",
                                                             "prompt",  "instructions", "system"};
    if (path.is({"model"})) {
      if (first) {
        model.clear();
      }
      model.append(part.substr(0, std::min(part.size(), longest_model - std::min(model.size(), longest_model))));
    } else if (std::find(prompts.begin(), prompts.end(), path.back()) != prompts.end()) {
      prompt_characters += code_points(part);
    }
  }

  /// A reservation beyond this is a mistake; it keeps sums far from overflow.
  static constexpr std::int64_t most = 1'000'000'000;
  static constexpr std::size_t longest_model = 256;
};

/// Looks through the body of a request; what is not JSON says nothing.
[[nodiscard]] inline token_finder find_tokens(std::string_view body) {
  json_walk<token_finder> walk;
  walk.feed(body);
  return std::move(walk.visitor());
}

} // namespace rondo::detail
