// SPDX-License-Identifier: BSL-1.0
#include "shape.hpp"

#include <boost/json/parse.hpp>

#include <algorithm>

namespace sim {

namespace json = boost::json;
namespace http = boost::beast::http;

namespace {

constexpr std::string_view speech_prefix = "/v1/text-to-speech/";
constexpr std::size_t piece_size = 1024;

json::value detail(std::string_view type, std::string_view code, std::string_view status, std::string_view message) {
  return {{"detail",
           {{"type", type},
            {"code", code},
            {"message", message},
            {"status", status},
            {"request_id", next_id("req_")},
            {"param", nullptr}}}};
}

json::value legacy_detail(std::string_view status, std::string_view message) {
  return {{"detail", {{"status", status}, {"message", message}}}};
}

answer missing_field(std::string_view field) {
  return json_answer(
      422,
      {{"detail", {{{"loc", {"body", field}}, {"msg", "Field required"}, {"type", "missing"}, {"input", nullptr}}}}});
}

answer not_found() {
  return json_answer(404, {{"detail", "Not Found"}});
}

void add_concurrency(answer& a, standing const& at) {
  a.header("current-concurrent-requests", at.in_flight);
  if (at.limits.concurrency > 0) {
    a.header("maximum-concurrent-requests", at.limits.concurrency);
  }
}

json::value subscription(standing const& at) {
  auto const reset =
      at.quota_reset ? json::value(std::chrono::ceil<std::chrono::seconds>(at.quota_reset->time_since_epoch()).count())
                     : json::value(nullptr);
  // an account without a quota still names one
  auto const limit = at.limits.quota > 0 ? at.limits.quota : std::int64_t{1'000'000'000};
  return {{"tier", "starter"},
          {"character_count", at.quota_used},
          {"character_limit", limit},
          {"max_character_limit_extension", nullptr},
          {"can_extend_character_limit", false},
          {"allowed_to_extend_character_limit", false},
          {"next_character_count_reset_unix", reset},
          {"voice_slots_used", at.voices},
          {"professional_voice_slots_used", 0},
          {"voice_limit", at.voice_limit},
          {"voice_add_edit_counter", at.voices},
          {"professional_voice_limit", 0},
          {"can_extend_voice_limit", false},
          {"can_use_instant_voice_cloning", true},
          {"can_use_professional_voice_cloning", false},
          {"currency", "usd"},
          {"status", "active"},
          {"billing_period", "monthly_period"},
          {"character_refresh_period", "monthly_period"},
          {"has_open_invoices", false}};
}

answer speech(demand const& d, standing const& at, provider_options const& options) {
  answer a;
  a.header("Content-Type", "audio/mpeg");
  a.header("character-cost", d.tokens());
  a.header("request-id", next_id("req_"));
  a.header("history-item-id", next_id("hist_"));
  a.header("x-region", "local");
  add_concurrency(a, at);
  // the text again and again, so that a caller sees whose answer it got
  std::string body = "ID3";
  while (body.size() < options.response_bytes) {
    body.append(d.echo.empty() ? std::string_view{"-"} : std::string_view{d.echo});
  }
  body.resize(options.response_bytes);
  a.is_chunked = d.is_stream;
  auto const step = d.is_stream ? piece_size : std::max<std::size_t>(body.size(), 1);
  for (std::size_t i = 0; i < body.size(); i += step) {
    a.pieces.push_back(body.substr(i, step));
  }
  return a;
}

class elevenlabs_shape final : public shape {
public:
  std::string credential(request const& r) const override { return std::string{r["xi-api-key"]}; }

  demand describe(request const& r, provider_options const&) const override {
    demand d;
    std::string_view const target{r.target().data(), r.target().size()};
    auto const path = path_of(target);
    if (path == "/v1/voices/add" && r.method() == http::verb::post) {
      d.is_work = d.is_voice = true;
    } else if (path.starts_with(speech_prefix) && r.method() == http::verb::post) {
      d.is_work = true;
      d.is_stream = path.ends_with("/stream");
      json::error_code ec;
      auto const body = json::parse(r.body(), ec);
      auto const* const object = ec ? nullptr : body.if_object();
      auto const* const text = object ? object->if_contains("text") : nullptr;
      if (text && text->is_string()) {
        d.echo = std::string{text->get_string().begin(), text->get_string().end()};
        d.prompt_tokens = code_points(d.echo);
      } else {
        d.malformed = missing_field("text");
      }
    } else if (path != "/v1/user/subscription" && path != "/v1/voices") {
      d.malformed = not_found();
    }
    return d;
  }

  answer serve(request const& r, demand const& d, standing const& at, provider_options const& options) const override {
    std::string_view const target{r.target().data(), r.target().size()};
    auto const path = path_of(target);
    if (path == "/v1/user/subscription") {
      return json_answer(200, subscription(at));
    }
    if (path == "/v1/voices") {
      return json_answer(200, {{"voices", {{{"voice_id", "demo"}, {"name", "Demo"}, {"category", "premade"}}}}});
    }
    if (d.is_voice) {
      return json_answer(200, {{"voice_id", next_id("voice_")}, {"requires_verification", false}});
    }
    return speech(d, at, options);
  }

  answer refuse(refusal why, demand const& d, standing const& at, rondo::wall_time now) const override {
    switch (why) {
    case refusal::invalid_key: return json_answer(401, legacy_detail("invalid_api_key", "Invalid API key"));
    case refusal::forbidden:
      return json_answer(403, detail("authorization_error", "missing_permissions", "missing_permissions",
                                     "The API key you used is missing the permission to execute this operation."));
    case refusal::quota_exceeded:
      return json_answer(
          401, legacy_detail("quota_exceeded", "This request exceeds your quota of " + std::to_string(at.limits.quota) +
                                                   ". You have " + std::to_string(at.quota_left()) +
                                                   " credits remaining, while " + std::to_string(d.tokens()) +
                                                   " credits are required for this request."));
    case refusal::payment_required:
      return json_answer(402, detail("payment_required", "insufficient_credits", "insufficient_credits",
                                     "You do not have enough credits for this request."));
    case refusal::concurrency: {
      auto a = json_answer(
          429, detail("rate_limit_error", "concurrent_limit_exceeded", "too_many_concurrent_requests",
                      "Too many concurrent requests. Your current subscription is associated with a maximum of " +
                          std::to_string(at.limits.concurrency) + " concurrent requests."));
      add_concurrency(a, at);
      return a;
    }
    case refusal::too_large:
      return json_answer(400, detail("validation_error", "text_too_long", "max_character_limit_exceeded",
                                     "The text is longer than any request may be."));
    case refusal::voice_limit:
      return json_answer(400,
                         legacy_detail("voice_limit_reached",
                                       "You have reached your maximum amount of custom voices (" +
                                           std::to_string(at.voices) + " / " + std::to_string(at.voice_limit) + ")."));
    case refusal::overloaded:
      return json_answer(429, detail("rate_limit_error", "system_busy", "system_busy",
                                     "We are experiencing heavy traffic. Please try again."));
    default: break;
    }
    auto a = json_answer(429, detail("rate_limit_error", "rate_limit_exceeded", "rate_limit_exceeded",
                                     "Rate limit exceeded: " + std::string{to_string(why)}));
    add_retry_after(a, at, now);
    return a;
  }
};

} // namespace

shape const& elevenlabs() {
  static elevenlabs_shape const it;
  return it;
}

} // namespace sim
