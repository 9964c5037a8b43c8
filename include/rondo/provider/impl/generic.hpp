// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/detail/config.hpp>
#include <rondo/detail/date_time.hpp>
#include <rondo/detail/error_body.hpp>
#include <rondo/detail/token_estimate.hpp>
#include <rondo/provider/generic.hpp>
#include <rondo/provider/reset_formats.hpp>
#include <rondo/secret.hpp>

#include <boost/beast/core/string_type.hpp>
#include <boost/beast/http/field.hpp>
#include <boost/beast/http/verb.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include <openssl/crypto.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace rondo::provider {

RONDO_DECL generic::generic(generic_options options) : options_{std::move(options)} {
  std::transform(options_.header.begin(), options_.header.end(), options_.header.begin(), rondo::detail::to_lower);
  options_.characters_per_token = std::max<std::int64_t>(options_.characters_per_token, 1);
}

RONDO_DECL void generic::attach(http::request_head& head, std::string_view key) const {
  std::string value;
  value.reserve(options_.prefix.size() + key.size());
  value.append(options_.prefix).append(key);
  head.set(options_.header, value);
  OPENSSL_cleanse(value.data(), value.size());
}

RONDO_DECL std::vector<credential> generic::credentials(http::request_head const& head) const {
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

RONDO_DECL void generic::remove(http::request_head& head, credential_place place) const {
  if (place == credential_place::own_header) {
    head.erase(options_.header);
  } else if (place == credential_place::bearer && options_.header != "authorization") {
    head.erase(boost::beast::http::field::authorization);
  }
}

RONDO_DECL work generic::describe(http::request_head const&, std::string_view body) const {
  return describe_text(body, options_.default_output_tokens);
}

RONDO_DECL verdict generic::judge(http::request_head const& sent, http::response_head const& head,
                                  std::string_view body, wall_time now) const {
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

RONDO_DECL usage_meter generic::meter(http::response_head const& head) const {
  return usage_meter{head, "usage", "total_tokens"};
}

RONDO_DECL bool generic::names_invalid_key(answer const& a) noexcept {
  return (a.status == 400 || a.status == 401 || a.status == 403) &&
         a.error.names({"invalid_api_key", "api_key_invalid"});
}

RONDO_DECL bool generic::says_invalid_key(answer const& a) noexcept {
  return (a.status == 401 || a.status == 403) &&
         a.error.says({"invalid api key", "invalid api-key", "invalid x-api-key", "invalid xi-api-key",
                       "invalid_api_key", "incorrect api key", "api key not valid", "api key is invalid",
                       "api key is not valid", "api key expired", "api key has expired", "api key has been revoked",
                       "api key was revoked", "api key was reported as leaked"});
}

RONDO_DECL work generic::describe_text(std::string_view body, std::int64_t default_output) const {
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

RONDO_DECL std::string_view generic::path_of(http::request_head const& head) noexcept {
  std::string_view path = head.target();
  path = path.substr(0, path.find('?'));
  while (path.ends_with('/')) {
    path.remove_suffix(1);
  }
  return path;
}

RONDO_DECL void generic::add_credential(std::vector<credential>& out, credential_place place, std::string_view value) {
  if (!value.empty()) {
    out.push_back({place, secret{value}});
  }
}

RONDO_DECL std::string_view generic::without_scheme(std::string_view value, std::string_view prefix) noexcept {
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

RONDO_DECL std::optional<rest_duration> generic::rest_hint(http::response_head const& head,
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

RONDO_DECL outcome generic::judge_usual(answer const& a) const {
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

RONDO_DECL outcome generic::with_rest(outcome meaning, answer const& a) noexcept {
  if (!a.rest || meaning.rest() || meaning.until()) {
    return meaning;
  }
  switch (meaning.what()) {
  case outcome::kind::rate_limited: return outcome::rate_limited(*a.rest);
  case outcome::kind::exhausted: return outcome::exhausted(*a.rest);
  default: return meaning;
  }
}

RONDO_DECL bool generic::says_overloaded(answer const& a) noexcept {
  return a.error.names({"system_busy", "overloaded_error", "model_overloaded", "model_at_capacity"}) ||
         a.error.says({"overloaded", "busy", "at capacity", "over capacity"});
}

RONDO_DECL bool generic::is_deepgram_concurrency(answer const& a) noexcept {
  auto const* root = a.error.root().if_object();
  auto const* code = root == nullptr ? nullptr : root->if_contains("err_code");
  return code != nullptr && code->is_string() && code->get_string() == "TOO_MANY_REQUESTS";
}

} // namespace rondo::provider
