// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/clock.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/intrusive/list.hpp>

#include <chrono>

namespace gateway {

/// Many deadlines of one length behind a single timer: since all run equally long, they expire in the order in which
/// they began. Entering and leaving are a list operation, so ten thousand idle connections cost no timer each, and
/// while nothing is due nothing runs.
///
/// Distinct objects: safe. Shared objects: unsafe; everything happens on the context given.
class timeout_queue {
  using hook = boost::intrusive::list_base_hook<boost::intrusive::tag<timeout_queue>,
                                                boost::intrusive::link_mode<boost::intrusive::auto_unlink>>;

public:
  /// What waits: at most in one queue at a time, and leaves it when destroyed.
  class entry : public hook {
  public:
    /// Stops waiting; nothing happens when it did not wait.
    void leave() noexcept { hook::unlink(); }

  protected:
    entry() = default;
    ~entry() = default;

  private:
    friend timeout_queue;
    virtual void on_timeout() = 0;
    rondo::steady_time due_;
  };

  timeout_queue(boost::asio::io_context& context, std::chrono::steady_clock::duration length)
      : timer_{context}, length_{length} {}

  /// The entry expires one length from now, whatever it waited for before.
  void enter(entry& e) {
    e.leave();
    e.due_ = std::chrono::steady_clock::now() + length_;
    entries_.push_back(e);
    if (!armed_) {
      arm();
    }
  }

private:
  void arm() {
    armed_ = true;
    timer_.expires_at(entries_.front().due_);
    timer_.async_wait([this](boost::system::error_code ec) {
      if (ec) {
        return;
      }
      armed_ = false;
      auto const now = std::chrono::steady_clock::now();
      while (!entries_.empty() && entries_.front().due_ <= now) {
        auto& e = entries_.front();
        e.leave();
        e.on_timeout();
      }
      if (!entries_.empty()) {
        arm();
      }
    });
  }

  boost::asio::steady_timer timer_;
  std::chrono::steady_clock::duration length_;
  boost::intrusive::list<entry, boost::intrusive::base_hook<hook>, boost::intrusive::constant_time_size<false>>
      entries_;
  bool armed_ = false; // survives an empty queue: the timer then finds nothing to do once
};

} // namespace gateway
