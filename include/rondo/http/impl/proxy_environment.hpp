// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/http/no_proxy.hpp>
#include <rondo/http/proxy_environment.hpp>

#include <cstdlib>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace rondo::http {

namespace detail {

/// The value of the first variable that is set and not empty.
[[nodiscard]] inline std::string_view first_variable(std::initializer_list<char const*> names) {
  for (auto const* const name : names) {
    auto const* const value = std::getenv(name);
    if (value != nullptr && *value != '\0') {
      return value;
    }
  }
  return {};
}

} // namespace detail

RONDO_DECL boost::system::result<std::shared_ptr<proxy const>> proxy_from_environment(url const& to) {
  auto const value = to.is_tls() ? detail::first_variable({"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"})
                                 : detail::first_variable({"http_proxy", "all_proxy", "ALL_PROXY"});
  if (value.empty() || no_proxy{detail::first_variable({"no_proxy", "NO_PROXY"})}.matches(to.host)) {
    return std::shared_ptr<proxy const>{};
  }
  auto found = value.find("://") == value.npos ? parse_proxy("http://" + std::string{value}) : parse_proxy(value);
  if (!found) {
    return found.error();
  }
  return std::make_shared<proxy const>(std::move(*found));
}

} // namespace rondo::http
