// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/http/detail/authority.hpp>
#include <rondo/http/detail/client_core.hpp>
#include <rondo/http/impl/head_reader.hpp>

#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/experimental/parallel_group.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <exception>
#include <iterator>
#include <optional>
#include <string_view>
#include <tuple>
#include <utility>

namespace rondo::http::detail {

// g++ 12 takes the memory of coroutine frames, which Asio recycles, for freed by the wrong function
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
#endif

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

/// The last byte of the request has been handed over.
inline void announce(outgoing& out, exchange_options const& options) {
  if (options.on_sent && !std::exchange(out.announced, true)) {
    options.on_sent();
  }
}

/// Writes what is small and at hand without the cost of a coroutine. False: some of it, or all, is left for
/// `write_request`.
[[nodiscard]] inline bool write_at_once(connection& c, outgoing& out, exchange_options const& options, error_code& ec) {
  out.unsent = asio::buffer(out.block);
  if (out.source != nullptr || !c.write_step(out.unsent, ec) || (!ec && out.unsent.size() + out.rest.size() > 0)) {
    return false;
  }
  if (ec) {
    ec = lost(c, ec);
  } else {
    announce(out, options);
  }
  return true;
}

RONDO_DECL asio::awaitable<error_code> client_core::write_request(connection& c, outgoing& out, bool head_only,
                                                                  exchange_options const& options) {
  error_code ec;
  if (out.asks) {
    ec = co_await c.write(asio::buffer(out.block));
    if (ec) {
      co_return lost(c, ec);
    }
    ec = co_await read_leave(c, head_only, options, after(std::chrono::steady_clock::now(), options.expect_continue));
    if (ec) {
      co_return ec;
    }
    if (c.parser && c.parser->head.result_int() >= 200) {
      out.refused = true;
      co_return error_code{};
    }
    set_limit(c, options.deadline, error::deadline_exceeded);
    out.asks = out.whole = false;
    out.block.clear();
  }
  for (;;) {
    if (out.source != nullptr && !out.primed && !out.ended) {
      ec = co_await append_piece(c, out);
      if (ec) {
        co_return ec;
      }
      out.primed = true;
      out.unsent = asio::buffer(out.block);
    }
    ec = co_await c.write(out.unsent);
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
  announce(out, options);
  co_return error_code{};
}

RONDO_DECL error_code client_core::check_field_count(fields const& message) const noexcept {
  auto const count = static_cast<std::size_t>(std::distance(message.begin(), message.end()));
  return count > options_.max_fields ? make_error_code(error::response_head_too_large) : error_code{};
}

/// Reads until the head of the final answer has been parsed, or that of a 100. When `continue_by` passes before
/// anything came there is no parser.
RONDO_DECL asio::awaitable<error_code> client_core::read_leave(connection& c, bool head_only,
                                                               exchange_options const& options, steady_time leave_by) {
  using next = head_reader::next;
  head_reader reader{c, head_only, options, leave_by};
  error_code ec;
  for (auto wanted = reader.step(ec); wanted != next::over; wanted = reader.step(ec)) {
    if (wanted == next::bytes) {
      std::tie(ec) = co_await c.ready();
    } else {
      co_await c.yield();
    }
  }
  co_return ec;
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
  if (!to.is_tls() && !options_.allow_plaintext && !to.is_loopback()) {
    return make_error_code(error::plaintext_refused);
  }
  for (auto const* hop = via; hop != nullptr; hop = hop->through.get()) {
    if (!to.is_tls() && !options_.allow_plaintext && !url{"http", hop->host, 0, {}}.is_loopback()) {
      return make_error_code(error::plaintext_refused); // a distant proxy sends it on in clear
    }
  }
  if (via == nullptr) {
    return {};
  }
  auto const bad = check_proxy(*via);
  return !bad && to.host.size() > max_host_size ? make_error_code(error::name_too_long) : bad;
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
inline void prepare_request(outgoing& out, std::string_view host, request_head const& head, std::string_view target,
                            body_view body, exchange_options const& options) {
  own_fields own;
  own.identity = options.identity;
  if (body.source() != nullptr) {
    out.source = body.source();
    out.chunked = !out.source->size;
    out.promised = out.source->size.value_or(0);
    out.ended = !out.chunked && out.promised == 0;
    out.asks = options.expect_continue.count() > 0 && !out.ended;
    own.chunked = out.chunked;
    own.size = out.source->size;
    own.expect = out.asks;
  } else if (auto const method = head.method(); !body.bytes().empty() || method == beast_http::verb::post ||
                                                method == beast_http::verb::put || method == beast_http::verb::patch) {
    own.size = body.bytes().size();
  }
  append_head(out.block, host, head, target, own);
  // head and small body leave in one write, a larger body without being copied
  auto const first =
      body.bytes().size() <= block_size ? body.bytes().size() : block_size - std::min(block_size, out.block.size());
  out.block.append(body.bytes().substr(0, first));
  out.rest = body.bytes().substr(first);
}

RONDO_DECL asio::awaitable<client_core::open_result> client_core::open(url const& to, request_head const& head,
                                                                       body_view body, exchange_options const& wanted,
                                                                       std::uint64_t max_body) {
  auto const self = shared_from_this();
  std::optional<exchange_options> sooner;
  if (wanted.complete_by < wanted.deadline) {
    sooner = wanted;
    sooner->deadline = wanted.complete_by;
  }
  auto const& options = sooner ? *sooner : wanted;
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
  auto kept = false;
  outgoing out;
  borrowed_block const memory{spare_, out.block};
  auto& entry = entry_for(to, options.via);
  prepare_request(out, entry.host, head, target, body, options);
  auto c = take_idle(entry, now);
  try {
    if (!c && make_room(entry)) {
      c = make_connection(connection_slot{*this, entry});
    } else if (!c) {
      auto const none = co_await obtain(entry, options, c);
      if (none) {
        co_return failure{none, blame::nobody, false};
      }
    }
    kept = c->served > 0;
    for (auto fresh = !kept;; fresh = true) {
      if (fresh) {
        auto const failed = co_await establish(*c, to, options, std::chrono::steady_clock::now());
        if (failed.ec) {
          co_return failed;
        }
      }
      auto const state = co_await asio::this_coro::cancellation_state;
      if (state.cancelled() != asio::cancellation_type::none) {
        co_return fail(asio::error::operation_aborted); // while the connection was on its way
      }
      set_limit(*c, options.deadline, error::deadline_exceeded);
      auto const head_only = head.method() == beast_http::verb::head;
      error_code unsent;
      if (!write_at_once(*c, out, options, unsent)) {
        unsent = co_await write_request(*c, out, head_only, options);
      }
      auto ec = unsent;
      // who closes early may have said why; once the end has been read, another read would never complete
      if ((!unsent && !out.refused) || (unsent == error::connection_lost && c->written && !c->parser)) {
        using next = head_reader::next;
        head_reader reader{*c, head_only, options};
        ec = {};
        for (auto wants = reader.step(ec); wants != next::over; wants = reader.step(ec)) {
          if (wants == next::bytes) {
            std::tie(ec) = co_await c->ready();
          } else {
            co_await c->yield();
          }
        }
      }
      if (!ec) {
        c->reusable = !unsent && !out.refused;
        break;
      }
      // connection_lost: not a byte of an answer
      auto const again =
          !fresh && ec == error::connection_lost && out.whole &&
          (!c->written || (options.resend && is_idempotent(head) && (out.source == nullptr || out.ended || out.asks)));
      if (!again) {
        auto failed = fail(ec, c->written);
        if (via != nullptr && ec == error::tls_handshake_failed) {
          failed.who = blame::path;
        }
        co_return failed;
      }
      c = make_connection(std::move(c->slot)); // the dead one's place
    }
  } catch (boost::system::system_error const& e) {
    if (!is_cancelled(e.code())) {
      throw; // a body source's own
    }
    co_return fail(e.code(), c && c->written);
  }
  if (!c->parser->is_done() && c->parser->content_length().value_or(0) > max_body) {
    co_return fail(make_error_code(error::response_too_large), true);
  }
  auto got = std::make_unique<answer>();
  got->core = self;
  got->from = std::move(c);
  got->max_body = max_body;
  got->complete_by = options.complete_by;
  got->idle_timeout = options.idle_timeout;
  got->reused = kept;
  co_return incoming{std::move(got)};
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
    auto got = answer.try_read(space);
    if (!got) {
      got = co_await answer.read(space);
    }
    if (got->ec) {
      co_return fail(got->ec, true);
    }
    size += got->n;
  }
  body.resize(size);
  co_return whole;
}

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

} // namespace rondo::http::detail
