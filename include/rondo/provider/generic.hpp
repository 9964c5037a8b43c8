// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/capability.hpp>
#include <rondo/clock.hpp>
#include <rondo/detail/date_time.hpp>
#include <rondo/detail/error_body.hpp>
#include <rondo/detail/token_estimate.hpp>
#include <rondo/http/message.hpp>
#include <rondo/outcome.hpp>
#include <rondo/provider/adapter.hpp>
#include <rondo/provider/reset_formats.hpp>
#include <rondo/provider/usage_meter.hpp>
#include <rondo/secret.hpp>

#include <boost/beast/core/string_type.hpp>
#include <boost/beast/http/field.hpp>
#include <boost/beast/http/verb.hpp>

#include <openssl/crypto.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
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
  explicit generic(generic_options options = {}) : options_{std::move(options)} {
    std::transform(options_.header.begin(), options_.header.end(), options_.header.begin(), rondo::detail::to_lower);
    options_.characters_per_token = std::max<std::int64_t>(options_.characters_per_token, 1);
  }

  [[nodiscard]] std::string_view name() const noexcept override { return "generic"; }
  [[nodiscard]] std::string_view key_header() const noexcept override { return options_.header; }

  void attach(http::request_head& head, std::string_view key) const override {
    std::string value;
    value.reserve(options_.prefix.size() + key.size());
    value.append(options_.prefix).append(key);
    head.set(options_.header, value);
    OPENSSL_cleanse(value.data(), value.size());
  }

  [[nodiscard]] std::vector<credential> credentials(http::request_head const& head) const override {
    std::vector<credential> out;
    for (auto const& field : head) {
      if (boost::beast::iequals(field.name_string(), options_.header)) {
        add_credential(out, credential_place::own_header, without_scheme(field.value(), options_.prefix));
      }
    }
    if (options_.header != "authorization") {
      for (auto const& field : head) {
        if (field.name() == boost::beast::http::field::authorization) {
          add_credential(out, credential_place::bearer, without_scheme(field.value(), "Bearer "));
        }
      }
    }
    return out;
  }

  void remove(http::request_head& head, credential_place place) const override {
    if (place == credential_place::own_header) {
      head.erase(options_.header);
    } else if (place == credential_place::bearer && options_.header != "authorization") {
      head.erase(boost::beast::http::field::authorization);
    }
  }

  /// Tokens: the field that caps the answer (`max_tokens`, `max_completion_tokens`, `max_output_tokens`), or the
  /// default, plus a rough size of the prompt. Lane: `model`.
  [[nodiscard]] work describe(http::request_head const&, std::string_view body) const override {
    return describe_text(body, options_.default_output_tokens);
  }

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
                              wall_time now) const override {
    verdict out;
    auto const status = head.result_int();
    if (status >= 200 && status < 300) {
      return out;
    }
    rondo::detail::error_body const error{body};
    answer const context{sent, head, error, status, now, rest_hint(head, error, now)};
    if (auto special = judge_special(context)) {
      return std::move(*special);
    }
    out.failure = judge_usual(context);
    out.lane_only = status == 429 && out.failure->what() == outcome::kind::rate_limited;
    return out;
  }

  [[nodiscard]] usage_meter meter(http::response_head const& head) const override {
    return usage_meter{head, "usage", "total_tokens"};
  }

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

  [[nodiscard]] static bool names_invalid_key(answer const& a) noexcept {
    return (a.status == 400 || a.status == 401 || a.status == 403) &&
           a.error.names({"invalid_api_key", "api_key_invalid"});
  }
  /// Wording counts only where the provider spoke about the key: in a 400 a message may quote the caller.
  [[nodiscard]] static bool says_invalid_key(answer const& a) noexcept {
    return (a.status == 401 || a.status == 403) &&
           a.error.says({"invalid api key", "invalid api-key", "invalid x-api-key", "invalid xi-api-key",
                         "invalid_api_key", "incorrect api key", "api key not valid", "api key is invalid",
                         "api key is not valid", "api key expired", "api key has expired", "api key has been revoked",
                         "api key was revoked", "api key was reported as leaked"});
  }

  [[nodiscard]] work describe_text(std::string_view body, std::int64_t default_output) const {
    work out;
    if (body.empty()) {
      return out;
    }
    auto found = rondo::detail::find_tokens(body);
    auto const prompt = found.prompt_characters / options_.characters_per_token +
                        (found.prompt_characters % options_.characters_per_token != 0 ? 1 : 0);
    out.tokens = found.output.value_or(std::max<std::int64_t>(default_output, 0)) + prompt;
    out.lane = std::move(found.model);
    return out;
  }

  /// The path of a target, without query and trailing slash.
  [[nodiscard]] static std::string_view path_of(http::request_head const& head) noexcept {
    std::string_view path = head.target();
    path = path.substr(0, path.find('?'));
    while (path.ends_with('/')) {
      path.remove_suffix(1);
    }
    return path;
  }

  [[nodiscard]] generic_options const& options() const noexcept { return options_; }

  static void add_credential(std::vector<credential>& out, credential_place place, std::string_view value) {
    if (!value.empty()) {
      out.push_back({place, secret{value}});
    }
  }

