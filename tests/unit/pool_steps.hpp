// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "support/pool_fixture.hpp"
#include <rondo/key_pool.hpp>

#include <boost/test/unit_test.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace rondo::test {

/// The account, with the settings that `key` has no parameter for.
inline key_params weighted_key(std::string name, std::uint32_t weight) {
  auto out = key(std::move(name));
  out.weight = weight;
  return out;
}

/// Adds `count` keys k0, k1, ... with the same limits.
inline void add_keys(pool_fixture& f, int count, limits const& l = {}) {
  for (int i = 0; i < count; ++i) {
    f.pool->add(key("k" + std::to_string(i), l));
  }
}

/// The lease that is there now; fails the test if there is none.
inline lease take(pool_fixture& f, request const& r) {
  auto l = f.pool->try_acquire(r);
  BOOST_TEST_REQUIRE(l.has_value());
  return std::move(*l);
}

/// The name of the key that served a request in full, or "-".
inline std::string serve(pool_fixture& f, request const& r) {
  auto l = f.pool->try_acquire(r);
  if (!l) {
    return "-";
  }
  std::string name{l->key_name()};
  l->settle(r.tokens);
  return name;
}

/// The names of the keys that serve `count` such requests, one after the other.
inline std::string order(pool_fixture& f, int count, request const& r) {
  std::string out;
  for (int i = 0; i < count; ++i) {
    out += serve(f, r);
  }
  return out;
}

/// As many leases as are there now.
inline std::vector<lease> take_all(pool_fixture& f, request const& r, std::size_t most = 1'000'000) {
  std::vector<lease> out;
  while (out.size() < most) {
    auto l = f.pool->try_acquire(r);
    if (!l) {
      break;
    }
    out.push_back(std::move(*l));
  }
  return out;
}

using waiters = std::vector<std::shared_ptr<pending>>;

inline std::size_t count_done(waiters const& all) {
  std::size_t out = 0;
  for (auto const& w : all) {
    out += w->done ? 1 : 0;
  }
  return out;
}

inline std::size_t count_served(waiters const& all) {
  std::size_t out = 0;
  for (auto const& w : all) {
    out += w->done && !w->ec ? 1 : 0;
  }
  return out;
}

} // namespace rondo::test
