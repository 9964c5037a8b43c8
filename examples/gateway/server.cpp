// SPDX-License-Identifier: BSL-1.0
#include "server.hpp"

#include "log.hpp"

#include <boost/asio/post.hpp>
#include <boost/system/system_error.hpp>

#include <algorithm>
#include <csignal>
#include <sstream>
#include <string>
#include <utility>

namespace gateway {

namespace {

std::vector<std::unique_ptr<worker>> make_workers(settings const& general) {
  std::vector<std::unique_ptr<worker>> out;
  for (unsigned i = 0; i != general.threads; ++i) {
    out.push_back(std::make_unique<worker>(general));
  }
  return out;
}

// The rest is for connections to providers and proxies, files and pages: callers must not use up all descriptors.
std::size_t callers_share(std::size_t descriptors) {
  return descriptors - std::min<std::size_t>(descriptors / 4, 4096);
}

} // namespace

server::server(plan first, std::filesystem::path config_file)
    : config_file_{std::move(config_file)}, general_{std::move(first.general)}, workers_{make_workers(general_)},
      most_connections_{callers_share(raise_descriptor_limit())}, admin_connections_{context_, general_},
      admin_pages_{std::make_shared<admin_pages>(
          general_.admin.address().is_loopback(), [this] { return serving_; },
          [this] {
            admin_pages::figures now;
            for (auto const& each : workers_) {
              now.connections += each->connections();
            }
            now.reloads = reloads_;
            return now;
          })},
      admin_destination_{context_,
                         [this](caller_socket socket) { admin_connections_.serve(std::move(socket), admin_pages_); }},
      callers_{workers_.front()->destination().context, general_.listen,
               [this]() -> listener::destination* {
                 std::size_t open = 0;
                 for (auto const& each : workers_) {
                   open += each->connections();
                 }
                 next_worker_ = (next_worker_ + 1) % workers_.size();
                 return open < most_connections_ ? &workers_[next_worker_]->destination() : nullptr;
               }},
      admin_{context_, general_.admin, [this] { return &admin_destination_; }} {
  for (auto const signal : {SIGTERM, SIGINT, SIGHUP}) {
    signals_.add(signal); // before anybody is told that we are ready
  }
  take_over(std::move(first.pools), std::move(general_.caller_tokens));
}

std::string server::ready_line() const {
  std::ostringstream out;
  out << "listening on http://" << callers_.address() << " (admin http://" << admin_.address() << ")";
  return out.str();
}

void server::run() {
  await_signal();
  for (auto const& each : workers_) {
    each->start();
  }
  callers_.start();
  admin_.start();
  context_.run();
  for (auto const& each : workers_) {
    each->join();
  }
  context_.restart();
  context_.poll(); // the last steps of what was cancelled, while the pools are still there
}

void server::take_over(std::vector<pool_plan> pools, std::vector<rondo::secret> caller_tokens) {
  auto next = std::make_shared<service>();
  next->caller_tokens = std::move(caller_tokens);
  for (auto& pool : pools) {
    auto const previous = std::find_if(serving_->pools.begin(), serving_->pools.end(),
                                       [&](auto const& each) { return each->settings.name == pool.settings.name; });
    auto const* const known = previous == serving_->pools.end() ? nullptr : previous->get();
    next->pools.push_back(make_served_pool(context_.get_executor(), std::move(pool), known));
  }
  serving_ = std::move(next);
  for (auto const& each : workers_) {
    each->serve(serving_);
  }
  balance_tasks_.clear();
  for (auto const& pool : serving_->pools) {
    if (pool->settings.refresh.count() != 0) {
      balance_tasks_.push_back(std::make_unique<balance_task>(context_, pool));
    }
  }
}

void server::reload() {
  fault_list faults;
  auto next = read_plan(config_file_, faults);
  if (!next) {
    log_line("the configuration was not taken over:");
    for (auto const& line : faults.lines()) {
      log_line(line);
    }
    return;
  }
  auto general = std::move(next->general);
  if (general.listen != general_.listen || general.admin != general_.admin || general.threads != general_.threads ||
      general.head_timeout != general_.head_timeout || general.keep_alive_timeout != general_.keep_alive_timeout ||
      general.stall_timeout != general_.stall_timeout) {
    log_line("listen, admin, threads, head_ms, keep_alive_ms and stall_ms change only with a new start");
  }
  general_.drain_timeout = general.drain_timeout;
  try {
    take_over(std::move(next->pools), std::move(general.caller_tokens));
    ++reloads_;
    log_line("the configuration was taken over");
  } catch (boost::system::system_error const& e) {
    log_line(std::string{"the configuration was not taken over: "} + e.what());
  }
}

void server::await_signal() {
  signals_.async_wait([this](boost::system::error_code ec, int signal) {
    if (ec) {
      return;
    }
    if (signal == SIGHUP) {
      reload();
    } else if (!stopping_) {
      stop();
    } else {
      drain_.cancel(); // a second one: no more patience
    }
    await_signal();
  });
}

void server::stop() {
  log_line("stopping");
  stopping_ = true;
  auto& accepting = workers_.front()->destination().context;
  asio::post(accepting, [this] {
    callers_.stop();
    for (auto const& each : workers_) {
      each->finish([this] { asio::post(context_, [this] { on_worker_ended(); }); });
    }
  });
  drain_.expires_after(general_.drain_timeout);
  drain_.async_wait([this](boost::system::error_code) {
    for (auto const& each : workers_) {
      each->cut();
    }
  });
}

void server::on_worker_ended() {
  if (++ended_ != workers_.size()) {
    return;
  }
  drain_.cancel();
  balance_tasks_.clear();
  admin_.stop();
  admin_connections_.finish([this] { context_.stop(); });
  admin_connections_.cut();
}

} // namespace gateway
