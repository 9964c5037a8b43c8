// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "connection_group.hpp"
#include "forwarder.hpp"
#include "listener.hpp"
#include "served_pool.hpp"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>

#include <cstddef>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

namespace gateway {

/// What all threads serve; replaced as a whole.
struct service {
  std::vector<rondo::secret> caller_tokens;
  std::vector<std::shared_ptr<served_pool const>> pools;
};

/// One thread, its context, and the callers it serves through clients of its own.
///
/// Functions may be called from any thread.
class worker {
public:
  explicit worker(settings const& general);
  worker(worker const&) = delete;
  worker& operator=(worker const&) = delete;

  /// From the next request on.
  void serve(std::shared_ptr<service const> what);
  void start();
  /// Where a listener hands its connections to.
  [[nodiscard]] listener::destination& destination() { return destination_; }
  [[nodiscard]] std::size_t connections() const { return group_.size(); }

  /// Lets the requests in flight end; `ended` is called on this worker's thread, whose context then stops.
  void finish(std::function<void()> ended);
  /// Ends them now.
  void cut();
  /// Waits for the thread, after `finish`.
  void join() { thread_.join(); }

private:
  void run();

  asio::io_context context_{1};
  asio::executor_work_guard<asio::io_context::executor_type> guard_{context_.get_executor()};
  connection_group group_;
  std::shared_ptr<forwarder> handler_;
  listener::destination destination_;
  std::thread thread_;
};

} // namespace gateway
