// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "fault.hpp"
#include <rondo/limits.hpp>
#include <rondo/secret.hpp>

#include <boost/json/value.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace sim {

/// How a refusal says when to come back.
enum class hint : std::uint8_t { seconds, date, none };

struct account_options {
  std::string name;
  rondo::limits limits;                     ///< what the provider enforces; `quota` is the character or token balance
  std::int64_t used = 0;                    ///< of the quota, when the program starts
  std::chrono::milliseconds quota_reset{0}; ///< the quota comes back after each such time; 0: never
  std::uint32_t voice_limit = 0;            ///< voices that can be added; 0: none
  refusal exhausted = refusal::quota_exceeded; ///< how an empty balance is answered; or payment_required
  hint retry_after = hint::seconds;
};

struct key_options {
  std::string name;
  rondo::secret secret;
  std::string account;  ///< default: an account named like the key
  bool invalid = false; ///< known by name in the report, refused like an unknown one
};

struct provider_options {
  std::string host = "127.0.0.1";
  std::uint16_t port = 0;
  bool tls = true;
  std::string certificate;     ///< PEM file of the chain
  std::string private_key;     ///< PEM file
  std::string certificate_dir; ///< instead of the two: made here when absent, with ca.pem beside
  std::uint32_t threads = 1;
  std::uint64_t seed = 1;
  std::chrono::milliseconds latency{0};     ///< least time before a request is served
  std::chrono::milliseconds latency_max{0}; ///< greatest; uniform between the two
  std::uint32_t response_bytes = 4096;      ///< of an audio answer
  std::uint32_t completion_tokens = 16;     ///< of a text answer, unless the request allows fewer
  std::vector<account_options> accounts;
  std::vector<key_options> keys;
  std::vector<fault_rule> faults;
  std::vector<rondo::secret> canaries; ///< texts that must never arrive: callers' tokens, proxy passwords
};

/// Reads the configuration; adds a line to `faults` for each thing wrong with it.
[[nodiscard]] provider_options parse_options(boost::json::value const&, std::vector<std::string>& faults);

} // namespace sim
