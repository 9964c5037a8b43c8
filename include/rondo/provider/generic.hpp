// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/clock.hpp>
#include <rondo/detail/config.hpp>
#include <rondo/detail/error_body.hpp>
#include <rondo/http/message.hpp>
#include <rondo/outcome.hpp>
#include <rondo/provider/adapter.hpp>
#include <rondo/provider/reset_formats.hpp>
#include <rondo/provider/usage_meter.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace rondo::provider {

/// The meaning of one status where the body says nothing better.
struct status_meaning {
  unsigned status;
  outcome meaning;
};

struct generic_options {
  /// The header that carries the key.
  std::string header = "authorization";
  /// What stands before the key in it, with the blank that follows it.
  std::string prefix = "Bearer ";
  /// Overrides of the usual meanings, see `generic::judge`.
  std::vector<status_meaning> statuses;
  /// Tokens reserved for the answer of a request that has a body and does not say; 0 = none.
  std::int64_t default_output_tokens = 0;
  /// Prompt characters that are taken for one token, at least 1.
  std::int64_t characters_per_token = 4;
};

/// A provider that is known by its settings only, and what the others have in common.
class generic : public adapter {
public:
  explicit generic(generic_options options = {});

  [[nodiscard]] std::string_view name() const noexcept override { return "generic"; }
  [[nodiscard]] std::string_view key_header() const noexcept override { return options_.header; }

  void attach(http::request_head& head, std::string_view key) const override;

  [[nodiscard]] std::vector<credential> credentials(http::request_head const& head) const override;

  void remove(http::request_head& head, credential_place place) const override;

  /// Tokens: the field that caps the answer (`max_tokens`, `max_completion_tokens`, `max_output_tokens`), or the
  /// default, plus a rough size of the prompt. Lane: `model`.
  [[nodiscard]] work describe(http::request_head const&, std::string_view body) const override;

  /// The body is heard first; the status decides where it is silent.
  ///
  /// | status | usual meaning |
  /// |---|---|
  /// | 2xx | served |
  /// | 402 | exhausted |
  /// | 401, 403 | see below |
  /// | 429 | rate_limited, for as long as the head or the message says; overloaded when the body says so |
  /// | 503, 529 | overloaded: the request was turned away before any work |
  /// | other 5xx | transport_error |
  /// | other 3xx, 4xx | rejected |
  ///
  /// A rate limit is taken to hold for the lane of the request, as most providers count per account and model; the
  /// lanes of a provider that does not will each find out once.
  ///
  /// **401 and 403.** A key is declared invalid, which is final, only on evidence: a body that names an invalid key
  /// (an identifier such as `invalid_api_key`, or the plain wording), or a 401 that answers with no body at all, where
  /// the status is all there is to say. A body that is not understood is never enough: the key is merely rotated away
  /// from, `rate_limited` without a time, which rests for the pool's cooldown and longer with each repetition.
  [[nodiscard]] verdict judge(http::request_head const& sent, http::response_head const& head, std::string_view body,
                              wall_time now) const override;

  [[nodiscard]] usage_meter meter(http::response_head const& head) const override;

protected:
  struct answer {
    http::request_head const& sent;
    http::response_head const& head;
    rondo::detail::error_body const& error;
    unsigned status;
    wall_time now;
    std::optional<rest_duration> rest; ///< what head and message say about coming back

    [[nodiscard]] bool is_caller_status() const noexcept { return status >= 400 && status < 500; }
    [[nodiscard]] outcome rate_limited() const noexcept {
      return rest ? outcome::rate_limited(*rest) : outcome::rate_limited();
    }
    [[nodiscard]] outcome exhausted() const noexcept { return rest ? outcome::exhausted(*rest) : outcome::exhausted(); }
  };

  /// What a provider knows better than the table of `judge`; empty = nothing.
  [[nodiscard]] virtual std::optional<verdict> judge_special(answer const&) const { return std::nullopt; }

  [[nodiscard]] static bool names_invalid_key(answer const& a) noexcept;
  /// Wording counts only where the provider spoke about the key: in a 400 a message may quote the caller.
  [[nodiscard]] static bool says_invalid_key(answer const& a) noexcept;

  [[nodiscard]] work describe_text(std::string_view body, std::int64_t default_output) const;

  /// The path of a target, without query and trailing slash.
  [[nodiscard]] static std::string_view path_of(http::request_head const& head) noexcept;

  [[nodiscard]] generic_options const& options() const noexcept { return options_; }

  static void add_credential(std::vector<credential>& out, credential_place place, std::string_view value);

private:
  /// The credential in a header value: without the scheme it should have, or whichever it has.
  [[nodiscard]] static std::string_view without_scheme(std::string_view value, std::string_view prefix) noexcept;

  /// The longest of what `Retry-After` and the message say, else when a limit that is used up returns.
  [[nodiscard]] static std::optional<rest_duration> rest_hint(http::response_head const& head,
                                                              rondo::detail::error_body const& error, wall_time now);

  [[nodiscard]] outcome judge_usual(answer const& a) const;

  /// An entry of the status table that names no time takes the one that the response names.
  [[nodiscard]] static outcome with_rest(outcome meaning, answer const& a) noexcept;

  [[nodiscard]] static bool says_overloaded(answer const& a) noexcept;

  /// Deepgram limits how many at once, and calls that TOO_MANY_REQUESTS; others use the words for a rate.
  [[nodiscard]] static bool is_deepgram_concurrency(answer const& a) noexcept;

  generic_options options_;
};

} // namespace rondo::provider

#ifndef RONDO_SEPARATE_COMPILATION
#include <rondo/provider/impl/generic.hpp>
#endif
