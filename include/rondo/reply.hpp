// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/detail/attempt_trace.hpp>
#include <rondo/detail/config.hpp>
#include <rondo/error.hpp>
#include <rondo/http/exchange.hpp>
#include <rondo/http/incoming.hpp>
#include <rondo/http/message.hpp>
#include <rondo/lease.hpp>
#include <rondo/provider/usage_meter.hpp>
#include <rondo/proxy_lease.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>
#include <utility>

namespace rondo {

/// An answer whose head has arrived. The lease of a served request is settled before the piece that completes the body
/// is handed out: with what the provider says it cost, else with what was reserved. A reply that is destroyed before
/// settles the same way and closes its connection. Until then the request counts as in flight through its proxy.
///
/// Distinct objects: safe, on the client's executor. Shared objects: unsafe. Must not be moved while a read is under
/// way. Made without an answer, or moved from, it may only be assigned to and destroyed.
class [[nodiscard]] reply {
public:
  reply() = default;
  reply(reply&&) = default;
  reply& operator=(reply&& other) noexcept {
    if (this != &other) {
      end();
      stream_ = std::move(other.stream_);
      kept_ = std::move(other.kept_);
      offset_ = other.offset_;
      bad_ = other.bad_;
      lease_ = std::move(other.lease_);
      proxy_ = std::move(other.proxy_);
      trace_ = std::move(other.trace_);
      meter_ = std::move(other.meter_);
      attempts_ = other.attempts_;
      good_ = other.good_;
      masked_key_ = std::move(other.masked_key_);
    }
    return *this;
  }
  ~reply() { end(); }

  /// Status and fields as the provider sent them, hop-by-hop fields included.
  [[nodiscard]] http::response_head const& head() const noexcept { return stream_.head(); }
  [[nodiscard]] unsigned status() const noexcept { return stream_.status(); }
  /// Requests written to the provider for this answer.
  [[nodiscard]] unsigned attempts() const noexcept { return attempts_; }
  [[nodiscard]] std::string const& masked_key() const noexcept { return masked_key_; }
  [[nodiscard]] std::string const& key_name() const noexcept { return trace_.key_name(); }
  /// Of the proxy that the answer came through; empty when it came direct.
  [[nodiscard]] std::string const& proxy_name() const noexcept { return trace_.proxy_name(); }
  /// Nothing follows what has been read: head and body can go out in one write.
  [[nodiscard]] bool complete() const noexcept { return offset_ == kept_.size() && stream_.done() && !bad_; }

  /// Reads the next piece of the body: as `http::incoming::read`, with the same completion, cancellation and errors.
  [[nodiscard]] boost::asio::awaitable<http::read_result> read(boost::asio::mutable_buffer space);

private:
  friend class client;

  /// Everything that was held for it is given back.
  void end() noexcept {
    if (lease_) {
      lease_.settle(meter_.cost().value_or(lease_.tokens()));
    }
    proxy_.release();
    trace_.end();
  }

  /// What was kept and not handed out.
  [[nodiscard]] std::string take_kept() noexcept {
    kept_.erase(0, std::exchange(offset_, 0));
    return std::exchange(kept_, {});
  }

  http::incoming stream_;
  std::string kept_; ///< the beginning of the body, read to see what the answer means, or whether it comes
  std::size_t offset_ = 0;
  error_code bad_; ///< what became of the stream after what was kept
  lease lease_;
  proxy_lease proxy_;
  detail::attempt_trace trace_;
  provider::usage_meter meter_;
  unsigned attempts_ = 0;
  bool good_ = false; ///< another attempt would not get a better one
  std::string masked_key_;
};

} // namespace rondo

#ifndef RONDO_SEPARATE_COMPILATION
#include <rondo/impl/reply.hpp>
#endif
