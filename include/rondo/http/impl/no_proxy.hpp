// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/http/no_proxy.hpp>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <system_error>

namespace rondo::http {

namespace detail {

[[nodiscard]] inline std::string lowered(std::string_view text) {
  std::string out{text};
  std::transform(out.begin(), out.end(), out.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return out;
}

/// Whether the first bits of both are the same.
template <class Bytes> [[nodiscard]] bool same_bits(Bytes const& a, Bytes const& b, unsigned bits) noexcept {
  auto const whole = bits / 8;
  if (!std::equal(a.begin(), a.begin() + whole, b.begin())) {
    return false;
  }
  auto const rest = bits % 8;
  return rest == 0 || ((a[whole] ^ b[whole]) >> (8 - rest)) == 0;
}

} // namespace detail

RONDO_DECL no_proxy::no_proxy(std::string_view list) : everything_{list == "*"} {
  constexpr std::string_view between = ", \t";
  while (!list.empty()) {
    list.remove_prefix(std::min(list.find_first_not_of(between), list.size()));
    auto const element = list.substr(0, list.find_first_of(between));
    list.remove_prefix(element.size());
    add(element);
  }
}

RONDO_DECL void no_proxy::add(std::string_view element) {
  auto const slash = std::min(element.find('/'), element.size());
  boost::system::error_code ec;
  auto const address = boost::asio::ip::make_address(std::string{element.substr(0, slash)}, ec);
  if (!ec) {
    auto const most = address.is_v4() ? 32U : 128U;
    auto bits = most;
    if (slash != element.size()) {
      auto const* const end = element.data() + element.size();
      auto const [last, failed] = std::from_chars(element.data() + slash + 1, end, bits);
      if (failed != std::errc{} || last != end) {
        return;
      }
    }
    if (bits >= 1 && bits <= most && element.find('%') == element.npos) {
      networks_.push_back({address, bits});
    }
    return;
  }
  if (element.ends_with('.')) {
    element.remove_suffix(1);
  }
  if (element.starts_with('.')) {
    element.remove_prefix(1);
  }
  if (!element.empty()) {
    names_.push_back(detail::lowered(element));
  }
}

RONDO_DECL bool no_proxy::matches(std::string_view host) const {
  if (everything_) {
    return !host.empty();
  }
  auto name = detail::lowered(host);
  boost::system::error_code ec;
  auto const address = boost::asio::ip::make_address(name, ec);
  if (!ec) {
    return name.find('%') == name.npos && std::any_of(networks_.begin(), networks_.end(), [&](network const& n) {
             if (n.base.is_v4() != address.is_v4()) {
               return false;
             }
             return address.is_v4() ? detail::same_bits(address.to_v4().to_bytes(), n.base.to_v4().to_bytes(), n.bits)
                                    : detail::same_bits(address.to_v6().to_bytes(), n.base.to_v6().to_bytes(), n.bits);
           });
  }
  if (name.ends_with('.')) {
    name.pop_back();
  }
  return std::any_of(names_.begin(), names_.end(), [&](std::string const& domain) {
    return name.ends_with(domain) && (name.size() == domain.size() || name[name.size() - domain.size() - 1] == '.');
  });
}

} // namespace rondo::http
