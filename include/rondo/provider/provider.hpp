// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/provider/adapter.hpp>
#include <rondo/provider/elevenlabs.hpp>
#include <rondo/provider/gemini.hpp>
#include <rondo/provider/generic.hpp>
#include <rondo/provider/openai.hpp>

#include <memory>
#include <string_view>

namespace rondo::provider {

/// The adapter with this name and its usual settings: `elevenlabs`, `openai`, `gemini` or `generic` (which sends
/// `Authorization: Bearer`); null for any other.
[[nodiscard]] inline std::shared_ptr<adapter const> make(std::string_view name) {
  if (name == "elevenlabs") {
    return std::make_shared<elevenlabs const>();
  }
  if (name == "openai") {
    return std::make_shared<openai const>();
  }
  if (name == "gemini") {
    return std::make_shared<gemini const>();
  }
  if (name == "generic") {
    return std::make_shared<generic const>();
  }
  return nullptr;
}

} // namespace rondo::provider
