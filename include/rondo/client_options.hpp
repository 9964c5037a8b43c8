// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/client_observer.hpp>
#include <rondo/http/client_options.hpp>
#include <rondo/http/url.hpp>
#include <rondo/proxy_filter.hpp>
#include <rondo/retry_budget.hpp>
#include <rondo/retry_policy.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace rondo {

/// What a client does when no proxy can serve.
enum class when_no_proxy : std::uint8_t {
  fail,  ///< gives up at once; one that is only busy is waited for
  wait,  ///< waits for one that rests, until the deadline
  direct ///< goes to the origin itself: every address that the proxies hide is shown then
};

/// An answer by which the provider refuses the address that the request came from, not the key.
struct address_refusal {
  unsigned status = 403;
  std::string marker{}; ///< stands somewhere in the body; empty = any body
};

/// Settings of a client.
struct client_options {
  http::url base_url{};        ///< the provider; its path is put before each target
  http::client_options http{}; ///< whom to trust, limits, kept connections
  retry_policy retry{};
  /// TCP, proxy handshake and TLS of one attempt; at most what is left of the deadline, divided by the attempts left.
  std::chrono::steady_clock::duration connect_timeout = std::chrono::seconds{5};
  std::chrono::steady_clock::duration idle_timeout = std::chrono::seconds{60}; ///< between bytes of the answer

  proxy_filter proxies{}; ///< which of the rotator's proxies may be used; the default: all
  rondo::when_no_proxy when_no_proxy = rondo::when_no_proxy::fail;
  /// Answers that make the proxy rest for this origin and leave the key alone; the request is sent through another one.
  std::vector<address_refusal> address_refusals{};

  std::shared_ptr<client_observer> observer{}; ///< told of every attempt; null = nobody
  std::shared_ptr<retry_budget> budget{};      ///< shared with other clients; null = one of its own
};

} // namespace rondo
