// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/retry_budget.hpp>

#include <chrono>

namespace rondo {

/// How often and how long one request is tried.
struct retry_policy {
  unsigned max_attempts = 4; ///< requests written to the provider at most, 1 or more
  std::chrono::steady_clock::duration deadline = std::chrono::seconds{30}; ///< until the first byte of the answer
  /// Whether a request that may have been carried out already is sent again although its method is not idempotent and
  /// it has no `idempotency-key`.
  bool unsafe = false;
  /// A request that may be sent twice and has no answer after so long is sent a second time, with a key of another
  /// account and through another proxy, if one of each is ready. The first good answer counts; the other attempt is
  /// cancelled. Zero = never, the default.
  std::chrono::steady_clock::duration hedge_after{};
  retry_budget_options budget{}; ///< of all requests of a client together
};

} // namespace rondo
