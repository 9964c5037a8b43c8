// SPDX-License-Identifier: BSL-1.0
#pragma once

// The bodies of rondo::provider, for the one source file of a program that is built with RONDO_SEPARATE_COMPILATION.
#include <rondo/provider/impl/elevenlabs.hpp>
#include <rondo/provider/impl/gemini.hpp>
#include <rondo/provider/impl/generic.hpp>
#include <rondo/provider/impl/openai.hpp>
#include <rondo/provider/impl/provider.hpp>
#include <rondo/provider/impl/usage_meter.hpp>
