// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/http/client.hpp>
#include <rondo/http/detail/client_core.hpp>
#include <rondo/http/detail/connect_fsm.hpp>
#include <rondo/http/detail/socks_fsm.hpp>
#include <rondo/http/proxy.hpp>
#include <rondo/http/tls.hpp>

#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/execution/outstanding_work.hpp>
#include <boost/asio/experimental/parallel_group.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/prefer.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/rfc7230.hpp>

#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <exception>
#include <iterator>
#include <limits>
#include <type_traits>
#include <utility>

namespace rondo::http {

namespace detail {

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

// --- connection

RONDO_DECL void connection_deleter::operator()(connection* c) const noexcept {
  delete c;
}

RONDO_DECL connection::~connection() {
  if (tls && reusable) {
    // closed in good order as far as we are concerned: OpenSSL would otherwise take its tickets for bad
    SSL_set_shutdown(tls->native_handle(), SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  }
  if (is_linked()) {
    core.forget(*this);
  }
}

// --- pool and deadlines

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
    it = entry.idle.empty() && entry.active == 0 && entry.sessions.stale(now) ? entries_.erase(it) : std::next(it);
  }
}

RONDO_DECL void client_core::close_idle() noexcept {
  for (auto& [key, entry] : entries_) {
    entry.idle.clear();
  }
  idle_ = 0;
}

// --- making a connection

// No local types or lambdas in the coroutines of this file: g++ 12 warns of them when the functions are not inline.

/// A name resolution that may outlive the wait for it.
struct lookup {
  explicit lookup(asio::any_io_executor const& ex) : resolver{ex}, wake{ex, steady_time::max()} {}
  tcp::resolver resolver;
  asio::steady_timer wake;
  error_code ec;
  std::vector<tcp::endpoint> found;
  bool done = false;
};

/// Waits for the resolver, but not longer than the limit: a lookup that is under way cannot be interrupted, so it is
/// left behind.
RONDO_DECL asio::awaitable<error_code> client_core::resolve(connection& c, std::string const& host, std::uint16_t port,
                                                            std::vector<tcp::endpoint>& out) {
  error_code ec;
  auto const address = asio::ip::make_address(host, ec);
  if (!ec) {
    out.emplace_back(address, port);
    co_return error_code{};
  }
  auto const shared = std::make_shared<lookup>(executor_);
  shared->resolver.async_resolve(host, std::to_string(port), tcp::resolver::numeric_service,
                                 [shared](error_code failed, tcp::resolver::results_type const& results) {
                                   shared->ec = failed;
                                   for (auto const& result : results) {
                                     shared->found.push_back(result.endpoint());
                                   }
                                   shared->done = true;
                                   shared->wake.cancel();
                                 });
  c.wake = &shared->wake;
  auto const [waited] = co_await shared->wake.async_wait(as_result);
  c.wake = nullptr;
  if (!shared->done || c.expired) {
    shared->resolver.cancel();
    co_return c.verdict(waited);
  }
  out = std::move(shared->found);
  co_return shared->ec;
}

/// Tries the addresses in turn; each gets its share of the time that is left.
RONDO_DECL asio::awaitable<error_code> client_core::connect(connection& c, std::vector<tcp::endpoint> const& to) {
  auto const end = c.limit;
  auto const why = c.on_limit;
  error_code ec = asio::error::host_not_found;
  for (std::size_t i = 0; i < to.size(); ++i) {
    auto const left = to.size() - i;
    if (left > 1 && end != steady_time::max()) {
      auto const now = std::chrono::steady_clock::now();
      set_limit(c, now + (end - now) / static_cast<std::chrono::steady_clock::rep>(left), why);
    } else {
      set_limit(c, end, why);
    }
    c.expired = false;
    error_code ignored;
    c.socket.close(ignored);
    c.socket.open(to[i].protocol(), ec);
    if (ec) {
      continue;
    }
    c.socket.set_option(tcp::no_delay{true}, ignored);
    std::tie(ec) = co_await c.socket.async_connect(to[i], as_result);
    if (!ec && !c.expired) {
      set_limit(c, end, why);
      c.socket.non_blocking(true, ec);
      co_return ec;
    }
    if (is_cancelled(ec) && !c.expired) {
      break;
    }
  }
  co_return c.verdict(ec);
}

template <class Machine> asio::awaitable<error_code> client_core::drive(connection& c, Machine& machine) {
  error_code ec;
  std::size_t n = 0;
  for (;;) {
    auto const action = machine.resume(ec, n);
    switch (action.what) {
    case tunnel_action::kind::write:
      ec = co_await c.write(action.output);
      n = action.output.size();
      break;
    case tunnel_action::kind::read: std::tie(ec, n) = co_await c.socket.async_read_some(action.input, as_result); break;
    case tunnel_action::kind::done: co_return error_code{};
    case tunnel_action::kind::fail: co_return action.ec;
    }
    if (c.expired) {
      co_return c.verdict(ec);
    }
  }
}

/// Has the proxy connect to the origin.
RONDO_DECL asio::awaitable<error_code> client_core::dig(connection& c, url const& to, proxy const& via) {
  if (via.kind == proxy_kind::http) {
    connect_fsm machine{to.authority(), via};
    co_return co_await drive(c, machine);
  }
  error_code ec;
  socks_destination destination{to.host, {}, to.port};
  if (auto const literal = asio::ip::make_address(to.host, ec); !ec) {
    destination.address = literal;
  } else if (via.kind == proxy_kind::socks4 || via.kind == proxy_kind::socks5) {
    std::vector<tcp::endpoint> found;
    ec = co_await resolve(c, to.host, to.port, found);
    if (ec || found.empty()) {
      co_return c.expired || is_cancelled(ec) ? ec : make_error_code(error::resolve_failed);
    }
    // many a SOCKS server has no IPv6 at all
    auto const v4 = std::find_if(found.begin(), found.end(), [](auto const& e) { return e.address().is_v4(); });
    destination.address = (v4 != found.end() ? *v4 : found.front()).address();
  }
  if (via.kind == proxy_kind::socks4 || via.kind == proxy_kind::socks4a) {
    socks4_fsm machine{destination, via};
    co_return co_await drive(c, machine);
  }
  socks5_fsm machine{destination, via};
  co_return co_await drive(c, machine);
}

RONDO_DECL asio::awaitable<error_code> client_core::secure(connection& c, url const& to, steady_time now) {
  if (!options_.tls) {
    auto made = make_tls_context();
    if (!made) {
      co_return made.error();
    }
    options_.tls = std::move(*made);
  }
  c.tls.emplace(c.socket, *options_.tls);
  auto* const ssl = c.tls->native_handle();
  auto name = to.host;
  if (name.ends_with('.')) {
    name.pop_back(); // certificates name hosts without it
  }
  static constexpr unsigned char http11[] = "\x08http/1.1";
  SSL_set_verify(ssl, SSL_VERIFY_PEER, nullptr);
  SSL_set_min_proto_version(ssl, TLS1_2_VERSION);
  SSL_set_alpn_protos(ssl, http11, sizeof(http11) - 1);
  // a host name is looked for among the alternative names only, never in the subject
  SSL_set_hostflags(ssl, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  auto const ok = to.is_ip()
                      ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name.c_str()) == 1
                      : SSL_set1_host(ssl, name.c_str()) == 1 && SSL_set_tlsext_host_name(ssl, name.c_str()) == 1;
  if (!ok) {
    co_return make_error_code(error::tls_handshake_failed);
  }
  c.entry.sessions.attach(ssl, now);
  auto const [ec] = co_await c.tls->async_handshake(asio::ssl::stream_base::client, as_result);
  if (!ec && !c.expired) {
    co_return error_code{};
  }
  if (c.expired || is_cancelled(ec)) {
    co_return c.verdict(ec);
  }
  co_return make_error_code(SSL_get_verify_result(ssl) != X509_V_OK ? error::certificate_rejected
                                                                    : error::tls_handshake_failed);
}

RONDO_DECL asio::awaitable<failure> client_core::establish(connection& c, url const& to,
                                                           exchange_options const& options, steady_time now) {
  auto const* const via = options.via.get();
  auto const end = after(now, options.connect_timeout);
  auto const deadline_first = options.deadline <= end;
  auto const slow = via != nullptr ? error::proxy_timeout : error::connect_timeout;
  auto const unreachable = via != nullptr ? error::proxy_connect_failed : error::connect_failed;
  set_limit(c, std::min(end, options.deadline), deadline_first ? error::deadline_exceeded : slow);

  std::vector<tcp::endpoint> endpoints;
  auto const& host = via != nullptr ? via->host : to.host;
  auto ec = co_await resolve(c, host, via != nullptr ? via->port : to.port, endpoints);
  if (ec) {
    co_return fail(c.expired || is_cancelled(ec) ? ec
                   : via != nullptr              ? make_error_code(unreachable)
                                                 : make_error_code(error::resolve_failed));
  }
  if (!to.is_tls() && !options_.allow_plaintext) {
    // a name that should be local is believed only when its addresses are
    std::erase_if(endpoints, [](auto const& e) { return !e.address().is_loopback(); });
    if (endpoints.empty()) {
      co_return fail(make_error_code(error::plaintext_refused));
    }
  }
  ec = co_await connect(c, endpoints);
  if (ec == boost::system::errc::too_many_files_open || ec == boost::system::errc::too_many_files_open_in_system ||
      ec == boost::system::errc::not_enough_memory || ec == boost::system::errc::no_buffer_space) {
    co_return failure{make_error_code(error::no_resources), blame::nobody, false};
  }
  if (ec) {
    co_return fail(c.expired || is_cancelled(ec) ? ec : make_error_code(unreachable));
  }
  if (via != nullptr) {
    ec = co_await dig(c, to, *via);
    if (ec) {
      co_return fail(ec);
    }
  }
  if (to.is_tls()) {
    set_limit(c, c.limit, deadline_first ? error::deadline_exceeded : error::connect_timeout);
    ec = co_await secure(c, to, now);
    if (ec) {
      auto failed = fail(ec);
      if (via != nullptr && failed.who == blame::origin) {
        failed.who = blame::path;
      }
      co_return failed;
    }
  }
  c.written = c.answered = false; // the handshakes do not count
  c.retire_at = after(now, via != nullptr && via->tunnel_age.count() > 0 ? via->tunnel_age : options_.max_age);
  c.most_served = via != nullptr ? via->requests_per_tunnel : 0;
  co_return failure{};
}

// --- the exchange

/// Appends the next piece of a streamed body to the block, framed.
RONDO_DECL asio::awaitable<error_code> client_core::append_piece(connection& c, outgoing& out) {
  constexpr std::size_t frame = 6; // "4000\r\n"
  auto const begin = out.block.size();
  auto const room = out.chunked ? block_size : std::min<std::uint64_t>(block_size, out.promised);
  out.block.resize(begin + (out.chunked ? frame : 0) + room);
  auto const space = asio::buffer(out.block) + begin + (out.chunked ? frame : 0);
  std::size_t n = 0;
  if (room > 0) {
    // the deadline must be able to end a source that does not come forward
    asio::steady_timer wake{executor_, steady_time::max()};
    c.wake = &wake;
    auto reading = asio::co_spawn(executor_, out.source->read(space), asio::deferred);
    auto waiting = wake.async_wait(asio::deferred);
    auto group = asio::experimental::make_parallel_group(std::move(reading), std::move(waiting));
    auto const [order, thrown, got, ec] =
        co_await group.async_wait(asio::experimental::wait_for_one(), asio::use_awaitable);
    c.wake = nullptr;
    if (c.expired) {
      co_return c.verdict({});
    }
    if (thrown) {
      std::rethrow_exception(thrown);
    }
    n = got;
  }
  if (n > room || (!out.chunked && n == 0 && out.promised > 0)) {
    co_return make_error_code(error::invalid_argument);
  }
  if (!out.chunked) {
    out.block.resize(begin + n);
    out.promised -= n;
    out.ended = out.promised == 0;
  } else if (n == 0) {
    out.block.replace(begin, std::string::npos, "0\r\n\r\n");
    out.ended = true;
  } else {
    constexpr char digits[] = "0123456789abcdef";
    for (std::size_t i = 0; i < 4; ++i) { // leading zeros are allowed, and the frame keeps its size
      out.block[begin + i] = digits[(n >> (12 - 4 * i)) & 0xf];
    }
    out.block.replace(begin + 4, 2, "\r\n");
    out.block.resize(begin + frame + n);
    out.block += "\r\n";
  }
  co_return error_code{};
}

/// What a failed write means.
[[nodiscard]] inline error_code lost(connection const& c, error_code ec) noexcept {
  return c.expired || is_cancelled(ec) ? ec : make_error_code(error::connection_lost);
}

RONDO_DECL asio::awaitable<error_code> client_core::write_request(connection& c, outgoing& out,
                                                                  exchange_options const& options) {
  error_code ec;
  for (;;) {
    if (out.source != nullptr && !out.primed && !out.ended) {
      ec = co_await append_piece(c, out);
      if (ec) {
        co_return ec;
      }
      out.primed = true;
    }
    ec = co_await c.write(asio::buffer(out.block));
    if (ec) {
      co_return lost(c, ec);
    }
    if (out.source == nullptr || out.ended) {
      break;
    }
    out.block.clear();
    out.primed = out.whole = false;
  }
  if (!out.rest.empty()) {
    ec = co_await c.write(asio::buffer(out.rest));
    if (ec) {
      co_return lost(c, ec);
    }
  }
  if (options.on_sent && !std::exchange(out.announced, true)) {
    options.on_sent();
  }
  co_return error_code{};
}

/// Reads until the head of the final answer has been parsed.
RONDO_DECL asio::awaitable<error_code> client_core::read_head(connection& c, bool head_only,
                                                              exchange_options const& options) {
  std::size_t parsed = 0;
  for (unsigned heads = 0; heads < 16; ++heads) { // informational ones come before it; nobody sends many
    auto& parser = c.parser.emplace();
    parser.header_limit(static_cast<std::uint32_t>(std::min<std::size_t>(options_.max_head, 1U << 30)));
    parser.body_limit(boost::none);
    parser.skip(head_only);
    set_limit(c, options.deadline, error::deadline_exceeded);
    auto started = !c.input.empty();
    auto bounded = false;
    for (;;) {
      error_code ec = beast_http::error::need_more;
      if (!c.input.empty()) {
        auto const n = parser.put(c.input.data(), ec);
        c.input.consume(n);
        parsed += n;
      }
      if (parsed > options_.max_head || ec == beast_http::error::header_limit) {
        co_return make_error_code(error::response_head_too_large);
      }
      if (parser.is_header_done() && !ec) {
        break;
      }
      if (ec != beast_http::error::need_more) {
        co_return make_error_code(error::bad_response);
      }
      if (started && !bounded) {
        bounded = true;
        set_limit(c, after(std::chrono::steady_clock::now(), options.idle_timeout), error::idle_timeout);
      }
      ec = co_await c.fill(options_.max_head + 1 - parsed);
      if (ec == boost::system::errc::no_buffer_space) {
        co_return make_error_code(error::response_head_too_large);
      }
      if (ec) {
        co_return c.expired || is_cancelled(ec)
            ? ec
            : make_error_code(c.answered ? error::truncated_response : error::connection_lost);
      }
      started = c.answered = true;
    }
    auto const& head = parser.get();
    auto const status = head.result_int();
    if (status < 100 || status == 101 || status > 599 ||
        (head.version() == 10 && head.find(beast_http::field::transfer_encoding) != head.end())) {
      co_return make_error_code(error::bad_response);
    }
    if (status >= 200) {
      clear_limit(c);
      auto const count = static_cast<std::size_t>(std::distance(head.begin(), head.end()));
      co_return count > options_.max_fields ? make_error_code(error::response_head_too_large) : error_code{};
    }
  }
  co_return make_error_code(error::bad_response);
}

/// What can be refused before anything is done.
RONDO_DECL error_code client_core::check_exchange(url const& to, request_head const& head, std::string_view target,
                                                  proxy const* via) const noexcept {
  if (auto const bad = check_request(head, target)) {
    return bad;
  }
  if (to.host.empty() || !consists_of(to.host, target_char)) {
    return make_error_code(error::invalid_url);
  }
  if (!to.is_tls() && !options_.allow_plaintext) {
    url const there{"http", via != nullptr ? via->host : to.host, 0, {}};
    if (!to.is_loopback() || !there.is_loopback()) { // the way to a distant proxy would be in clear, too
      return make_error_code(error::plaintext_refused);
    }
  }
  if (via == nullptr) {
    return {};
  }
  if (via->kind == proxy_kind::https || via->host.empty() || via->port == 0) {
    return make_error_code(error::invalid_proxy);
  }
  if (!credentials_fit(*via)) {
    return make_error_code(error::invalid_credentials);
  }
  return to.host.size() > 255 && via->kind != proxy_kind::http ? make_error_code(error::name_too_long) : error_code{};
}

/// Lends a string from the client's spares, for the memory it already has.
class borrowed_block {
public:
  borrowed_block(std::vector<std::string>& spares, std::string& block) : spares_{spares}, block_{block} {
    if (!spares_.empty()) {
      block_ = std::move(spares_.back());
      spares_.pop_back();
      block_.clear();
    }
  }
  borrowed_block(borrowed_block const&) = delete;
  borrowed_block& operator=(borrowed_block const&) = delete;
  ~borrowed_block() {
    if (spares_.size() < spares_.capacity()) {
      spares_.push_back(std::move(block_));
    }
  }

private:
  std::vector<std::string>& spares_;
  std::string& block_;
};

/// Fills in everything about the way out that is known before there is a connection.
inline void prepare_request(outgoing& out, url const& to, request_head const& head, std::string_view target,
                            body_view body) {
  request_length length;
  if (body.source() != nullptr) {
    out.source = body.source();
    out.chunked = !out.source->size;
    out.promised = out.source->size.value_or(0);
    out.ended = !out.chunked && out.promised == 0;
    length = {out.chunked, out.source->size};
  } else if (auto const method = head.method(); !body.bytes().empty() || method == beast_http::verb::post ||
                                                method == beast_http::verb::put || method == beast_http::verb::patch) {
    length.size = body.bytes().size();
  }
  append_head(out.block, to, head, target, length);
  // head and small body leave in one write, a larger body without being copied
  auto const first =
      body.bytes().size() <= block_size ? body.bytes().size() : block_size - std::min(block_size, out.block.size());
  out.block.append(body.bytes().substr(0, first));
  out.rest = body.bytes().substr(first);
}

RONDO_DECL asio::awaitable<client_core::open_result> client_core::open(url const& to, request_head const& head,
                                                                       body_view body, exchange_options const& options,
                                                                       std::uint64_t max_body) {
  auto const self = shared_from_this();
  auto const target = head.target().empty() ? std::string_view{to.target}
                                            : std::string_view{head.target().data(), head.target().size()};
  auto const* const via = options.via.get();
  if (auto const refused = check_exchange(to, head, target, via); refused) {
    co_return fail(refused);
  }
  auto const now = std::chrono::steady_clock::now();
  if (now >= options.deadline) {
    co_return fail(make_error_code(error::deadline_exceeded));
  }
  outgoing out;
  borrowed_block const memory{spare_, out.block};
  prepare_request(out, to, head, target, body);
  auto& entry = entry_for(to, options.via);
  auto c = take_idle(entry, now);
  auto const kept = c != nullptr;
  if (!kept) {
    c = make_connection(entry);
  }
  try {
    for (auto fresh = !kept;; fresh = true) {
      if (fresh) {
        auto const failed = co_await establish(*c, to, options, std::chrono::steady_clock::now());
        if (failed.ec) {
          co_return failed;
        }
      }
      set_limit(*c, options.deadline, error::deadline_exceeded);
      auto const unsent = co_await write_request(*c, out, options);
      auto ec = unsent;
      // who closes early may have said why
      if (!unsent || (unsent == error::connection_lost && c->written)) {
        ec = co_await read_head(*c, head.method() == beast_http::verb::head, options);
      }
      if (!ec) {
        c->reusable = !unsent;
        break;
      }
      // connection_lost: not a byte of an answer
      auto const again =
          !fresh && ec == error::connection_lost && out.whole &&
          (!c->written || (options.resend && is_idempotent(head) && (out.source == nullptr || out.ended)));
      if (!again) {
        co_return fail(ec, c->written);
      }
      c = make_connection(entry);
    }
  } catch (boost::system::system_error const& e) {
    if (!is_cancelled(e.code())) {
      throw; // a body source's own
    }
    co_return fail(e.code(), c->written);
  }
  incoming answer;
  answer.take(self, std::move(c), max_body, options.idle_timeout, kept);
  if (answer.content_length_ && *answer.content_length_ > max_body) {
    co_return fail(make_error_code(error::response_too_large), true);
  }
  co_return answer;
}

RONDO_DECL asio::awaitable<client_core::send_result> client_core::send(url const& to, request const& message,
                                                                       exchange_options const& options) {
  auto const most = options.max_body.value_or(options_.max_response);
  auto opened = co_await open(to, message, message.body(), options, most);
  if (!opened) {
    co_return opened.error();
  }
  auto& answer = *opened;
  response whole;
  whole.base() = std::move(answer.head());
  auto& body = whole.body();
  std::size_t size = 0;
  while (!answer.done()) {
    if (size == body.size()) {
      auto const wanted = size == 0 && answer.content_length() ? *answer.content_length()
                                                               : std::max<std::uint64_t>(2 * size, block_size);
      body.resize(static_cast<std::size_t>(std::max<std::uint64_t>(wanted, 1)));
    }
    auto const space = asio::buffer(body) + size;
    auto const [ec, n] = co_await answer.read(space);
    if (ec) {
      co_return fail(ec, true);
    }
    size += n;
  }
  body.resize(size);
  co_return whole;
}

} // namespace detail

