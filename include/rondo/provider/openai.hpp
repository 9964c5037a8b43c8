// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/detail/config.hpp>
#include <rondo/http/message.hpp>
#include <rondo/provider/adapter.hpp>
#include <rondo/provider/generic.hpp>

#include <cstdint>
#include <string_view>

namespace rondo::provider {

struct openai_options {
  /// Tokens reserved for an answer whose length the request does not cap.
  std::int64_t default_output_tokens = 256;
  /// Prompt characters that are taken for one token, at least 1.
  std::int64_t characters_per_token = 4;
};

/// OpenAI, and what speaks its dialect (Groq, Mistral, Venice): `Authorization: Bearer`, limits per organisation and
/// model, `max_tokens` charged as a reservation.
/// Sources: the rate-limits guide, the errors page and openapi.yaml of OpenAI.
class openai final : public generic {
public:
  explicit openai(openai_options options = {});

  [[nodiscard]] std::string_view name() const noexcept override { return "openai"; }

  /// As `generic`, but only routes that generate text reserve the default (embeddings and the like do not answer in
  /// tokens).
  [[nodiscard]] work describe(http::request_head const& head, std::string_view body) const override;
};

} // namespace rondo::provider

#ifndef RONDO_SEPARATE_COMPILATION
#include <rondo/provider/impl/openai.hpp>
#endif
