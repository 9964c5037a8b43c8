// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "caller_connection.hpp"
#include "config.hpp"
#include "traffic.hpp"
#include <rondo/client.hpp>
#include <rondo/http/message.hpp>
#include <rondo/provider/adapter.hpp>
#include <rondo/secret.hpp>

#include <boost/asio/awaitable.hpp>

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gateway {

/// One pool as the callers of one thread reach it.
struct route {
  std::string prefix; ///< as in `pool_settings`
  own_keys own = own_keys::pass;
  std::size_t max_body_bytes = 0;
  std::shared_ptr<rondo::provider::adapter const> provider;
  std::shared_ptr<rondo::client> client; ///< keeps alive all it needs
  std::shared_ptr<traffic> counts;
};

/// What the callers of one thread find; replaced as a whole.
struct route_table {
  std::vector<route> routes; ///< longest prefix first
  std::vector<rondo::secret> caller_tokens;

  /// The route for a path, or null.
  [[nodiscard]] route const* find(std::string_view path) const;
};

/// Sends callers' requests on through the pools and streams the answers back.
///
/// Everything happens on the context of the connections.
class forwarder final : public request_handler {
public:
  explicit forwarder(std::shared_ptr<route_table const> table) : table_{std::move(table)} {}

  /// From the next request on; requests in flight end on the routes they began with.
  void replace(std::shared_ptr<route_table const> table) { table_ = std::move(table); }

  asio::awaitable<void> handle(caller_connection& caller) override;

private:
  std::shared_ptr<route_table const> table_;
};

/// Whether a request names this machine in its Host (RFC 9112 3.2): the answer to it is empty, or 400 when the
/// field is missing or malformed, or 403 when a browser was led here by somebody else's name (DNS rebinding).
[[nodiscard]] std::optional<unsigned> host_fault(rondo::http::request_head const& head);

} // namespace gateway
