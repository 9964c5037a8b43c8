// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/clock.hpp>
#include <rondo/error.hpp>
#include <rondo/http/body.hpp>
#include <rondo/http/client_options.hpp>
#include <rondo/http/detail/connection.hpp>
#include <rondo/http/detail/connection_limits.hpp>
#include <rondo/http/detail/session_store.hpp>
#include <rondo/http/exchange.hpp>
#include <rondo/http/header_rules.hpp>
#include <rondo/http/incoming.hpp>
#include <rondo/http/proxy.hpp>
#include <rondo/http/url.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/container_hash/hash.hpp>
#include <boost/intrusive/list.hpp>
#include <boost/system/result.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace rondo::http::detail {

inline constexpr std::size_t block_size = 16 * 1024; // what one TLS record holds

/// `from + d` without running over the end of time.
[[nodiscard]] inline steady_time after(steady_time from, std::chrono::steady_clock::duration d) noexcept {
  return d >= steady_time::max() - from ? steady_time::max() : from + d;
}

[[nodiscard]] inline bool is_cancelled(error_code ec) noexcept {
  return ec == asio::error::operation_aborted;
}

[[nodiscard]] inline failure fail(error_code ec, bool written = false) noexcept {
  return {ec, blame_of(ec), written};
}

/// What makes two requests share a connection. The TLS settings are missing because a client has only one.
struct pool_key_view {
  bool tls;
  std::string_view host;
  std::uint16_t port;
  proxy const* via;
};

struct pool_key {
  bool tls;
  std::string host;
  std::uint16_t port;
  std::shared_ptr<proxy const> via;

  operator pool_key_view() const noexcept { return {tls, host, port, via.get()}; } // NOLINT: a view of it
};

struct pool_key_hash {
  using is_transparent = void;
  std::size_t operator()(pool_key_view k) const noexcept {
    std::size_t seed = 2 * std::size_t{k.port} + (k.tls ? 1 : 0);
    boost::hash_combine(seed, std::hash<std::string_view>{}(k.host));
    for (auto const* hop = k.via; hop != nullptr; hop = hop->through.get()) {
      boost::hash_combine(seed, std::hash<std::string_view>{}(hop->host));
      boost::hash_combine(seed, std::hash<std::string_view>{}(hop->user));
      boost::hash_combine(seed, hop->port);
    }
    return seed;
  }
};

struct pool_key_equal {
  using is_transparent = void;
  bool operator()(pool_key_view a, pool_key_view b) const noexcept {
    return a.tls == b.tls && a.port == b.port && a.host == b.host &&
           (a.via == b.via || (a.via != nullptr && b.via != nullptr && *a.via == *b.via));
  }
};

/// The connections and TLS tickets of one key.
struct pool_entry {
  std::string host;             ///< what requests say in their Host field
  session_store sessions;       ///< of the TLS with the origin
  session_store proxy_sessions; ///< of the TLS with an `https` proxy
  std::size_t active = 0;
  std::size_t waiting = 0;
  std::array<connection_group*, 2> groups{}; ///< of the origin and of the proxy; null = no limit
  std::vector<connection_ptr> idle;          ///< the one used last is at the end, and taken first
};

/// A request that waits for a connection, in the lines of all limits that count it.
struct slot_waiter {
  slot_waiter(asio::any_io_executor const& executor, pool_entry& wanted, std::uint64_t number, steady_time until)
      : entry{wanted}, ticket{number}, timer{executor, until} {
    ++entry.waiting;
    for (std::size_t i = 0; i < places.size(); ++i) {
      if (entry.groups[i] != nullptr) {
        entry.groups[i]->line.push_back(places[i]);
      }
    }
  }
  slot_waiter(slot_waiter const&) = delete;
  slot_waiter& operator=(slot_waiter const&) = delete;
  ~slot_waiter() { --entry.waiting; }

  pool_entry& entry;
  std::uint64_t ticket; ///< who came first has the lower one
  asio::steady_timer timer;
  std::array<place_in_line, 2> places{place_in_line{*this}, place_in_line{*this}};
  bool served = false;
  connection_ptr kept;  ///< what it got: a connection that became idle,
  connection_slot slot; ///< or leave to make one
};

/// A request on its way out.
struct outgoing {
  std::string block;         ///< the head and the first bytes of the body, later other pieces of it
  asio::const_buffer unsent; ///< of the block
  std::string_view rest;     ///< of a body in memory: what is not in the block
  body_source const* source = nullptr;
  std::uint64_t promised = 0; ///< bytes the source still owes
  bool chunked = false;
  bool primed = false;    ///< the block holds a piece of the source that was not sent yet
  bool ended = false;     ///< the source has given everything
  bool whole = true;      ///< block and rest are still the whole request as far as it was produced
  bool announced = false; ///< `on_sent` was called
  bool asks = false;      ///< waits for leave to send the body
  bool refused = false;   ///< a final answer came instead
};

