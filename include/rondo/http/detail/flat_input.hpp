// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <boost/asio/buffer.hpp>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <utility>

namespace rondo::http::detail {

/// Bytes received and not yet parsed, in one piece; the memory is kept until it is released.
class flat_input {
public:
  static constexpr std::size_t usual = 8 * 1024;

  [[nodiscard]] std::size_t size() const noexcept { return end_ - begin_; }
  [[nodiscard]] bool empty() const noexcept { return begin_ == end_; }
  [[nodiscard]] boost::asio::const_buffer data() const noexcept { return {bytes_.get() + begin_, size()}; }

  void consume(std::size_t n) noexcept {
    begin_ += n;
    if (begin_ == end_) {
      begin_ = end_ = 0;
    }
  }

  /// Room for more, at least one byte, or none when `limit` bytes wait already.
  [[nodiscard]] boost::asio::mutable_buffer prepare(std::size_t limit) {
    if (size() >= limit) {
      return {};
    }
    if (end_ == capacity_) {
      if (begin_ > 0) {
        std::memmove(bytes_.get(), bytes_.get() + begin_, size());
      } else {
        auto const larger = std::max(usual, capacity_ * 2);
        auto bytes = std::make_unique_for_overwrite<char[]>(larger);
        std::copy_n(bytes_.get(), end_, bytes.get());
        bytes_ = std::move(bytes);
        capacity_ = larger;
      }
      end_ -= begin_;
      begin_ = 0;
    }
    return {bytes_.get() + end_, capacity_ - end_};
  }

  void commit(std::size_t n) noexcept { end_ += n; }

  /// Takes the memory of another one in which nothing waits, if this has none and that is of the usual size.
  void inherit(flat_input& from) noexcept {
    if (capacity_ == 0 && from.empty() && from.capacity_ == usual) {
      bytes_ = std::move(from.bytes_);
      capacity_ = std::exchange(from.capacity_, 0);
    }
  }

  /// Gives the memory back while nothing waits in it.
  void release() noexcept {
    if (empty()) {
      bytes_.reset();
      capacity_ = 0;
    }
  }

private:
  std::unique_ptr<char[]> bytes_;
  std::size_t capacity_ = 0;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

} // namespace rondo::http::detail