// --- incoming

RONDO_DECL incoming::incoming() noexcept = default;
RONDO_DECL incoming::incoming(incoming&&) noexcept = default;
RONDO_DECL incoming& incoming::operator=(incoming&& other) noexcept {
  connection_ = nullptr; // reports to the core that is about to be replaced
  core_ = std::move(other.core_);
  connection_ = std::move(other.connection_);
  head_ = std::move(other.head_);
  content_length_ = other.content_length_;
  received_ = other.received_;
  max_body_ = other.max_body_;
  idle_timeout_ = other.idle_timeout_;
  reused_ = other.reused_;
  failed_ = other.failed_;
  return *this;
}
RONDO_DECL incoming::~incoming() = default;

RONDO_DECL void incoming::take(std::shared_ptr<detail::client_core> core, detail::connection_ptr c,
                               std::uint64_t max_body, std::chrono::steady_clock::duration idle_timeout, bool reused) {
  core_ = std::move(core);
  connection_ = std::move(c);
  max_body_ = max_body;
  idle_timeout_ = idle_timeout;
  reused_ = reused;
  auto& parser = *connection_->parser;
  if (auto const length = parser.content_length()) {
    content_length_ = *length;
  }
  // a 204 has no body, whatever its head says; what follows could be anything
  auto const odd = parser.get().result_int() == 204 && (parser.content_length().value_or(0) > 0 || parser.chunked());
  connection_->reusable = connection_->reusable && parser.keep_alive() && !odd;
  head_ = std::move(parser.get().base());
  parser.eager(true);
  if (parser.is_done()) {
    finish({});
  }
}

