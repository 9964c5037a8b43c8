// SPDX-License-Identifier: BSL-1.0
#include "shape.hpp"

#include <boost/json/parse.hpp>

#include <algorithm>

namespace sim {

namespace json = boost::json;
namespace http = boost::beast::http;

namespace {

constexpr std::string_view model_prefix = "/v1beta/models/";

json::object error(unsigned code, std::string_view message, std::string_view status) {
  return {{"code", code}, {"message", message}, {"status", status}};
}

answer error_answer(unsigned code, std::string_view message, std::string_view status, json::array details = {}) {
  auto e = error(code, message, status);
  if (!details.empty()) {
    e["details"] = std::move(details);
  }
  return json_answer(code, {{"error", std::move(e)}});
}

/// The 429 of a quota that is named by metric and id.
answer quota_answer(std::string_view metric, std::string_view id, std::int64_t value, demand const& d,
                    standing const& at) {
  auto const rest = std::max<sliding_window::duration>(at.retry_after, std::chrono::milliseconds{1});
  auto const delay = seconds_text(rest) + "s";
  json::object violation{{"quotaMetric", "generativelanguage.googleapis.com/" + std::string{metric}},
                         {"quotaId", id},
                         {"quotaDimensions", {{"location", "global"}, {"model", d.model}}},
                         {"quotaValue", std::to_string(value)}};
  json::array details{
      json::object{{"@type", "type.googleapis.com/google.rpc.QuotaFailure"}, {"violations", {std::move(violation)}}},
      json::object{{"@type", "type.googleapis.com/google.rpc.Help"},
                   {"links",
                    {{{"description", "Learn more about Gemini API quotas"},
                      {"url", "https://ai.google.dev/gemini-api/docs/rate-limits"}}}}}};
  if (at.retry_hint != hint::none) {
    details.push_back({{"@type", "type.googleapis.com/google.rpc.RetryInfo"}, {"retryDelay", delay}});
  }
  return error_answer(429,
                      "You exceeded your current quota, please check your plan and billing details. Please retry in " +
                          delay + ".",
                      "RESOURCE_EXHAUSTED", std::move(details));
}

json::object usage(demand const& d) {
  return {{"promptTokenCount", d.prompt_tokens},
          {"candidatesTokenCount", d.completion_tokens},
          {"totalTokenCount", d.tokens()}};
}

json::object candidate(demand const& d, std::string_view text, bool last) {
  json::object c{{"content", {{"parts", {{{"text", text}}}}, {"role", "model"}}}, {"index", 0}};
  if (last) {
    c["finishReason"] = "STOP";
  }
  return {{"candidates", {std::move(c)}}, {"usageMetadata", usage(d)}, {"modelVersion", d.model}};
}

class gemini_shape final : public shape {
public:
  std::string credential(request const& r) const override {
    auto const header = r["x-goog-api-key"];
    return header.empty() ? query_value({r.target().data(), r.target().size()}, "key")
                          : std::string{header.data(), header.size()};
  }

  demand describe(request const& r, provider_options const& options) const override {
    demand d;
    auto const path = path_of({r.target().data(), r.target().size()});
    auto const colon = path.rfind(':');
    auto const verb = colon == std::string_view::npos ? std::string_view{} : path.substr(colon + 1);
    if (!path.starts_with(model_prefix) || r.method() != http::verb::post ||
        (verb != "generateContent" && verb != "streamGenerateContent")) {
      d.malformed = error_answer(404, "Requested entity was not found.", "NOT_FOUND");
      return d;
    }
    d.is_work = true;
    d.is_stream = verb == "streamGenerateContent";
    d.model = std::string{path.substr(model_prefix.size(), colon - model_prefix.size())};
    json::error_code ec;
    auto const body = json::parse(r.body(), ec);
    auto const* const object = ec ? nullptr : body.if_object();
    auto const* const contents = object ? object->if_contains("contents") : nullptr;
    if (!contents || !contents->is_array()) {
      d.malformed = error_answer(400, "contents is not specified", "INVALID_ARGUMENT");
      return d;
    }
    for (auto const& content : contents->get_array()) {
      auto const parts = content.is_object() ? content.get_object().if_contains("parts") : nullptr;
      for (auto const& part : parts && parts->is_array() ? parts->get_array() : json::array{}) {
        auto const text = part.is_object() ? part.get_object().if_contains("text") : nullptr;
        if (text && text->is_string()) {
          d.echo.append(text->get_string().data(), text->get_string().size());
        }
      }
    }
    d.prompt_tokens = (code_points(d.echo) + 3) / 4;
    d.completion_tokens = options.completion_tokens;
    auto const settings = object->if_contains("generationConfig");
    auto const most =
        settings && settings->is_object() ? settings->get_object().if_contains("maxOutputTokens") : nullptr;
    if (most && most->is_int64() && most->get_int64() >= 0) {
      d.completion_tokens = std::min(d.completion_tokens, most->get_int64());
    }
    return d;
  }

