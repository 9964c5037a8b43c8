// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/detail/lanes.hpp>
#include <rondo/detail/tick.hpp>
#include <rondo/proxy_filter.hpp>

#include <cstdint>
#include <span>

namespace rondo::detail {

/// What is asked of the proxies; what it refers to must outlive it.
struct proxy_demand {
  std::uint64_t affinity = 0;
  lane* origin = nullptr;             ///< never null: where it goes, for proxies that are refused there only
  proxy_filter const* only = nullptr; ///< null = any
  std::span<std::uint32_t const> avoid;
  tick deadline = never;         ///< of the wait
  bool wait_for_resting = false; ///< not only for those that are busy
};

} // namespace rondo::detail
