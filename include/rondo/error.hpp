// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <boost/system/error_category.hpp>
#include <boost/system/error_code.hpp>
#include <boost/system/error_condition.hpp>
#include <boost/system/system_error.hpp>

#include <chrono>
#include <optional>
#include <string>
#include <type_traits>

namespace rondo {

using boost::system::error_code;

/// Every error the library reports of itself. Errors of the operating system, of Asio and of OpenSSL are passed on
/// in their own categories.
///
/// The values are grouped by the party that is to blame, see `blame_of`.
enum class error {
  // --- the pool
  /// A slot will be able to serve the request, but only after its timeout.
  would_miss_deadline = 1,
  /// Nothing can serve the request and nothing is known to bring capacity back.
  exhausted,
  /// The pool holds no key (or the rotator no proxy) at all.
  no_keys,
  /// The request asks for more tokens than any key could ever grant.
  too_large,
  /// The name is already taken by another key or proxy.
  duplicate_name,
  /// Two keys of one account were given different limits.
  conflicting_limits,
  /// No key, account, proxy or time zone has this name.
  unknown_name,
  /// A lease, parameter or setting is outside its documented range.
  invalid_argument,

  // --- the caller of http::client
  /// A URL cannot be parsed, or uses a scheme that is not supported.
  invalid_url = 100,
  /// A header name or value, the target or the method holds CR, LF, NUL or another character that may not be sent.
  invalid_header,
  /// The body is larger than the limit that was set for a request.
  body_too_large,
  /// A plain `http://` origin that is not a loopback host, and plain text was not allowed.
  plaintext_refused,
  /// The file of trusted certificates, or a client certificate or key, cannot be used.
  invalid_trust,
  /// A proxy URL cannot be parsed, or uses a scheme that is not supported.
  invalid_proxy,
  /// The host name is too long for the proxy protocol (SOCKS5 carries at most 255 bytes).
  name_too_long,
  /// User name or password are too long, or empty where the proxy protocol needs them.
  invalid_credentials,
  /// This machine has no descriptor or memory left for another connection.
  no_resources,
  /// Every connection that the client's limits allow was in use until the deadline.
  connections_busy,

  // --- the proxy
  /// No TCP connection to the proxy.
  proxy_connect_failed = 200,
  /// The proxy did not finish its handshake in time.
  proxy_timeout,
  /// The proxy closed the connection before the tunnel stood.
  proxy_closed,
  /// The proxy asks for credentials, or refuses those it got.
  proxy_auth_failed,
  /// The proxy's rules forbid this destination.
  proxy_denied,
  /// The proxy answered something that is not its protocol.
  proxy_protocol,
  /// The proxy answered more than the handshake may hold.
  proxy_reply_too_large,
  /// The proxy offers no authentication method that we can use: only Digest, NTLM, Negotiate or GSSAPI.
  proxy_auth_unsupported,
  /// The proxy failed for a reason of its own (5xx, SOCKS general failure).
  proxy_failed,
  /// Every proxy rests, is full or is not of the kind that was asked for, and going direct was not allowed.
  proxies_unavailable,
  /// The TLS connection to an `https` proxy failed for another reason than its certificate.
  proxy_tls_failed,
  /// The certificate of an `https` proxy is not trusted, has expired, or is for another name.
  proxy_certificate_rejected,

  // --- the path: between proxy and origin, nobody's proven fault
  /// The proxy reports that it cannot reach the origin.
  origin_unreachable_via_proxy = 300,
  /// The proxy reports that it cannot resolve the origin's name.
  origin_unresolved_via_proxy,
  /// The deadline passed before the first byte of the answer.
  deadline_exceeded,
  /// The connection was lost while the request was being written or the answer awaited.
  connection_lost,
  /// Nothing arrived for longer than the idle timeout.
  idle_timeout,

  // --- the origin
  /// The origin's name cannot be resolved.
  resolve_failed = 400,
  /// No TCP connection to the origin.
  connect_failed,
  /// TCP, tunnel and TLS together took longer than the connect timeout.
  connect_timeout,
  /// The TLS handshake failed for another reason than the certificate.
  tls_handshake_failed,
  /// The origin's certificate is not trusted, has expired, or is for another name.
  certificate_rejected,
  /// The origin answered something that is not HTTP/1.1.
  bad_response,
  /// The head of the answer is larger than allowed.
  response_head_too_large,
  /// The body of the answer is larger than allowed.
  response_too_large,
  /// The answer ended before it was complete.
  truncated_response,
  /// The origin's certificate is good, but no key of its chain is among those that were pinned.
  certificate_not_pinned,

