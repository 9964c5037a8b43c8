// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "admin_pages.hpp"
#include "balance_task.hpp"
#include "connection_group.hpp"
#include "listener.hpp"
#include "plan.hpp"
#include "worker.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace gateway {

/// The whole gateway: the workers that serve callers, one of which also accepts their connections, and a control
/// thread, the one that calls `run`, for admin pages, signals, the timers of the pools and the files of keys, which
/// may wait for the disk.
class server {
public:
  /// Binds the addresses. \throws boost::system::system_error when one cannot be had
  /// \param config_file is read again on SIGHUP
  server(plan first, std::filesystem::path config_file);

  /// `listening on http://HOST:PORT (admin http://HOST:PORT)`
  [[nodiscard]] std::string ready_line() const;

  /// Serves until SIGTERM or SIGINT and until the requests in flight have ended.
  void run();

private:
  void take_over(std::vector<pool_plan> pools, std::vector<rondo::secret> caller_tokens);
  void reload();
  void await_signal();
  void stop();
  void on_worker_ended();

  std::filesystem::path config_file_;
  settings general_;
  asio::io_context context_{1};
  asio::signal_set signals_{context_};
  asio::steady_timer drain_{context_};
  std::shared_ptr<service const> serving_ = std::make_shared<service const>();
  std::vector<std::unique_ptr<balance_task>> balance_tasks_;
  std::vector<std::unique_ptr<worker>> workers_;
  std::size_t next_worker_ = 0; // where connections are accepted
  std::size_t most_connections_;
  std::size_t reloads_ = 0;
  std::size_t ended_ = 0;
  bool stopping_ = false;
  connection_group admin_connections_;
  std::shared_ptr<admin_pages> admin_pages_;
  listener::destination admin_destination_;
  listener callers_;
  listener admin_;
};

} // namespace gateway
