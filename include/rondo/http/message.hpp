// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <boost/beast/http/fields.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/string_body.hpp>

#include <string_view>

namespace rondo::http {

namespace beast_http = boost::beast::http;

using fields = beast_http::fields;
using request_head = beast_http::request_header<fields>;
using response_head = beast_http::response_header<fields>;
/// A request with its whole body in memory.
using request = beast_http::request<beast_http::string_body>;
/// A response with its whole body in memory.
using response = beast_http::response<beast_http::string_body>;

namespace detail {

/// The first field of a name, or null. Heads are short: to go through them costs less than Beast's own search, which
/// compares spellings.
[[nodiscard]] inline fields::value_type const* find_field(fields const& in, beast_http::field name) noexcept {
  for (auto const& field : in) {
    if (field.name() == name) {
      return &field;
    }
  }
  return nullptr;
}

[[nodiscard]] inline std::string_view value_of(fields const& in, beast_http::field name) noexcept {
  auto const* const found = find_field(in, name);
  return found != nullptr ? std::string_view{found->value()} : std::string_view{};
}

} // namespace detail
} // namespace rondo::http
