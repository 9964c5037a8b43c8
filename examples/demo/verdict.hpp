// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "load.hpp"
#include "view.hpp"

#include <boost/json/value.hpp>

namespace demo {

/// Compares what the callers saw with what the provider counted, prints it line by line, and says whether all is well.
[[nodiscard]] bool judge(tally const&, boost::json::value const& report, proxy_names const&);

} // namespace demo
