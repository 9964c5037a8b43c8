// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "config.hpp"
#include <rondo/proxy_params.hpp>

#include <vector>

namespace gateway {

/// The proxies of a pool from wherever its configuration says, in the order of its entries. Reads files and
/// environment.
///
/// Each is called by the masked form of its URL, made unique. One that an earlier entry names already is left out.
/// Faults name the entry of the configuration.
[[nodiscard]] std::vector<rondo::proxy_params> load_proxies(pool_settings const& pool, fault_list& faults);

} // namespace gateway
