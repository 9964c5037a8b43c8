// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/detail/config.hpp>
#include <rondo/http/message.hpp>
#include <rondo/provider/adapter.hpp>
#include <rondo/provider/generic.hpp>
#include <rondo/provider/usage_meter.hpp>

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace rondo::provider {

struct gemini_options {
  /// Tokens reserved for an answer whose length the request does not cap.
  std::int64_t default_output_tokens = 256;
  /// Prompt characters that are taken for one token, at least 1.
  std::int64_t characters_per_token = 4;
};

/// Gemini (Google AI Studio): `x-goog-api-key`, limits per project and model, daily ones until midnight Pacific.
/// Sources: ai.google.dev/gemini-api/docs/rate-limits, replies recorded from live use.
class gemini final : public generic {
public:
  explicit gemini(gemini_options options = {});

  [[nodiscard]] std::string_view name() const noexcept override { return "gemini"; }

  [[nodiscard]] std::vector<credential> credentials(http::request_head const& head) const override;

  void remove(http::request_head& head, credential_place place) const override;

  /// Lane: the model in the path, `/v1beta/models/MODEL:generateContent`. Tokens as `generic`, with
  /// `generationConfig.maxOutputTokens` as the cap; routes that do not generate reserve their prompt only.
  [[nodiscard]] work describe(http::request_head const& head, std::string_view body) const override;

  [[nodiscard]] usage_meter meter(http::response_head const& head) const override;

protected:
  [[nodiscard]] std::optional<verdict> judge_special(answer const& a) const override;
};

} // namespace rondo::provider

#ifndef RONDO_SEPARATE_COMPILATION
#include <rondo/provider/impl/gemini.hpp>
#endif
