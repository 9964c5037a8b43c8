// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/event.hpp>
#include <rondo/subscription.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/post.hpp>

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <utility>

namespace rondo::detail {

/// Delivers events in the order they were pushed, on the pool's executor, one at a time.
///
/// `push` is lock-free while earlier events are still to be delivered: it must not hold up an acquire. Whoever pushes
/// the first one starts the delivery, and locks for it.
class event_queue : public std::enable_shared_from_this<event_queue> {
public:
  explicit event_queue(boost::asio::any_io_executor executor) : executor_{std::move(executor)} {}
  event_queue(event_queue const&) = delete;
  event_queue& operator=(event_queue const&) = delete;
  ~event_queue() {
    free(next_);
    free(pushed_.load());
  }

  [[nodiscard]] subscription add(std::function<void(event const&)> f) { return subscribers_.add(std::move(f)); }

  /// \throws std::bad_alloc; that event is lost, and whatever is not delivered yet
  void push(event e) {
    auto* const fresh = new node{std::move(e), pushed_.load()};
    auto* before = fresh->next;
    while (!pushed_.compare_exchange_weak(before, fresh)) {
      fresh->next = before;
    }
    if (!before) {
      try {
        deliver_soon();
      } catch (...) {
        free(pushed_.exchange(nullptr)); // nobody would deliver what comes later either
        throw;
      }
    }
  }

  /// What is under way is still delivered; leases may outlive the context, and must not keep anything of it.
  void close() {
    std::lock_guard const lock{mutex_};
    executor_.reset();
  }

private:
  struct node {
    event what;
    node* next;
  };

  void deliver_soon() {
    std::lock_guard const lock{mutex_};
    if (executor_) {
      boost::asio::post(*executor_, [self = shared_from_this()] { self->deliver(); });
    }
  }

  /// One event a handler: one that throws does not take the others with it. Only one handler is under way at any time.
  void deliver() {
    if (!next_) {
      next_ = reversed(pushed_.exchange(&delivering_));
    }
    std::unique_ptr<node> const now{std::exchange(next_, next_->next)};
    struct then {
      event_queue& queue;
      ~then() { queue.go_on(); }
    } const then{*this};
    subscribers_.call(now->what);
  }

  void go_on() noexcept {
    if (auto* last = &delivering_; next_ || !pushed_.compare_exchange_strong(last, nullptr)) {
      try {
        deliver_soon();
      } catch (std::bad_alloc const&) {
        free(std::exchange(next_, nullptr));
        free(pushed_.exchange(nullptr));
      }
    }
  }

  /// Of what was pushed since the last call, the first one.
  [[nodiscard]] node* reversed(node* last) noexcept {
    node* first = nullptr;
    while (last && last != &delivering_) {
      auto* const before = std::exchange(last->next, first);
      first = last;
      last = before;
    }
    return first;
  }

  void free(node* list) noexcept {
    while (list && list != &delivering_) {
      delete std::exchange(list, list->next);
    }
  }

  std::atomic<node*> pushed_{nullptr}; ///< the last one first
  node delivering_{};                  ///< the end of the list while a handler is under way
  node* next_ = nullptr;               ///< the first of those that the handlers have taken over

  subscribers<event const&> subscribers_;
  std::mutex mutex_; // guards what follows
  std::optional<boost::asio::any_io_executor> executor_;
};

} // namespace rondo::detail
