// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/detail/proxy_demand.hpp>
#include <rondo/detail/wait_line.hpp>
#include <rondo/error.hpp>

#include <boost/intrusive/list.hpp>

#include <cstdint>

namespace rondo::detail {

/// A parked request for a proxy. The line refers to it until `complete` is called or it was taken out.
class proxy_waiter {
public:
  proxy_demand want;
  // the answer
  grant got;
  error_code ec;

  /// Be there at `at`: call `proxy_ring::on_time`. Called with the line's lock held.
  virtual void set_timer(tick at) = 0;
  /// Sees to it that it lives until `complete`. False if it is about to go: then it gives back what it got. Called with
  /// the line's lock held.
  [[nodiscard]] virtual bool keep() noexcept = 0;
  /// Called once, without any lock held, by whichever thread had the answer. Must not block.
  virtual void complete() noexcept = 0;

protected:
  proxy_waiter() = default;
  ~proxy_waiter() = default;

private:
  friend class proxy_ring;

  boost::intrusive::list_member_hook<> hook_;
  std::uint64_t looked_at_ = 0; ///< the state of health when its prospects were found last
  tick timer_at_ = never;

public:
  using list = boost::intrusive::list<
      proxy_waiter,
      boost::intrusive::member_hook<proxy_waiter, boost::intrusive::list_member_hook<>, &proxy_waiter::hook_>,
      boost::intrusive::constant_time_size<false>>;
};

} // namespace rondo::detail
