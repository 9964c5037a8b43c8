// SPDX-License-Identifier: BSL-1.0
#pragma once

// Everything of rondo::http: requests over HTTP/1.1, direct or through proxies.
#include <rondo/http/body.hpp>
#include <rondo/http/client.hpp>
#include <rondo/http/client_options.hpp>
#include <rondo/http/exchange.hpp>
#include <rondo/http/header_rules.hpp>
#include <rondo/http/incoming.hpp>
#include <rondo/http/message.hpp>
#include <rondo/http/no_proxy.hpp>
#include <rondo/http/proxy.hpp>
#include <rondo/http/proxy_environment.hpp>
#include <rondo/http/tls.hpp>
#include <rondo/http/url.hpp>
