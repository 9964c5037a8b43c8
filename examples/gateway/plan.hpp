// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "config.hpp"
#include "key_loading.hpp"
#include <rondo/proxy_params.hpp>

#include <boost/asio/ssl/context.hpp>

#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

namespace gateway {

/// One pool with all that its configuration refers to.
struct pool_plan {
  pool_settings settings;
  loaded_keys keys;
  std::vector<rondo::proxy_params> proxies;
  std::shared_ptr<boost::asio::ssl::context> tls;       ///< null for a provider without TLS
  std::shared_ptr<boost::asio::ssl::context> proxy_tls; ///< null: the system's authorities
};

/// A configuration that can be run.
struct plan {
  settings general; ///< its pools have moved to `pools`
  std::vector<pool_plan> pools;
};

/// Reads a configuration and every file it names. Empty when there are faults.
[[nodiscard]] std::optional<plan> read_plan(std::filesystem::path const& file, fault_list& faults);

} // namespace gateway
