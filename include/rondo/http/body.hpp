// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace rondo::http {

/// A request body that is produced while it is sent.
struct body_source {
  /// The length when it is known; otherwise the body goes out in chunks.
  std::optional<std::uint64_t> size;
  /// Fills a part of the buffer and says how many bytes; 0 = the end. What it throws ends the exchange and comes out of
  /// `open`. It is cancelled when the deadline passes,
  /// and never called when `exchange_options::expect_continue` brings a final answer first.
  std::function<boost::asio::awaitable<std::size_t>(boost::asio::mutable_buffer)> read;
};

/// Refers to a request body that somebody else keeps alive: bytes in memory, or a source.
class body_view {
public:
  constexpr body_view() noexcept = default;
  constexpr body_view(std::string_view bytes) noexcept : bytes_{bytes} {}       // NOLINT: a view of it
  constexpr body_view(char const* text) noexcept : bytes_{text} {}              // NOLINT
  body_view(std::string const& bytes) noexcept : bytes_{bytes} {}               // NOLINT
  constexpr body_view(body_source const& source) noexcept : source_{&source} {} // NOLINT
  body_view(body_source const&&) = delete;

  [[nodiscard]] constexpr std::string_view bytes() const noexcept { return bytes_; }
  [[nodiscard]] constexpr body_source const* source() const noexcept { return source_; }

private:
  std::string_view bytes_;
  body_source const* source_ = nullptr;
};

} // namespace rondo::http
