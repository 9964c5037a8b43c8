// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/error.hpp>
#include <rondo/http/client.hpp>
#include <rondo/http/client_options.hpp>
#include <rondo/http/exchange.hpp>
#include <rondo/http/message.hpp>
#include <rondo/http/proxy.hpp>
#include <rondo/http/url.hpp>
#include <rondo/proxy_lease.hpp>
#include <rondo/proxy_rotator.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/http/verb.hpp>

#include <chrono>
#include <memory>
#include <utility>

namespace rondo {

/// Settings of a checker.
struct proxy_check_options {
  http::url target{};          ///< asked for with HEAD; whatever it answers, the proxy is well
  http::client_options http{}; ///< whom to trust
  std::chrono::steady_clock::duration interval =
      std::chrono::seconds{1};                                           ///< between looks for proxies that have rested
  std::chrono::steady_clock::duration timeout = std::chrono::seconds{5}; ///< for the whole of a check
};

/// Tries proxies that have rested before anybody is offered one: TCP, tunnel and a small request to a target. One that
/// fails goes on resting, longer each time; when the target cannot be reached behind it, it is tried again at the next
/// look.
///
/// From construction to `stop` or destruction; meanwhile its timer is pending, and keeps the context running.
/// Everything happens on the executor, which must be serialised; the checker itself may be stopped and destroyed from
/// any thread.
class proxy_checker {
public:
  proxy_checker(boost::asio::any_io_executor const& executor, std::shared_ptr<proxy_rotator> proxies,
                proxy_check_options options)
      : mark_{*proxies}, work_{std::make_shared<work>(executor, std::move(proxies), std::move(options))} {
    boost::asio::co_spawn(executor, run(work_), boost::asio::detached);
  }
  proxy_checker(proxy_checker const&) = delete;
  proxy_checker& operator=(proxy_checker const&) = delete;
  ~proxy_checker() { stop(); }

  /// No new check begins; proxies that have rested are offered to everybody again.
  void stop() {
    if (auto const ended = std::exchange(work_, nullptr)) {
      mark_ = {};
      boost::asio::post(ended->timer.get_executor(), [ended] {
        ended->stopped = true;
        ended->timer.cancel();
      });
    }
  }

private:
  struct work {
    work(boost::asio::any_io_executor const& executor, std::shared_ptr<proxy_rotator> of, proxy_check_options o)
        : proxies{std::move(of)}, options{std::move(o)}, client{executor, options.http}, timer{executor} {}

    std::shared_ptr<proxy_rotator> proxies;
    proxy_check_options options;
    http::client client;
    boost::asio::steady_timer timer;
    bool stopped = false;
  };

  static boost::asio::awaitable<void> run(std::shared_ptr<work> w) {
    while (!w->stopped) {
      while (auto rested = w->proxies->try_acquire_rested()) {
        boost::asio::co_spawn(w->timer.get_executor(), check(w, std::move(*rested)), boost::asio::detached);
      }
      w->timer.expires_after(w->options.interval);
      auto const [ec] = co_await w->timer.async_wait(boost::asio::as_tuple(boost::asio::use_awaitable));
      static_cast<void>(ec);
    }
  }

  static boost::asio::awaitable<void> check(std::shared_ptr<work> w, proxy_lease proxy) {
    auto parsed = http::parse_proxy(proxy.url());
    if (!parsed) {
      proxy.fail();
      co_return;
    }
    parsed->login = proxy.login_when_asked() ? http::proxy_login::when_asked : http::proxy_login::at_once;
    http::exchange_options how;
    how.via = std::make_shared<http::proxy const>(std::move(*parsed));
    how.deadline = std::chrono::steady_clock::now() + w->options.timeout;
    how.connect_timeout = w->options.timeout;
    http::request_head head;
    head.method(boost::beast::http::verb::head);
    auto const answer = co_await w->client.open(w->options.target, head, {}, how);
    auto const who = answer ? blame::nobody : answer.error().who;
    if (who == blame::proxy) {
      proxy.fail();
    } else if (answer || answer.error().written) {
      proxy.succeed();
    }
    w->client.close_idle(); // the next check is to make a tunnel, too
  }

  proxy_rotator::checker_mark mark_;
  std::shared_ptr<work> work_;
};

} // namespace rondo
