// SPDX-License-Identifier: BSL-1.0
#pragma once

/// Everything that needs no optional dependency.
#include <rondo/balance.hpp>
#include <rondo/capability.hpp>
#include <rondo/client.hpp>
#include <rondo/clock.hpp>
#include <rondo/error.hpp>
#include <rondo/event.hpp>
#include <rondo/key_pool.hpp>
#include <rondo/lease.hpp>
#include <rondo/limits.hpp>
#include <rondo/outcome.hpp>
#include <rondo/pool_snapshot.hpp>
#include <rondo/proxy_rotator.hpp>
#include <rondo/renewal.hpp>
#include <rondo/request.hpp>
#include <rondo/secret.hpp>
#include <rondo/status_json.hpp>
#include <rondo/strategy.hpp>
#include <rondo/subscription.hpp>
#include <rondo/time_zone.hpp>
#include <rondo/version.hpp>
