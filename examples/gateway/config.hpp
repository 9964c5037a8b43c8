// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "json_fields.hpp"
#include <rondo/client_options.hpp>
#include <rondo/clock.hpp>
#include <rondo/http/tls.hpp>
#include <rondo/http/url.hpp>
#include <rondo/limits.hpp>
#include <rondo/provider/generic.hpp>
#include <rondo/proxy_params.hpp>
#include <rondo/proxy_strategy.hpp>
#include <rondo/renewal.hpp>
#include <rondo/retry_policy.hpp>
#include <rondo/secret.hpp>
#include <rondo/strategy.hpp>

#include <boost/asio/ip/tcp.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace gateway {

using milliseconds = std::chrono::milliseconds;

/// What a configuration says about limits: the fields that it names. The others come from the pool's defaults.
struct limit_settings {
  std::optional<std::uint32_t> requests_per_second;
  std::optional<std::uint32_t> requests_per_minute;
  std::optional<std::uint32_t> tokens_per_minute;
  std::optional<std::uint32_t> requests_per_day;
  std::optional<std::uint32_t> tokens_per_day;
  std::optional<std::uint32_t> concurrency;
  std::optional<std::int64_t> quota;
  std::optional<rondo::wall_time> quota_reset;
  std::optional<rondo::renewal> quota_renewal;
  std::optional<rondo::renewal> day_renewal;

  [[nodiscard]] rondo::limits over(rondo::limits defaults) const;
  [[nodiscard]] bool empty() const { return *this == limit_settings{}; }

  friend bool operator==(limit_settings const&, limit_settings const&) = default;
};

using lane_settings = std::map<std::string, limit_settings>;

/// One entry of `keys`: a single key, or a place where keys are found.
struct key_entry {
  enum class kind { single, env, csv, dotenv };
  kind from = kind::single;
  std::string path; ///< where it stands in the configuration, for faults that are found later
  std::string name; ///< of a single key; empty: made from the pool's name and the position
  rondo::secret secret;
  std::string variable;       ///< env
  std::filesystem::path file; ///< csv, dotenv
  std::string service;        ///< dotenv
  std::string account;        ///< empty: each key is its own account
  limit_settings limits;
  lane_settings lanes;
  limit_settings lane_limits; ///< of each lane that is not in `lanes`
  std::optional<std::uint32_t> weight;
  bool disabled = false;
};

struct provider_settings {
  std::string name;
  rondo::provider::generic_options options; ///< header, prefix and statuses are those of `generic` only
};

/// One entry of `proxies`: a single proxy, or a place where proxies are found, and what holds for each of them.
struct proxy_entry {
  enum class kind { single, file, environment };
  kind from = kind::single;
  std::string path;              ///< where it stands in the configuration, for faults that are found later
  rondo::secret url;             ///< single
  std::filesystem::path file;    ///< file
  std::uint32_t concurrency = 0; ///< most requests in flight through it; 0 = no limit
  std::vector<rondo::proxy_tag> tags;
  std::uint32_t tier = 0;
  std::uint32_t requests_per_tunnel = 0; ///< 0 = no limit
  milliseconds tunnel_age{0};            ///< 0: that of all connections
  bool login_when_asked = false;
};

/// Whether, and how, proxies that have rested are checked before they are offered.
struct proxy_check_settings {
  rondo::http::url target;
  milliseconds interval{1'000};
  milliseconds timeout{5'000};
};

/// What happens to a provider's key that a caller sends himself.
enum class own_keys { pass, replace, refuse };

struct pool_settings {
  std::string path;
  std::string name;
  std::string prefix = "/"; ///< `/`, or `/a/b` without a slash at its end
  provider_settings provider;
  rondo::http::url base_url;
  bool allow_plaintext = false;
  rondo::http::tls_options trust;       ///< whom to take for the provider, and who the gateway is to it
  rondo::http::tls_options proxy_trust; ///< whom to take for an https proxy
  rondo::strategy strategy = rondo::strategy::round_robin;
  std::vector<key_entry> keys;
  limit_settings limits; ///< these three: what holds for keys that do not say otherwise
  lane_settings lanes;
  limit_settings lane_limits;
  std::uint32_t most_failures = 0; ///< of a key within `failure_period`; 0 = any number
  milliseconds failure_period{30'000};
  milliseconds cooldown{60'000};
  milliseconds refresh{0}; ///< 0: never
  own_keys own = own_keys::pass;
  std::vector<proxy_entry> proxies;
  rondo::proxy_strategy proxy_strategy = rondo::proxy_strategy::round_robin;
  std::vector<rondo::proxy_tag> proxy_tags; ///< those that a proxy must have to be used
  rondo::when_no_proxy when_no_proxy = rondo::when_no_proxy::fail;
  std::optional<proxy_check_settings> proxy_check;
  std::vector<rondo::address_refusal> address_refusals;
  milliseconds proxy_cooldown{5'000};        ///< after a proxy's failure; doubles with each repetition
  milliseconds proxy_most_cooldown{600'000}; ///< longest rest that doubling leads to
  milliseconds connect{5'000};
  milliseconds idle{60'000};
  rondo::retry_policy retry;
  std::size_t max_body_bytes = 10U << 20U;
  std::size_t max_idle_connections = 256;     ///< kept to the provider, for each thread
  std::size_t max_per_origin = 0;             ///< connections to the provider, for each thread; 0 = no limit
  std::size_t max_per_proxy = 0;              ///< connections through one proxy, for each thread; 0 = no limit
  milliseconds idle_connection_limit{45'000}; ///< how long each is kept
  milliseconds connection_max_age{600'000};   ///< of a connection, or tunnel, that takes a new request
};

struct settings {
  boost::asio::ip::tcp::endpoint listen;
  boost::asio::ip::tcp::endpoint admin;
  unsigned threads = 1;
  std::vector<rondo::secret> caller_tokens;
  milliseconds head_timeout{10'000};        ///< for the head of a request, from its first byte
  milliseconds keep_alive_timeout{600'000}; ///< an idle connection is closed after that
  milliseconds stall_timeout{60'000};       ///< for a body, in or out, of which nothing moves
  milliseconds drain_timeout{10'000};       ///< for the requests in flight when the gateway stops
  std::vector<pool_settings> pools;
};

/// Reads and checks a configuration: its form, not the keys it refers to. Relative file names are taken from `folder`.
/// The result is complete only if no fault was added.
///
/// Cost: one pass, all faults.
[[nodiscard]] settings parse_settings(std::string_view json, std::filesystem::path const& folder, fault_list& faults);

} // namespace gateway
