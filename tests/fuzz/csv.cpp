// SPDX-License-Identifier: BSL-1.0
// A table in CSV; read as such, and as one of keys.
#include "fuzz/property.hpp"
#include "fuzz/targets.hpp"
#include <rondo/capability.hpp>
#include <rondo/clock.hpp>
#include <rondo/error.hpp>
#include <rondo/store/csv_document.hpp>
#include <rondo/store/csv_keys.hpp>
#include <rondo/store/file_error.hpp>
#include <rondo/store/stored_key.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace rondo::test::fuzz {

namespace {

using store::csv_document;
using store::csv_keys;
using store::file_error;

/// The table, or nothing when it is refused as documented.
template <class Table> std::optional<Table> read(std::string_view text) {
  try {
    return Table{std::string{text}, "BASE.csv"};
  } catch (file_error const& e) {
    auto const lines = static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n')) + 1;
    expect(e.code() == error::file_malformed, "a text that is no table is called malformed");
    expect(e.line() >= 1 && e.line() <= lines, "the fault is in a line that is there");
    expect(e.file() == "BASE.csv", "the fault names the file");
    return std::nullopt;
  }
}

void check_document(std::string_view text) {
  auto table = read<csv_document>(text);
  if (!table) {
    return;
  }
  expect(table->text() == text, "what was not changed comes back byte for byte");
  auto const columns = table->columns();
  auto const rows = table->rows();
  // every cell takes the value of the one before it, the first one of all that needs quotes
  std::string carried = "a,\"b\"\r\nc";
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t column = 0; column < columns; ++column) {
      auto next = table->value(row, column);
      table->set(row, column, carried);
      carried = std::move(next);
    }
  }
  table->add_column("more, and more");
  for (std::size_t row = 0; row < rows; ++row) {
    table->set(row, columns, std::string(1, ",\"\r\nx"[row % 5])); // each needs quotes by itself, but for the last
  }
  auto const again = read<csv_document>(table->text());
  expect(again.has_value(), "what is written can be read");
  // a row of one empty cell is an empty line; with the column added there is none
  expect(again->columns() == columns + 1 && again->rows() == rows, "the table keeps its size");
  for (std::size_t column = 0; column <= columns; ++column) {
    expect(again->name(column) == table->name(column), "the names stay");
    for (std::size_t row = 0; row < rows; ++row) {
      expect(again->value(row, column) == table->value(row, column), "a cell is read as it was set");
    }
  }
}

void check_keys(std::string_view text) {
  using namespace std::chrono_literals;
  constexpr wall_time now = std::chrono::sys_days{std::chrono::year{2026} / 11 / 21} + 12h;
  auto table = read<csv_keys>(text);
  if (!table) {
    return;
  }
  expect(table->text() == text, "what was not changed comes back byte for byte");
  auto const& keys = table->keys();
  for (std::size_t row = 0; row < keys.size(); ++row) {
    auto const& key = keys[row];
    expect(store::is_usable_secret(key.secret.reveal()), "a key can be sent");
    expect(key.name == "BASE-" + std::to_string(row + 1), "a key is called after file and row");
    expect(table->find(key.secret.reveal()) == row, "a key is there once, and found");
    expect(!key.remaining || *key.remaining >= 0, "nobody has less than nothing");
    expect(!key.checked || (*key.checked > wall_time{-24h} && *key.checked < wall_time{24h * 366 * 231}),
           "times are within the range that can be counted");
  }
  auto const unchanged = table->text();
  for (std::size_t row = 0; row < keys.size(); ++row) {
    auto const& key = keys[row];
    expect(!table->update(
               row, {key.remaining, key.checked, key.exhausted, key.barred.contains(capability::voice_creation)}, now),
           "what the table says already changes nothing");
  }
  expect(table->text() == unchanged, "what changes nothing writes nothing");
  for (std::size_t row = 0; row < keys.size(); ++row) {
    auto const was = keys[row];
    expect(table->update(row, {was.remaining.value_or(0) == 7 ? 8 : 7, {}, !was.exhausted, {}}, now),
           "a change is one");
  }
  auto const again = read<csv_keys>(table->text());
  expect(again.has_value() && again->keys().size() == keys.size(), "what is written can be read");
  for (std::size_t row = 0; row < keys.size(); ++row) {
    auto const& a = again->keys()[row];
    auto const& b = keys[row];
    expect(a.secret == b.secret && a.remaining == b.remaining && a.exhausted == b.exhausted && a.checked == b.checked &&
               a.barred == b.barred,
           "a key is read as it was written");
  }
}

} // namespace

void csv(std::string_view input) {
  check_document(input);
  check_keys(input);
}

} // namespace rondo::test::fuzz
