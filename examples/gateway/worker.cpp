// SPDX-License-Identifier: BSL-1.0
#include "worker.hpp"

#include "log.hpp"

#include <boost/asio/post.hpp>

#include <algorithm>
#include <exception>
#include <string>
#include <utility>

namespace gateway {

namespace {

std::shared_ptr<route_table const> make_routes(asio::io_context& context, service const& what) {
  auto out = std::make_shared<route_table>();
  out->caller_tokens = what.caller_tokens;
  for (auto const& pool : what.pools) {
    route next;
    next.prefix = pool->settings.prefix;
    next.own = pool->settings.own;
    next.max_body_bytes = pool->settings.max_body_bytes;
    next.provider = pool->provider;
    next.counts = pool->counts;
    next.client = make_client(context.get_executor(), pool);
    out->routes.push_back(std::move(next));
  }
  std::sort(out->routes.begin(), out->routes.end(),
            [](route const& a, route const& b) { return a.prefix.size() > b.prefix.size(); });
  return out;
}

} // namespace

worker::worker(settings const& general)
    : group_{context_, general}, handler_{std::make_shared<forwarder>(std::make_shared<route_table const>())},
      destination_{context_, [this](caller_socket socket) {
                     asio::post(context_, [this, moved = std::move(socket)]() mutable {
                       group_.serve(std::move(moved), handler_);
                     });
                   }} {}

void worker::serve(std::shared_ptr<service const> what) {
  asio::post(context_, [this, what = std::move(what)] { handler_->replace(make_routes(context_, *what)); });
}

void worker::start() {
  thread_ = std::thread{[this] { run(); }};
}

void worker::run() {
  while (!context_.stopped()) {
    try {
      context_.run();
    } catch (std::exception const& e) {
      log_line(std::string{"a handler failed: "} + e.what());
    }
  }
}

void worker::finish(std::function<void()> ended) {
  asio::post(context_, [this, ended = std::move(ended)]() mutable {
    group_.finish([this, ended = std::move(ended)] {
      ended();
      context_.stop();
    });
  });
}

void worker::cut() {
  asio::post(context_, [this] { group_.cut(); });
}

} // namespace gateway
