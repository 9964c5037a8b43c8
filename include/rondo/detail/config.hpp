// SPDX-License-Identifier: BSL-1.0
#pragma once

/// With RONDO_SEPARATE_COMPILATION defined for the whole program, the bodies of what is not hot are compiled once, in
/// the one source file that includes <rondo/src.hpp>; otherwise they are inline and nothing needs to be done.
#ifdef RONDO_SEPARATE_COMPILATION
#define RONDO_DECL
#else
#define RONDO_DECL inline
#endif
