// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/error.hpp>
#include <rondo/lease.hpp>
#include <rondo/outcome.hpp>
#include <rondo/provider/adapter.hpp>

namespace rondo::detail {

/// What becomes of a request whose answer is not a success.
enum class next_step { pass_on, try_again, try_again_if_repeatable };

/// Whom an answer blames; `pool` is the key or its account.
[[nodiscard]] inline blame blame_of_answer(provider::verdict const& verdict) noexcept {
  using kind = outcome::kind;
  if (!verdict.failure) {
    return blame::nobody;
  }
  switch (verdict.failure->what()) {
  case kind::rate_limited:
  case kind::exhausted:
  case kind::concurrency_limited:
  case kind::invalid_key: return blame::pool;
  case kind::too_large:
  case kind::rejected: return verdict.barred.empty() ? blame::caller : blame::pool;
  case kind::overloaded:
  case kind::transport_error: break;
  }
  return blame::origin;
}

/// Whether the failed key is out of the way now: then repeats are bounded by the number of keys, and need no budget.
[[nodiscard]] inline bool takes_key_away(provider::verdict const& verdict) noexcept {
  return blame_of_answer(verdict) == blame::pool && verdict.failure->what() != outcome::kind::concurrency_limited;
}

/// Ends the lease of a request whose answer is not a success.
[[nodiscard]] inline next_step end_answered(lease& key, provider::verdict const& verdict) {
  using kind = outcome::kind;
  auto const& what = *verdict.failure;
  if (!verdict.barred.empty()) {
    key.bar(verdict.barred);
    key.report(what);
    return next_step::try_again;
  }
  switch (what.what()) {
  case kind::rejected:
  case kind::too_large: key.report(what); return next_step::pass_on;
  case kind::transport_error: key.report(what); return next_step::try_again_if_repeatable;
  case kind::exhausted:
    if (verdict.remaining.value_or(0) > 0) {
      // Smaller requests still fit: the balance bars this one, and nobody needs to rest.
      key.set_balance({.remaining = *verdict.remaining});
      key.report(outcome::rejected());
    } else if (verdict.lane_only) {
      key.report(what.rest()    ? outcome::rate_limited(*what.rest())
                 : what.until() ? outcome::rate_limited(*what.until())
                                : outcome::rate_limited());
    } else {
      key.report(what);
    }
    return next_step::try_again;
  case kind::rate_limited:
  case kind::concurrency_limited:
  case kind::invalid_key:
  case kind::overloaded: key.report(what); return next_step::try_again;
  }
  return next_step::pass_on;
}

} // namespace rondo::detail
