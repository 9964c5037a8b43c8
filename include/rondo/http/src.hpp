// SPDX-License-Identifier: BSL-1.0
#pragma once

// The bodies of rondo::http, for the one source file of a program that is built with RONDO_SEPARATE_COMPILATION.
#include <rondo/http/impl/client.hpp>
#include <rondo/http/impl/no_proxy.hpp>
#include <rondo/http/impl/proxy.hpp>
#include <rondo/http/impl/proxy_environment.hpp>
#include <rondo/http/impl/tls.hpp>
#include <rondo/http/impl/url.hpp>
