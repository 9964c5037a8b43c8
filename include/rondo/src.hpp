// SPDX-License-Identifier: BSL-1.0
#pragma once

// The bodies of the library, for the one source file of a program that is built with RONDO_SEPARATE_COMPILATION.
#include <rondo/http/src.hpp>
#include <rondo/impl/client.hpp>
#include <rondo/impl/client_path.hpp>
#include <rondo/impl/reply.hpp>
#include <rondo/provider/src.hpp>
