// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/error.hpp>
#include <rondo/http/detail/authority.hpp>
#include <rondo/http/url.hpp>

#include <boost/asio/ip/address.hpp>
#include <boost/url/parse.hpp>
#include <boost/url/url_view.hpp>

namespace rondo::http {

RONDO_DECL bool url::is_ip() const noexcept {
  boost::system::error_code ec;
  boost::asio::ip::make_address(host, ec);
  return !ec;
}

RONDO_DECL bool url::is_loopback() const noexcept {
  boost::system::error_code ec;
  auto const address = boost::asio::ip::make_address(host, ec);
  if (!ec) {
    return address.is_loopback();
  }
  std::string_view name = host;
  if (name.ends_with('.')) {
    name.remove_suffix(1);
  }
  return name == "localhost" || name.ends_with(".localhost");
}

RONDO_DECL std::string url::host_header() const {
  auto const usual = is_tls() ? 443 : 80;
  if (port != usual) {
    return authority();
  }
  return is_ipv6() ? "[" + host + "]" : host;
}

RONDO_DECL std::string url::authority() const {
  std::string out;
  out.reserve(host.size() + 8);
  auto const bare = !is_ipv6();
  out.append(bare ? "" : "[").append(host).append(bare ? ":" : "]:").append(std::to_string(port));
  return out;
}

RONDO_DECL boost::system::result<url> parse_url(std::string_view text) {
  auto const parsed = boost::urls::parse_uri({text.data(), text.size()});
  if (!parsed || parsed->has_userinfo() || parsed->has_fragment()) {
    return make_error_code(error::invalid_url);
  }
  url out;
  if (parsed->scheme_id() == boost::urls::scheme::https) {
    out.scheme = "https";
  } else if (parsed->scheme_id() == boost::urls::scheme::http) {
    out.scheme = "http";
  } else {
    return make_error_code(error::invalid_url);
  }
  auto host = detail::host_of(*parsed);
  auto const port = detail::port_of(*parsed, out.is_tls() ? 443 : 80);
  if (!host || !port) {
    return make_error_code(error::invalid_url);
  }
  out.host = std::move(*host);
  out.port = *port;
  out.target = std::string{parsed->encoded_path()};
  if (out.target.empty()) {
    out.target = "/";
  }
  if (out.target[0] != '/') { // Boost 1.81 ends a host early: http://127.0.0.1.example.com is no loopback address
    return make_error_code(error::invalid_url);
  }
  if (parsed->has_query()) {
    out.target.append("?").append(std::string{parsed->encoded_query()});
  }
  return out;
}

} // namespace rondo::http
