// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/secret.hpp>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace rondo {

/// Something that is known of a proxy and that requests may ask for: `{"country", "de"}`.
struct proxy_tag {
  std::string name;
  std::string value;

  friend bool operator==(proxy_tag const&, proxy_tag const&) = default;
};

/// A proxy to be added to a rotator.
struct proxy_params {
  std::string name{};            ///< unique in the rotator, not empty; appears in status and logs
  rondo::secret url{};           ///< `scheme://user:password@host:port`; the rotator does not look into it
  std::uint32_t concurrency = 0; ///< most requests in flight through it; 0 = no limit
  std::vector<proxy_tag> tags{};
  std::uint32_t tier = 0; ///< 0 to 15: one of a higher tier serves only when none of the lower tiers can
  /// Most requests through one tunnel before a new one is made; 0 = no limit. With 1, a gateway that picks its exit for
  /// each tunnel picks one for each request.
  std::uint32_t requests_per_tunnel = 0;
  /// Greatest age of a tunnel that still takes a new request; zero = as old as any connection may get.
  std::chrono::steady_clock::duration tunnel_age{};
  /// Of HTTP proxies: user and password are shown only to one that asks, see `http::proxy_login::when_asked`.
  bool login_when_asked = false;

  friend bool operator==(proxy_params const&, proxy_params const&) = default;
};

} // namespace rondo
