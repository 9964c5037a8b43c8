// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <boost/json/value.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace gateway {

/// What is wrong with a configuration: one line each, `pools[0].keys[2].secret: must not be empty`. Values are never
/// quoted, since any of them may be a secret that somebody put in the wrong place.
class fault_list {
public:
  void add(std::string_view path, std::string_view message);
  [[nodiscard]] bool empty() const noexcept { return lines_.empty(); }
  [[nodiscard]] std::vector<std::string> const& lines() const noexcept { return lines_; }

private:
  std::vector<std::string> lines_;
};

/// The members of one JSON object. Each accessor checks one member and notes it as known; `finish` reports the
/// others. A member that is missing or wrong yields the fallback, so that one pass finds every fault.
class json_fields {
public:
  /// Reports a fault when `value` is no object, and then behaves like an empty one. `value` must outlive this.
  json_fields(boost::json::value const& value, std::string path, fault_list& faults);

  [[nodiscard]] std::string path(std::string_view name) const;
  [[nodiscard]] bool has(std::string_view name) const;
  void fault(std::string_view name, std::string_view message) { faults_.add(path(name), message); }

  /// The member itself, or null; its type is the caller's business.
  [[nodiscard]] boost::json::value const* any(std::string_view name);
  /// A string that is not empty.
  [[nodiscard]] std::optional<std::string> text(std::string_view name);
  [[nodiscard]] std::string required_text(std::string_view name);
  [[nodiscard]] std::int64_t integer(std::string_view name, std::int64_t fallback, std::int64_t least,
                                     std::int64_t greatest);
  [[nodiscard]] bool flag(std::string_view name, bool fallback);
  /// An array, or null.
  [[nodiscard]] boost::json::array const* list(std::string_view name);
  /// One of a few words; the index of the word.
  [[nodiscard]] std::size_t word(std::string_view name, std::size_t fallback,
                                 std::vector<std::string_view> const& words);

  /// Reports every member that nobody asked for.
  void finish();

private:
  boost::json::object const* object_;
  std::string path_;
  fault_list& faults_;
  std::vector<std::string> known_;
};

} // namespace gateway
