// SPDX-License-Identifier: BSL-1.0
#pragma once

/// The one version number of the library; CMake reads it from here.
#define RONDO_VERSION_MAJOR 0
#define RONDO_VERSION_MINOR 1
#define RONDO_VERSION_PATCH 0
