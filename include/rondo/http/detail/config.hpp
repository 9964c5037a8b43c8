// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/detail/config.hpp> // RONDO_DECL