/// Gives the connection back or closes it.
RONDO_DECL void incoming::finish(error_code ec) noexcept {
  failed_ = static_cast<bool>(ec);
  if (!ec && connection_->reusable && connection_->input.empty()) {
    core_->give_back(std::move(connection_));
  }
  connection_ = nullptr;
}

RONDO_DECL boost::asio::awaitable<read_result> incoming::read(boost::asio::mutable_buffer space) {
  if (!connection_) {
    co_return read_result{failed_ ? make_error_code(error::truncated_response) : error_code{}, 0};
  }
  auto& c = *connection_;
  auto& parser = *c.parser;
  try {
    for (;;) {
      if (!c.input.empty()) {
        auto& body = parser.get().body();
        body.data = space.data();
        body.size = space.size();
        error_code ec;
        c.input.consume(parser.put(c.input.data(), ec));
        auto const n = space.size() - body.size;
        received_ += n;
        if (received_ > max_body_) {
          ec = error::response_too_large;
        } else if (ec == beast_http::error::need_more || ec == beast_http::error::need_buffer) {
          ec = {};
        } else if (ec) {
          ec = error::bad_response;
        }
        if (ec || parser.is_done()) {
          finish(ec);
          co_return read_result{ec, ec ? 0 : n};
        }
        if (n > 0) {
          co_return read_result{{}, n};
        }
      }
      core_->set_limit(c, detail::after(std::chrono::steady_clock::now(), idle_timeout_), error::idle_timeout);
      auto ec = co_await c.fill(core_->options().max_head);
      core_->clear_limit(c);
      if (ec) {
        auto const ended = ec == boost::asio::error::eof && parser.need_eof(); // over TLS: with a close_notify
        if (ended) {
          parser.put_eof(ec);
          c.reusable = false;
        } else if (ec == boost::system::errc::no_buffer_space) {
          ec = error::bad_response; // a chunk header or trailer without end
        } else if (!c.expired && !detail::is_cancelled(ec)) {
          ec = error::truncated_response;
        }
        finish(ec);
        co_return read_result{ec, 0};
      }
    }
  } catch (boost::system::system_error const& e) { // the coroutine was cancelled between two steps
    finish(e.code());
    co_return read_result{e.code(), 0};
  }
}

