// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/http/detail/config.hpp>

#include <boost/system/result.hpp>

#include <cstdint>
#include <string>
#include <string_view>

namespace rondo::http {

/// An absolute `http` or `https` URL, taken apart and normalised.
struct url {
  std::string scheme = "https"; ///< `http` or `https`
  std::string host;             ///< lower case; an IPv6 address stands without brackets
  std::uint16_t port = 443;
  std::string target = "/"; ///< path and query as they were written: `/v1/models?page=2`

  [[nodiscard]] bool is_tls() const noexcept { return scheme == "https"; }
  [[nodiscard]] bool is_ipv6() const noexcept { return host.find(':') != std::string::npos; }
  /// Whether the host is an IPv4 or IPv6 literal.
  [[nodiscard]] bool is_ip() const noexcept;
  /// Whether the host can only mean this machine: a loopback address, `localhost`, or a name below it.
  [[nodiscard]] bool is_loopback() const noexcept;
  /// The value of a Host field: brackets around an IPv6 address, the port unless it is the scheme's own.
  [[nodiscard]] std::string host_header() const;
  /// `host:port`, with brackets around an IPv6 address: what a CONNECT request names.
  [[nodiscard]] std::string authority() const;
  /// `scheme://host:port`: what connections and secrets are bound to.
  [[nodiscard]] std::string origin() const { return scheme + "://" + authority(); }

  friend bool operator==(url const&, url const&) = default;
};

/// Takes a URL apart. `error::invalid_url` for anything but `http://` and `https://` with a host, and for a user name,
/// a fragment, an IPv6 zone or a character that a host name cannot hold.
[[nodiscard]] boost::system::result<url> parse_url(std::string_view text);

} // namespace rondo::http

#ifndef RONDO_SEPARATE_COMPILATION
#include <rondo/http/impl/url.hpp>
#endif
