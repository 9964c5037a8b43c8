// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/client_options.hpp>
#include <rondo/clock.hpp>
#include <rondo/detail/attempt_trace.hpp>
#include <rondo/detail/client_task.hpp>
#include <rondo/detail/config.hpp>
#include <rondo/error.hpp>
#include <rondo/http/client.hpp>
#include <rondo/http/exchange.hpp>
#include <rondo/http/incoming.hpp>
#include <rondo/http/proxy.hpp>
#include <rondo/lease.hpp>
#include <rondo/proxy_rotator.hpp>
#include <rondo/retry_budget.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/system/result.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace rondo::detail {

/// The way of `rondo::client` to the provider: one request through as many proxies as it takes to get there, and the
/// judgement of each proxy.
///
/// A proxy that is to blame rests. One that failed where the fault may lie behind it is kept in mind: when another one
/// gets through with the same request it was to blame, and else nobody is.
class client_path {
public:
  using answer = boost::system::result<http::incoming, http::failure>;

  client_path(boost::asio::any_io_executor const& executor, client_options const& options, proxy_rotator* proxies,
              retry_budget& budget)
      : executor_{executor}, options_{options}, proxies_{proxies}, budget_{budget}, http_{executor, options.http},
        origin_{options.base_url.authority()} {}

  [[nodiscard]] http::client& http_client() noexcept { return http_; }
  [[nodiscard]] bool has_proxies() const noexcept { return proxies_ != nullptr; }

  /// Sends the request of a task. It begins when this is called, so what is returned must be awaited at once, and
  /// `conclude` must follow: where there are no proxies it has no coroutine of its own to do either.
  ///
  /// \param key told when the request leaves; may be null
  /// \param through the proxy of the answer: in use until its last byte is there
  [[nodiscard]] boost::asio::awaitable<answer> exchange(client_task& t, lease* key, proxy_lease& through,
                                                        attempt_trace& trace);

  /// Counts and tells how the way under way has ended, if there is one.
  void conclude(client_task& t, answer const& got, proxy_lease& through, attempt_trace& trace);

private:
  [[nodiscard]] boost::asio::awaitable<answer> through_proxies(client_task& t, proxy_lease& through,
                                                               attempt_trace& trace);

  /// Sends the request one way: through the proxy of `t.how`, or direct.
  [[nodiscard]] boost::asio::awaitable<answer> set_out(client_task& t, proxy_lease const& proxy, attempt_trace& trace);

  [[nodiscard]] boost::asio::awaitable<std::tuple<error_code, proxy_lease>>
  next_proxy(client_task const& t, std::span<std::uint32_t const> avoid);

  /// Somebody got through.
  static void convict(client_task& t) noexcept;

  /// The proxy's URL is taken apart once.
  [[nodiscard]] std::shared_ptr<http::proxy const> parsed(proxy_lease const& lease);

  boost::asio::any_io_executor executor_;
  client_options const& options_;
  proxy_rotator* proxies_;
  retry_budget& budget_;
  http::client http_;
  std::string const origin_;
  std::vector<std::shared_ptr<http::proxy const>> parsed_;
};

} // namespace rondo::detail

#ifndef RONDO_SEPARATE_COMPILATION
#include <rondo/impl/client_path.hpp>
#endif
