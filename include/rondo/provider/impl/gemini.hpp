// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/detail/config.hpp>
#include <rondo/detail/date_time.hpp>
#include <rondo/detail/error_body.hpp>
#include <rondo/outcome.hpp>
#include <rondo/provider/gemini.hpp>
#include <rondo/provider/reset_formats.hpp>
#include <rondo/time_zone.hpp>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/string.hpp>
#include <boost/json/value.hpp>

#include <openssl/crypto.h>

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace rondo::provider {

namespace detail {

[[nodiscard]] inline boost::json::object const* object_in(boost::json::object const& in,
                                                          boost::json::string_view name) noexcept {
  auto const* member = in.if_contains(name);
  return member == nullptr ? nullptr : member->if_object();
}
[[nodiscard]] inline std::string_view text_in(boost::json::object const& in, boost::json::string_view name) noexcept {
  auto const* member = in.if_contains(name);
  auto const* string = member == nullptr ? nullptr : member->if_string();
  return string == nullptr ? std::string_view{} : std::string_view{string->data(), string->size()};
}

/// The details of an error, which streamed routes wrap in an array.
[[nodiscard]] inline boost::json::array const* find_details(boost::json::value const& root) noexcept {
  auto const* list = root.if_array();
  auto const* outer = list != nullptr && !list->empty() ? list->front().if_object() : root.if_object();
  auto const* error = outer == nullptr ? nullptr : object_in(*outer, "error");
  auto const* details = error == nullptr ? nullptr : error->if_contains("details");
  return details == nullptr ? nullptr : details->if_array();
}

/// What is no valid escape stays as it is.
[[nodiscard]] inline std::string percent_decoded(std::string_view text) {
  auto const digit = [](char c) {
    c = rondo::detail::to_lower(c);
    return rondo::detail::is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
  };
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && digit(text[i + 1]) >= 0 && digit(text[i + 2]) >= 0) {
      out.push_back(static_cast<char>(digit(text[i + 1]) * 16 + digit(text[i + 2])));
      i += 2;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

/// The target without its `key` parameters, each of whose values is shown to `visit`.
template <class Visit> std::string without_keys(std::string_view target, Visit visit) {
  auto const question = target.find('?');
  std::string out{target.substr(0, question)};
  if (question == target.npos) {
    return out;
  }
  auto separator = '?';
  for (auto query = target.substr(question + 1);;) {
    auto const parameter = query.substr(0, query.find('&'));
    auto const equals = parameter.find('=');
    if (percent_decoded(parameter.substr(0, equals)) == "key") {
      visit(equals == parameter.npos ? std::string_view{} : parameter.substr(equals + 1));
    } else {
      out.append(1, separator).append(parameter);
      separator = '&';
    }
    if (parameter.size() == query.size()) {
      return out;
    }
    query.remove_prefix(parameter.size() + 1);
  }
}

} // namespace detail

RONDO_DECL gemini::gemini(gemini_options options)
    : generic{{.header = "x-goog-api-key",
               .prefix = "",
               .statuses = {},
               .default_output_tokens = options.default_output_tokens,
               .characters_per_token = options.characters_per_token}} {}

RONDO_DECL std::vector<credential> gemini::credentials(http::request_head const& head) const {
  auto out = generic::credentials(head);
  auto const bearer =
      std::find_if(out.begin(), out.end(), [](credential const& c) { return c.place == credential_place::bearer; });
  std::vector<credential> from_query;
  detail::without_keys(head.target(), [&](std::string_view value) {
    auto text = detail::percent_decoded(value);
    add_credential(from_query, credential_place::query, text);
    OPENSSL_cleanse(text.data(), text.size());
  });
  out.insert(bearer, std::make_move_iterator(from_query.begin()), std::make_move_iterator(from_query.end()));
  return out;
}

RONDO_DECL void gemini::remove(http::request_head& head, credential_place place) const {
  if (place != credential_place::query) {
    generic::remove(head, place);
    return;
  }
  auto found = false;
  auto const rest = detail::without_keys(head.target(), [&found](std::string_view) { found = true; });
  if (found) {
    head.target(rest);
  }
}

RONDO_DECL work gemini::describe(http::request_head const& head, std::string_view body) const {
  auto const path = path_of(head);
  auto const method = path.substr(std::min(path.rfind(':'), path.size()));
  auto const generates = method == ":generateContent" || method == ":streamGenerateContent" ||
                         path.ends_with("/completions"); // the dialect of OpenAI, which Google speaks too
  auto out = describe_text(body, generates ? options().default_output_tokens : 0);
  static constexpr std::string_view before = "/models/";
  if (auto const at = path.find(before); at != path.npos) {
    auto const model = path.substr(at + before.size());
    out.lane = model.substr(0, model.find_first_of(":/"));
  }
  return out;
}

RONDO_DECL usage_meter gemini::meter(http::response_head const& head) const {
  return usage_meter{head, "usageMetadata", "totalTokenCount"};
}

RONDO_DECL std::optional<verdict> gemini::judge_special(answer const& a) const {
  verdict out;
  // an expired or deleted key comes as a 400, and older replies name no reason; the message comes from the gate in
  // front of the API, before anything of the caller's was read
  if (a.status == 400 && a.error.opens_with({"api key not valid", "api key expired"})) {
    out.failure = outcome::invalid_key();
    return out;
  }
  auto const* details = detail::find_details(a.error.root());
  if (a.status != 429 || details == nullptr) {
    return std::nullopt;
  }
  auto rest = a.rest;
  auto daily = false;
  auto spent = false;
  for (auto const& element : *details) {
    auto const* entry = element.if_object();
    if (entry == nullptr) {
      continue;
    }
    rest = std::max(rest, parse_duration(detail::text_in(*entry, "retryDelay")));
    spent = spent || detail::text_in(*entry, "reason") == "QUOTA_EXHAUSTED";
    if (auto const* metadata = detail::object_in(*entry, "metadata")) {
      rest = std::max(rest, parse_duration(detail::text_in(*metadata, "quotaResetDelay")));
    }
    auto const* violations = entry->if_contains("violations");
    if (violations == nullptr || !violations->is_array()) {
      continue;
    }
    for (auto const& violation : violations->get_array()) {
      auto const id = violation.is_object() ? detail::text_in(violation.get_object(), "quotaId") : std::string_view{};
      daily = daily || id.find("PerDay") != id.npos || id.find("Daily") != id.npos;
    }
  }
  if (daily) { // whatever the delay says: it knows only about the minute
    out.failure = outcome::exhausted(time_zone::pacific().next_midnight(a.now));
  } else if (spent) {
    out.failure = rest ? outcome::exhausted(*rest) : outcome::exhausted();
  } else if (rest) {
    out.failure = outcome::rate_limited(*rest);
  } else {
    return std::nullopt;
  }
  out.lane_only = true;
  return out;
}

} // namespace rondo::provider
