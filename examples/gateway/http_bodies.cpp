// SPDX-License-Identifier: BSL-1.0
// The bodies of rondo::http, compiled once for the whole program.
#include <rondo/http/src.hpp>
