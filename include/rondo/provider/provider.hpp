// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/detail/config.hpp>
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
[[nodiscard]] std::shared_ptr<adapter const> make(std::string_view name);

} // namespace rondo::provider

#ifndef RONDO_SEPARATE_COMPILATION
#include <rondo/provider/impl/provider.hpp>
#endif
