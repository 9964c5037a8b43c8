// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/http/detail/client_core.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/experimental/parallel_group.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/rfc7230.hpp>

#include <algorithm>
#include <exception>
#include <limits>
#include <utility>

namespace rondo::http::detail {

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
  auto kept = false;
  outgoing out;
  borrowed_block const memory{spare_, out.block};
  prepare_request(out, to, head, target, body);
  auto& entry = entry_for(to, options.via);
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
      c = make_connection(std::move(c->slot)); // the dead one's place
    }
  } catch (boost::system::system_error const& e) {
    if (!is_cancelled(e.code())) {
      throw; // a body source's own
    }
    co_return fail(e.code(), c && c->written);
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

} // namespace rondo::http::detail
