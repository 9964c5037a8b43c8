// SPDX-License-Identifier: BSL-1.0
#include "shape.hpp"

#include <boost/json/parse.hpp>

#include <algorithm>

namespace sim {

namespace json = boost::json;
namespace http = boost::beast::http;

namespace {

json::value error(std::string_view message, std::string_view type, json::value code) {
  return {{"error", {{"message", message}, {"type", type}, {"param", nullptr}, {"code", std::move(code)}}}};
}

/// The texts of all messages, joined; nothing when the document has no messages.
std::optional<std::string> texts(json::value const& body) {
  auto const* const object = body.if_object();
  auto const* const list = object ? object->if_contains("messages") : nullptr;
  if (!list || !list->is_array()) {
    return {};
  }
  std::string out;
  for (auto const& m : list->get_array()) {
    auto const* const content = m.is_object() ? m.get_object().if_contains("content") : nullptr;
    if (content && content->is_string()) {
      out.append(content->get_string().data(), content->get_string().size());
    }
  }
  return out;
}

/// "6m0s", "1.5s", "12ms": Go's way of writing a duration, as the reset headers do.
std::string go_duration(sliding_window::duration d) {
  using namespace std::chrono;
  if (d < seconds{1}) {
    return std::to_string(ceil<milliseconds>(d).count()) + "ms";
  }
  auto const m = duration_cast<minutes>(d);
  return (m.count() > 0 ? std::to_string(m.count()) + "m" : "") + seconds_text(d - m) + "s";
}

void add_limits(answer& a, standing const& at) {
  a.header("x-request-id", next_id("req_"));
  a.header("openai-organization", "org-simulated");
  a.header("openai-processing-ms", 1);
  auto const add = [&](std::string_view what, std::int64_t limit, std::int64_t used, sliding_window::duration reset) {
    if (limit > 0) {
      auto const name = [&](std::string_view part) {
        return "x-ratelimit-" + std::string{part} + "-" + std::string{what};
      };
      a.header(name("limit"), limit);
      a.header(name("remaining"), std::max<std::int64_t>(limit - used, 0));
      a.header(name("reset"), go_duration(reset));
    }
  };
  add("requests", at.limits.requests_per_minute, at.minute_requests, at.minute_requests_reset);
  add("tokens", at.limits.tokens_per_minute, at.minute_tokens, at.minute_tokens_reset);
}

json::value usage(demand const& d) {
  return {{"prompt_tokens", d.prompt_tokens}, {"completion_tokens", d.completion_tokens}, {"total_tokens", d.tokens()}};
}

json::object completion(demand const& d, std::string_view id, std::string_view object, std::string_view part,
                        json::value content, json::value finish) {
  return {{"id", id},
          {"object", object},
          {"created", 1'700'000'000},
          {"model", d.model},
          {"choices", {{{"index", 0}, {part, std::move(content)}, {"finish_reason", std::move(finish)}}}}};
}

answer chat(request const& r, demand const& d) {
  auto const id = next_id("chatcmpl-");
  if (!d.is_stream) {
    auto body = completion(d, id, "chat.completion", "message", {{"role", "assistant"}, {"content", d.echo}}, "stop");
    body["usage"] = usage(d);
    return json_answer(200, body);
  }
  answer a;
  a.header("Content-Type", "text/event-stream");
  a.is_chunked = true;
  auto const event = [&](json::object const& data) { a.pieces.push_back("data: " + json::serialize(data) + "\n\n"); };
  auto const chunk = [&](json::value delta, json::value finish) {
    return completion(d, id, "chat.completion.chunk", "delta", std::move(delta), std::move(finish));
  };
  event(chunk({{"role", "assistant"}, {"content", ""}}, nullptr));
  // whole characters only: UTF-8 must not be cut
  for (std::size_t i = 0; i < d.echo.size();) {
    auto end = std::min(i + 16, d.echo.size());
    while (end < d.echo.size() && (static_cast<unsigned char>(d.echo[end]) & 0xC0U) == 0x80U) {
      ++end;
    }
    event(chunk({{"content", std::string_view{d.echo}.substr(i, end - i)}}, nullptr));
    i = end;
  }
  event(chunk(json::object{}, "stop"));
  auto const body = json::parse(r.body());
  auto const* const extras = body.get_object().if_contains("stream_options");
  auto const* const wanted =
      extras && extras->is_object() ? extras->get_object().if_contains("include_usage") : nullptr;
  if (wanted && wanted->is_bool() && wanted->get_bool()) {
    auto last = chunk(nullptr, nullptr);
    last["choices"] = json::array{};
    last["usage"] = usage(d);
    event(last);
  }
  a.pieces.emplace_back("data: [DONE]\n\n");
  return a;
}

class openai_shape final : public shape {
public:
  std::string credential(request const& r) const override {
    constexpr std::string_view scheme = "Bearer ";
    std::string_view const value{r[http::field::authorization].data(), r[http::field::authorization].size()};
    return value.starts_with(scheme) ? std::string{value.substr(scheme.size())} : std::string{};
  }

  demand describe(request const& r, provider_options const& options) const override {
    demand d;
    if (path_of({r.target().data(), r.target().size()}) == "/v1/models") {
      return d;
    }
    d.is_work = true;
    json::error_code ec;
    auto const body = json::parse(r.body(), ec);
    auto const text = ec ? std::nullopt : texts(body);
    if (!text) {
      d.malformed = json_answer(
          400, error("Missing required parameter: 'messages'.", "invalid_request_error", "missing_required_parameter"));
      return d;
    }
    auto const& object = body.get_object();
    auto const flag = object.if_contains("stream");
    d.is_stream = flag && flag->is_bool() && flag->get_bool();
    auto const model = object.if_contains("model");
    d.model = model && model->is_string() ? std::string{std::string_view{model->get_string()}} : "gpt-4o-mini";
    d.echo = *text;
    d.prompt_tokens = (code_points(d.echo) + 3) / 4;
    d.completion_tokens = options.completion_tokens;
    for (auto const* const name : {"max_tokens", "max_completion_tokens"}) {
      auto const most = object.if_contains(name);
      if (most && most->is_int64() && most->get_int64() >= 0) {
        d.completion_tokens = std::min(d.completion_tokens, most->get_int64());
      }
    }
    return d;
  }

  answer serve(request const& r, demand const& d, standing const& at, provider_options const&) const override {
    auto a = d.is_work ? chat(r, d)
                       : json_answer(200, {{"object", "list"},
                                           {"data",
                                            {{{"id", "gpt-4o-mini"},
                                              {"object", "model"},
                                              {"created", 1'700'000'000},
                                              {"owned_by", "system"}}}}});
    add_limits(a, at);
    return a;
  }

  answer refuse(refusal why, demand const& d, standing const& at, rondo::wall_time now) const override {
    switch (why) {
    case refusal::invalid_key:
      return json_answer(401, error("Incorrect API key provided. You can find your API key in your account settings.",
                                    "invalid_request_error", "invalid_api_key"));
    case refusal::forbidden:
      return json_answer(403, error("You do not have access to this resource.", "invalid_request_error", nullptr));
    case refusal::quota_exceeded:
    case refusal::payment_required:
      return json_answer(429, error("You exceeded your current quota, please check your plan and billing details.",
                                    "insufficient_quota", "insufficient_quota"));
    case refusal::overloaded:
      return json_answer(503, error("The engine is currently overloaded, please try again later.", "server_error",
                                    "engine_overloaded"));
    default: break;
    }

    bool const counts_tokens =
        why == refusal::tokens_per_minute || why == refusal::tokens_per_day || why == refusal::too_large;
    auto const requested = counts_tokens ? d.tokens() : 1;
    std::string unit = "requests per min (RPM)";
    switch (why) {
    case refusal::requests_per_second: unit = "requests per second (RPS)"; break;
    case refusal::requests_per_day: unit = "requests per day (RPD)"; break;
    case refusal::tokens_per_day: unit = "tokens per day (TPD)"; break;
    case refusal::concurrency: unit = "concurrent requests"; break;
    default: unit = counts_tokens ? "tokens per min (TPM)" : unit; break;
    }
    auto const limit = why == refusal::concurrency ? at.limits.concurrency : at.window_limit;
    auto const used = why == refusal::concurrency ? at.in_flight : at.window_used;
    auto const numbers = " in organization org-simulated on " + unit + ": Limit " + std::to_string(limit);
    auto const* const type = counts_tokens ? "tokens" : "requests";
    if (why == refusal::too_large) {
      auto a = json_answer(
          429, error("Request too large for " + d.model + numbers + ", Requested " + std::to_string(requested) + ".",
                     type, "rate_limit_exceeded"));
      add_limits(a, at);
      return a;
    }
    auto a = json_answer(429, error("Rate limit reached for " + d.model + numbers + ", Used " + std::to_string(used) +
                                        ", Requested " + std::to_string(requested) + ". Please try again in " +
                                        seconds_text(at.retry_after) + "s.",
                                    type, "rate_limit_exceeded"));
    add_limits(a, at);
    add_retry_after(a, at, now);
    return a;
  }
};

} // namespace

shape const& openai() {
  static openai_shape const it;
  return it;
}

} // namespace sim
