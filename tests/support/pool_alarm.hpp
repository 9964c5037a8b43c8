// SPDX-License-Identifier: BSL-1.0
// When a pool has its alarm set. With clocks that are moved by hand no timer goes off at the right moment, and calling
// `wake` at will would hide an alarm that was not set. So tests move time from one alarm to the next.
#pragma once

#include <rondo/clock.hpp>
#include <rondo/key_pool.hpp>

#include <chrono>
#include <optional>

namespace rondo::test {

namespace detail {

/// Names a private member where it may be named, in an explicit instantiation, and hands it out.
template <class Tag, auto Member> struct reveal {
  friend constexpr auto member_of(Tag) noexcept { return Member; }
};
struct ring_of_pool {
  friend constexpr auto member_of(ring_of_pool) noexcept;
};
struct alarm_of_core {
  friend constexpr auto member_of(alarm_of_core) noexcept;
};
template struct reveal<ring_of_pool, &key_pool::ring_>;
template struct reveal<alarm_of_core, &rondo::detail::pool_core::alarm_>;

} // namespace detail

/// Empty when nobody waits for a time. The pool must be at rest.
[[nodiscard]] inline std::optional<steady_time> alarm_of(key_pool const& pool) {
  rondo::detail::pool_core const& core = *(pool.*member_of(detail::ring_of_pool{}));
  auto const at = core.*member_of(detail::alarm_of_core{});
  if (at == rondo::detail::never) {
    return {};
  }
  return steady_time{std::chrono::duration_cast<steady_time::duration>(std::chrono::nanoseconds{at})};
}

} // namespace rondo::test
