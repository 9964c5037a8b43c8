// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/error.hpp>
#include <rondo/http/message.hpp>

#include <boost/asio/buffer.hpp>
#include <boost/beast/core/string_type.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/field.hpp>
#include <boost/beast/http/verb.hpp>
#include <boost/optional/optional.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

namespace rondo::http::detail {

#if defined(__clang__)
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Winconsistent-missing-override" // of trailers, which Boost 1.90 has made virtual
#endif

/// Takes an answer apart: the head, the body into the caller's memory, and the trailers, of which Beast's own parser
/// keeps all, or few of those that the head announces, depending on its version.
class answer_parser : public beast_http::basic_parser<false> {
public:
  response_head head;
  fields trailers;
  boost::asio::mutable_buffer space; ///< for the body; what was filled is taken off

  /// Bytes of the head, or of the trailers if it is called between the two: newer Boost would leave these what the head
  /// has not used.
  void limit_head(std::size_t most) { header_limit(static_cast<std::uint32_t>(std::min<std::size_t>(most, 1U << 30))); }

private:
  using string_view = boost::beast::string_view;

  void on_request_impl(beast_http::verb, string_view, string_view, int, error_code&) override {}

  void on_response_impl(int code, string_view reason, int version, error_code&) override {
    head.result(static_cast<unsigned>(code));
    head.version(static_cast<unsigned>(version));
    head.reason(reason);
  }

  void on_field_impl(beast_http::field id, string_view name, string_view value, error_code& ec) override {
    if (is_header_done()) {
      on_trailer_field_impl(id, name, value, ec);
    } else {
      insert(head, id, name, value, ec);
    }
  }

  // Called from Boost 1.90 on; before, trailers came as fields.
  void on_trailer_field_impl(beast_http::field id, string_view name, string_view value, error_code& ec) {
    if (id == beast_http::field::content_length || id == beast_http::field::transfer_encoding) {
      ec = beast_http::error::bad_field; // too late to mean anything (RFC 9110 6.5.1)
    } else {
      insert(trailers, id, name, value, ec);
    }
  }

  void on_header_impl(error_code&) override {}
  void on_body_init_impl(boost::optional<std::uint64_t> const&, error_code&) override {}

  std::size_t on_body_impl(string_view body, error_code& ec) override {
    auto const n = std::min(body.size(), space.size());
    if (n > 0) {
      std::memcpy(space.data(), body.data(), n);
      space += n;
    }
    if (n < body.size()) {
      ec = beast_http::error::need_buffer;
    }
    return n;
  }

  void on_chunk_header_impl(std::uint64_t, string_view, error_code&) override {}
  std::size_t on_chunk_body_impl(std::uint64_t, string_view body, error_code& ec) override {
    return on_body_impl(body, ec);
  }
  void on_finish_impl(error_code&) override {}

  /// Beast throws when a name or value is longer than it can hold.
  static void insert(fields& into, beast_http::field id, string_view name, string_view value, error_code& ec) {
    constexpr std::size_t most = std::numeric_limits<std::uint16_t>::max() - 2;
    if (name.size() > most || value.size() > most) {
      ec = beast_http::error::header_limit;
    } else {
      into.insert(id, name, value);
    }
  }
};

#if defined(__clang__)
#pragma clang diagnostic pop
#endif

} // namespace rondo::http::detail
