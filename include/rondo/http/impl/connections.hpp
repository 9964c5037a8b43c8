// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/http/detail/client_core.hpp>

#include <openssl/ssl.h>

#include <algorithm>
#include <iterator>
#include <utility>

namespace rondo::http::detail {

RONDO_DECL void connection_deleter::operator()(connection* c) const noexcept {
  delete c;
}

RONDO_DECL connection::~connection() {
  if (reusable) {
    // closed in good order as far as we are concerned: OpenSSL would otherwise take its tickets for bad
    if (inner_tls) {
      SSL_set_shutdown(inner_tls->native_handle(), SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    }
    if (tls) {
      SSL_set_shutdown(tls->native_handle(), SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    }
  }
  if (is_linked()) {
    core.forget(*this);
  }
}

RONDO_DECL client_core::client_core(asio::any_io_executor executor, client_options options)
    : executor_{std::move(executor)}, options_{std::move(options)}, timer_{executor_}, random_{std::random_device{}()} {
  spare_.reserve(64);
}

RONDO_DECL client_core::~client_core() = default;

RONDO_DECL void client_core::set_limit(connection& c, steady_time when, error why) {
  c.limit = when;
  c.on_limit = why;
  if (when < armed_for_) {
    arm(when);
  }
}

RONDO_DECL void client_core::arm(steady_time when) {
  armed_for_ = when;
  timer_.expires_at(when);
  timer_.async_wait([weak = weak_from_this()](error_code ec) {
    if (auto const self = weak.lock()) {
      self->on_timer(ec);
    }
  });
}

RONDO_DECL void client_core::on_timer(error_code ec) {
  if (ec || std::chrono::steady_clock::now() < armed_for_) {
    return; // armed anew for another time, or disarmed
  }
  // Limits move later all the time without touching the timer; it only finds out here.
  armed_for_ = steady_time::max();
  auto const now = std::chrono::steady_clock::now();
  auto next = steady_time::max();
  for (auto& c : active_) {
    if (c.limit <= now) {
      c.expire();
    } else {
      next = std::min(next, c.limit);
    }
  }
  if (next != steady_time::max()) {
    arm(next);
  }
}

RONDO_DECL void client_core::activate(connection& c) noexcept {
  active_.push_back(c);
  ++active_count_;
  ++c.entry.active;
}

RONDO_DECL void client_core::forget(connection& c) noexcept {
  c.unlink();
  --c.entry.active;
  if (--active_count_ == 0 && armed_for_ != steady_time::max()) {
    armed_for_ = steady_time::max();
    timer_.cancel(); // a pending timer would keep the context running
  }
}

RONDO_DECL pool_entry& client_core::entry_for(url const& to, std::shared_ptr<proxy const> const& via) {
  auto const found = entries_.find(pool_key_view{to.is_tls(), to.host, to.port, via.get()});
  return found != entries_.end() ? found->second : entries_[pool_key{to.is_tls(), to.host, to.port, via}];
}

RONDO_DECL connection_ptr client_core::make_connection(pool_entry& entry) {
  connection_ptr c{new connection{executor_, *this, entry}};
  activate(*c);
  return c;
}

RONDO_DECL connection_ptr client_core::take_idle(pool_entry& entry, steady_time now) {
  while (!entry.idle.empty()) {
    auto c = std::move(entry.idle.back());
    entry.idle.pop_back();
    --idle_;
    if (now < c->idle_until && now < c->retire_at && c->quiet()) {
      c->written = c->answered = c->reusable = false;
      activate(*c);
      return c;
    }
  }
  return nullptr;
}

RONDO_DECL void client_core::give_back(connection_ptr c) {
  auto const now = std::chrono::steady_clock::now();
  sweep(now);
  c->limit = steady_time::max();
  forget(*c);
  ++c->served;
  if (idle_ >= options_.max_idle || now >= c->retire_at || (c->most_served != 0 && c->served >= c->most_served)) {
    return;
  }
  std::uniform_real_distribution<double> share{2.0 / 3, 1.0};
  c->idle_until =
      after(now, std::chrono::duration_cast<std::chrono::steady_clock::duration>(options_.idle_limit * share(random_)));
  auto& idle = c->entry.idle;
  idle.push_back(std::move(c));
  ++idle_;
}

/// Closes what has been idle for too long; at most once a second, and only when something happens anyway.
RONDO_DECL void client_core::sweep(steady_time now) {
  if (now < next_sweep_) {
    return;
  }
  next_sweep_ = now + std::chrono::seconds{1};
  for (auto it = entries_.begin(); it != entries_.end();) {
    auto& [key, entry] = *it;
    idle_ -= std::erase_if(entry.idle, [now](auto const& c) { return now >= c->idle_until || now >= c->retire_at; });
    it = entry.idle.empty() && entry.active == 0 && entry.sessions.stale(now) && entry.proxy_sessions.stale(now)
             ? entries_.erase(it)
             : std::next(it);
  }
}

RONDO_DECL void client_core::close_idle() noexcept {
  for (auto& [key, entry] : entries_) {
    entry.idle.clear();
  }
  idle_ = 0;
}

} // namespace rondo::http::detail
