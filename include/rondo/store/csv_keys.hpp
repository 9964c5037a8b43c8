// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/capability.hpp>
#include <rondo/clock.hpp>
#include <rondo/detail/date_time.hpp>
#include <rondo/error.hpp>
#include <rondo/secret.hpp>
#include <rondo/store/csv_document.hpp>
#include <rondo/store/file_error.hpp>
#include <rondo/store/files.hpp>
#include <rondo/store/stored_key.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace rondo::store {

/// What the table keeps of a key's state.
struct csv_state {
  std::optional<std::int64_t> remaining; ///< `available_tokens`; empty leaves the cell alone
  std::optional<wall_time> checked; ///< `last_checked`; when another cell changes, the time of the update goes there
  std::optional<bool> exhausted;    ///< `is_exhausted`; empty leaves the cell alone
  std::optional<bool> voice_limit;  ///< `voice_limit_reached`; empty leaves the cell alone

  friend bool operator==(csv_state const&, csv_state const&) = default;
};

/// The CSV of keys: columns `API,Date,available_tokens,last_checked,is_exhausted,voice_limit_reached` in any order and
/// case, more columns kept as they are. Only `API` must be there; others are added when there is something to write in
/// them. `Date` is never read nor changed.
///
/// Cells: tokens are whole numbers (`9500` or `9500.0`), dates as `parse_iso_date` takes them or Unix seconds, booleans
/// `True/False/true/false/1/0`; an empty cell is unknown, or false.
///
/// A plain value; distinct objects: safe, shared objects: unsafe.
class csv_keys {
public:
  /// \throws file_error with `file_unreadable` or `file_malformed`; the latter names line and column
  [[nodiscard]] static csv_keys load(std::filesystem::path const& path) { return {read_file(path), path.string()}; }

  /// \param file for messages, and for the names of the keys: its stem and the number of the row, `BASE-1`
  csv_keys(std::string text, std::string file) : table_{std::move(text), std::move(file)} { read(); }

  /// The keys in the order of their rows.
  [[nodiscard]] std::vector<stored_key> const& keys() const& noexcept { return keys_; }
  [[nodiscard]] std::vector<stored_key> keys() && noexcept { return std::move(keys_); } // `load(path).keys()` in a loop
  /// The row of a key; empty if there is none.
  [[nodiscard]] std::optional<std::size_t> find(std::string_view secret) const {
    auto const at =
        std::find_if(keys_.begin(), keys_.end(), [&](stored_key const& k) { return k.secret.equals(secret); });
    return at == keys_.end() ? std::nullopt : std::optional{static_cast<std::size_t>(at - keys_.begin())};
  }

  /// Writes a state into a row. Cells that already say it stay as they are, to the byte; changed ones keep the style of
  /// what stood there. \return whether a cell changed
  bool update(std::size_t row, csv_state const& state, wall_time now) {
    auto& key = keys_[row];
    auto changed = false;
    if (state.remaining && state.remaining != key.remaining) {
      key.remaining = state.remaining;
      put(row, tokens_, std::to_string(*state.remaining));
      changed = true;
    }
    if (state.exhausted && *state.exhausted != key.exhausted) {
      key.exhausted = *state.exhausted;
      put(row, exhausted_, bool_text(row, exhausted_, key.exhausted));
      changed = true;
    }
    if (state.voice_limit && *state.voice_limit != key.barred.contains(capability::voice_creation)) {
      key.barred = *state.voice_limit ? capability_set{capability::voice_creation} : capability_set{};
      put(row, voice_limit_, bool_text(row, voice_limit_, *state.voice_limit));
      changed = true;
    }
    auto const newer = state.checked && (!key.checked || to_millis(*state.checked) > to_millis(*key.checked));
    if (changed || newer) {
      key.checked = changed ? now : *state.checked;
      put(row, checked_, rondo::detail::to_rfc3339(*key.checked));
      changed = true;
    }
    return changed;
  }

  /// The whole table; what was not changed is as it was read, to the byte.
  [[nodiscard]] std::string text() const { return table_.text(); }

private:
  struct column {
    std::string_view name;
    std::optional<std::size_t> number;
  };

