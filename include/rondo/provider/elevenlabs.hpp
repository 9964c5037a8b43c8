// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/balance.hpp>
#include <rondo/clock.hpp>
#include <rondo/detail/config.hpp>
#include <rondo/http/message.hpp>
#include <rondo/provider/adapter.hpp>
#include <rondo/provider/generic.hpp>
#include <rondo/provider/usage_meter.hpp>

#include <optional>
#include <string_view>

namespace rondo::provider {

/// ElevenLabs: `xi-api-key`, quota in characters, concurrency per workspace.
/// Sources: elevenlabs.io/docs/eleven-api/resources/errors, its openapi.json, and replies recorded from live use.
class elevenlabs final : public generic {
public:
  elevenlabs();

  [[nodiscard]] std::string_view name() const noexcept override { return "elevenlabs"; }

  /// Tokens: the number of Unicode code points of `text`, and of every `inputs[].text` (dialogue). 0 for requests
  /// without them. `POST /v1/voices/add` needs `voice_creation`. Lane: the unnamed one.
  [[nodiscard]] work describe(http::request_head const& head, std::string_view body) const override;

  [[nodiscard]] verdict judge(http::request_head const& sent, http::response_head const& head, std::string_view body,
                              wall_time now) const override;

  [[nodiscard]] usage_meter meter(http::response_head const& head) const override;

  [[nodiscard]] std::optional<http::request_head> balance_request() const override;

  [[nodiscard]] std::optional<balance> parse_balance(unsigned status, std::string_view body) const override;

protected:
  [[nodiscard]] std::optional<verdict> judge_special(answer const& a) const override;
};

} // namespace rondo::provider

#ifndef RONDO_SEPARATE_COMPILATION
#include <rondo/provider/impl/elevenlabs.hpp>
#endif