  // --- files and settings
  /// A file cannot be read.
  file_unreadable = 500,
  /// A file cannot be written.
  file_unwritable,
  /// A file does not have the form it should have; the message says where.
  file_malformed,
  /// An environment variable is not set.
  variable_not_set,
  /// Another store, of this process or another one, keeps its state in the file.
  file_in_use,
};

/// Groups of codes that callers treat alike; compare with `ec == rondo::condition::retryable`.
enum class condition {
  /// The same request may succeed later, or on another key or proxy.
  retryable = 1,
  /// The pool has no capacity for the request in the time it was given.
  exhausted,
};

} // namespace rondo

// before the first use: the comparisons below would otherwise instantiate the traits with their default
template <> struct boost::system::is_error_code_enum<rondo::error> : std::true_type {};
template <> struct boost::system::is_error_condition_enum<rondo::condition> : std::true_type {};

namespace rondo {

/// Who is to blame for a failed exchange. Decides who cools down: a proxy, nobody, or the origin.
enum class blame { nobody, caller, pool, proxy, path, origin };

/// The party that an error code points at; `nobody` for success, cancellation and codes of other categories.
[[nodiscard]] constexpr blame blame_of(error e) noexcept {
  auto const value = static_cast<int>(e);
  if (value < 100) {
    return blame::pool;
  }
  if (value < 200 || value >= 500) {
    return blame::caller;
  }
  if (value < 300) {
    return blame::proxy;
  }
  return value < 400 ? blame::path : blame::origin;
}

namespace detail {

class error_category final : public boost::system::error_category {
public:
  // The id makes the category equal to itself across shared libraries.
  constexpr error_category() noexcept : boost::system::error_category{0x8d0c1b6e4f2a9735} {}

  [[nodiscard]] char const* name() const noexcept override { return "rondo"; }

  [[nodiscard]] std::string message(int value) const override { return text(static_cast<error>(value)); }

  [[nodiscard]] char const* message(int value, char*, std::size_t) const noexcept override {
    return text(static_cast<error>(value));
  }

  [[nodiscard]] bool equivalent(int value, boost::system::error_condition const& wanted) const noexcept override;

private:
  [[nodiscard]] static constexpr char const* text(error e) noexcept {
    switch (e) {
    case error::would_miss_deadline: return "no key can serve the request before its deadline";
    case error::exhausted: return "no key can serve the request, and none is known to come back";
    case error::no_keys: return "the pool holds no usable key";
    case error::too_large: return "the request is larger than any key could ever grant";
    case error::duplicate_name: return "the name is already in use";
    case error::conflicting_limits: return "keys of one account name different limits";
    case error::unknown_name: return "no such name";
    case error::invalid_argument: return "a value is outside its range";
    case error::invalid_url: return "malformed or unsupported URL";
    case error::invalid_header: return "a header, method or target holds a character that may not be sent";
    case error::body_too_large: return "the request body is larger than allowed";
    case error::plaintext_refused: return "plain http is allowed for loopback hosts only";
    case error::invalid_trust: return "certificates or keys cannot be used";
    case error::invalid_proxy: return "malformed or unsupported proxy URL";
    case error::name_too_long: return "the host name is too long for the proxy protocol";
    case error::invalid_credentials: return "user name or password cannot be used with this proxy protocol";
    case error::no_resources: return "no descriptor or memory left for another connection";
    case error::connections_busy: return "all connections that the limits allow are in use";
    case error::proxy_connect_failed: return "cannot connect to the proxy";
    case error::proxy_timeout: return "the proxy did not answer in time";
    case error::proxy_closed: return "the proxy closed the connection during the handshake";
    case error::proxy_auth_failed: return "the proxy refuses the credentials";
    case error::proxy_denied: return "the proxy's rules forbid the destination";
    case error::proxy_protocol: return "the proxy's answer is not of its protocol";
    case error::proxy_reply_too_large: return "the proxy's answer is too large";
    case error::proxy_auth_unsupported:
      return "the proxy wants an authentication that is not supported, such as Digest or NTLM";
    case error::proxy_failed: return "the proxy reports a failure of its own";
    case error::proxies_unavailable: return "no proxy can be used";
    case error::proxy_tls_failed: return "the TLS connection to the proxy failed";
    case error::proxy_certificate_rejected: return "the proxy's certificate is not acceptable";
    case error::origin_unreachable_via_proxy: return "the proxy cannot reach the origin";
    case error::origin_unresolved_via_proxy: return "the proxy cannot resolve the origin's name";
    case error::deadline_exceeded: return "the deadline passed before the answer began";
    case error::connection_lost: return "the connection was lost";
    case error::idle_timeout: return "nothing arrived for too long";
    case error::resolve_failed: return "the origin's name cannot be resolved";
    case error::connect_failed: return "cannot connect to the origin";
    case error::connect_timeout: return "connecting took too long";
    case error::tls_handshake_failed: return "the TLS handshake failed";
    case error::certificate_rejected: return "the origin's certificate is not acceptable";
    case error::bad_response: return "the answer is not valid HTTP/1.1";
    case error::response_head_too_large: return "the head of the answer is too large";
    case error::response_too_large: return "the body of the answer is larger than allowed";
    case error::truncated_response: return "the answer ended before it was complete";
    case error::certificate_not_pinned: return "no key of the origin's certificates is pinned";
    case error::file_unreadable: return "the file cannot be read";
    case error::file_unwritable: return "the file cannot be written";
    case error::file_malformed: return "the file is malformed";
    case error::variable_not_set: return "the environment variable is not set";
    case error::file_in_use: return "the file is in use by another store";
    }
    return "unknown rondo error";
  }
};

class condition_category final : public boost::system::error_category {
public:
  constexpr condition_category() noexcept : boost::system::error_category{0x51c7e0a94db3f268} {}

