// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/error.hpp>
#include <rondo/http/detail/config.hpp>
#include <rondo/secret.hpp>

#include <boost/system/result.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace rondo::http {

/// How a proxy is spoken to.
enum class proxy_kind : std::uint8_t {
  http,    ///< HTTP CONNECT (RFC 9110 9.3.6) over plain TCP
  https,   ///< HTTP CONNECT over TLS, see `client_options::proxy_tls`
  socks4,  ///< SOCKS 4: this machine resolves the name, IPv4 only
  socks4a, ///< SOCKS 4A: the proxy resolves the name
  socks5,  ///< SOCKS 5 (RFC 1928): this machine resolves the name
  socks5h, ///< SOCKS 5: the proxy resolves the name
};

/// When an `http` or `https` proxy is shown user and password. Basic is the only scheme; SOCKS proxies say in their
/// handshake whether they want a login.
enum class proxy_login : std::uint8_t {
  at_once,    ///< with the first CONNECT: no time is lost
  when_asked, ///< in a second CONNECT on a new connection, once the proxy has answered 407 and offered Basic
};

/// A proxy. Always used as a tunnel: it sees which origin is talked to, never a byte of an `https` request.
struct proxy {
  proxy_kind kind = proxy_kind::http;
  std::string host; ///< lower case; an IPv6 address stands without brackets
  std::uint16_t port = 0;
  std::string user; ///< percent-decoded
  secret password;  ///< percent-decoded
  bool has_credentials = false;
  /// Most requests through one tunnel before a new one is made; 0 = no limit. With 1, a gateway that picks its exit for
  /// each tunnel picks one for each request.
  std::uint32_t requests_per_tunnel = 0;
  /// Greatest age of a tunnel that still takes a new request; zero = `client_options::max_age`.
  std::chrono::steady_clock::duration tunnel_age{};
  proxy_login login = proxy_login::at_once;
  /// The SOCKS proxy by which this one, an `http` or `https` proxy, is reached; null = it is reached directly. Longer
  /// chains are refused. The limits of a tunnel are those of this proxy.
  std::shared_ptr<proxy const> through{};

  /// Whether both are the same proxy to the outside: user and password belong to its identity, because residential
  /// gateways put the session into the user name, and so does the way to it.
  friend bool operator==(proxy const& a, proxy const& b) noexcept {
    return a.kind == b.kind && a.port == b.port && a.has_credentials == b.has_credentials && a.host == b.host &&
           a.user == b.user && a.password == b.password &&
           (a.through == b.through || (a.through && b.through && *a.through == *b.through));
  }
};

/// Takes `scheme://[user[:password]@]host[:port]` apart; schemes are the names of `proxy_kind`, the usual ports are 80
/// for `http`, 443 for `https` and 1080 for SOCKS. A chain is written in the order in which bytes pass it,
/// `socks5h://first:1080|http://second:3128`. `error::invalid_proxy` when it is malformed or unsupported, and
/// `error::invalid_credentials` for a user or password that the proxy's protocol cannot carry, and
/// `error::name_too_long` for a host name over 255 characters.
[[nodiscard]] boost::system::result<proxy> parse_proxy(std::string_view text);

/// The text of which `parse_proxy` makes the same proxy again, user and password included: for `proxy_params::url`.
[[nodiscard]] secret to_url(proxy const& p);

[[nodiscard]] std::string_view to_string(proxy_kind kind) noexcept;

/// The form for logs and status documents: `socks5h://u***:***@host:1080`, a chain as it is parsed.
[[nodiscard]] std::string masked(proxy const& p);

namespace detail {
/// What is wrong with a proxy, whoever filled it in, before anything is sent: `invalid_proxy`, `invalid_credentials`,
/// `name_too_long`.
[[nodiscard]] error_code check_proxy(proxy const& p) noexcept;
} // namespace detail

} // namespace rondo::http

#ifndef RONDO_SEPARATE_COMPILATION
#include <rondo/http/impl/proxy.hpp>
#endif
