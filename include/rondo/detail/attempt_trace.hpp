// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/client_observer.hpp>
#include <rondo/clock.hpp>
#include <rondo/error.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace rondo::detail {

/// Remembers who served an attempt, and tells an observer of it: that it began, and once how it ended.
class attempt_trace {
public:
  attempt_trace() = default;
  attempt_trace(attempt_trace&&) = default;
  attempt_trace& operator=(attempt_trace&& other) noexcept {
    if (this != &other) {
      end();
      observer_ = std::move(other.observer_);
      key_ = std::move(other.key_);
      proxy_ = std::move(other.proxy_);
      call_ = other.call_;
      number_ = other.number_;
      began_ = other.began_;
      result_ = other.result_;
    }
    return *this;
  }
  ~attempt_trace() { end(); }

  /// \param began when the request began to wait for key or proxy
  void start(std::shared_ptr<client_observer> const& observer, std::uint64_t call, unsigned number,
             std::string_view key, std::string_view proxy, steady_time began, steady_time now) {
    end();
    key_ = key;
    proxy_ = proxy;
    if (!observer) {
      return;
    }
    observer_ = observer;
    call_ = call;
    number_ = number;
    began_ = began;
    result_ = {};
    result_.acquire = now - began;
    observer_->attempt_started(info());
  }

  [[nodiscard]] std::string const& key_name() const noexcept { return key_; }
  [[nodiscard]] std::string const& proxy_name() const noexcept { return proxy_; }

  void answered(unsigned status, steady_time opened, steady_time sent, steady_time now) noexcept {
    result_.status = status;
    result_.connect = sent - opened;
    result_.first_byte = now - sent;
  }
  /// What the answer meant.
  void blame_for_answer(blame who) noexcept { result_.who = who; }

  void fail(error_code ec, blame who) noexcept {
    result_.ec = ec;
    result_.who = who;
    end();
  }
  void end() noexcept {
    if (auto const observer = std::exchange(observer_, nullptr)) {
      result_.whole = std::chrono::steady_clock::now() - began_;
      observer->attempt_ended(info(), result_);
    }
  }

private:
  [[nodiscard]] attempt_info info() const noexcept { return {call_, number_, key_, proxy_}; }

  std::shared_ptr<client_observer> observer_;
  std::string key_;
  std::string proxy_;
  std::uint64_t call_ = 0;
  unsigned number_ = 0;
  steady_time began_;
  attempt_result result_;
};

} // namespace rondo::detail