// --- client

namespace detail {

inline exchange_options const default_exchange{};

/// Keeps a cancellation back until its coroutine runs: in Boost 1.81 one that comes between `co_spawn` and the first
/// step is thrown out of `io_context::run`.
struct cancellation_relay {
  asio::cancellation_signal signal;
  bool started = false;
  bool early = false;

  void emit(asio::cancellation_type type) {
    if (started) {
      signal.emit(type);
    } else {
      early = true;
    }
  }
};

inline asio::awaitable<client_core::open_result> run_open(std::shared_ptr<client_core> core,
                                                          std::shared_ptr<cancellation_relay> relay, url to,
                                                          request_head head, std::string body,
                                                          exchange_options options) {
  co_await asio::this_coro::reset_cancellation_state(asio::enable_total_cancellation());
  relay->started = true;
  if (relay->early) {
    co_return fail(asio::error::operation_aborted);
  }
  auto const most = options.max_body.value_or(std::numeric_limits<std::uint64_t>::max());
  co_return co_await core->open(to, head, body, options, most);
}

inline asio::awaitable<client_core::send_result> run_send(std::shared_ptr<client_core> core,
                                                          std::shared_ptr<cancellation_relay> relay, url to,
                                                          request message, exchange_options options) {
  co_await asio::this_coro::reset_cancellation_state(asio::enable_total_cancellation());
  relay->started = true;
  if (relay->early) {
    co_return fail(asio::error::operation_aborted);
  }
  co_return co_await core->send(to, message, options);
}

template <class Handler> std::shared_ptr<cancellation_relay> relay_for(Handler const& handler) {
  auto relay = std::make_shared<cancellation_relay>();
  if (auto slot = asio::get_associated_cancellation_slot(handler); slot.is_connected()) {
    slot.assign([relay](asio::cancellation_type type) { relay->emit(type); });
  }
  return relay;
}

/// Takes the outcome of a coroutine on the client's executor, and hands it over on the handler's.
///
/// It has a cancellation slot but, on purpose, no executor: `co_spawn` of Boost 1.81 would post cancellations to that
/// one, where they may arrive after everything is gone.
template <class T, class Handler> class hand_over {
public:
  using cancellation_slot_type = asio::cancellation_slot;

  hand_over(asio::any_io_executor const& executor, std::shared_ptr<cancellation_relay> relay, Handler handler)
      : relay_{std::move(relay)}, slot_{asio::get_associated_cancellation_slot(handler)},
        target_{
            asio::prefer(asio::get_associated_executor(handler, executor), asio::execution::outstanding_work.tracked)},
        handler_{std::move(handler)} {}

  [[nodiscard]] cancellation_slot_type get_cancellation_slot() const noexcept { return relay_->signal.slot(); }

  void operator()(std::exception_ptr const& thrown, boost::system::result<T, failure> outcome) {
    if (slot_.is_connected()) {
      slot_.clear();
    }
    error_code ec;
    T value;
    try {
      if (thrown) {
        std::rethrow_exception(thrown);
      }
      if (outcome) {
        value = std::move(*outcome);
      } else {
        ec = outcome.error().ec;
      }
    } catch (boost::system::system_error const& e) {
      ec = e.code();
    }
    asio::dispatch(target_, [handler = std::move(handler_), ec, value = std::move(value)]() mutable {
      std::move(handler)(ec, std::move(value));
    });
  }

private:
  using target = decltype(asio::prefer(std::declval<asio::associated_executor_t<Handler, asio::any_io_executor>>(),
                                       asio::execution::outstanding_work.tracked));

  std::shared_ptr<cancellation_relay> relay_;
  cancellation_slot_type slot_;
  std::decay_t<target> target_;
  Handler handler_;
};

} // namespace detail

