// SPDX-License-Identifier: BSL-1.0
// The tests of rondo::http are built with RONDO_SEPARATE_COMPILATION; every other program here has them inline.
#include <rondo/http/src.hpp>
