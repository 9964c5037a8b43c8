// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/detail/config.hpp>
#include <rondo/detail/date_time.hpp>
#include <rondo/detail/json_walk.hpp>
#include <rondo/provider/usage_meter.hpp>

#include <boost/beast/http/field.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace rondo::provider {

namespace detail {

/// Looks for a number under two names.
struct usage_finder {
  std::string_view object;
  std::string_view member;
  std::optional<std::int64_t> total = std::nullopt;

  void number(rondo::detail::json_path const& path, std::int64_t value) {
    if (value >= 0 && path.back() == member && (path.is({object, member}) || path.is({"response", object, member}))) {
      total = value;
    }
  }
  void text(rondo::detail::json_path const&, std::string_view, bool) noexcept {}
};

/// What a body is, by the beginning of its media type.
enum class body_kind : std::uint8_t { json, events, other };

[[nodiscard]] inline body_kind kind_of(std::string_view type) noexcept {
  if (type == "application/json") { // as nearly all write it
    return body_kind::json;
  }
  std::array<char, 256> lower; // longer than types and their subtypes can be (RFC 6838 4.2)
  auto const end =
      std::transform(type.begin(), type.begin() + static_cast<std::ptrdiff_t>(std::min(type.size(), lower.size())),
                     lower.begin(), rondo::detail::to_lower);
  std::string_view const text{lower.data(), static_cast<std::size_t>(end - lower.begin())};
  if (text.find("text/event-stream") != text.npos) {
    return body_kind::events;
  }
  return type.empty() || text.find("json") != text.npos ? body_kind::json : body_kind::other;
}

} // namespace detail

struct usage_meter::reader {
  reader(std::string_view object, std::string_view member, bool events) : json{object, member}, is_events{events} {}

  void feed(std::string_view piece) {
    if (is_events) {
      feed_events(piece);
    } else {
      json.feed(piece);
    }
  }

  /// Server-sent events (WHATWG HTML 9.2): the `data` lines of an event, up to the blank line, are one document.
  void feed_events(std::string_view piece) {
    static constexpr std::string_view prefix = "data:";
    while (!piece.empty()) {
      auto const c = piece.front();
      if (c == '\r' || c == '\n') {
        piece.remove_prefix(1);
        if (c == '\n' && after_return) { // the second half of CR LF
          after_return = false;
          continue;
        }
        after_return = c == '\r';
        if (at_line_start()) {
          json.restart();
        } else if (in_data()) {
          json.feed("\n");
        }
        matched = 0;
        continue;
      }
      after_return = false;
      if (in_data() || matched == skipping) {
        auto const line = piece.substr(0, piece.find_first_of("\r\n"));
        if (in_data()) {
          json.feed(line);
        }
        piece.remove_prefix(line.size());
      } else {
        matched = c == prefix[matched] ? matched + 1 : skipping;
        piece.remove_prefix(1);
      }
    }
  }
  [[nodiscard]] bool at_line_start() const noexcept { return matched == 0; }
  [[nodiscard]] bool in_data() const noexcept { return matched == 5; }

  static constexpr std::size_t skipping = 6;

  rondo::detail::json_walk<detail::usage_finder> json;
  bool is_events;
  bool after_return = false;
  std::size_t matched = 0; // characters of "data:" seen in this line, or skipping
};

RONDO_DECL usage_meter::usage_meter() noexcept = default;
RONDO_DECL usage_meter::usage_meter(std::int64_t cost) noexcept : known_{cost} {}
RONDO_DECL usage_meter::usage_meter(usage_meter&&) noexcept = default;
RONDO_DECL usage_meter& usage_meter::operator=(usage_meter&&) noexcept = default;
RONDO_DECL usage_meter::~usage_meter() = default;

RONDO_DECL usage_meter::usage_meter(http::response_head const& head, std::string_view object, std::string_view member) {
  using boost::beast::http::field;
  if (auto const coding = http::detail::value_of(head, field::content_encoding);
      !coding.empty() && coding != "identity") {
    return;
  }
  auto const kind = detail::kind_of(http::detail::value_of(head, field::content_type));
  if (kind != detail::body_kind::other) {
    reader_ = std::make_unique<reader>(object, member, kind == detail::body_kind::events);
  }
}

RONDO_DECL void usage_meter::feed(std::string_view piece) {
  if (reader_) {
    reader_->feed(piece);
  }
}

RONDO_DECL std::optional<std::int64_t> usage_meter::cost() const noexcept {
  return reader_ ? reader_->json.visitor().total : known_;
}

} // namespace rondo::provider
