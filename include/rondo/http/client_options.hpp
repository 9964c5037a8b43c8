// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/http/tls.hpp>

#include <boost/asio/ip/address.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace rondo::http {

/// What holds for all exchanges of a client.
struct client_options {
  /// Whom to trust, see `make_tls_context`; null = the authorities of the system, loaded at the first `https` request.
  std::shared_ptr<boost::asio::ssl::context> tls;
  /// Whom to trust as an `https` proxy: as `tls`, and apart from it, because who may be a proxy is another question
  /// than who may be an origin.
  std::shared_ptr<boost::asio::ssl::context> proxy_tls;
  /// Whether `http://` origins and tunnels to them may be anything but loopback hosts.
  bool allow_plaintext = false;
  std::uint64_t max_response = 64 * 1024 * 1024; ///< largest body that `send` collects, in bytes
  std::size_t max_head = 64 * 1024;              ///< largest head of an answer, in bytes
  std::size_t max_fields = 256;                  ///< most fields of an answer
  std::size_t max_idle = 256;                    ///< most idle connections that are kept, in all
  /// Most connections to one origin (scheme, host and port), through whatever proxy; 0 = no limit. Whoever finds none
  /// free waits in line until his deadline, and idle connections of others make room.
  std::size_t max_per_origin = 0;
  /// Most connections through one proxy, user and password included, to whatever origin; 0 = no limit.
  std::size_t max_per_proxy = 0;
  /// How long an idle connection is kept; each gets 2/3 to 3/3 of it, so that they do not end together. Default 45 s.
  std::chrono::steady_clock::duration idle_limit = std::chrono::seconds{45};
  /// Greatest age of a connection that still takes a new request; each gets 2/3 to 3/3 of it. Default 10 min.
  std::chrono::steady_clock::duration max_age = std::chrono::minutes{10};
  /// How long an address of a host with several is given before the next is tried beside it (RFC 8305); shorter where
  /// the time left would not do for all. Default 250 ms.
  std::chrono::steady_clock::duration attempt_delay = std::chrono::milliseconds{250};
  /// Addresses of hosts that nobody is to be asked for, as curl's `--resolve`; names in lower case. The order counts.
  std::map<std::string, std::vector<boost::asio::ip::address>, std::less<>> hosts;
};

} // namespace rondo::http
