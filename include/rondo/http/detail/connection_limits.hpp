// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <boost/intrusive/list.hpp>
#include <boost/intrusive/list_hook.hpp>

#include <cstddef>

namespace rondo::http::detail {

struct slot_waiter;

/// A waiter's place in one line.
struct place_in_line : boost::intrusive::list_base_hook<boost::intrusive::link_mode<boost::intrusive::auto_unlink>> {
  explicit place_in_line(slot_waiter& waiter) noexcept : who{waiter} {}
  slot_waiter& who;
};

/// The connections that one limit counts, all of an origin or all through a proxy, and who waits for one of them.
struct connection_group {
  std::size_t limit = 0;
  std::size_t open = 0;    ///< connections that are made, used or idle, and places granted for one
  std::size_t idle = 0;    ///< how many of them are idle
  std::size_t entries = 0; ///< pool entries that refer to it
  boost::intrusive::list<place_in_line, boost::intrusive::constant_time_size<false>> line;

  [[nodiscard]] bool full() const noexcept { return open >= limit; }
};

} // namespace rondo::http::detail
