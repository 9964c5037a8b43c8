// SPDX-License-Identifier: BSL-1.0
#pragma once

/// RONDO_TEST_ASAN, RONDO_TEST_TSAN: what this program is built with, for the few places that must know.
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RONDO_TEST_ASAN
#elif __has_feature(thread_sanitizer)
#define RONDO_TEST_TSAN
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define RONDO_TEST_ASAN
#elif defined(__SANITIZE_THREAD__)
#define RONDO_TEST_TSAN
#endif
