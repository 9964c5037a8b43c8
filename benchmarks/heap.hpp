// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstddef>
#include <cstdint>

// Links heap.cpp, which counts what a program takes from glibc's heap. Not operator new, which would not do: Asio takes
// its memory with aligned_alloc, past it.

namespace bench {

/// Allocations so far, by all threads.
[[nodiscard]] std::uint64_t allocations() noexcept;

/// Bytes that are allocated, with malloc's own beside them; of the main thread only.
[[nodiscard]] std::size_t heap_in_use() noexcept;

} // namespace bench
