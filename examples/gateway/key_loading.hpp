// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "config.hpp"
#include <rondo/key_pool.hpp>
#include <rondo/limits.hpp>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace gateway {

/// What the keys of an account have in common.
struct account_terms {
  rondo::limits limits;
  std::map<std::string, rondo::limits> lanes;
  rondo::limits lane_limits; ///< of each lane that is not in `lanes`
  std::uint32_t weight = 1;

  friend bool operator==(account_terms const&, account_terms const&) = default;
};

struct loaded_key {
  rondo::key_params params;
  bool named = false;       ///< the configuration gives its name, rather than its place in a list
  std::size_t position = 0; ///< of its entry
};

/// A file of keys whose state is kept in it. The keys get into the pool by way of a `csv_store`.
struct key_file {
  std::filesystem::path path;
  std::string name_prefix; ///< tells files of one name apart
  account_terms terms;
  std::size_t position = 0; ///< of its entry
};

/// The keys of a pool from wherever its configuration says, ready to be added.
struct loaded_keys {
  std::vector<loaded_key> keys;
  std::vector<key_file> files;
};

/// Reads files and environment. Keys of one account get the limits and the weight that one of
/// them names; a key that comes from
/// several places counts once, in its file if there is one. Faults name the entry of the configuration.
[[nodiscard]] loaded_keys load_keys(pool_settings const& pool, fault_list& faults);

} // namespace gateway
