// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <boost/asio/ip/address_v4.hpp>
#include <boost/asio/ip/address_v6.hpp>
#include <boost/url/host_type.hpp>
#include <boost/url/url_view.hpp>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

namespace rondo::http::detail {

/// The longest host that a proxy is asked for: what SOCKS5 can carry. No name of the DNS is longer.
inline constexpr std::size_t max_host_size = 255;

/// The host of a URL, normalised: lower case, addresses in their one canonical form and without brackets. Empty for
/// what cannot be a host: nothing at all, an IPv6 zone, bytes outside letters, digits, `-`, `.` and `_`.
[[nodiscard]] inline std::optional<std::string> host_of(boost::urls::url_view const& u) {
  boost::system::error_code ec;
  auto const text = std::string{u.host_address()};
  switch (u.host_type()) {
  case boost::urls::host_type::ipv4: return text;
  case boost::urls::host_type::ipv6: {
    auto const address = boost::asio::ip::make_address_v6(text, ec);
    return ec || address.scope_id() != 0 ? std::nullopt : std::optional{address.to_string()};
  }
  case boost::urls::host_type::name: break;
  default: return std::nullopt;
  }
  std::string name;
  for (char const c : text) {
    auto const lower = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    if ((lower < 'a' || lower > 'z') && (lower < '0' || lower > '9') && lower != '-' && lower != '.' && lower != '_') {
      return std::nullopt;
    }
    name.push_back(lower);
  }
  // a name without a single letter or digit would reach the resolver as something else
  if (std::none_of(name.begin(), name.end(), [](char c) { return c != '.' && c != '-' && c != '_'; })) {
    return std::nullopt;
  }
  return name;
}

/// The port of a URL: `usual` when none is written, empty when it is no number from 1 to 65535.
[[nodiscard]] inline std::optional<std::uint16_t> port_of(boost::urls::url_view const& u, std::uint16_t usual) {
  if (!u.has_port() || u.port().empty()) {
    return usual;
  }
  // Boost 1.81 takes some numbers that are too large modulo 65536
  auto const text = std::string{u.port()};
  std::uint16_t number = 0;
  auto const [end, failed] = std::from_chars(text.data(), text.data() + text.size(), number);
  return failed != std::errc{} || end != text.data() + text.size() || number == 0 ? std::nullopt
                                                                                  : std::optional{number};
}

} // namespace rondo::http::detail
