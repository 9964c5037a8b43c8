// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "support/sanitizers.hpp"

#include <ucontext.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#if defined(RONDO_TEST_ASAN)
#include <sanitizer/common_interface_defs.h>
#elif defined(RONDO_TEST_TSAN)
#include <sanitizer/tsan_interface.h>
#endif

namespace rondo::test {

/// A function with a stack of its own, that runs when it is switched to and stands still when it switches away. The
/// sanitizers are told of every switch, as they keep books about stacks and about who runs.
class fiber {
public:
  /// Stands for whoever constructs it, who has a stack already.
  fiber() noexcept {
#ifdef RONDO_TEST_TSAN
    identity_ = __tsan_get_current_fiber();
#endif
  }

  /// \param body must not return, and must not throw
  explicit fiber(std::function<void()> body) : body_{std::move(body)}, stack_{new std::byte[stack_size]} {
    getcontext(&context_);
    bottom_ = stack_.get();
    size_ = stack_size;
    context_.uc_stack.ss_sp = stack_.get();
    context_.uc_stack.ss_size = stack_size;
    auto const self = reinterpret_cast<std::uintptr_t>(this); // makecontext passes on nothing but ints
    makecontext(&context_, reinterpret_cast<void (*)()>(&fiber::start), 2, static_cast<unsigned>(self >> 32),
                static_cast<unsigned>(self));
#ifdef RONDO_TEST_TSAN
    identity_ = __tsan_create_fiber(0);
#endif
  }

  fiber(fiber const&) = delete;
  fiber& operator=(fiber const&) = delete;

  /// What stands on the stack of a fiber that never ends is not destroyed.
  ~fiber() {
#ifdef RONDO_TEST_TSAN
    if (stack_) {
      __tsan_destroy_fiber(identity_);
    }
#endif
  }

  /// Continues `other` where it switched away; returns when somebody switches to this fiber, which must be the one
  /// that runs.
  void switch_to(fiber& other) noexcept {
    other.previous_ = this;
#if defined(RONDO_TEST_ASAN)
    __sanitizer_start_switch_fiber(&fake_stack_, other.bottom_, other.size_);
#elif defined(RONDO_TEST_TSAN)
    __tsan_switch_to_fiber(other.identity_, 0);
#endif
    swapcontext(&context_, &other.context_);
    arrived();
  }

private:
  static constexpr std::size_t stack_size = 256U * 1024U;

  static void start(unsigned high, unsigned low) {
    auto& self = *reinterpret_cast<fiber*>(std::uintptr_t{high} << 32 | low);
    self.arrived();
    self.body_();
  }

  void arrived() noexcept {
#ifdef RONDO_TEST_ASAN
    // tells the bounds of the stack that was left, which nobody else knows of the first one
    __sanitizer_finish_switch_fiber(fake_stack_, &previous_->bottom_, &previous_->size_);
#endif
  }

  std::function<void()> body_;
  std::unique_ptr<std::byte[]> stack_;
  ucontext_t context_{};
  fiber* previous_ = nullptr;
  void const* bottom_ = nullptr;
  std::size_t size_ = 0;
#if defined(RONDO_TEST_ASAN)
  void* fake_stack_ = nullptr;
#elif defined(RONDO_TEST_TSAN)
  void* identity_ = nullptr;
#endif
};

} // namespace rondo::test
