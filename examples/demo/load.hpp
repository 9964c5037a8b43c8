// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "connection.hpp"

#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace demo {

/// What the callers saw.
struct tally {
  int total = 0;
  int started = 0;
  int served = 0;                      ///< 200 with the audio of their own text
  int mixed_up = 0;                    ///< 200 with another body
  std::map<std::string, int> failures; ///< status, or what went wrong
  std::int64_t attempts = 0;           ///< of the gateway, for what was served
  std::int64_t characters = 0;         ///< that the served requests should have cost
  std::int64_t charged = 0;            ///< that the answers say they cost
  std::vector<std::chrono::steady_clock::duration> latencies;

  [[nodiscard]] int answered() const;
};

/// One caller: takes the next request of `counts.total` and waits for its answer, until none is left. The prefix makes
/// the requests' ids, by which the provider recognises them.
[[nodiscard]] boost::asio::awaitable<void> call(connection to, std::string caller_token, std::string id_prefix,
                                                tally& counts);

} // namespace demo
