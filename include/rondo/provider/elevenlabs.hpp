// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/balance.hpp>
#include <rondo/capability.hpp>
#include <rondo/clock.hpp>
#include <rondo/detail/date_time.hpp>
#include <rondo/detail/error_body.hpp>
#include <rondo/detail/json_walk.hpp>
#include <rondo/detail/token_estimate.hpp>
#include <rondo/http/message.hpp>
#include <rondo/outcome.hpp>
#include <rondo/provider/adapter.hpp>
#include <rondo/provider/generic.hpp>
#include <rondo/provider/usage_meter.hpp>

#include <boost/beast/http/field.hpp>
#include <boost/beast/http/verb.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <boost/system/error_code.hpp>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <system_error>

namespace rondo::provider {

/// ElevenLabs: `xi-api-key`, quota in characters, concurrency per workspace.
/// Sources: elevenlabs.io/docs/eleven-api/resources/errors, its openapi.json, and replies recorded from live use.
class elevenlabs final : public generic {
public:
  elevenlabs()
      : generic{{.header = "xi-api-key",
                 .prefix = "",
                 // 402 and 403 come with bodies in many shapes; all but those that name a bad key are about credits
                 .statuses = {{402, outcome::exhausted()}, {403, outcome::exhausted()}},
                 .default_output_tokens = 0,
                 .characters_per_token = 1}} {}

  [[nodiscard]] std::string_view name() const noexcept override { return "elevenlabs"; }

  /// Tokens: the number of Unicode code points of `text`, and of every `inputs[].text` (dialogue). 0 for requests
  /// without them. `POST /v1/voices/add` needs `voice_creation`. Lane: the unnamed one.
  [[nodiscard]] work describe(http::request_head const& head, std::string_view body) const override {
    work out;
    if (head.method() != boost::beast::http::verb::post) {
      return out;
    }
    if (path_of(head).ends_with("/v1/voices/add")) {
      out.needs = capability::voice_creation;
      return out;
    }
    rondo::detail::json_walk<text_counter> walk;
    walk.feed(body);
    out.tokens = walk.visitor().text_points + walk.visitor().input_points;
    return out;
  }

  [[nodiscard]] verdict judge(http::request_head const& sent, http::response_head const& head, std::string_view body,
                              wall_time now) const override {
    auto out = generic::judge(sent, head, body, now);
    out.concurrency = count<std::uint32_t>(head["maximum-concurrent-requests"]);
    if (out.concurrency == 0U) {
      out.concurrency.reset();
    }
    if (!out.failure) {
      out.cost = count<std::int64_t>(head["character-cost"]);
    }
    return out;
  }

  [[nodiscard]] usage_meter meter(http::response_head const& head) const override {
    auto const cost = count<std::int64_t>(head["character-cost"]);
    return cost ? usage_meter{*cost} : usage_meter{};
  }

  [[nodiscard]] std::optional<http::request_head> balance_request() const override {
    http::request_head head;
    head.version(11);
    head.method(boost::beast::http::verb::get);
    head.target("/v1/user/subscription");
    head.set(boost::beast::http::field::accept, "application/json");
    return head;
  }

  [[nodiscard]] std::optional<balance> parse_balance(unsigned status, std::string_view body) const override {
    boost::system::error_code ec;
    auto const root = boost::json::parse(boost::json::string_view{body.data(), body.size()}, ec);
    auto const* object = root.if_object();
    if (status != 200 || ec || object == nullptr) {
      return std::nullopt;
    }
    auto const used = integer(*object, "character_count");
    auto const limit = integer(*object, "character_limit");
    if (!used || !limit || *used < 0 || *limit < 0) {
      return std::nullopt;
    }
    balance out;
    out.limit = *limit;
    out.remaining = std::max<std::int64_t>(*limit - *used, 0);
    // within what a 64-bit count of nanoseconds can hold
    if (auto const reset = integer(*object, "next_character_count_reset_unix");
        reset && *reset > 0 && *reset < 4'000'000'000) {
      out.reset = wall_time{std::chrono::seconds{*reset}};
    }
    return out;
  }

protected:
  [[nodiscard]] std::optional<verdict> judge_special(answer const& a) const override {
    if (!a.is_caller_status()) {
      return std::nullopt;
    }
    verdict out;
    if (a.error.names({"quota_exceeded", "insufficient_credits"})) {
      out.failure = a.exhausted();
      // "This request exceeds your quota of 10000. You have 11 credits remaining, while 91 credits are required ..."
      out.remaining = count<std::int64_t>(a.error.word_after("you have "));
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

private:
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
  template <class Integer> [[nodiscard]] static std::optional<Integer> count(std::string_view text) noexcept {
    text = rondo::detail::trimmed(text);
    Integer value{};
    auto const [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (ec != std::errc{} || end != text.data() + text.size() || value < Integer{}) {
      return std::nullopt;
    }
    return value;
  }

  [[nodiscard]] static std::optional<std::int64_t> integer(boost::json::object const& object,
                                                           boost::json::string_view name) {
    auto const* member = object.if_contains(name);
    boost::system::error_code ec;
    auto const value = member == nullptr ? std::int64_t{} : member->to_number<std::int64_t>(ec);
    return member == nullptr || ec ? std::nullopt : std::optional{value};
  }
};

} // namespace rondo::provider
