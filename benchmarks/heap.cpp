// SPDX-License-Identifier: BSL-1.0
#include "heap.hpp"

#include <malloc.h>

#include <atomic>
#include <cerrno>

namespace {
std::atomic<std::uint64_t> counted{0};

void count() noexcept {
  counted.fetch_add(1, std::memory_order_relaxed);
}
} // namespace

namespace bench {
std::uint64_t allocations() noexcept {
  return counted.load(std::memory_order_relaxed);
}
std::size_t heap_in_use() noexcept {
  auto const seen = mallinfo2();
  return seen.uordblks + seen.hblkhd;
}
} // namespace bench

// A program's own malloc comes before glibc's, also for libstdc++'s operator new; glibc's stays behind it under these
// names. free() need not be replaced, as everything still comes from glibc.
extern "C" {
void* __libc_malloc(std::size_t size);                          // NOLINT(bugprone-reserved-identifier)
void* __libc_calloc(std::size_t count, std::size_t size);       // NOLINT(bugprone-reserved-identifier)
void* __libc_realloc(void* old, std::size_t size);              // NOLINT(bugprone-reserved-identifier)
void* __libc_memalign(std::size_t alignment, std::size_t size); // NOLINT(bugprone-reserved-identifier)

void* malloc(std::size_t size) noexcept {
  count();
  return __libc_malloc(size);
}
void* calloc(std::size_t members, std::size_t size) noexcept {
  count();
  return __libc_calloc(members, size);
}
void* realloc(void* old, std::size_t size) noexcept {
  count();
  return __libc_realloc(old, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
  count();
  return __libc_memalign(alignment, size);
}
void* memalign(std::size_t alignment, std::size_t size) noexcept {
  return aligned_alloc(alignment, size);
}
int posix_memalign(void** out, std::size_t alignment, std::size_t size) noexcept {
  auto* const memory = aligned_alloc(alignment, size);
  if (!memory) {
    return ENOMEM;
  }
  *out = memory;
  return 0;
}
}
