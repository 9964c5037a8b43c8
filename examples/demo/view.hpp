// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "load.hpp"

#include <boost/json/value.hpp>

#include <chrono>
#include <map>
#include <string>
#include <vector>

namespace demo {

/// Addresses from which the proxies reach the provider, and the proxies' names.
using proxy_names = std::map<std::string, std::string>;

/// Shows how keys and proxies rotate: a table that is drawn again and again on a terminal, plain lines elsewhere.
class view {
public:
  view(bool terminal, proxy_names proxies) : terminal_{terminal}, proxies_{std::move(proxies)} {}

  /// `status` is the gateway's document of all pools, `report` that of the provider.
  void update(tally const&, boost::json::value const& status, boost::json::value const& report);
  /// Shows the last state, whenever the one before was shown.
  void finish(tally const&, boost::json::value const& status, boost::json::value const& report);

private:
  void draw(tally const&, boost::json::value const& status, boost::json::value const& report);
  void print(tally const&, boost::json::value const& report);
  void note_changes(boost::json::value const& status);
  [[nodiscard]] std::string seconds() const;

  bool terminal_;
  proxy_names proxies_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::chrono::steady_clock::time_point printed_{};
  int drawn_lines_ = 0;
  std::map<std::string, std::string> states_;
  std::vector<std::string> changes_;
};

} // namespace demo
