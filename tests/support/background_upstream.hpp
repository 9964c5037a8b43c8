// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <support/scripted_server.hpp>

namespace rondo::test {

/// A scripted server in a thread of its own, for tests that talk to a program between them and the server. Keeps what
/// the scripts note.
class background_upstream {
public:
  using script = std::function<asio::awaitable<void>(background_upstream&, peer&)>;

  explicit background_upstream(script run)
      : server_{context_, [this, run = std::move(run)](peer& p) { return run(*this, p); }},
        thread_{[this] { context_.run(); }} {}
  background_upstream(background_upstream const&) = delete;
  background_upstream& operator=(background_upstream const&) = delete;
  ~background_upstream() { context_.stop(); }

  [[nodiscard]] std::uint16_t port() const { return server_.port(); }

  /// For scripts: keeps a text, such as a request that came.
  void note(std::string text) {
    std::lock_guard const lock{mutex_};
    notes_.push_back(std::move(text));
  }
  [[nodiscard]] std::vector<std::string> notes() const {
    std::lock_guard const lock{mutex_};
    return notes_;
  }

  /// A number for scripts and test to tell each other something.
  std::atomic<std::uint64_t> count{0};

private:
  asio::io_context context_;
  mutable std::mutex mutex_;
  std::vector<std::string> notes_;
  scripted_server server_;
  std::jthread thread_; // last: it is joined before what it uses goes
};

} // namespace rondo::test
