// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/http/detail/client_core.hpp>

#include <openssl/ssl.h>

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

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

RONDO_DECL bool connection::fill_step(std::size_t most, error_code& ec) {
  if (input.size() >= most) {
    ec = make_error_code(boost::system::errc::no_buffer_space);
    return true;
  }
  if (awaits_answer()) {
    return false; // there is no memory for it yet
  }
  input.inherit(core.spare_input());
  std::size_t n = 0;
  auto const done = read_step(input.prepare(most), n, ec);
  input.commit(n);
  return done;
}

RONDO_DECL client_core::client_core(asio::any_io_executor executor, client_options options)
    : executor_{std::move(executor)}, options_{std::move(options)}, timer_{executor_}, random_{std::random_device{}()} {
  spare_.reserve(64);
}

RONDO_DECL client_core::~client_core() {
  close_idle();
}

RONDO_DECL connection_slot::connection_slot(client_core& core, pool_entry& entry) noexcept
    : core_{&core}, entry_{&entry} {
  for (auto* const group : entry.groups) {
    if (group != nullptr) {
      ++group->open;
    }
  }
}

RONDO_DECL connection_slot::~connection_slot() {
  if (core_ != nullptr) {
    core_->vacate(*entry_);
  }
}

RONDO_DECL void client_core::vacate(pool_entry& entry) noexcept {
  for (auto* const group : entry.groups) {
    if (group != nullptr) {
      --group->open;
    }
  }
  serve_waiting(entry);
}

RONDO_DECL void client_core::set_limit(connection& c, steady_time when, error why) {
  c.limit = when;
  c.on_limit = why;
  if (when < armed_for_) {
    arm(when);
  }
}

