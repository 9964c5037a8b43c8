// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/detail/attempt_trace.hpp>
#include <rondo/error.hpp>
#include <rondo/http/exchange.hpp>
#include <rondo/http/incoming.hpp>
#include <rondo/http/message.hpp>
#include <rondo/lease.hpp>
#include <rondo/provider/usage_meter.hpp>
#include <rondo/proxy_lease.hpp>
#include <rondo/reply.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>
#include <utility>

namespace rondo {

// g++ 12 takes the memory of coroutine frames, which Asio recycles, for freed by the wrong function
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
#endif

RONDO_DECL boost::asio::awaitable<http::read_result> reply::read(boost::asio::mutable_buffer space) {
  if (offset_ < kept_.size()) {
    auto const n = std::min(space.size(), kept_.size() - offset_);
    std::memcpy(space.data(), kept_.data() + offset_, n);
    offset_ += n;
    if (complete()) {
      end();
    }
    co_return http::read_result{{}, n};
  }
  if (stream_.done()) {
    auto const ec = std::exchange(bad_, {});
    if (ec) {
      trace_.fail(ec, blame_of(ec));
    }
    end();
    co_return http::read_result{ec, 0};
  }
  auto const got = co_await stream_.read(space);
  meter_.feed({static_cast<char const*>(space.data()), got.n});
  if (got.ec) {
    trace_.fail(got.ec, blame_of(got.ec));
  }
  if (got.ec || got.n == 0 || stream_.done()) {
    end();
  }
  co_return got;
}

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

} // namespace rondo
