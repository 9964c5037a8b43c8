// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/detail/config.hpp>
#include <rondo/provider/elevenlabs.hpp>
#include <rondo/provider/gemini.hpp>
#include <rondo/provider/generic.hpp>
#include <rondo/provider/openai.hpp>
#include <rondo/provider/provider.hpp>

#include <memory>
#include <string_view>

namespace rondo::provider {

RONDO_DECL std::shared_ptr<adapter const> make(std::string_view name) {
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