  [[nodiscard]] char const* name() const noexcept override { return "rondo.condition"; }

  [[nodiscard]] std::string message(int value) const override {
    return static_cast<condition>(value) == condition::retryable ? "retryable" : "exhausted";
  }
};

} // namespace detail

/// The category of `rondo::error`.
[[nodiscard]] inline boost::system::error_category const& rondo_category() noexcept {
  static constexpr detail::error_category category;
  return category;
}

/// The category of `rondo::condition`.
[[nodiscard]] inline boost::system::error_category const& condition_category() noexcept {
  static constexpr detail::condition_category category;
  return category;
}

[[nodiscard]] inline error_code make_error_code(error e) noexcept {
  return {static_cast<int>(e), rondo_category()};
}

[[nodiscard]] inline boost::system::error_condition make_error_condition(condition c) noexcept {
  return {static_cast<int>(c), condition_category()};
}

inline bool detail::error_category::equivalent(int value, boost::system::error_condition const& wanted) const noexcept {
  if (wanted.category() != condition_category()) {
    return wanted.category() == *this && wanted.value() == value;
  }
  auto const e = static_cast<error>(value);
  auto const out_of_capacity = e == error::would_miss_deadline || e == error::exhausted;
  if (static_cast<condition>(wanted.value()) == condition::exhausted) {
    return out_of_capacity;
  }
  auto const who = blame_of(e);
  return out_of_capacity || e == error::connections_busy || who == blame::proxy || who == blame::path ||
         who == blame::origin;
}

/// The party that an error code points at; `nobody` for success, cancellation and codes of other categories.
[[nodiscard]] inline blame blame_of(error_code const& ec) noexcept {
  return ec && ec.category() == rondo_category() ? blame_of(static_cast<error>(ec.value())) : blame::nobody;
}

/// What `key_pool::acquire` throws: a `system_error` that also knows when to come back.
class acquire_error : public boost::system::system_error {
public:
  explicit acquire_error(error_code ec, std::optional<std::chrono::steady_clock::duration> retry_after = {})
      : system_error{ec}, retry_after_{retry_after} {}

  /// Time until a key is expected to serve the request, counted from the moment of failure; empty when unknown.
  [[nodiscard]] std::optional<std::chrono::steady_clock::duration> retry_after() const noexcept { return retry_after_; }

private:
  std::optional<std::chrono::steady_clock::duration> retry_after_;
};

} // namespace rondo
