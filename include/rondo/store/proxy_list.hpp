// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/error.hpp>
#include <rondo/http/proxy.hpp>
#include <rondo/store/file_error.hpp>
#include <rondo/store/text_lines.hpp>

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace rondo::store {

/// The proxies of a text, one a line as for `http::parse_proxy`, in order. Blanks around them, empty lines, lines that
/// begin with `#` and repetitions are ignored; CRLF and a byte order mark are accepted.
///
/// \param file for messages, which never quote the text: it holds passwords
/// \throws file_error with `file_malformed`, naming the line, or when there is no proxy in it
[[nodiscard]] inline std::vector<http::proxy> parse_proxy_list(std::string_view text, std::string const& file) {
  std::vector<http::proxy> out;
  std::unordered_multimap<std::string, std::size_t> places; // of those at one host and port
  detail::for_each_line(text, [&](std::string_view line, std::size_t number) {
    auto next = http::parse_proxy(line);
    if (!next) {
      throw file_error{error::file_malformed, file, number, {}, next.error().message()};
    }
    auto const place = next->host + ' ' + std::to_string(next->port);
    auto const [begin, end] = places.equal_range(place);
    if (std::none_of(begin, end, [&](auto const& known) { return out[known.second] == *next; })) {
      places.emplace(place, out.size());
      out.push_back(std::move(*next));
    }
  });
  if (out.empty()) {
    throw file_error{error::file_malformed, file, "holds no proxy"};
  }
  return out;
}

} // namespace rondo::store
