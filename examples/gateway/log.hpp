// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <string_view>

namespace gateway {

/// Writes one line to stderr, with the time, in one piece: threads do not mix. Control characters become `?`.
void log_line(std::string_view text);

} // namespace gateway