  answer serve(request const& r, demand const& d, standing const&, provider_options const&) const override {
    if (!d.is_stream) {
      return json_answer(200, candidate(d, d.echo, true));
    }
    // two parts; a JSON array unless server-sent events are asked for
    bool const events = query_value({r.target().data(), r.target().size()}, "alt") == "sse";
    auto half = d.echo.size() / 2;
    while (half < d.echo.size() && (static_cast<unsigned char>(d.echo[half]) & 0xC0U) == 0x80U) {
      ++half;
    }
    auto const first = json::serialize(candidate(d, std::string_view{d.echo}.substr(0, half), false));
    auto const second = json::serialize(candidate(d, std::string_view{d.echo}.substr(half), true));
    answer a;
    a.is_chunked = true;
    a.header("Content-Type", events ? "text/event-stream" : "application/json");
    if (events) {
      a.pieces = {"data: " + first + "\r\n\r\n", "data: " + second + "\r\n\r\n"};
    } else {
      a.pieces = {"[" + first, ",\r\n" + second + "]"};
    }
    return a;
  }

  answer refuse(refusal why, demand const& d, standing const& at, rondo::wall_time) const override {
    switch (why) {
    case refusal::invalid_key: {
      constexpr std::string_view message = "API key not valid. Please pass a valid API key.";
      json::array details{json::object{{"@type", "type.googleapis.com/google.rpc.ErrorInfo"},
                                       {"reason", "API_KEY_INVALID"},
                                       {"domain", "googleapis.com"},
                                       {"metadata", {{"service", "generativelanguage.googleapis.com"}}}},
                          json::object{{"@type", "type.googleapis.com/google.rpc.LocalizedMessage"},
                                       {"locale", "en-US"},
                                       {"message", message}}};
      return error_answer(400, message, "INVALID_ARGUMENT", std::move(details));
    }
    case refusal::forbidden: return error_answer(403, "The caller does not have permission", "PERMISSION_DENIED");
    case refusal::too_large:
      return error_answer(400, "The input token count exceeds the maximum number of tokens allowed.",
                          "INVALID_ARGUMENT");
    case refusal::overloaded:
      return error_answer(503, "The model is overloaded. Please try again later.", "UNAVAILABLE");
    case refusal::concurrency:
      return error_answer(429, "Resource has been exhausted (e.g. check quota).", "RESOURCE_EXHAUSTED");
    case refusal::tokens_per_minute:
      return quota_answer("generate_content_free_tier_input_token_count",
                          "GenerateContentInputTokensPerModelPerMinute-FreeTier", at.window_limit, d, at);
    case refusal::requests_per_day:
    case refusal::tokens_per_day:
      return quota_answer("generate_content_free_tier_requests", "GenerateRequestsPerDayPerProjectPerModel-FreeTier",
                          at.window_limit, d, at);
    case refusal::quota_exceeded:
    case refusal::payment_required:
      return quota_answer("generate_content_free_tier_requests", "GenerateRequestsPerDayPerProjectPerModel-FreeTier",
                          at.limits.quota, d, at);
    default:
      return quota_answer("generate_content_free_tier_requests", "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
                          at.window_limit, d, at);
    }
  }
};

} // namespace

shape const& gemini() {
  static gemini_shape const it;
  return it;
}

} // namespace sim
