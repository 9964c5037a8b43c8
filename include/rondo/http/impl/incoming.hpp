// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/http/detail/client_core.hpp>
#include <rondo/http/incoming.hpp>

#include <boost/beast/http/error.hpp>

#include <utility>

namespace rondo::http {

RONDO_DECL incoming::incoming() noexcept = default;
RONDO_DECL incoming::incoming(incoming&&) noexcept = default;
RONDO_DECL incoming& incoming::operator=(incoming&& other) noexcept {
  connection_ = nullptr; // reports to the core that is about to be replaced
  core_ = std::move(other.core_);
  connection_ = std::move(other.connection_);
  head_ = std::move(other.head_);
  content_length_ = other.content_length_;
  trailers_ = std::move(other.trailers_);
  received_ = other.received_;
  framing_ = other.framing_;
  max_body_ = other.max_body_;
  complete_by_ = other.complete_by_;
  idle_timeout_ = other.idle_timeout_;
  reused_ = other.reused_;
  failed_ = other.failed_;
  return *this;
}
RONDO_DECL incoming::~incoming() = default;

RONDO_DECL void incoming::take(std::shared_ptr<detail::client_core> core, detail::connection_ptr c,
                               std::uint64_t max_body, exchange_options const& options, bool reused) {
  core_ = std::move(core);
  connection_ = std::move(c);
  max_body_ = max_body;
  idle_timeout_ = options.idle_timeout;
  complete_by_ = options.complete_by;
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
      // the parser may assert that the last chunk is whole if it is the first; no chunked body is shorter
      auto const too_little = parser.chunked() && received_ + framing_ == 0 && c.input.size() < 5;
      if (!c.input.empty() && !too_little) {
        auto& body = parser.get().body();
        body.data = space.data();
        body.size = space.size();
        error_code ec;
        auto const taken = parser.put(c.input.data(), ec);
        c.input.consume(taken);
        auto const n = space.size() - body.size;
        received_ += n;
        framing_ += taken - n;
        auto const most_framing = core_->options().max_head + 16 * received_; // chunks of one byte need five more
        if (received_ > max_body_) {
          ec = error::response_too_large;
        } else if (framing_ > most_framing) {
          ec = error::bad_response;
        } else if (ec == beast_http::error::need_more || ec == beast_http::error::need_buffer) {
          ec = {};
        } else if (ec) {
          ec = error::bad_response;
        }
        if (!ec && parser.is_done()) {
          trailers_ = std::move(static_cast<fields&>(parser.get().base()));
          ec = core_->check_field_count(trailers_) ? make_error_code(error::bad_response) : error_code{};
        }
        if (ec || parser.is_done()) {
          finish(ec);
          co_return read_result{ec, ec ? 0 : n};
        }
        if (n > 0) {
          co_return read_result{{}, n};
        }
      }
      core_->limit_idle(c, idle_timeout_, complete_by_);
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

} // namespace rondo::http
