// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/http/detail/client_core.hpp>
#include <rondo/http/incoming.hpp>

#include <boost/beast/http/error.hpp>

#include <utility>

namespace rondo::http {

RONDO_DECL incoming::incoming() noexcept = default;
RONDO_DECL incoming::incoming(incoming&&) noexcept = default;
RONDO_DECL incoming& incoming::operator=(incoming&&) noexcept = default;
RONDO_DECL incoming::~incoming() = default;

RONDO_DECL incoming::incoming(std::unique_ptr<detail::answer> answer) noexcept : answer_{std::move(answer)} {
  auto& c = *answer_->from;
  auto& parser = *c.parser;
  if (auto const length = parser.content_length()) {
    answer_->content_length = *length;
  }
  // a 204 has no body, whatever its head says; what follows could be anything
  auto const odd = parser.head.result_int() == 204 && (parser.content_length().value_or(0) > 0 || parser.chunked());
  c.reusable = c.reusable && parser.keep_alive() && !odd;
  answer_->head = std::move(parser.head);
  parser.eager(true);
  parser.limit_head(answer_->core->options().max_head); // the trailers
  if (parser.is_done()) {
    finish({});
  }
}

/// Gives the connection back or closes it.
RONDO_DECL void incoming::finish(error_code ec) noexcept {
  auto& from = answer_->from;
  answer_->failed = static_cast<bool>(ec);
  if (!ec && from->reusable && from->input.empty()) {
    answer_->core->give_back(std::move(from));
  }
  from = nullptr;
}

RONDO_DECL std::optional<read_result> incoming::try_read(boost::asio::mutable_buffer space) {
  auto& a = *answer_;
  if (!a.from) {
    return read_result{a.failed ? make_error_code(error::truncated_response) : error_code{}, 0};
  }
  auto& c = *a.from;
  auto& parser = *c.parser;
  // the parser may assert that the last chunk is whole if it is the first; no chunked body is shorter
  auto const too_little = parser.chunked() && a.received + a.framing == 0 && c.input.size() < 5;
  if (c.input.empty() || too_little) {
    return std::nullopt;
  }
  parser.space = space;
  error_code ec;
  auto const taken = parser.put(c.input.data(), ec);
  c.input.consume(taken);
  auto const n = space.size() - parser.space.size();
  a.received += n;
  a.framing += taken - n;
  auto const most_framing = a.core->options().max_head + 16 * a.received; // chunks of one byte need five more
  if (a.received > a.max_body) {
    ec = error::response_too_large;
  } else if (a.framing > most_framing) {
    ec = error::bad_response;
  } else if (ec == beast_http::error::need_more || ec == beast_http::error::need_buffer) {
    ec = {};
  } else if (ec) {
    ec = error::bad_response;
  }
  if (!ec && parser.is_done() && parser.chunked()) {
    a.trailers = std::move(parser.trailers);
    ec = a.core->check_field_count(a.trailers) ? make_error_code(error::bad_response) : error_code{};
  }
  if (ec || parser.is_done()) {
    finish(ec);
    return read_result{ec, ec ? 0 : n};
  }
  return n > 0 ? std::optional{read_result{{}, n}} : std::nullopt;
}

RONDO_DECL boost::asio::awaitable<read_result> incoming::read(boost::asio::mutable_buffer space) {
  try {
    for (;;) {
      if (auto const ready = try_read(space)) {
        co_return *ready;
      }
      auto& c = *answer_->from;
      auto& core = *answer_->core;
      core.limit_idle(c, answer_->idle_timeout, answer_->complete_by);
      error_code ec;
      while (!ec && !c.expired && !c.fill_step(core.options().max_head, ec)) {
        std::tie(ec) = co_await c.ready();
      }
      if (!ec && c.must_yield()) {
        co_await c.yield();
      }
      ec = c.verdict(ec);
      core.clear_limit(c);
      if (ec) {
        auto& parser = *c.parser;
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
