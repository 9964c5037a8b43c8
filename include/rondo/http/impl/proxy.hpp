// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/error.hpp>
#include <rondo/http/detail/authority.hpp>
#include <rondo/http/proxy.hpp>

#include <boost/url/parse.hpp>
#include <boost/url/url_view.hpp>

#include <openssl/crypto.h>

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <utility>

namespace rondo::http {

RONDO_DECL std::string_view to_string(proxy_kind kind) noexcept {
  constexpr std::string_view names[] = {"http", "https", "socks4", "socks4a", "socks5", "socks5h"};
  return names[static_cast<std::size_t>(kind)];
}

namespace detail {

[[nodiscard]] inline bool has_control(std::string_view text) noexcept {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

[[nodiscard]] inline bool is_visible(std::string_view text) noexcept {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7f; });
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

[[nodiscard]] inline bool is_socks(proxy_kind kind) noexcept {
  return kind != proxy_kind::http && kind != proxy_kind::https;
}

RONDO_DECL error_code check_proxy(proxy const& p) noexcept {
  if (p.host.empty() || p.port == 0 || !is_visible(p.host)) {
    return make_error_code(error::invalid_proxy);
  }
  if (p.host.size() > max_host_size) {
    return make_error_code(error::name_too_long);
  }
  if (!credentials_fit(p)) {
    return make_error_code(error::invalid_credentials);
  }
  if (!p.through) {
    return {};
  }
  if (is_socks(p.kind) || !is_socks(p.through->kind) || p.through->through) {
    return make_error_code(error::invalid_proxy);
  }
  return check_proxy(*p.through);
}

/// Takes one proxy apart.
[[nodiscard]] inline boost::system::result<proxy> parse_hop(std::string_view text) {
  auto const parsed = boost::urls::parse_uri({text.data(), text.size()});
  if (!parsed || !parsed->has_authority() || parsed->has_query() || parsed->has_fragment() ||
      (!parsed->encoded_path().empty() && parsed->encoded_path() != "/")) {
    return make_error_code(error::invalid_proxy);
  }
  proxy out;
  auto scheme = std::string{parsed->scheme()};
  std::transform(scheme.begin(), scheme.end(), scheme.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  auto kind = static_cast<int>(proxy_kind::socks5h);
  while (kind >= 0 && scheme != to_string(static_cast<proxy_kind>(kind))) {
    --kind;
  }
  if (kind < 0) {
    return make_error_code(error::invalid_proxy);
  }
  out.kind = static_cast<proxy_kind>(kind);
  auto host = host_of(*parsed);
  auto const usual_port = out.kind == proxy_kind::http ? 80 : out.kind == proxy_kind::https ? 443 : 1080;
  auto const port = port_of(*parsed, static_cast<std::uint16_t>(usual_port));
  if (!host || !port) {
    return make_error_code(error::invalid_proxy);
  }
  out.host = std::move(*host);
  out.port = *port;
  if (parsed->has_userinfo()) {
    out.has_credentials = true;
    out.user = std::string{parsed->user()};
    auto password = std::string{parsed->password()};
    out.password = secret{password};
    OPENSSL_cleanse(password.data(), password.size());
  }
  return out;
}

inline void append_encoded(std::string& out, std::string_view text) {
  constexpr std::string_view digits = "0123456789ABCDEF";
  for (char const c : text) {
    auto const byte = static_cast<unsigned char>(c);
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) {
      out += c;
    } else {
      out.append("%").append(1, digits[byte >> 4U]).append(1, digits[byte & 15U]);
    }
  }
}

/// Host and port.
inline void append_place(std::string& out, proxy const& p) {
  auto const ipv6 = p.host.find(':') != std::string::npos;
  out.append(ipv6 ? "[" : "").append(p.host).append(ipv6 ? "]:" : ":").append(std::to_string(p.port));
}

inline void append_url(std::string& out, proxy const& p) {
  if (p.through) {
    append_url(out, *p.through);
    out.append("|");
  }
  out.append(to_string(p.kind)).append("://");
  if (p.has_credentials) {
    append_encoded(out, p.user);
    append_encoded(out.append(":"), p.password.reveal());
    out.append("@");
  }
  append_place(out, p);
}

} // namespace detail

RONDO_DECL boost::system::result<proxy> parse_proxy(std::string_view text) {
  auto const bar = text.find('|');
  auto out = detail::parse_hop(text.substr(bar == text.npos ? 0 : bar + 1));
  if (out && bar != text.npos) {
    auto first = detail::parse_hop(text.substr(0, bar));
    if (!first) {
      return first.error();
    }
    out->through = std::make_shared<proxy const>(std::move(*first));
  }
  if (out) {
    if (auto const bad = detail::check_proxy(*out)) {
      return bad;
    }
  }
  return out;
}

RONDO_DECL secret to_url(proxy const& p) {
  std::size_t most = 0;
  for (auto const* hop = &p; hop != nullptr; hop = hop->through.get()) {
    most += 32 + 3 * hop->user.size() + 3 * hop->password.reveal().size() + hop->host.size();
  }
  std::string out;
  out.reserve(most); // so that it leaves no copies behind
  detail::append_url(out, p);
  secret whole{out};
  OPENSSL_cleanse(out.data(), out.size());
  return whole;
}

RONDO_DECL std::string masked(proxy const& p) {
  auto out = p.through ? masked(*p.through) + "|" : std::string{};
  out.append(to_string(p.kind)).append("://");
  if (p.has_credentials) {
    // one letter of a longer name tells users apart and gives nothing away
    auto const initial = p.user.size() >= 4 && std::isalnum(static_cast<unsigned char>(p.user[0])) != 0;
    out.append(p.user, 0, initial ? 1 : 0).append("***:***@");
  }
  detail::append_place(out, p);
  return out;
}

} // namespace rondo::http
