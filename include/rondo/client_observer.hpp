// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/error.hpp>

#include <chrono>
#include <cstdint>
#include <string_view>

namespace rondo {

/// One request on its way through one proxy, or direct, with one key. Texts are valid during the call only; names and
/// numbers, never a secret.
struct attempt_info {
  std::uint64_t call = 0;        ///< the same for all attempts of one `client::open`
  unsigned number = 0;           ///< of the attempt within its call, from 1
  std::string_view key_name{};   ///< empty when a caller's own key is passed on
  std::string_view proxy_name{}; ///< empty when it goes direct
};

/// How an attempt ended, and how long its stages took: zero for one that was not reached.
struct attempt_result {
  using duration = std::chrono::steady_clock::duration;

  error_code ec{};           ///< set when there was no whole answer
  blame who = blame::nobody; ///< for what went wrong, by error or by answer; `pool` = the key or its account
  unsigned status = 0;       ///< of the answer; 0 = none
  duration acquire{};        ///< waiting for key and proxy
  duration connect{};        ///< TCP, tunnel and TLS if they had to be made, and writing the request
  duration first_byte{};     ///< from there until the head of the answer was there
  duration whole{};          ///< from the first wait until the last byte, or until it was given up
};

/// Is told of everything a client does. Called on the client's executor, in the middle of a request: must be quick, and
/// must not throw. Shared by several clients it must be safe to call from their threads.
class client_observer {
public:
  virtual ~client_observer() = default;
  virtual void attempt_started(attempt_info const&) noexcept {}
  /// After `attempt_started` for the same attempt; for one with an answer when its last byte was read, or when it was
  /// dropped.
  virtual void attempt_ended(attempt_info const&, attempt_result const&) noexcept {}
};

} // namespace rondo
