// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/error.hpp>
#include <rondo/http/message.hpp>

#include <boost/beast/core/string.hpp>
#include <boost/beast/http/field.hpp>
#include <boost/beast/http/rfc7230.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace rondo::http {

/// Whether a field belongs to one connection and not to the message that passes it (RFC 9110 7.6.1).
[[nodiscard]] inline bool is_hop_by_hop(fields::value_type const& field) noexcept {
  switch (field.name()) {
  case beast_http::field::connection:
  case beast_http::field::keep_alive:
  case beast_http::field::proxy_authenticate:
  case beast_http::field::proxy_authorization:
  case beast_http::field::proxy_connection:
  case beast_http::field::te:
  case beast_http::field::trailer:
  case beast_http::field::transfer_encoding:
  case beast_http::field::upgrade: return true;
  default: return boost::beast::iequals(field.name_string(), "Proxy-Authentication-Info"); // not in each Boost's list
  }
}

/// Takes the hop-by-hop fields out, and those that a Connection field names. Do it before a message is passed on.
inline void remove_hop_by_hop(fields& message) {
  std::vector<std::string> named;
  for (auto const& field : message) {
    if (field.name() == beast_http::field::connection) {
      for (auto const name : beast_http::token_list{field.value()}) {
        named.emplace_back(name);
      }
    }
  }
  for (auto const& name : named) {
    message.erase(name);
  }
  for (auto it = message.begin(); it != message.end();) {
    it = is_hop_by_hop(*it) ? message.erase(it) : std::next(it);
  }
}

namespace detail {

enum : std::uint8_t { token_char = 1, value_char = 2, target_char = 4 };

/// What each byte may be part of: a name or method (RFC 9110 5.6.2), a field value, a request target.
inline constexpr auto char_classes = [] {
  std::array<std::uint8_t, 256> classes{};
  for (unsigned c = 0; c < 256; ++c) {
    auto const letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    auto const mark = std::string_view{"!#$%&'*+-.^_`|~"}.find(static_cast<char>(c)) != std::string_view::npos;
    classes[c] = static_cast<std::uint8_t>((letter || (mark && c < 128) ? token_char : 0) |
                                           ((c >= 0x20 && c != 0x7f) || c == '\t' ? value_char : 0) |
                                           (c > 0x20 && c < 0x7f && c != '#' ? target_char : 0));
  }
  return classes;
}();

[[nodiscard]] constexpr bool consists_of(std::string_view text, std::uint8_t wanted) noexcept {
  return std::all_of(text.begin(), text.end(),
                     [wanted](char c) { return (char_classes[static_cast<unsigned char>(c)] & wanted) != 0; });
}

/// Beast writes whatever it is given; so nothing that could end a line or a field early gets that far.
[[nodiscard]] inline error_code check_request(request_head const& head, std::string_view target) noexcept {
  auto const method = head.method_string();
  auto ok = !method.empty() && consists_of(method, token_char) && head.method() != beast_http::verb::connect &&
            consists_of(target, target_char) &&
            (target.starts_with('/') || (target == "*" && head.method() == beast_http::verb::options));
  for (auto it = head.begin(); ok && it != head.end(); ++it) {
    ok = !it->name_string().empty() && consists_of(it->name_string(), token_char) &&
         consists_of(it->value(), value_char);
  }
  return ok ? error_code{} : make_error_code(error::invalid_header);
}

/// What the client itself says in the head of a request.
struct own_fields {
  bool chunked = false;
  std::optional<std::uint64_t> size; ///< empty and not chunked: the request has no body
  bool expect = false;               ///< asks for leave to send it
  bool identity = false;             ///< wants the answer in no coding, whatever the caller wants
};

/// Appends the head of a checked request. Host and `own` replace what the caller says of them; his hop-by-hop fields
/// stay behind.
inline void append_head(std::string& out, std::string_view host, request_head const& head, std::string_view target,
                        own_fields own) {
  constexpr std::size_t most_own = 160; // the longest of everything that is not counted
  auto const begin = out.size();
  auto room = most_own + head.method_string().size() + target.size() + host.size();
  auto named = false;
  for (auto const& field : head) {
    room += field.name_string().size() + field.value().size() + 4;
    named = named || field.name() == beast_http::field::connection;
  }
  out.resize(begin + room);
  auto* to = out.data() + begin;
  auto const put = [&to](auto const&... pieces) { ((to = std::copy_n(pieces.data(), pieces.size(), to)), ...); };
  auto const put_field = [&put](std::string_view name, std::string_view value) {
    put(name, std::string_view{": "}, value, std::string_view{"\r\n"});
  };
  auto const is_named = [&head](std::string_view name) {
    auto const [first, last] = head.equal_range(beast_http::field::connection);
    return std::any_of(first, last, [name](auto const& field) {
      return beast_http::token_list{field.value()}.exists({name.data(), name.size()});
    });
  };
  put(head.method_string(), std::string_view{" "}, target, std::string_view{" HTTP/1.1\r\n"});
  put_field("Host", host);
  for (auto const& field : head) {
    auto const id = field.name();
    if (is_hop_by_hop(field) || id == beast_http::field::host || id == beast_http::field::content_length ||
        id == beast_http::field::expect || (own.identity && id == beast_http::field::accept_encoding) ||
        (named && is_named(field.name_string()))) {
      continue;
    }
    put_field(field.name_string(), field.value());
  }
  if (own.identity) {
    put_field("Accept-Encoding", "identity");
  }
  if (own.chunked) {
    put_field("Transfer-Encoding", "chunked");
  } else if (own.size) {
    std::array<char, 20> digits;
    auto const* const end = std::to_chars(digits.data(), digits.data() + digits.size(), *own.size).ptr;
    put_field("Content-Length", {digits.data(), end});
  }
  if (own.expect) {
    put_field("Expect", "100-continue");
  }
  put(std::string_view{"\r\n"});
  out.resize(static_cast<std::size_t>(to - out.data()));
}

/// Whether a request may be sent a second time although the first may have been acted upon (RFC 9110 9.2.2).
[[nodiscard]] inline bool is_idempotent(request_head const& head) noexcept {
  switch (head.method()) {
  case beast_http::verb::get:
  case beast_http::verb::head:
  case beast_http::verb::options:
  case beast_http::verb::trace:
  case beast_http::verb::put:
  case beast_http::verb::delete_: return true;
  default: return head.find("Idempotency-Key") != head.end();
  }
}

} // namespace detail
} // namespace rondo::http
