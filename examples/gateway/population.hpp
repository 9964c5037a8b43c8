// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <utility>

namespace gateway {

/// Counts things that come and go on one thread; other threads may ask how many there are.
class population {
  struct state {
    std::atomic<std::size_t> size{0};
    std::function<void()> when_empty;
  };

public:
  /// Held by each of them. May outlive the population.
  class member {
  public:
    explicit member(population const& all) : state_{all.state_} { ++state_->size; }
    member(member&&) noexcept = default;
    member& operator=(member&&) = delete;
    ~member() {
      if (state_ && --state_->size == 0 && state_->when_empty) {
        std::exchange(state_->when_empty, {})();
      }
    }

  private:
    std::shared_ptr<state> state_;
  };

  /// Any thread.
  [[nodiscard]] std::size_t size() const { return state_->size; }
  /// Calls `f` once, as soon as nobody is left, which may be now.
  void when_empty(std::function<void()> f) {
    if (size() == 0) {
      f();
    } else {
      state_->when_empty = std::move(f);
    }
  }

private:
  std::shared_ptr<state> state_ = std::make_shared<state>();
};

} // namespace gateway
