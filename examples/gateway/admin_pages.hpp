// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "caller_connection.hpp"
#include "worker.hpp"
#include <rondo/secret.hpp>

#include <boost/asio/awaitable.hpp>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace gateway {

/// What the admin address shows: `/healthz`, `/status`, `/api/NAME-status`, `/proxies`, `/metrics`.
///
/// On a loopback address a request must name this machine in its Host, as callers must; on any other one it must carry
/// a caller token, but for `/healthz`.
class admin_pages final : public request_handler {
public:
  struct figures {
    std::size_t connections = 0; ///< of callers
    std::size_t reloads = 0;     ///< configurations taken over since the start
  };

  admin_pages(bool loopback, std::function<std::shared_ptr<service const>()> serving, std::function<figures()> count)
      : loopback_{loopback}, serving_{std::move(serving)}, count_{std::move(count)} {}

  asio::awaitable<void> handle(caller_connection& caller) override;

private:
  struct page {
    beast::http::status status = beast::http::status::ok;
    std::string_view type = "application/json";
    std::string body;
  };

  [[nodiscard]] page find(rondo::http::request const& request) const;
  [[nodiscard]] std::string metrics(service const& serving) const;

  bool loopback_;
  std::function<std::shared_ptr<service const>()> serving_;
  std::function<figures()> count_;
};

} // namespace gateway
