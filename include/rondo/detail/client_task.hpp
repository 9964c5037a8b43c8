// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/affinity.hpp>
#include <rondo/client_failure.hpp>
#include <rondo/clock.hpp>
#include <rondo/error.hpp>
#include <rondo/http/exchange.hpp>
#include <rondo/http/message.hpp>
#include <rondo/lease.hpp>
#include <rondo/provider/adapter.hpp>
#include <rondo/proxy_lease.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace rondo::detail {

/// A request of `rondo::client` on its way through attempts.
struct client_task {
  using clock = std::chrono::steady_clock;

  http::request message;
  steady_time deadline{};
  std::uint64_t call = 0; ///< for the observer
  provider::work work{};
  unsigned most_attempts = 1;
  unsigned attempts = 0; ///< requests written to the provider
  unsigned tries = 0;    ///< ways tried, those that led nowhere included
  bool is_hedge = false; ///< waits for nothing: it is a second attempt beside one under way

  steady_time began{}; ///< when this attempt began to wait for key and proxy
  std::vector<std::uint32_t> tried_accounts{};
  std::uint32_t account = ~std::uint32_t{0}; ///< of the attempt under way
  bool pressed = false; ///< the last failure lets nobody rest: repeating it at once would only make it worse
  std::optional<clock::duration> rest{}; ///< the provider wants this long to pass before it is repeated
  std::string masked_key{};

  affinity who{};                          ///< whose proxy it goes through
  std::uint32_t proxy = ~std::uint32_t{0}; ///< of the attempt under way
  std::vector<std::uint32_t> barred_proxies{};
  /// A proxy that failed without proof of whose fault it was: if another one gets through, it was its own.
  struct suspect {
    proxy_lease proxy;
    bool written; ///< the connection may have been an old one, which ends for other reasons, too
  };
  std::vector<suspect> suspects{};

  // of the way under way, see `client_path`
  http::exchange_options how{};
  lease* key = nullptr; ///< told when the request leaves
  bool under_way = false;
  steady_time set_out{};
  steady_time sent{}; ///< the last byte of the request; or when it set out, while there is none

  [[nodiscard]] clock::duration left(steady_time now = clock::now()) const {
    return std::max(deadline - now, clock::duration::zero());
  }
  [[nodiscard]] bool over() const { return attempts >= most_attempts || left() == clock::duration::zero(); }
  [[nodiscard]] client_failure fail(error_code ec, blame by, std::optional<clock::duration> retry_after = {}) const {
    return {ec, by, retry_after, attempts, masked_key};
  }
};

} // namespace rondo::detail