RONDO_DECL client::client(boost::asio::any_io_executor executor, client_options options)
    : core_{std::make_shared<detail::client_core>(std::move(executor), std::move(options))} {}
RONDO_DECL client::client(client&&) noexcept = default;
RONDO_DECL client& client::operator=(client&& other) noexcept {
  if (core_) {
    core_->close_idle();
  }
  core_ = std::move(other.core_);
  return *this;
}
RONDO_DECL client::~client() {
  if (core_) {
    core_->close_idle();
  }
}

RONDO_DECL boost::asio::awaitable<boost::system::result<incoming, failure>>
client::open(url const& to, request_head const& head, body_view body, exchange_options const& options) {
  return core_->open(to, head, body, options, options.max_body.value_or(std::numeric_limits<std::uint64_t>::max()));
}

RONDO_DECL boost::asio::awaitable<boost::system::result<incoming, failure>>
client::open(url const& to, request_head const& head, body_view body) {
  return open(to, head, body, detail::default_exchange);
}

RONDO_DECL boost::asio::awaitable<boost::system::result<response, failure>>
client::send(url const& to, request const& message, exchange_options const& options) {
  return core_->send(to, message, options);
}

RONDO_DECL boost::asio::awaitable<boost::system::result<response, failure>> client::send(url const& to,
                                                                                         request const& message) {
  return send(to, message, detail::default_exchange);
}