private:
  /// The credential in a header value: without the scheme it should have, or whichever it has.
  [[nodiscard]] static std::string_view without_scheme(std::string_view value, std::string_view prefix) noexcept {
    value = rondo::detail::trimmed(value);
    if (prefix.empty()) {
      return value;
    }
    if (value.size() > prefix.size() && boost::beast::iequals(value.substr(0, prefix.size()), prefix)) {
      return rondo::detail::trimmed(value.substr(prefix.size()));
    }
    auto const blank = value.find(' ');
    return blank == value.npos ? value : rondo::detail::trimmed(value.substr(blank));
  }

  /// The longest of what `Retry-After` and the message say, else when a limit that is used up returns.
  [[nodiscard]] static std::optional<rest_duration> rest_hint(http::response_head const& head,
                                                              rondo::detail::error_body const& error, wall_time now) {
    auto rest = retry_after(head, now);
    for (auto const words : {"try again in ", "retry in "}) {
      auto word = error.word_after(words);
      while (word.ends_with('.')) { // the end of the sentence
        word.remove_suffix(1);
      }
      rest = std::max(rest, parse_duration(word));
    }
    return rest ? rest : ratelimit_reset(head, now);
  }

  [[nodiscard]] outcome judge_usual(answer const& a) const {
    if (names_invalid_key(a) ||
        (a.status == 401 && a.error.names({"authentication_error", "authentication_failed",
                                           "authentication_failed_inactive_key", "invalid_auth"}))) {
      return outcome::invalid_key();
    }
    if (a.is_caller_status()) {
      if (a.error.names({"enforced_spend_limit_reached"})) { // Anthropic: until the first of the month
        return outcome::exhausted(rondo::detail::next_month(a.now));
      }
      if (a.error.names({"insufficient_quota", "quota_exceeded", "insufficient_credits", "insufficient_balance",
                         "billing_hard_limit_reached", "billing_not_active"}) ||
          a.error.opens_with({"your credit balance is too low", "you have reached your specified api usage limits"})) {
        return a.exhausted();
      }
      if (a.error.opens_with({"request too large"})) {
        return outcome::too_large();
      }
      if (a.error.names({"too_many_concurrent_requests", "concurrent_limit_exceeded"}) || is_deepgram_concurrency(a)) {
        return outcome::concurrency_limited();
      }
      if (a.status == 429 && says_overloaded(a)) {
        return outcome::overloaded();
      }
      if (says_invalid_key(a) ||
          (a.status == 401 && a.error.empty() && a.sent.method() != boost::beast::http::verb::head)) {
        return outcome::invalid_key();
      }
    }
    for (auto const& entry : options_.statuses) {
      if (entry.status == a.status) {
        return with_rest(entry.meaning, a);
      }
    }
    switch (a.status) {
    case 402: return a.exhausted();
    case 401:
    case 403:
    case 429: return a.rate_limited();
    case 503:
    case 529: return outcome::overloaded();
    default: return a.status >= 500 ? outcome::transport_error() : outcome::rejected();
    }
  }

  /// An entry of the status table that names no time takes the one that the response names.
  [[nodiscard]] static outcome with_rest(outcome meaning, answer const& a) noexcept {
    if (!a.rest || meaning.rest() || meaning.until()) {
      return meaning;
    }
    switch (meaning.what()) {
    case outcome::kind::rate_limited: return outcome::rate_limited(*a.rest);
    case outcome::kind::exhausted: return outcome::exhausted(*a.rest);
    default: return meaning;
    }
  }

  [[nodiscard]] static bool says_overloaded(answer const& a) noexcept {
    return a.error.names({"system_busy", "overloaded_error", "model_overloaded", "model_at_capacity"}) ||
           a.error.says({"overloaded", "busy", "at capacity", "over capacity"});
  }

  /// Deepgram limits how many at once, and calls that TOO_MANY_REQUESTS; others use the words for a rate.
  [[nodiscard]] static bool is_deepgram_concurrency(answer const& a) noexcept {
    auto const* root = a.error.root().if_object();
    auto const* code = root == nullptr ? nullptr : root->if_contains("err_code");
    return code != nullptr && code->is_string() && code->get_string() == "TOO_MANY_REQUESTS";
  }

  generic_options options_;
};

} // namespace rondo::provider
