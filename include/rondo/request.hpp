// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/affinity.hpp>
#include <rondo/capability.hpp>

#include <chrono>
#include <cstdint>
#include <string_view>

namespace rondo {

/// What a lease is wanted for. Trivially destructible, so that it may be written inside a `co_await` expression.
struct request {
  /// What the request is expected to cost, in the unit the quota counts: 0 to 2^36 - 1, more is `too_large`.
  std::int64_t tokens = 0;
  /// Model or endpoint class; empty = the default lane, which is also that of all names after the first 1024. Copied
  /// before acquire returns.
  std::string_view lane{};
  /// Longest wait; zero or less: not at all. The default waits for ever.
  std::chrono::steady_clock::duration timeout = std::chrono::steady_clock::duration::max();
  /// Keys that are barred from any of these are passed over. For several at once, an account counts as barred from
  /// whatever one of its keys is barred from, unless another key can do all that any of them can.
  capability_set needs{};
  /// Requests of the same affinity go to the same key while it can serve; a text or a number. Not kept beyond its hash.
  rondo::affinity affinity{};
  /// The caller will say with `lease::mark_sent` when the request leaves: until then it counts in every window of the
  /// rates, from then on for one period. Without it the period begins with the acquire.
  bool unsent = false;
};

} // namespace rondo
