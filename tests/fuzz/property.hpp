// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <stdexcept>

namespace rondo::test::fuzz {

/// What a target promises for every input does not hold for this one. Ends a fuzzer, and fails the test that runs the
/// corpus; any other exception that leaves a target does the same.
class broken_property : public std::logic_error {
public:
  using std::logic_error::logic_error;
};

inline void expect(bool holds, char const* property) {
  if (!holds) {
    throw broken_property{property};
  }
}

} // namespace rondo::test::fuzz