RONDO_DECL boost::asio::any_io_executor client::get_executor() const noexcept {
  return core_->executor();
}
RONDO_DECL void client::close_idle() noexcept {
  core_->close_idle();
}
RONDO_DECL std::size_t client::idle_connections() const noexcept {
  return core_->idle_count();
}
RONDO_DECL std::size_t client::active_connections() const noexcept {
  return core_->active_count();
}

RONDO_DECL boost::asio::any_io_executor client::initiate_open::get_executor() const noexcept {
  return core->executor();
}
RONDO_DECL boost::asio::any_io_executor client::initiate_send::get_executor() const noexcept {
  return core->executor();
}

RONDO_DECL void client::initiate_open::operator()(open_handler handler, url to, request_head head, std::string body,
                                                  exchange_options options) const {
  auto const relay = detail::relay_for(handler);
  boost::asio::co_spawn(
      core->executor(),
      detail::run_open(core, relay, std::move(to), std::move(head), std::move(body), std::move(options)),
      detail::hand_over<incoming, open_handler>{core->executor(), relay, std::move(handler)});
}

RONDO_DECL void client::initiate_send::operator()(send_handler handler, url to, request message,
                                                  exchange_options options) const {
  auto const relay = detail::relay_for(handler);
  boost::asio::co_spawn(core->executor(),
                        detail::run_send(core, relay, std::move(to), std::move(message), std::move(options)),
                        detail::hand_over<response, send_handler>{core->executor(), relay, std::move(handler)});
}

} // namespace rondo::http
