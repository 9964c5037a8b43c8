// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/clock.hpp>
#include <rondo/http/message.hpp>
#include <rondo/outcome.hpp>
#include <rondo/provider/adapter.hpp>

#include <chrono>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// Messages and verdicts in short form, for the tests of the providers.
namespace provider_test {

using fields = std::vector<std::pair<std::string, std::string>>;

/// 2026-11-21 12:00:00 UTC, a Saturday
inline constexpr rondo::wall_time noon{std::chrono::sys_days{std::chrono::year{2026} / 11 / 21} +
                                       std::chrono::hours{12}};

inline rondo::http::request_head head(std::string_view method, std::string_view target, fields const& extra = {}) {
  rondo::http::request_head out;
  out.method_string(method);
  out.target(target);
  out.version(11);
  for (auto const& [name, value] : extra) {
    out.insert(name, value);
  }
  return out;
}

inline rondo::http::response_head answer(unsigned status, fields const& extra = {}) {
  rondo::http::response_head out;
  out.result(status);
  out.version(11);
  for (auto const& [name, value] : extra) {
    out.insert(name, value);
  }
  return out;
}

/// `rate_limited 1146ms`, `exhausted until 1795000000`, `served`
inline std::string what(rondo::provider::verdict const& v) {
  if (!v.failure) {
    return "served";
  }
  std::string out{to_string(v.failure->what())};
  if (auto const rest = v.failure->rest()) {
    out += ' ' + std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(*rest).count()) + "ms";
  }
  if (auto const until = v.failure->until()) {
    out +=
        " until " + std::to_string(std::chrono::duration_cast<std::chrono::seconds>(until->time_since_epoch()).count());
  }
  return v.lane_only ? out + " lane" : out;
}

} // namespace provider_test
