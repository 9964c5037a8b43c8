// SPDX-License-Identifier: BSL-1.0
#include "shape.hpp"

#include <boost/url/parse.hpp>
#include <boost/url/url_view.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <ctime>

namespace sim {

shape const* shape_of(std::string_view target) {
  auto const path = path_of(target);
  if (path.starts_with("/v1beta/")) {
    return &gemini();
  }
  if (path == "/v1/models" || path == "/v1/chat/completions") {
    return &openai();
  }
  return path.starts_with("/v1/") ? &elevenlabs() : nullptr;
}

std::string_view path_of(std::string_view target) {
  return target.substr(0, target.find('?'));
}

std::string query_value(std::string_view target, std::string_view name) {
  auto const url = boost::urls::parse_origin_form(target);
  if (url) {
    for (auto const& p : url->params()) {
      if (p.key == name) {
        return p.value;
      }
    }
  }
  return {};
}

std::int64_t code_points(std::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; });
}

std::string next_id(std::string_view prefix) {
  static std::atomic<std::uint64_t> counter{0};
  return std::string{prefix} + std::to_string(++counter);
}

void add_retry_after(answer& a, standing const& at, rondo::wall_time now) {
  auto const rest = std::max(std::chrono::ceil<std::chrono::seconds>(at.retry_after), std::chrono::seconds{1});
  if (at.retry_hint == hint::seconds) {
    a.header("Retry-After", rest.count());
  } else if (at.retry_hint == hint::date) {
    // the date has whole seconds: one more, or it would be early
    a.header("Retry-After", http_date(now + rest + std::chrono::seconds{1}));
  }
}

std::string http_date(rondo::wall_time t) {
  auto const seconds = std::chrono::system_clock::to_time_t(t);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  std::array<char, 40> text{};
  auto const size = std::strftime(text.data(), text.size(), "%a, %d %b %Y %H:%M:%S GMT", &parts);
  return {text.data(), size};
}

std::string seconds_text(sliding_window::duration d) {
  std::array<char, 40> text{};
  std::snprintf(text.data(), text.size(), "%.3f",
                std::chrono::duration<double>(std::chrono::ceil<std::chrono::milliseconds>(d)).count());
  std::string out{text.data()};
  out.erase(out.find_last_not_of('0') + 1);
  if (out.back() == '.') {
    out.pop_back();
  }
  return out;
}

} // namespace sim