/// Whom a TLS connection is with.
enum class tls_role : std::uint8_t { origin, proxy };

/// What a `client` is a handle to: connection pool, deadlines and the exchange itself.
class client_core : public std::enable_shared_from_this<client_core> {
public:
  using open_result = boost::system::result<incoming, failure>;
  using send_result = boost::system::result<response, failure>;

  client_core(asio::any_io_executor executor, client_options options);
  ~client_core();

  asio::awaitable<open_result> open(url const& to, request_head const& head, body_view body,
                                    exchange_options const& options, std::uint64_t max_body);
  asio::awaitable<send_result> send(url const& to, request const& message, exchange_options const& options);

  void close_idle() noexcept;
  [[nodiscard]] std::size_t idle_count() const noexcept { return idle_; }
  [[nodiscard]] std::size_t active_count() const noexcept { return active_count_; }
  [[nodiscard]] asio::any_io_executor const& executor() const noexcept { return executor_; }
  [[nodiscard]] client_options const& options() const noexcept { return options_; }

  // for connections and responses
  [[nodiscard]] flat_input& spare_input() noexcept { return spare_input_; }
  void set_limit(connection& c, steady_time when, error why);
  void limit_idle(connection& c, std::chrono::steady_clock::duration idle, steady_time complete_by);
  [[nodiscard]] error_code check_field_count(fields const& message) const noexcept;
  void clear_limit(connection& c) noexcept { c.limit = steady_time::max(); }
  void forget(connection& c) noexcept;
  void give_back(connection_ptr c);
  void vacate(pool_entry& entry) noexcept;

private:
  using active_list = boost::intrusive::list<connection, boost::intrusive::base_hook<active_hook>,
                                             boost::intrusive::constant_time_size<false>>;

  pool_entry& entry_for(url const& to, std::shared_ptr<proxy const> const& via);
  connection_group& group_for(pool_key_view key, std::shared_ptr<proxy const> const& via, std::size_t limit);
  void leave_group(connection_group*& group, pool_key_view key) noexcept;
  connection_ptr remove_idle(pool_entry& entry, std::size_t at) noexcept;
  connection_ptr take_idle(pool_entry& entry, steady_time now);
  void drop_idle(connection_group const& group) noexcept;
  [[nodiscard]] bool make_room(pool_entry& entry) noexcept;
  void serve_waiting(pool_entry const& entry) noexcept;
  connection_ptr make_connection(connection_slot slot);
  asio::awaitable<error_code> obtain(pool_entry& entry, exchange_options const& options, connection_ptr& c);
  void activate(connection& c) noexcept;
  [[nodiscard]] std::chrono::steady_clock::duration shortened(std::chrono::steady_clock::duration most);
  void sweep(steady_time now);
  void arm(steady_time when);
  void on_timer(error_code ec);

  [[nodiscard]] error_code check_exchange(url const& to, request_head const& head, std::string_view target,
                                          proxy const* via) const noexcept;
  asio::awaitable<failure> establish(connection& c, url const& to, exchange_options const& options, steady_time now);
  asio::awaitable<error_code> resolve(connection& c, std::string const& host, std::uint16_t port,
                                      std::vector<tcp::endpoint>& out);
  asio::awaitable<error_code> connect(connection& c, std::vector<tcp::endpoint> const& to);
  asio::awaitable<error_code> approach(connection& c, proxy const& via, steady_time now);
  asio::awaitable<error_code> dig(connection& c, url const& to, proxy const& via, bool show_login, bool& asked);
  template <class Machine> asio::awaitable<error_code> drive(connection& c, Machine& machine);
  asio::awaitable<error_code> secure(connection& c, url const& to, tls_role role, steady_time now);

  asio::awaitable<error_code> write_request(connection& c, outgoing& out, bool head_only,
                                            exchange_options const& options);
  asio::awaitable<error_code> append_piece(connection& c, outgoing& out);
  asio::awaitable<error_code> read_leave(connection& c, bool head_only, exchange_options const& options,
                                         steady_time leave_by);

  asio::any_io_executor executor_;
  client_options options_;
  std::unordered_map<pool_key, connection_group, pool_key_hash, pool_key_equal> groups_;
  std::unordered_map<pool_key, pool_entry, pool_key_hash, pool_key_equal> entries_;
  active_list active_;
  std::size_t active_count_ = 0;
  std::size_t idle_ = 0;
  std::uint64_t tickets_ = 0;
  asio::steady_timer timer_;
  steady_time armed_for_ = steady_time::max();
  steady_time next_sweep_;
  std::minstd_rand random_;
  std::vector<std::string> spare_; ///< blocks of finished requests, for their memory
  flat_input spare_input_;         ///< of a finished answer, for its memory
};

} // namespace rondo::http::detail