  void read() {
    for (std::size_t i = 0; i < table_.columns(); ++i) {
      for (auto* const wanted : {&api_, &tokens_, &checked_, &exhausted_, &voice_limit_}) {
        if (!same_name(table_.name(i), wanted->name)) {
          continue;
        }
        if (wanted->number) {
          throw file_error{error::file_malformed, table_.file(), 1, std::string{wanted->name},
                           "the column is there twice"};
        }
        wanted->number = i;
      }
    }
    if (!api_.number) {
      throw file_error{error::file_malformed, table_.file(), 1, "API", "the column is missing"};
    }
    auto const stem = std::filesystem::path{table_.file()}.stem().string();
    std::map<std::string, std::size_t, std::less<>> seen; // to the row
    keys_.reserve(table_.rows());
    for (std::size_t row = 0; row < table_.rows(); ++row) {
      stored_key key;
      key.name = stem + '-' + std::to_string(row + 1);
      auto const cell = table_.value(row, *api_.number);
      auto const text = rondo::detail::trimmed(cell);
      if (text.empty()) {
        fail(row, api_, "the key is missing");
      }
      if (!is_usable_secret(text)) {
        fail(row, api_, "a key holds visible ASCII characters only");
      }
      if (auto const [first, fresh] = seen.emplace(text, row); !fresh) {
        fail(row, api_, "the same key as in line " + std::to_string(table_.line(first->second, *api_.number)));
      }
      key.secret = secret{text};
      key.remaining = tokens(row);
      key.checked = checked(row);
      key.exhausted = boolean(row, exhausted_);
      if (boolean(row, voice_limit_)) {
        key.barred = capability::voice_creation;
      }
      keys_.push_back(std::move(key));
    }
  }

  [[nodiscard]] static std::chrono::sys_time<std::chrono::milliseconds> to_millis(wall_time t) noexcept {
    return std::chrono::floor<std::chrono::milliseconds>(t);
  }

  [[nodiscard]] static bool same_name(std::string_view a, std::string_view b) noexcept {
    a = rondo::detail::trimmed(a);
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [](char x, char y) { return rondo::detail::to_lower(x) == rondo::detail::to_lower(y); });
  }

  [[noreturn]] void fail(std::size_t row, column const& at, std::string_view problem) const {
    throw file_error{error::file_malformed, table_.file(), table_.line(row, *at.number), std::string{at.name}, problem};
  }

  /// The trimmed value of a cell; empty also when the table lacks the column.
  [[nodiscard]] std::string cell(std::size_t row, column const& at) const {
    return at.number ? std::string{rondo::detail::trimmed(table_.value(row, *at.number))} : std::string{};
  }

  [[nodiscard]] std::optional<std::int64_t> tokens(std::size_t row) const {
    auto const text = cell(row, tokens_);
    if (text.empty()) {
      return std::nullopt;
    }
    std::int64_t value = 0;
    auto const* const end = text.data() + text.size();
    auto const [rest, ec] = std::from_chars(text.data(), end, value);
    // "9500.0": a spreadsheet's idea of a column that has empty cells
    std::string_view const fraction{rest, static_cast<std::size_t>(end - rest)};
    auto const is_whole =
        fraction.empty() || (fraction.front() == '.' && fraction.find_first_not_of('0', 1) == fraction.npos);
    if (ec != std::errc{} || !is_whole) {
      fail(row, tokens_, "not a whole number");
    }
    return std::max<std::int64_t>(value, 0); // overdrawn is as good as empty
  }

  [[nodiscard]] std::optional<wall_time> checked(std::size_t row) const {
    auto const text = cell(row, checked_);
    if (text.empty()) {
      return std::nullopt;
    }
    if (auto const date = rondo::detail::parse_iso_date(text)) {
      return date;
    }
    std::int64_t seconds = 0;
    auto const* const end = text.data() + text.size();
    auto const [rest, ec] = std::from_chars(text.data(), end, seconds);
    auto const is_number = rest == end || (*rest == '.' && std::all_of(rest + 1, end, rondo::detail::is_digit));
    if (ec != std::errc{} || !is_number || seconds < 0 || seconds > 4'000'000'000) {
      fail(row, checked_, "not a date such as 2026-04-24T00:01:00Z");
    }
    return wall_time{std::chrono::seconds{seconds}};
  }

  [[nodiscard]] bool boolean(std::size_t row, column const& at) const {
    auto const text = cell(row, at);
    if (text.empty() || text == "0" || same_name(text, "false")) {
      return false;
    }
    if (text != "1" && !same_name(text, "true")) {
      fail(row, at, "neither True nor False");
    }
    return true;
  }

  /// `True`, `true` or `1`, as the cell had it.
  [[nodiscard]] std::string bool_text(std::size_t row, column const& at, bool value) const {
    auto const old = cell(row, at);
    if (old == "0" || old == "1") {
      return value ? "1" : "0";
    }
    if (old == "true" || old == "false") {
      return value ? "true" : "false";
    }
    return value ? "True" : "False";
  }

  void put(std::size_t row, column& at, std::string value) {
    if (!at.number) {
      at.number = table_.add_column(std::string{at.name});
    }
    table_.set(row, *at.number, std::move(value));
  }

  csv_document table_;
  column api_{"API", {}};
  column tokens_{"available_tokens", {}};
  column checked_{"last_checked", {}};
  column exhausted_{"is_exhausted", {}};
  column voice_limit_{"voice_limit_reached", {}};
  std::vector<stored_key> keys_;
};

} // namespace rondo::store
