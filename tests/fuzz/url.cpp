// SPDX-License-Identifier: BSL-1.0
// A text that is taken for the URL of an origin and for that of a proxy.
#include "fuzz/property.hpp"
#include "fuzz/targets.hpp"
#include <rondo/error.hpp>
#include <rondo/http/header_rules.hpp>
#include <rondo/http/message.hpp>
#include <rondo/http/proxy.hpp>
#include <rondo/http/url.hpp>
#include <rondo/secret.hpp>

#include <boost/beast/http/verb.hpp>

#include <algorithm>
#include <string>
#include <string_view>

namespace rondo::test::fuzz {

namespace {

bool is_host(std::string_view host) {
  return !host.empty() && host.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-._:") == host.npos;
}

void check_url(std::string_view text) {
  auto const parsed = http::parse_url(text);
  if (!parsed) {
    expect(parsed.error() == error::invalid_url, "what is no URL is called that");
    return;
  }
  auto const& u = *parsed;
  expect(u.scheme == "http" || u.scheme == "https", "the scheme is one of two");
  expect(is_host(u.host) && u.port != 0, "host and port are there, in their one form");
  expect(!u.is_ipv6() || u.is_ip(), "a host with a colon is an address");
  auto const again = http::parse_url(u.origin() + u.target);
  expect(again && *again == u, "written and parsed again it is the same");

  // what is sent for it is one head, with the fields of a head and no more
  http::request_head head;
  head.method(boost::beast::http::verb::get);
  expect(!http::detail::check_request(head, u.target), "a URL that parses can be asked for");
  std::string out;
  http::detail::append_head(out, u.host_header(), head, u.target, {});
  expect(out == "GET " + u.target + " HTTP/1.1\r\nHost: " + u.host_header() + "\r\n\r\n", "nothing is added");
  expect(std::count(out.begin(), out.end(), '\n') == 3 && std::count(out.begin(), out.end(), '\r') == 3,
         "nothing of a URL ends a line");
}

void check_proxy(std::string_view text) {
  auto const parsed = http::parse_proxy(text);
  if (!parsed) {
    expect(parsed.error() == error::invalid_proxy || parsed.error() == error::invalid_credentials ||
               parsed.error() == error::name_too_long,
           "what is no proxy is called that");
    return;
  }
  auto const& p = *parsed;
  expect(is_host(p.host) && p.port != 0, "host and port are there, in their one form");
  expect(!http::detail::check_proxy(p), "the protocol can carry the credentials");
  auto const ipv6 = p.host.find(':') != std::string::npos;
  auto const authority = (ipv6 ? "[" + p.host + "]:" : p.host + ":") + std::to_string(p.port);
  auto const again = http::parse_proxy(to_url(p).reveal());
  expect(again && *again == p, "written and parsed again it is the same");

  auto const shown = masked(p);
  auto other = p;
  other.password = secret{"another password"};
  other.user.replace(std::min<std::size_t>(other.user.size(), 1), std::string::npos,
                     other.user.size() < 4 ? "" : "xyz");
  expect(masked(other) == shown, "the masked form depends on neither the password nor the rest of the user");
  expect(shown.find_first_of("\r\n") == shown.npos && shown.ends_with(authority), "the masked form is one line");
}

} // namespace

void url(std::string_view input) {
  check_url(input);
  check_proxy(input);
}

} // namespace rondo::test::fuzz
