// SPDX-License-Identifier: BSL-1.0
// What libFuzzer calls. An exception that leaves it ends the process, and libFuzzer keeps the input.
#include "fuzz/targets.hpp"

#include <cstddef>
#include <cstdint>

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  rondo::test::fuzz::RONDO_FUZZ_TARGET({reinterpret_cast<char const*>(data), size});
  return 0;
}
