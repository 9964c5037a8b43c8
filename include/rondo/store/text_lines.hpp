// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/detail/date_time.hpp>

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace rondo::store::detail {

/// Calls `use(line, number)` for each line that says something, in order: without blanks around it, neither empty nor
/// begun with `#`. Numbers count from 1, and every line. CRLF and a byte order mark are accepted.
template <class Use> void for_each_line(std::string_view text, Use&& use) {
  if (text.starts_with("\xef\xbb\xbf")) {
    text.remove_prefix(3);
  }
  for (std::size_t number = 1; !text.empty(); ++number) {
    auto line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    if (line.ends_with('\r')) {
      line.remove_suffix(1);
    }
    line = rondo::detail::trimmed(line);
    if (!line.empty() && line.front() != '#') {
      use(line, number);
    }
  }
}

} // namespace rondo::store::detail
