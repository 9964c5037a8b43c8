// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "answer.hpp"
#include "ledger.hpp"
#include "options.hpp"
#include "refusal.hpp"

#include <boost/beast/http/message.hpp>
#include <boost/beast/http/string_body.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sim {

using request = boost::beast::http::request<boost::beast::http::string_body>;

/// What a request asks for.
struct demand {
  bool is_work = false;
  bool is_voice = false;
  bool is_stream = false;
  std::int64_t prompt_tokens = 0;
  std::int64_t completion_tokens = 0;
  std::string model;
  std::string echo;                ///< of the request, to be found again in the answer
  std::optional<answer> malformed; ///< the answer to a request that makes no sense

  [[nodiscard]] std::int64_t tokens() const noexcept { return prompt_tokens + completion_tokens; }
};

/// How one provider's API looks from outside: where the key is, what a request costs, what answers look like.
/// Stateless, thread-safe.
class shape {
public:
  virtual ~shape() = default;

  /// The key of the request; empty when there is none.
  [[nodiscard]] virtual std::string credential(request const&) const = 0;
  [[nodiscard]] virtual demand describe(request const&, provider_options const&) const = 0;
  [[nodiscard]] virtual answer serve(request const&, demand const&, standing const&, provider_options const&) const = 0;
  [[nodiscard]] virtual answer refuse(refusal, demand const&, standing const&, rondo::wall_time now) const = 0;
};

/// The shapes; they live as long as the program.
[[nodiscard]] shape const& elevenlabs();
[[nodiscard]] shape const& openai();
[[nodiscard]] shape const& gemini();

/// Which provider a path belongs to; null when none has it.
[[nodiscard]] shape const* shape_of(std::string_view target);

// --- what several shapes need

/// The target without its query.
[[nodiscard]] std::string_view path_of(std::string_view target);
/// The value of a query parameter, percent-decoded; empty when absent.
[[nodiscard]] std::string query_value(std::string_view target, std::string_view name);
/// The number of Unicode code points of a UTF-8 text.
[[nodiscard]] std::int64_t code_points(std::string_view text);
/// An identifier that no other answer of this process carries.
[[nodiscard]] std::string next_id(std::string_view prefix);
/// Adds Retry-After as the account's settings say; at least one second.
void add_retry_after(answer&, standing const&, rondo::wall_time now);
/// RFC 9110's date, "Sun, 06 Nov 1994 08:49:37 GMT".
[[nodiscard]] std::string http_date(rondo::wall_time);
/// Seconds with up to three decimals, rounded up: "1.146".
[[nodiscard]] std::string seconds_text(sliding_window::duration);

} // namespace sim
