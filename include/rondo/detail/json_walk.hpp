// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/error.hpp>
#include <boost/json/parse_options.hpp>
#include <boost/json/string_view.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace rondo::detail {

/// Where in a JSON text the walk is: the member names from the root down. Arrays leave no trace in it, so that
/// `[{"a":1}]` and `{"a":1}` give the same path.
class json_path {
public:
  [[nodiscard]] std::size_t depth() const noexcept { return depth_; }
  /// The innermost member name.
  [[nodiscard]] std::string_view back() const noexcept {
    return depth_ == 0 ? std::string_view{} : std::string_view{names_[depth_ - 1]};
  }
  [[nodiscard]] bool is(std::initializer_list<std::string_view> names) const noexcept {
    return names.size() == depth_ && std::equal(names.begin(), names.end(), names_.begin());
  }

  void push() {
    if (++depth_ > names_.size()) {
      names_.emplace_back();
    }
    names_[depth_ - 1].clear();
  }
  void pop() noexcept { --depth_; }
  void clear() noexcept { depth_ = 0; }
  void begin_name() noexcept { names_[depth_ - 1].clear(); }
  void append_name(std::string_view part) {
    // no name that anybody looks for is longer; one character more tells them apart
    auto& name = names_[depth_ - 1];
    name.append(part.substr(0, std::min<std::size_t>(part.size(), 65 - std::min<std::size_t>(name.size(), 65))));
  }

private:
  std::vector<std::string> names_;
  std::size_t depth_ = 0;
};

/// Reads a JSON text in pieces of any size without building a tree: linear in time, constant in memory but for the
/// nesting, which is limited. What is malformed, or nested deeper, ends the walk; what came before it was reported.
///
/// `Visitor` has `void number(json_path const&, std::int64_t)` (fractions cut off, saturated) and
/// `void text(json_path const&, std::string_view part, bool first)`, where a string may arrive in several parts.
template <class Visitor> class json_walk {
public:
  template <class... Args> explicit json_walk(Args&&... args) : parser_{options(), std::forward<Args>(args)...} {}

  [[nodiscard]] Visitor& visitor() noexcept { return parser_.handler().visitor; }
  [[nodiscard]] Visitor const& visitor() const noexcept { return parser_.handler().visitor; }

  /// Never throws but for want of memory.
  void feed(std::string_view piece) {
    if (ended_ || piece.empty()) {
      return;
    }
    boost::json::error_code ec;
    parser_.write_some(true, piece.data(), piece.size(), ec);
    ended_ = ec.failed() || parser_.done();
  }

  /// Begins anew with the next document; the visitor keeps what it has seen.
  void restart() {
    parser_.reset();
    parser_.handler().path.clear();
    parser_.handler().in_string = false;
    parser_.handler().in_name = false;
    ended_ = false;
  }

private:
  struct handler {
    static constexpr std::size_t max_object_size = std::numeric_limits<std::size_t>::max();
    static constexpr std::size_t max_array_size = max_object_size;
    static constexpr std::size_t max_key_size = max_object_size;
    static constexpr std::size_t max_string_size = max_object_size;
    using code = boost::json::error_code;
    using view = boost::json::string_view;

    template <class... Args> explicit handler(Args&&... args) : visitor{std::forward<Args>(args)...} {}

    bool on_document_begin(code&) { return true; }
    bool on_document_end(code&) { return true; }
    bool on_array_begin(code&) { return true; }
    bool on_array_end(std::size_t, code&) { return true; }
    bool on_object_begin(code&) {
      path.push();
      return true;
    }
    bool on_object_end(std::size_t, code&) {
      path.pop();
      return true;
    }
    bool on_key_part(view part, std::size_t, code&) {
      name(part);
      in_name = true;
      return true;
    }
    bool on_key(view part, std::size_t, code&) {
      name(part);
      in_name = false;
      return true;
    }
    bool on_string_part(view part, std::size_t, code&) {
      visitor.text(path, part, !in_string);
      in_string = true;
      return true;
    }
    bool on_string(view part, std::size_t, code&) {
      visitor.text(path, part, !in_string);
      in_string = false;
      return true;
    }
    bool on_number_part(view, code&) { return true; }
    bool on_int64(std::int64_t value, view, code&) {
      visitor.number(path, value);
      return true;
    }
    bool on_uint64(std::uint64_t value, view, code&) {
      constexpr auto most = std::numeric_limits<std::int64_t>::max();
      visitor.number(path, value > static_cast<std::uint64_t>(most) ? most : static_cast<std::int64_t>(value));
      return true;
    }
    bool on_double(double value, view, code&) {
      constexpr double most = 9.2e18;
      visitor.number(path, static_cast<std::int64_t>(std::clamp(value, -most, most)));
      return true;
    }
    bool on_bool(bool, code&) { return true; }
    bool on_null(code&) { return true; }
    bool on_comment_part(view, code&) { return true; }
    bool on_comment(view, code&) { return true; }

    void name(std::string_view part) {
      if (!in_name) {
        path.begin_name();
      }
      path.append_name(part);
    }

    Visitor visitor;
    json_path path;
    bool in_name = false;
    bool in_string = false;
  };

  [[nodiscard]] static boost::json::parse_options options() noexcept {
    boost::json::parse_options out;
    out.max_depth = 128;
    out.allow_invalid_utf8 = true; // whether that is acceptable is the provider's decision
    return out;
  }

  boost::json::basic_parser<handler> parser_;
  bool ended_ = false;
};

} // namespace rondo::detail
