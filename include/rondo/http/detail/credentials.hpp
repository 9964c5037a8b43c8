// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/http/proxy.hpp>

#include <algorithm>
#include <string_view>

namespace rondo::http::detail {

[[nodiscard]] inline bool has_control(std::string_view text) noexcept {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

/// Whether the protocol of a proxy can carry its credentials.
[[nodiscard]] inline bool credentials_fit(proxy const& p) noexcept {
  auto const user = std::string_view{p.user};
  auto const password = p.password.reveal();
  if (!p.has_credentials) {
    return user.empty() && password.empty();
  }
  switch (p.kind) {
  case proxy_kind::http:
  case proxy_kind::https: // RFC 7617: no colon in the user, no control characters at all
    return user.find(':') == user.npos && !has_control(user) && !has_control(password);
  case proxy_kind::socks4:
  case proxy_kind::socks4a: // a zero ends the user; there is no password
    return !user.empty() && user.size() <= 255 && user.find('\0') == user.npos && password.empty();
  case proxy_kind::socks5:
  case proxy_kind::socks5h: // RFC 1929: one byte of length each, from 1 to 255
    return !user.empty() && user.size() <= 255 && !password.empty() && password.size() <= 255;
  }
  return false;
}

} // namespace rondo::http::detail
