// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/detail/config.hpp>
#include <rondo/provider/openai.hpp>

#include <cstdint>
#include <string_view>

namespace rondo::provider {

RONDO_DECL openai::openai(openai_options options)
    : generic{{.header = "authorization",
               .prefix = "Bearer ",
               .statuses = {},
               .default_output_tokens = options.default_output_tokens,
               .characters_per_token = options.characters_per_token}} {}

RONDO_DECL work openai::describe(http::request_head const& head, std::string_view body) const {
  auto const path = path_of(head);
  auto const generates = path.ends_with("/completions") || path.ends_with("/responses");
  return describe_text(body, generates ? options().default_output_tokens : 0);
}

} // namespace rondo::provider
