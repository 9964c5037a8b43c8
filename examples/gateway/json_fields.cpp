// SPDX-License-Identifier: BSL-1.0
#include "json_fields.hpp"

#include <algorithm>
#include <utility>

namespace gateway {

namespace {

// A field's name may be shown, but neither at any length nor with control characters: faults are lines.
std::string printable(std::string_view name) {
  std::string out;
  for (auto const c : name.substr(0, 64)) {
    out += c >= ' ' && c != '\x7f' ? c : '?';
  }
  return out;
}

} // namespace

void fault_list::add(std::string_view path, std::string_view message) {
  std::string line{path};
  line += path.empty() ? "" : ": ";
  line += message;
  lines_.push_back(std::move(line));
}

json_fields::json_fields(boost::json::value const& value, std::string path, fault_list& faults)
    : object_{value.if_object()}, path_{std::move(path)}, faults_{faults} {
  if (object_ == nullptr) {
    faults_.add(path_, "must be an object");
  }
}

std::string json_fields::path(std::string_view name) const {
  auto out = path_;
  if (!out.empty()) {
    out += '.';
  }
  return out.append(printable(name));
}

bool json_fields::has(std::string_view name) const {
  return object_ != nullptr && object_->contains(name);
}

boost::json::value const* json_fields::any(std::string_view name) {
  known_.emplace_back(name);
  return object_ == nullptr ? nullptr : object_->if_contains(name);
}

std::optional<std::string> json_fields::text(std::string_view name) {
  auto const* const value = any(name);
  if (value == nullptr) {
    return std::nullopt;
  }
  if (!value->is_string()) {
    fault(name, "must be a string");
    return std::nullopt;
  }
  if (value->get_string().empty()) {
    fault(name, "must not be empty");
    return std::nullopt;
  }
  return std::string{value->get_string()};
}

std::string json_fields::required_text(std::string_view name) {
  if (object_ != nullptr && !has(name)) {
    fault(name, "is missing");
  }
  return text(name).value_or("");
}

std::int64_t json_fields::integer(std::string_view name, std::int64_t fallback, std::int64_t least,
                                  std::int64_t greatest) {
  auto const* const value = any(name);
  if (value == nullptr) {
    return fallback;
  }
  if (!value->is_number() || value->is_double()) {
    fault(name, "must be a whole number");
    return fallback;
  }
  if (value->is_uint64() || value->get_int64() < least || value->get_int64() > greatest) {
    fault(name, "must be from " + std::to_string(least) + " to " + std::to_string(greatest));
    return fallback;
  }
  return value->get_int64();
}

bool json_fields::flag(std::string_view name, bool fallback) {
  auto const* const value = any(name);
  if (value == nullptr) {
    return fallback;
  }
  if (!value->is_bool()) {
    fault(name, "must be true or false");
    return fallback;
  }
  return value->get_bool();
}

boost::json::array const* json_fields::list(std::string_view name) {
  auto const* const value = any(name);
  if (value != nullptr && !value->is_array()) {
    fault(name, "must be an array");
    return nullptr;
  }
  return value == nullptr ? nullptr : &value->get_array();
}

std::size_t json_fields::word(std::string_view name, std::size_t fallback, std::vector<std::string_view> const& words) {
  auto const* const value = any(name);
  if (value == nullptr) {
    return fallback;
  }
  auto const found =
      value->is_string() ? std::find(words.begin(), words.end(), std::string_view{value->get_string()}) : words.end();
  if (found == words.end()) {
    std::string message = "must be one of ";
    for (auto const& one : words) {
      message.append(&one == words.data() ? "" : ", ").append(one);
    }
    fault(name, message);
    return fallback;
  }
  return static_cast<std::size_t>(found - words.begin());
}

void json_fields::finish() {
  if (object_ == nullptr) {
    return;
  }
  for (auto const& member : *object_) {
    if (std::find(known_.begin(), known_.end(), std::string_view{member.key()}) == known_.end()) {
      fault(member.key(), "is not a known field");
    }
  }
}

} // namespace gateway
