// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/client_options.hpp>
#include <rondo/clock.hpp>
#include <rondo/detail/attempt_trace.hpp>
#include <rondo/detail/client_path.hpp>
#include <rondo/detail/client_task.hpp>
#include <rondo/error.hpp>
#include <rondo/http/client.hpp>
#include <rondo/http/exchange.hpp>
#include <rondo/http/incoming.hpp>
#include <rondo/http/proxy.hpp>
#include <rondo/lease.hpp>
#include <rondo/proxy_rotator.hpp>
#include <rondo/retry_budget.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/result.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace rondo::detail {

// g++ 12 takes the memory of coroutine frames, which Asio recycles, for freed by the wrong function
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
#endif

RONDO_DECL boost::asio::awaitable<client_path::answer>
client_path::exchange(client_task& t, lease* key, proxy_lease& through, attempt_trace& trace) {
  t.key = key;
  t.how.deadline = t.deadline;
  t.how.idle_timeout = options_.idle_timeout;
  t.how.identity = key != nullptr; // errors and costs have to be read
  t.how.resend = false;            // each request that may arrive was granted by the pool
  t.how.via = nullptr;
  t.how.on_sent = [&t] {
    t.sent = std::chrono::steady_clock::now();
    if (t.key != nullptr) {
      t.key->mark_sent();
    }
  };
  return proxies_ != nullptr ? through_proxies(t, through, trace) : set_out(t, through, trace);
}

RONDO_DECL boost::asio::awaitable<client_path::answer> client_path::set_out(client_task& t, proxy_lease const& proxy,
                                                                            attempt_trace& trace) {
  t.set_out = t.sent = std::chrono::steady_clock::now();
  t.under_way = true;
  t.proxy = proxy.id();
  auto const attempts_left = std::max(t.most_attempts, t.attempts + 1) - t.attempts;
  // something must be left for another proxy when this one hangs
  t.how.connect_timeout = std::min(options_.connect_timeout, t.left(t.set_out) / (attempts_left + (proxies_ ? 1 : 0)));
  trace.start(options_.observer, t.call, ++t.tries, t.key ? t.key->key_name() : "", proxy.name(), t.began, t.set_out);
  return http_.open(options_.base_url, t.message, t.message.body(), t.how);
}

RONDO_DECL void client_path::conclude(client_task& t, answer const& got, proxy_lease& through, attempt_trace& trace) {
  if (!std::exchange(t.under_way, false)) {
    return;
  }
  auto const now = std::chrono::steady_clock::now();
  if (got) {
    ++t.attempts;
    trace.answered(got->status(), t.set_out, t.sent, now);
    convict(t);
    through.confirm(now - t.set_out);
    return;
  }
  auto const& why = got.error();
  auto const ours = why.who == blame::caller || why.who == blame::nobody;
  if (why.written || (!through && !ours)) { // a vain try to connect counts; through proxies their number is the bound
    ++t.attempts;
  }
  trace.fail(why.ec, why.who);
  t.began = now;
}

RONDO_DECL boost::asio::awaitable<client_path::answer>
client_path::through_proxies(client_task& t, proxy_lease& through, attempt_trace& trace) {
  std::vector<std::uint32_t> tried{t.barred_proxies};
  for (auto const& suspect : t.suspects) {
    tried.push_back(suspect.proxy.id());
  }
  http::failure last{error::proxies_unavailable, blame::proxy, false};
  auto vain = false;
  for (;;) {
    if (vain && !budget_.try_spend(std::chrono::steady_clock::now())) {
      co_return last;
    }
    t.how.via = nullptr;
    auto [ec, proxy] = co_await next_proxy(t, tried);
    if (ec == boost::asio::error::operation_aborted) {
      co_return http::failure{ec, blame::nobody, false};
    }
    if (proxy) {
      t.how.via = parsed(proxy);
      if (!t.how.via) { // one bad entry of a list must not break a share of all requests
        proxy.fail();
        last = {error::invalid_proxy, blame::proxy, false};
        vain = true;
        continue;
      }
    } else if (!vain && !t.suspects.empty()) {
      t.suspects.clear(); // there is nobody else: it goes once more through those that failed in an attempt before
      tried = t.barred_proxies;
      continue;
    } else if (last.who != blame::proxy || options_.when_no_proxy != when_no_proxy::direct) {
      co_return last;
    }
    auto got = co_await set_out(t, proxy, trace);
    conclude(t, got, proxy, trace);
    if (got) {
      through = std::move(proxy);
      co_return got;
    }
    last = got.error();
    if (last.who == blame::caller || last.who == blame::nobody || !proxy) {
      co_return last;
    }
    if (options_.when_no_proxy != when_no_proxy::wait || last.who != blame::proxy) {
      tried.push_back(proxy.id());
    }
    if (last.who == blame::proxy) {
      proxy.fail();
    } else {
      t.suspects.push_back({std::move(proxy), last.written});
    }
    if (last.written) {
      co_return last;
    }
    vain = true;
    if (t.left() == std::chrono::steady_clock::duration::zero()) {
      co_return last.who == blame::proxy ? last : http::failure{error::deadline_exceeded, blame::path, false};
    }
  }
}

RONDO_DECL boost::asio::awaitable<std::tuple<error_code, proxy_lease>>
client_path::next_proxy(client_task const& t, std::span<std::uint32_t const> avoid) {
  proxy_request const want{.affinity = t.who,
                           .origin = origin_,
                           .only = options_.proxies.empty() ? nullptr : &options_.proxies,
                           .avoid = avoid,
                           .timeout = t.left(),
                           .wait_for_resting = options_.when_no_proxy == when_no_proxy::wait};
  if (auto ready = proxies_->try_acquire(want)) {
    co_return std::tuple{error_code{}, std::move(*ready)};
  }
  if (t.is_hedge) {
    co_return std::tuple{make_error_code(error::proxies_unavailable), proxy_lease{}};
  }
  co_return co_await proxies_->async_acquire(executor_, want, boost::asio::as_tuple(boost::asio::use_awaitable));
}

RONDO_DECL void client_path::convict(client_task& t) noexcept {
  for (auto& [proxy, written] : t.suspects) {
    if (written) {
      proxy.doubt();
    } else {
      proxy.fail();
    }
  }
  t.suspects.clear();
}

RONDO_DECL std::shared_ptr<http::proxy const> client_path::parsed(proxy_lease const& lease) {
  if (lease.id() >= parsed_.size()) {
    parsed_.resize(lease.id() + 1);
  }
  auto& known = parsed_[lease.id()];
  if (!known) {
    if (auto fresh = http::parse_proxy(lease.url())) {
      fresh->requests_per_tunnel = lease.requests_per_tunnel();
      fresh->tunnel_age = lease.tunnel_age();
      fresh->login = lease.login_when_asked() ? http::proxy_login::when_asked : http::proxy_login::at_once;
      known = std::make_shared<http::proxy const>(std::move(*fresh));
    }
  }
  return known;
}

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

} // namespace rondo::detail
