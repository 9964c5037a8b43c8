// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "refusal.hpp"

#include <boost/json/array.hpp>
#include <boost/json/value.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sim {

/// What goes wrong. The last three leave the answer as it is and disturb its delivery only.
enum class fault_action : std::uint8_t {
  status,          ///< any status, with headers and body
  refuse,          ///< a refusal in the provider's own words
  drop,            ///< the connection is closed without a byte
  hang,            ///< nothing is sent until the peer goes away
  garbage,         ///< bytes that are no HTTP
  drop_after_head, ///< the head, then the connection is closed
  truncate,        ///< part of the body, then the connection is closed
  slow,            ///< the body at so many bytes a second
  close,           ///< a good answer that promises keep-alive, then the connection is closed
};

[[nodiscard]] std::string_view to_string(fault_action) noexcept;

/// Which requests are hit, and by what. Positions count from 1 among the requests that match key, account and path.
struct fault_rule {
  std::string name;
  std::string key;     ///< only this key; empty: any
  std::string account; ///< only keys of this account; empty: any
  std::string path;    ///< only targets that contain this; empty: any
  std::uint64_t first = 1;
  std::uint64_t last = 0; ///< 0: without end
  std::uint64_t every = 1;
  double share = 1;

  fault_action action = fault_action::status;
  unsigned status = 500;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  std::optional<refusal> reason;
  std::chrono::milliseconds retry_after{0}; ///< when a refusal says to come back
  std::uint32_t bytes_per_second = 1000;
  std::optional<std::uint64_t> after_bytes; ///< of the body, before it is cut; default: half
  std::chrono::milliseconds delay{0};       ///< before anything is sent

  /// Whether the request gets its own answer in spite of the fault, and is charged for it.
  [[nodiscard]] bool is_served() const noexcept { return action >= fault_action::drop_after_head; }
};

/// Reads one rule; adds a line to `faults` for each thing wrong with it.
[[nodiscard]] fault_rule parse_fault(boost::json::value const&, std::string const& where,
                                     std::vector<std::string>& faults);

/// The rules in force. Every rule counts every request that matches it; the first rule that hits wins.
///
/// Thread-safe.
class fault_list {
public:
  fault_list(std::vector<fault_rule> rules, std::uint64_t seed) : seed_{seed} { replace(std::move(rules)); }

  /// Puts other rules in force; counts start again.
  void replace(std::vector<fault_rule> rules);
  /// Starts the counts and the random choices again.
  void restart();

  /// The rule that hits this request, if any does.
  [[nodiscard]] std::shared_ptr<fault_rule const> draw(std::string_view key, std::string_view account,
                                                       std::string_view target);

  /// Per rule: name, action, how many requests matched, how many were hit.
  [[nodiscard]] boost::json::array to_json() const;

private:
  struct entry {
    std::shared_ptr<fault_rule const> rule;
    std::mt19937_64 random;
    std::uint64_t matched = 0;
    std::uint64_t hit = 0;
  };

  mutable std::mutex mutex_;
  std::uint64_t seed_;
  std::vector<entry> entries_;
};

} // namespace sim
