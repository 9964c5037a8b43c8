// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/detail/proxy_demand.hpp>
#include <rondo/detail/proxy_ring.hpp>
#include <rondo/detail/proxy_waiter.hpp>
#include <rondo/error.hpp>
#include <rondo/proxy_filter.hpp>
#include <rondo/proxy_lease.hpp>

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace rondo::detail {

/// Makes leases out of grants.
class proxy_lease_factory {
public:
  [[nodiscard]] static proxy_lease make(proxy_ring& ring, grant const& g) noexcept {
    proxy_lease out;
    out.ring_ = &ring;
    out.grant_ = g;
    return out;
  }
};

/// A parked `proxy_rotator::async_acquire`, with copies of all that the request referred to.
///
/// It is owned by what is pending: the wait of its timer, and then the posted completion. So it goes with the context,
/// if that goes first. The timer is touched under a lock of its own, for whoever frees a proxy may set it.
class proxy_wait_operation final : public proxy_waiter, public std::enable_shared_from_this<proxy_wait_operation> {
public:
  using handler_type = boost::asio::any_completion_handler<void(error_code, proxy_lease)>;

  proxy_wait_operation(proxy_ring& ring, handler_type handler, boost::asio::any_io_executor const& executor,
                       proxy_demand const& wanted)
      : ring_{ring}, handler_{std::move(handler)}, work_{executor}, timer_{executor},
        avoid_{wanted.avoid.begin(), wanted.avoid.end()} {
    want = wanted;
    want.avoid = avoid_;
    if (wanted.only) {
      only_ = *wanted.only;
      want.only = &only_;
    }
    ring_.hold();
  }
  proxy_wait_operation(proxy_wait_operation const&) = delete;
  proxy_wait_operation& operator=(proxy_wait_operation const&) = delete;
  ~proxy_wait_operation() {
    static_cast<void>(ring_.cancel(*this));
    if (got.from) {
      ring_.release(got); // nobody will use it
    }
    ring_.let_go();
  }

  void start() {
    auto const self = shared_from_this();
    if (auto slot = boost::asio::get_associated_cancellation_slot(handler_); slot.is_connected()) {
      slot.assign([weak = weak_from_this()](boost::asio::cancellation_type type) {
        auto const op = weak.lock();
        if (op && type != boost::asio::cancellation_type::none && op->ring_.cancel(*op)) {
          op->self_ = op;
          op->ec = boost::asio::error::operation_aborted;
          op->complete();
        }
      });
    }
    ring_.wait(*this);
  }

  void set_timer(tick at) override {
    auto self = weak_from_this().lock();
    if (!self) {
      return; // about to go
    }
    std::lock_guard const lock{timer_mutex_};
    constexpr tick longest = 3'600'000'000'000; // it looks again then
    timer_.expires_after(std::chrono::nanoseconds{std::clamp<tick>(at - ring_.now(), 0, longest)});
    timer_.async_wait([self = std::move(self)](error_code failed) {
      if (!failed) {
        self->ring_.on_time();
      }
    });
  }

  [[nodiscard]] bool keep() noexcept override {
    self_ = weak_from_this().lock();
    return self_ != nullptr;
  }

  void complete() noexcept override {
    auto self = std::exchange(self_, nullptr);
    {
      std::lock_guard const lock{timer_mutex_};
      timer_.cancel();
    }
    boost::asio::post(work_.get_executor(), [self = std::move(self)] { self->deliver(); });
  }

private:
  void deliver() {
    if (auto slot = boost::asio::get_associated_cancellation_slot(handler_); slot.is_connected()) {
      slot.clear();
    }
    proxy_lease result;
    if (got.from) {
      result = proxy_lease_factory::make(ring_, std::exchange(got, {}));
    }
    auto const work = std::move(work_);
    auto handler = std::move(handler_);
    std::move(handler)(ec, std::move(result));
  }

  proxy_ring& ring_;
  handler_type handler_;
  boost::asio::executor_work_guard<boost::asio::any_io_executor> work_;
  std::mutex timer_mutex_;
  boost::asio::steady_timer timer_;
  std::vector<std::uint32_t> avoid_;
  proxy_filter only_;
  std::shared_ptr<proxy_wait_operation> self_; ///< between the answer and its delivery
};

} // namespace rondo::detail
