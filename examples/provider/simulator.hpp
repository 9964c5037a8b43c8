// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "answer.hpp"
#include "fault.hpp"
#include "ledger.hpp"
#include "options.hpp"
#include "shape.hpp"
#include <rondo/clock.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <random>
#include <string_view>

namespace sim {

/// How a request is to be answered: what to send, when, and what is to go wrong on the way.
struct plan {
  answer reply;
  std::chrono::milliseconds delay{0};
  std::shared_ptr<fault_rule const> fault; ///< null: delivered as it should be
  ticket place;
};

/// The provider without its network: a function from requests to plans.
///
/// Thread-safe.
class simulator {
public:
  explicit simulator(provider_options options, rondo::clock_source const& clock = rondo::system_clocks());

  [[nodiscard]] plan handle(request const&, std::string_view peer, std::uint16_t peer_port);
  void connected(std::string_view peer) { ledger_.connected(peer); }

private:
  [[nodiscard]] answer administrate(request const&, std::string_view path);
  void look_for_leaks(request const&);
  [[nodiscard]] std::chrono::milliseconds latency();

  provider_options const options_;
  rondo::clock_source const& clock_;
  ledger ledger_;
  fault_list faults_;
  std::mutex random_mutex_;
  std::mt19937_64 random_;
};

} // namespace sim
