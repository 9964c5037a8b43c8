// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include <chrono>
#include <cstdint>
#include <limits>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sim {

/// Reads the fields of one JSON object and collects one line per fault, each naming the field. A field that nobody
/// asked for is a fault too: a misspelt limit would otherwise be no limit.
class json_fields {
public:
  json_fields(boost::json::value const& value, std::string where, std::vector<std::string>& faults)
      : object_{value.if_object()}, where_{std::move(where)}, faults_{faults} {
    if (!object_) {
      faults_.push_back((where_.empty() ? "the document" : where_) + ": must be an object");
    }
  }
  json_fields(json_fields const&) = delete;
  json_fields& operator=(json_fields const&) = delete;
  ~json_fields() {
    if (object_) {
      for (auto const& member : *object_) {
        if (!asked_.contains(member.key())) {
          complain(member.key(), "unknown field");
        }
      }
    }
  }

  [[nodiscard]] boost::json::value const* find(std::string_view name) {
    asked_.insert(name);
    return object_ ? object_->if_contains(name) : nullptr;
  }

  void read(std::string_view name, std::string& out) {
    if (auto const* const v = find(name)) {
      if (auto const* const s = v->if_string()) {
        out.assign(s->begin(), s->end());
      } else {
        complain(name, "must be a string");
      }
    }
  }

  void read(std::string_view name, bool& out) {
    if (auto const* const v = find(name)) {
      if (auto const* const b = v->if_bool()) {
        out = *b;
      } else {
        complain(name, "must be true or false");
      }
    }
  }

  template <class Integer>
  void read(std::string_view name, Integer& out, std::int64_t least = 0,
            std::int64_t most = std::numeric_limits<std::uint32_t>::max()) {
    if (auto const* const v = find(name)) {
      auto const* const n = v->if_int64();
      if (n && *n >= least && *n <= most) {
        out = static_cast<Integer>(*n);
      } else {
        complain(name, "must be a whole number from " + std::to_string(least) + " to " + std::to_string(most));
      }
    }
  }

  void read(std::string_view name, std::chrono::milliseconds& out) {
    std::int64_t count = out.count();
    read(name, count, 0, std::int64_t{366} * 86'400'000);
    out = std::chrono::milliseconds{count};
  }

  /// Calls `each(element, where)` for the elements of an array.
  template <class F> void read_array(std::string_view name, F each) {
    if (auto const* const v = find(name)) {
      if (auto const* const a = v->if_array()) {
        for (std::size_t i = 0; i < a->size(); ++i) {
          each((*a)[i], path(name) + "[" + std::to_string(i) + "]");
        }
      } else {
        complain(name, "must be an array");
      }
    }
  }

  void complain(std::string_view name, std::string_view what) {
    faults_.push_back(path(name) + ": " + std::string{what});
  }

private:
  [[nodiscard]] std::string path(std::string_view name) const {
    return where_.empty() ? std::string{name} : where_ + "." + std::string{name};
  }

  boost::json::object const* object_;
  std::string where_;
  std::vector<std::string>& faults_;
  std::set<std::string_view> asked_;
};

} // namespace sim
