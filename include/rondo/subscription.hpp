// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace rondo {

/// Keeps a subscription alive; destroying it ends the subscription. A call that is under way on another thread may
/// still finish afterwards.
class subscription {
public:
  subscription() noexcept = default;
  explicit subscription(std::shared_ptr<void> alive) noexcept : alive_{std::move(alive)} {}

private:
  std::shared_ptr<void> alive_;
};

namespace detail {

/// Functions that want to be called. Any thread; asking whether there are any costs one load.
template <class... Args> class subscribers {
public:
  using function = std::function<void(Args...)>;

  [[nodiscard]] bool any() const noexcept { return any_.load(); }

  [[nodiscard]] subscription add(function f) {
    auto shared = std::make_shared<function>(std::move(f));
    std::lock_guard const lock{mutex_};
    std::erase_if(list_, [](auto const& weak) { return weak.expired(); });
    list_.push_back(shared);
    any_.store(true);
    return subscription{std::move(shared)};
  }

  void call(Args... args) const {
    std::vector<std::weak_ptr<function>> now;
    {
      std::lock_guard const lock{mutex_};
      now = list_;
    }
    for (auto const& weak : now) {
      if (auto const f = weak.lock()) {
        (*f)(args...);
      }
    }
  }

private:
  mutable std::mutex mutex_;
  std::vector<std::weak_ptr<function>> list_;
  std::atomic<bool> any_{false};
};

} // namespace detail
} // namespace rondo
