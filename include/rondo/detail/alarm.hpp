// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/detail/pool_core.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/steady_timer.hpp>

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

namespace rondo::detail {

/// The one timer of a pool. Runs on the pool's executor, and only while somebody waits.
///
/// `set` may be called from any thread; after `detach` the core is not called again.
class alarm : public std::enable_shared_from_this<alarm> {
public:
  alarm(boost::asio::any_io_executor const& executor, pool_core& core)
      : timer_{std::in_place, executor}, core_{&core} {}

  void set(tick at, tick now) {
    std::lock_guard const lock{mutex_};
    if (!core_) {
      return;
    }
    if (at == never) {
      timer_->cancel();
      return;
    }
    timer_->expires_after(std::chrono::nanoseconds{at > now ? at - now : 0});
    timer_->async_wait([weak = weak_from_this()](auto const& ec) {
      auto const self = weak.lock();
      if (!ec && self) {
        self->ring();
      }
    });
  }

  void detach() {
    std::lock_guard const lock{mutex_};
    core_ = nullptr;
    timer_.reset(); // leases may outlive the context, and must not keep anything of it
  }

private:
  void ring() {
    pool_core* core = nullptr;
    {
      std::lock_guard const lock{mutex_};
      core = core_;
      if (!core) {
        return;
      }
      core->hold(); // waking sets the next alarm, and so must not happen under our lock
    }
    core->alarm_went_off();
    core->let_go();
  }

  std::mutex mutex_;
  std::optional<boost::asio::steady_timer> timer_;
  pool_core* core_;
};

} // namespace rondo::detail
