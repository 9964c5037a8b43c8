// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/detail/config.hpp>
#include <rondo/http/message.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

namespace rondo::provider {

/// Learns what a served request cost while its body streams by, without keeping the body.
///
/// Reads whole JSON documents and `text/event-stream`; what is compressed or something else teaches it nothing.
/// Movable. Distinct objects: safe. Shared objects: unsafe.
class usage_meter {
public:
  /// Learns nothing.
  usage_meter() noexcept;
  /// The cost is known from the head.
  explicit usage_meter(std::int64_t cost) noexcept;
  /// Looks for `object.member` at the root, in the elements of a root array, and inside a root `response` (the
  /// envelope of OpenAI's Responses events); the last one counts, as running totals come last.
  ///
  /// \param object,member must outlive the meter: string literals
  usage_meter(http::response_head const& head, std::string_view object, std::string_view member);
  usage_meter(usage_meter&&) noexcept;
  usage_meter& operator=(usage_meter&&) noexcept;
  ~usage_meter();

  /// The next piece of the body as the provider sent it (transfer coding removed). Never throws but for want of memory.
  void feed(std::string_view piece);

  /// What was learned so far: final once the body has ended.
  [[nodiscard]] std::optional<std::int64_t> cost() const noexcept;

private:
  struct reader;

  std::optional<std::int64_t> known_;
  std::unique_ptr<reader> reader_;
};

} // namespace rondo::provider

#ifndef RONDO_SEPARATE_COMPILATION
#include <rondo/provider/impl/usage_meter.hpp>
#endif
