// SPDX-License-Identifier: BSL-1.0
// The bodies of the library, compiled once for the whole program.
#include <rondo/src.hpp>
