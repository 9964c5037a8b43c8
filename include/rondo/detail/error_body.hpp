// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/detail/date_time.hpp>

#include <boost/json/array.hpp>
#include <boost/json/kind.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/string.hpp>
#include <boost/json/value.hpp>
#include <boost/system/error_code.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace rondo::detail {

/// What the body of an error says, whatever its shape.
///
/// It has *identifiers*, machine-readable words such as `quota_exceeded` from members like `code`, `status`, `type`,
/// `reason`, and *messages*, prose. Both are lower-cased. Only the envelope is read (the root, `error`, `detail`,
/// `details` and `errors` within one another): validation errors echo the caller's own input deeper down, which must
/// not be able to condemn a key.
class error_body {
public:
  /// More than this is not an error message.
  static constexpr std::size_t most_bytes = 64 * 1024;

  explicit error_body(std::string_view text) {
    text = text.substr(0, most_bytes);
    auto const first = text.find_first_not_of(" \t\r\n");
    empty_ = first == text.npos;
    if (empty_) {
      return;
    }
    boost::system::error_code ec;
    root_ = boost::json::parse(boost::json::string_view{text.data(), text.size()}, ec);
    if (ec) {
      root_ = nullptr;
      messages_.push_back(lowered(text));
      return;
    }
    if (root_.is_string()) {
      messages_.push_back(lowered(root_.get_string()));
    }
    collect(root_, 0);
  }

  /// There is nothing but white space.
  [[nodiscard]] bool empty() const noexcept { return empty_; }
  /// The parsed body; null when it is no JSON.
  [[nodiscard]] boost::json::value const& root() const noexcept { return root_; }
  [[nodiscard]] std::vector<std::string> const& messages() const noexcept { return messages_; }

  /// One of the identifiers is one of these.
  [[nodiscard]] bool names(std::initializer_list<std::string_view> words) const noexcept {
    return std::any_of(identifiers_.begin(), identifiers_.end(), [&](std::string const& identifier) {
      return std::find(words.begin(), words.end(), identifier) != words.end();
    });
  }
  /// One of the messages contains one of these.
  [[nodiscard]] bool says(std::initializer_list<std::string_view> words) const noexcept {
    return any_message(
        words, [](std::string_view message, std::string_view word) { return message.find(word) != message.npos; });
  }
  /// One of the messages begins with one of these.
  [[nodiscard]] bool opens_with(std::initializer_list<std::string_view> words) const noexcept {
    return any_message(words,
                       [](std::string_view message, std::string_view word) { return message.starts_with(word); });
  }
  /// What follows `words` in a message, up to the next blank; empty when it stands in none.
  [[nodiscard]] std::string_view word_after(std::string_view words) const noexcept {
    for (std::string_view const message : messages_) {
      if (auto const at = message.find(words); at != message.npos) {
        auto const rest = message.substr(at + words.size());
        return rest.substr(0, rest.find_first_of(" \t\r\n\",;<"));
      }
    }
    return {};
  }

private:
  template <class Test>
  [[nodiscard]] bool any_message(std::initializer_list<std::string_view> words, Test test) const noexcept {
    return std::any_of(messages_.begin(), messages_.end(), [&](std::string const& message) {
      return std::any_of(words.begin(), words.end(), [&](std::string_view word) { return test(message, word); });
    });
  }

  [[nodiscard]] static std::string lowered(std::string_view text) {
    std::string out{text};
    std::transform(out.begin(), out.end(), out.begin(), to_lower);
    return out;
  }

  void collect(boost::json::value const& value, unsigned depth) {
    if (depth > 6) {
      return;
    }
    if (auto const* list = value.if_array()) {
      for (auto const& element : *list) {
        collect(element, depth + 1);
      }
      return;
    }
    auto const* object = value.if_object();
    if (object == nullptr) {
      return;
    }
    static constexpr std::array<std::string_view, 6> identifying{"code",   "status",   "type",
                                                                 "reason", "err_code", "error_code"};
    static constexpr std::array<std::string_view, 3> speaking{"message", "msg", "err_msg"};
    static constexpr std::array<std::string_view, 4> enveloping{"error", "detail", "details", "errors"};
    auto const among = [](auto const& names, std::string_view name) {
      return std::find(names.begin(), names.end(), name) != names.end();
    };
    for (auto const& [key, member] : *object) {
      std::string_view const name{key.data(), key.size()};
      auto const* text = member.if_string();
      auto const is_envelope = among(enveloping, name);
      if (text != nullptr && (is_envelope || among(identifying, name))) {
        identifiers_.push_back(lowered(*text));
      }
      if (text != nullptr && (is_envelope || among(speaking, name))) {
        messages_.push_back(lowered(*text));
      }
      if (is_envelope) {
        collect(member, depth + 1);
      }
    }
  }

  boost::json::value root_;
  std::vector<std::string> identifiers_;
  std::vector<std::string> messages_;
  bool empty_ = false;
};

} // namespace rondo::detail
