// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/http/detail/client_core.hpp>
#include <rondo/http/detail/connect_fsm.hpp>
#include <rondo/http/detail/connect_race.hpp>
#include <rondo/http/detail/socks_fsm.hpp>
#include <rondo/http/impl/tls.hpp>
#include <rondo/http/proxy.hpp>

#include <boost/asio/ip/address.hpp>
#include <boost/asio/ssl/error.hpp>

#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <utility>

namespace rondo::http::detail {

// g++ 12 takes the memory of coroutine frames, which Asio recycles, for freed by the wrong function
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
#endif

// No local types or lambdas in the coroutines of this file: g++ 12 warns of them when the functions are not inline.

/// A name resolution that may outlive the wait for it.
struct lookup {
  explicit lookup(asio::any_io_executor const& ex) : resolver{ex}, wake{ex, steady_time::max()} {}
  tcp::resolver resolver;
  asio::steady_timer wake;
  error_code ec;
  std::vector<tcp::endpoint> found;
  bool done = false;
};

/// Waits for the resolver, but not longer than the limit: a lookup that is under way cannot be interrupted, so it is
/// left behind.
RONDO_DECL asio::awaitable<error_code> client_core::resolve(connection& c, std::string const& host, std::uint16_t port,
                                                            std::vector<tcp::endpoint>& out) {
  error_code ec;
  auto const address = asio::ip::make_address(host, ec);
  if (!ec) {
    out.emplace_back(address, port);
    co_return error_code{};
  }
  if (auto const known = options_.hosts.find(host); known != options_.hosts.end()) {
    for (auto const& given : known->second) {
      out.emplace_back(given, port);
    }
    co_return error_code{};
  }
  auto const shared = std::make_shared<lookup>(executor_);
  shared->resolver.async_resolve(host, std::to_string(port), tcp::resolver::numeric_service,
                                 [shared](error_code failed, tcp::resolver::results_type const& results) {
                                   shared->ec = failed;
                                   for (auto const& result : results) {
                                     shared->found.push_back(result.endpoint());
                                   }
                                   shared->done = true;
                                   shared->wake.cancel();
                                 });
  c.wake = &shared->wake;
  auto const [waited] = co_await shared->wake.async_wait(as_result);
  c.wake = nullptr;
  if (!shared->done || c.expired) {
    shared->resolver.cancel();
    co_return c.verdict(waited);
  }
  out = std::move(shared->found);
  co_return shared->ec;
}

/// Connects to one of the addresses, which are tried beside each other where the first does not answer (RFC 8305).
RONDO_DECL asio::awaitable<error_code> client_core::connect(connection& c, std::vector<tcp::endpoint> const& to) {
  error_code ec;
  c.socket.close(ec);
  if (to.size() == 1) {
    open_socket(c.socket, to.front(), ec);
    if (!ec) {
      std::tie(ec) = co_await c.socket.async_connect(to.front(), as_result);
    }
  } else {
    auto const race = std::make_shared<connect_race>(executor_, alternate_families(to));
    race_end const losers{*race};
    for (race->start_next(); !race->over(); race->start_next()) {
      auto pause = steady_time::max();
      if (auto const left = race->left(); left > 0) {
        auto const now = std::chrono::steady_clock::now();
        pause = std::min(after(now, options_.attempt_delay), now + (c.limit - now) / static_cast<int>(left + 1));
      }
      race->wake.expires_at(pause);
      c.wake = &race->wake;
      auto const [waited] = co_await race->wake.async_wait(as_result);
      c.wake = nullptr;
      auto const ended = race->stirred();
      if (c.expired || (is_cancelled(waited) && !ended)) {
        co_return c.verdict(waited);
      }
      if (race->won()) {
        break;
      }
    }
    if (race->won()) {
      c.socket = std::move(race->winner());
    } else {
      ec = race->last_error();
    }
  }
  if (!ec && !c.expired) {
    c.socket.non_blocking(true, ec);
  }
  co_return c.verdict(ec);
}

template <class Machine> asio::awaitable<error_code> client_core::drive(connection& c, Machine& machine) {
  error_code ec;
  std::size_t n = 0;
  for (;;) {
    auto const action = machine.resume(ec, n);
    switch (action.what) {
    case tunnel_action::kind::write:
      ec = co_await c.write(action.output);
      n = action.output.size();
      break;
    case tunnel_action::kind::read: std::tie(ec, n) = co_await c.read_some(action.input); break;
    case tunnel_action::kind::done: co_return error_code{};
    case tunnel_action::kind::fail: co_return action.ec;
    }
    if (c.expired) {
      co_return c.verdict(ec);
    }
  }
}

/// Makes a connection to a proxy out of one to the first hop: through the SOCKS proxy before it, and with TLS if it
/// wants that. Whatever fails here is the proxies' fault.
RONDO_DECL asio::awaitable<error_code> client_core::approach(connection& c, proxy const& via, steady_time now) {
  url const here{via.kind == proxy_kind::https ? "https" : "http", via.host, via.port, {}};
  error_code ec;
  if (via.through) {
    auto ignored = false;
    ec = co_await dig(c, here, *via.through, true, ignored);
    auto const who = blame_of(ec);
    if (who == blame::path || who == blame::origin) { // for the first proxy, the second is the origin
      ec = c.expired ? ec : make_error_code(error::proxy_connect_failed);
    }
  }
  if (!ec && here.is_tls()) {
    ec = co_await secure(c, here, tls_role::proxy, now);
  }
  co_return ec;
}

/// Has the proxy connect to the origin. `asked`: it wants the credentials that it was not shown.
RONDO_DECL asio::awaitable<error_code> client_core::dig(connection& c, url const& to, proxy const& via, bool show_login,
                                                        bool& asked) {
  error_code ec;
  if (via.kind == proxy_kind::http || via.kind == proxy_kind::https) {
    connect_fsm machine{to.authority(), via, show_login};
    ec = co_await drive(c, machine);
    asked = via.has_credentials && !show_login && machine.asked_for_basic();
    co_return ec;
  }
  socks_destination destination{to.host, {}, to.port};
  if (auto const literal = asio::ip::make_address(to.host, ec); !ec) {
    destination.address = literal;
  } else if (via.kind == proxy_kind::socks4 || via.kind == proxy_kind::socks5) {
    std::vector<tcp::endpoint> found;
    ec = co_await resolve(c, to.host, to.port, found);
    if (ec || found.empty()) {
      co_return c.expired || is_cancelled(ec) ? ec : make_error_code(error::resolve_failed);
    }
    // many a SOCKS server has no IPv6 at all
    auto const v4 = std::find_if(found.begin(), found.end(), [](auto const& e) { return e.address().is_v4(); });
    destination.address = (v4 != found.end() ? *v4 : found.front()).address();
  }
  if (via.kind == proxy_kind::socks4 || via.kind == proxy_kind::socks4a) {
    socks4_fsm machine{destination, via};
    co_return co_await drive(c, machine);
  }
  socks5_fsm machine{destination, via};
  co_return co_await drive(c, machine);
}

/// Tells a TLS connection that is about to begin whom to expect.
[[nodiscard]] inline bool prepare_tls(SSL* ssl, url const& to) {
  auto name = to.host;
  if (name.ends_with('.')) {
    name.pop_back(); // certificates name hosts without it
  }
  static constexpr unsigned char http11[] = "\x08http/1.1";
  SSL_set_verify(ssl, SSL_VERIFY_PEER, nullptr);
  SSL_set_min_proto_version(ssl, TLS1_2_VERSION);
  SSL_set_alpn_protos(ssl, http11, sizeof(http11) - 1);
  // a host name is looked for among the alternative names only, never in the subject
  SSL_set_hostflags(ssl, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  return to.is_ip() ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name.c_str()) == 1
                    : SSL_set1_host(ssl, name.c_str()) == 1 && SSL_set_tlsext_host_name(ssl, name.c_str()) == 1;
}

/// Speaks TLS with the origin or an `https` proxy from here on, inside the TLS that may be there already.
RONDO_DECL asio::awaitable<error_code> client_core::secure(connection& c, url const& to, tls_role role,
                                                           steady_time now) {
  auto const is_proxy = role == tls_role::proxy;
  auto& trust = is_proxy ? options_.proxy_tls : options_.tls;
  if (!trust) {
    auto made = make_tls_context();
    if (!made) {
      co_return made.error();
    }
    trust = std::move(*made);
  }
  auto& layer = c.tls ? c.inner_tls.emplace(*c.tls, *trust) : c.tls.emplace(c.socket, *trust);
  auto* const ssl = layer.native_handle();
  if (!prepare_tls(ssl, to)) {
    co_return make_error_code(is_proxy ? error::proxy_tls_failed : error::tls_handshake_failed);
  }
  harden(ssl);
  (is_proxy ? c.entry.proxy_sessions : c.entry.sessions).attach(ssl, now);
  auto const ec = co_await c.shake_hands();
  if (!ec && !c.expired && speaks_http11(ssl)) {
    co_return error_code{};
  }
  if (c.expired || is_cancelled(ec)) {
    co_return c.verdict(ec);
  }
  co_return make_error_code(is_proxy ? proxy_handshake_error(ssl) : handshake_error(ssl));
}

RONDO_DECL asio::awaitable<failure> client_core::establish(connection& c, url const& to,
                                                           exchange_options const& options, steady_time now) {
  auto const* const via = options.via.get();
  auto const end = after(now, options.connect_timeout);
  auto const deadline_first = options.deadline <= end;
  auto const slow = via != nullptr ? error::proxy_timeout : error::connect_timeout;
  auto const unreachable = via != nullptr ? error::proxy_connect_failed : error::connect_failed;
  set_limit(c, std::min(end, options.deadline), deadline_first ? error::deadline_exceeded : slow);

  std::vector<tcp::endpoint> endpoints;
  auto const* const first = via != nullptr && via->through ? via->through.get() : via;
  auto const& host = first != nullptr ? first->host : to.host;
  auto ec = co_await resolve(c, host, first != nullptr ? first->port : to.port, endpoints);
  if (ec) {
    co_return fail(c.expired || is_cancelled(ec) ? ec
                   : via != nullptr              ? make_error_code(unreachable)
                                                 : make_error_code(error::resolve_failed));
  }
  if (!to.is_tls() && !options_.allow_plaintext) {
    // a name that should be local is believed only when its addresses are
    std::erase_if(endpoints, [](auto const& e) { return !e.address().is_loopback(); });
    if (endpoints.empty()) {
      co_return fail(make_error_code(error::plaintext_refused));
    }
  }
  auto show_login = via != nullptr && via->login == proxy_login::at_once;
  for (;;) {
    ec = co_await connect(c, endpoints);
    if (ec == boost::system::errc::too_many_files_open || ec == boost::system::errc::too_many_files_open_in_system ||
        ec == boost::system::errc::not_enough_memory || ec == boost::system::errc::no_buffer_space) {
      co_return failure{make_error_code(error::no_resources), blame::nobody, false};
    }
    if (ec) {
      co_return fail(c.expired || is_cancelled(ec) ? ec : make_error_code(unreachable));
    }
    if (via == nullptr) {
      break;
    }
    auto asked = false;
    ec = co_await approach(c, *via, now);
    if (!ec) {
      ec = co_await dig(c, to, *via, show_login, asked);
    }
    if (!ec) {
      break;
    }
    if (!asked || c.expired) {
      co_return fail(ec);
    }
    // the answer may have a body and may be the last on its connection: a new one is the same to every proxy
    show_login = true;
    c.tls.reset();
  }
  if (to.is_tls()) {
    set_limit(c, c.limit, deadline_first ? error::deadline_exceeded : error::connect_timeout);
    ec = co_await secure(c, to, tls_role::origin, now);
    if (ec) {
      auto failed = fail(ec);
      if (via != nullptr && failed.who == blame::origin) {
        failed.who = blame::path;
      }
      co_return failed;
    }
  }
  c.written = c.answered = false; // the handshakes do not count
  c.retire_at =
      after(now, shortened(via != nullptr && via->tunnel_age.count() > 0 ? via->tunnel_age : options_.max_age));
  c.most_served = via != nullptr ? via->requests_per_tunnel : 0;
  co_return failure{};
}

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

} // namespace rondo::http::detail
