// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/capability.hpp>
#include <rondo/detail/config.hpp>
#include <rondo/detail/date_time.hpp>
#include <rondo/detail/error_body.hpp>
#include <rondo/detail/json_walk.hpp>
#include <rondo/detail/token_estimate.hpp>
#include <rondo/outcome.hpp>
#include <rondo/provider/elevenlabs.hpp>

#include <boost/beast/http/field.hpp>
#include <boost/beast/http/verb.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <boost/system/error_code.hpp>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>
#include <system_error>

namespace rondo::provider {

namespace detail {

struct text_counter {
  std::int64_t text_points = 0;
  std::int64_t input_points = 0;

  void number(rondo::detail::json_path const&, std::int64_t) noexcept {}
  void text(rondo::detail::json_path const& path, std::string_view part, bool first) noexcept {
    if (path.is({"text"})) { // a member given twice: the last one counts
      text_points = (first ? 0 : text_points) + rondo::detail::code_points(part);
    } else if (path.is({"inputs", "text"})) {
      input_points += rondo::detail::code_points(part);
    }
  }
};

/// A whole number that is not negative, and nothing else.
template <class Integer> [[nodiscard]] std::optional<Integer> whole_number(std::string_view text) noexcept {
  text = rondo::detail::trimmed(text);
  Integer value{};
  auto const [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (ec != std::errc{} || end != text.data() + text.size() || value < Integer{}) {
    return std::nullopt;
  }
  return value;
}

[[nodiscard]] inline std::optional<std::int64_t> integer_of(boost::json::object const& object,
                                                            boost::json::string_view name) {
  auto const* member = object.if_contains(name);
  boost::system::error_code ec;
  auto const value = member == nullptr ? std::int64_t{} : member->to_number<std::int64_t>(ec);
  return member == nullptr || ec ? std::nullopt : std::optional{value};
}

} // namespace detail

RONDO_DECL elevenlabs::elevenlabs()
    : generic{{.header = "xi-api-key",
               .prefix = "",
               // 402 and 403 come with bodies in many shapes; all but those that name a bad key are about credits
               .statuses = {{402, outcome::exhausted()}, {403, outcome::exhausted()}},
               .default_output_tokens = 0,
               .characters_per_token = 1}} {}

RONDO_DECL work elevenlabs::describe(http::request_head const& head, std::string_view body) const {
  work out;
  if (head.method() != boost::beast::http::verb::post) {
    return out;
  }
  if (path_of(head).ends_with("/v1/voices/add")) {
    out.needs = capability::voice_creation;
    return out;
  }
  rondo::detail::json_walk<detail::text_counter> walk;
  walk.feed(body);
  out.tokens = walk.visitor().text_points + walk.visitor().input_points;
  return out;
}

RONDO_DECL verdict elevenlabs::judge(http::request_head const& sent, http::response_head const& head,
                                     std::string_view body, wall_time now) const {
  auto out = generic::judge(sent, head, body, now);
  out.concurrency = detail::whole_number<std::uint32_t>(head["maximum-concurrent-requests"]);
  if (out.concurrency == 0U) {
    out.concurrency.reset();
  }
  if (!out.failure) {
    out.cost = detail::whole_number<std::int64_t>(head["character-cost"]);
  }
  return out;
}

RONDO_DECL usage_meter elevenlabs::meter(http::response_head const& head) const {
  auto const cost = detail::whole_number<std::int64_t>(head["character-cost"]);
  return cost ? usage_meter{*cost} : usage_meter{};
}

RONDO_DECL std::optional<http::request_head> elevenlabs::balance_request() const {
  http::request_head head;
  head.version(11);
  head.method(boost::beast::http::verb::get);
  head.target("/v1/user/subscription");
  head.set(boost::beast::http::field::accept, "application/json");
  return head;
}

RONDO_DECL std::optional<balance> elevenlabs::parse_balance(unsigned status, std::string_view body) const {
  boost::system::error_code ec;
  auto const root = boost::json::parse(boost::json::string_view{body.data(), body.size()}, ec);
  auto const* object = root.if_object();
  if (status != 200 || ec || object == nullptr) {
    return std::nullopt;
  }
  auto const used = detail::integer_of(*object, "character_count");
  auto const limit = detail::integer_of(*object, "character_limit");
  if (!used || !limit || *used < 0 || *limit < 0) {
    return std::nullopt;
  }
  balance out;
  out.limit = *limit;
  out.remaining = std::max<std::int64_t>(*limit - *used, 0);
  // within what a 64-bit count of nanoseconds can hold
  if (auto const reset = detail::integer_of(*object, "next_character_count_reset_unix");
      reset && *reset > 0 && *reset < 4'000'000'000) {
    out.reset = wall_time{std::chrono::seconds{*reset}};
  }
  return out;
}

RONDO_DECL std::optional<verdict> elevenlabs::judge_special(answer const& a) const {
  if (!a.is_caller_status()) {
    return std::nullopt;
  }
  verdict out;
  if (a.error.names({"quota_exceeded", "insufficient_credits"})) {
    out.failure = a.exhausted();
    // "This request exceeds your quota of 10000. You have 11 credits remaining, while 91 credits are required ..."
    out.remaining = detail::whole_number<std::int64_t>(a.error.word_after("you have "));
    return out;
  }
  if (a.error.names({"voice_limit_reached"})) {
    out.failure = outcome::rejected();
    out.barred = capability::voice_creation;
    return out;
  }
  if (a.status == 401 && !a.error.empty() && !names_invalid_key(a) && !says_invalid_key(a) &&
      !a.error.names({"too_many_concurrent_requests", "concurrent_limit_exceeded"})) {
    // missing_permissions, detected_unusual_activity and whatever comes next: this key cannot serve this request
    // now, which does not make it a dead key; their type, authentication_error, is shared with keys that are
    out.failure = a.rate_limited();
    return out;
  }
  return std::nullopt;
}

} // namespace rondo::provider