/// Until the next byte, and until the last.
RONDO_DECL void client_core::limit_idle(connection& c, std::chrono::steady_clock::duration idle,
                                        steady_time complete_by) {
  auto const next = after(std::chrono::steady_clock::now(), idle);
  set_limit(c, std::min(next, complete_by), complete_by < next ? error::deadline_exceeded : error::idle_timeout);
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
  c.written = c.answered = c.reusable = c.expired = false;
  c.head_bytes = c.heads = 0;
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

RONDO_DECL connection_group& client_core::group_for(pool_key_view key, std::shared_ptr<proxy const> const& via,
                                                    std::size_t limit) {
  auto const found = groups_.find(key);
  auto& group =
      found != groups_.end() ? found->second : groups_[pool_key{key.tls, std::string{key.host}, key.port, via}];
  group.limit = limit;
  ++group.entries;
  return group;
}

RONDO_DECL void client_core::leave_group(connection_group*& group, pool_key_view key) noexcept {
  if (group != nullptr && --group->entries == 0) {
    groups_.erase(groups_.find(key));
  }
  group = nullptr;
}

RONDO_DECL pool_entry& client_core::entry_for(url const& to, std::shared_ptr<proxy const> const& via) {
  auto const found = entries_.find(pool_key_view{to.is_tls(), to.host, to.port, via.get()});
  if (found != entries_.end()) {
    return found->second;
  }
  auto host = to.host_header();
  auto& entry = entries_[pool_key{to.is_tls(), to.host, to.port, via}];
  entry.host = std::move(host);
  if (options_.max_per_origin != 0) {
    entry.groups[0] = &group_for({to.is_tls(), to.host, to.port, nullptr}, nullptr, options_.max_per_origin);
  }
  if (options_.max_per_proxy != 0 && via != nullptr) {
    entry.groups[1] = &group_for({false, {}, 0, via.get()}, via, options_.max_per_proxy);
  }
  return entry;
}

RONDO_DECL connection_ptr client_core::make_connection(connection_slot slot) {
  connection_ptr c{new connection{executor_, *this, std::move(slot)}};
  activate(*c);
  return c;
}

RONDO_DECL connection_ptr client_core::remove_idle(pool_entry& entry, std::size_t at) noexcept {
  auto c = std::move(entry.idle[at]);
  entry.idle.erase(entry.idle.begin() + static_cast<std::ptrdiff_t>(at));
  --idle_;
  for (auto* const group : entry.groups) {
    if (group != nullptr) {
      --group->idle;
    }
  }
  return c;
}

RONDO_DECL connection_ptr client_core::take_idle(pool_entry& entry, steady_time now) {
  while (!entry.idle.empty()) {
    auto c = remove_idle(entry, entry.idle.size() - 1);
    if (now < c->idle_until && now < c->retire_at && c->quiet()) {
      activate(*c);
      return c;
    }
  }
  return nullptr;
}

/// Closes the connection of a group that has been idle longest.
RONDO_DECL void client_core::drop_idle(connection_group const& group) noexcept {
  pool_entry* oldest = nullptr;
  for (auto& [key, entry] : entries_) {
    if (!entry.idle.empty() && std::find(entry.groups.begin(), entry.groups.end(), &group) != entry.groups.end() &&
        (oldest == nullptr || entry.idle.front()->idle_since < oldest->idle.front()->idle_since)) {
      oldest = &entry;
    }
  }
  if (oldest != nullptr) {
    remove_idle(*oldest, 0);
  }
}

/// Whether there may be one more connection; idle ones that belong to others go for it.
RONDO_DECL bool client_core::make_room(pool_entry& entry) noexcept {
  for (std::size_t i = 0; i < entry.groups.size();) {
    auto const* const group = entry.groups[i];
    if (group == nullptr || !group->full()) {
      ++i;
      continue;
    }
    if (group->idle == 0) {
      return false;
    }
    drop_idle(*group); // whoever waits may have taken the place meanwhile
    i = 0;
  }
  return true;
}

/// Hands idle connections and free places of the limits that count `entry` to those who have waited longest.
///
/// A connection that is closed here comes back with its place; so there is one step at a time, and then a new look.
RONDO_DECL void client_core::serve_waiting(pool_entry const& entry) noexcept {
  auto const blocked = [](connection_group const* g) { return g != nullptr && g->full() && g->idle == 0; };
  for (;;) {
    slot_waiter* next = nullptr;
    for (auto* const group : entry.groups) {
      if (group == nullptr) {
        continue;
      }
      for (auto& place : group->line) {
        auto& w = place.who;
        if (!w.entry.idle.empty() || std::none_of(w.entry.groups.begin(), w.entry.groups.end(), blocked)) {
          next = next == nullptr || w.ticket < next->ticket ? &w : next;
          break; // those behind came later
        }
      }
    }
    if (next == nullptr) {
      return;
    }
    if (next->entry.idle.empty()) {
      auto const full = [](connection_group const* g) { return g != nullptr && g->full(); };
      auto const& groups = next->entry.groups;
      if (auto const it = std::find_if(groups.begin(), groups.end(), full); it != groups.end()) {
        drop_idle(**it);
        continue;
      }
      next->slot = connection_slot{*this, next->entry};
    } else if (!(next->kept = take_idle(next->entry, std::chrono::steady_clock::now()))) {
      continue;
    }
    next->served = true;
    for (auto& place : next->places) {
      place.unlink();
    }
    next->timer.cancel();
  }
}

/// Takes an idle connection, or leave to make one; waits for either until the deadline when the limits say so.
RONDO_DECL asio::awaitable<error_code> client_core::obtain(pool_entry& entry, exchange_options const& options,
                                                           connection_ptr& c) {
  slot_waiter waiter{executor_, entry, ++tickets_, options.deadline};
  auto const [ec] = co_await waiter.timer.async_wait(as_result);
  if (!waiter.served) {
    co_return is_cancelled(ec) ? ec : make_error_code(error::connections_busy);
  }
  c = waiter.kept ? std::move(waiter.kept) : make_connection(std::move(waiter.slot));
  co_return error_code{};
}

RONDO_DECL std::chrono::steady_clock::duration client_core::shortened(std::chrono::steady_clock::duration most) {
  std::uniform_real_distribution<double> share{2.0 / 3, 1.0};
  return std::chrono::duration_cast<std::chrono::steady_clock::duration>(most * share(random_));
}

RONDO_DECL void client_core::give_back(connection_ptr c) {
  auto const now = std::chrono::steady_clock::now();
  sweep(now);
  c->limit = steady_time::max();
  forget(*c);
  ++c->served;
  if (now >= c->retire_at || (c->most_served != 0 && c->served >= c->most_served)) {
    return;
  }
  c->parser.reset();
  spare_input_.inherit(c->input);
  c->input.release();
  c->idle_since = now;
  c->idle_until = after(now, shortened(options_.idle_limit));
  auto& entry = c->entry;
  entry.idle.push_back(std::move(c));
  ++idle_;
  for (auto* const group : entry.groups) {
    if (group != nullptr) {
      ++group->idle;
    }
  }
  serve_waiting(entry);
  if (idle_ > options_.max_idle) { // nobody waited for it
    remove_idle(entry, entry.idle.size() - 1);
  }
}

/// Closes what has been idle for too long; at most once a second, and only when something happens anyway.
RONDO_DECL void client_core::sweep(steady_time now) {
  if (now < next_sweep_) {
    return;
  }
  next_sweep_ = now + std::chrono::seconds{1};
  std::vector<connection_ptr> over; // closed at the end: that may change any other entry
  for (auto it = entries_.begin(); it != entries_.end();) {
    auto& [key, entry] = *it;
    if (entry.idle.empty() && entry.active == 0 && entry.waiting == 0 && entry.sessions.stale(now) &&
        entry.proxy_sessions.stale(now)) {
      leave_group(entry.groups[0], {key.tls, key.host, key.port, nullptr});
      leave_group(entry.groups[1], {false, {}, 0, key.via.get()});
      it = entries_.erase(it);
      continue;
    }
    for (std::size_t i = entry.idle.size(); i-- > 0;) {
      if (now >= entry.idle[i]->idle_until || now >= entry.idle[i]->retire_at) {
        over.push_back(remove_idle(entry, i));
      }
    }
    ++it;
  }
}

RONDO_DECL void client_core::close_idle() noexcept {
  for (auto& [key, entry] : entries_) {
    while (!entry.idle.empty()) {
      remove_idle(entry, entry.idle.size() - 1);
    }
  }
}

} // namespace rondo::http::detail
