// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstdlib>
#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <utility>

namespace rondo::test {

/// The eight variables are as given and the others unset, until the end of the scope.
class proxy_variables {
public:
  proxy_variables(std::initializer_list<std::pair<char const*, char const*>> set) {
    for (auto const* const name :
         {"http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"}) {
      auto const* const value = std::getenv(name);
      before_[name] = value != nullptr ? std::optional<std::string>{value} : std::nullopt;
      ::unsetenv(name);
    }
    for (auto const& [name, value] : set) {
      ::setenv(name, value, 1);
    }
  }
  proxy_variables(proxy_variables const&) = delete;
  proxy_variables& operator=(proxy_variables const&) = delete;
  ~proxy_variables() {
    for (auto const& [name, value] : before_) {
      value ? ::setenv(name.c_str(), value->c_str(), 1) : ::unsetenv(name.c_str());
    }
  }

private:
  std::map<std::string, std::optional<std::string>> before_;
};

} // namespace rondo::test
