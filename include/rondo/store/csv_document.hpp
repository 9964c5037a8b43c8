// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/error.hpp>
#include <rondo/store/file_error.hpp>

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace rondo::store {

/// A table in CSV (RFC 4180) that can be written back byte for byte: quoting, line ends, byte order mark, empty lines
/// and everything else that was not changed stay as they came.
///
/// The first line that is not empty holds the names of the columns. A plain value.
class csv_document {
public:
  /// \param file for error messages
  /// \throws file_error with `file_malformed`: quotes in the wrong place or not closed, a carriage return without line
  ///   feed, a row with another number of cells than the header, or no header
  csv_document(std::string text, std::string file) : text_{std::move(text)}, file_{std::move(file)} { parse(); }

  [[nodiscard]] std::string const& file() const noexcept { return file_; }
  [[nodiscard]] std::size_t columns() const noexcept { return header().cells.size() + added_.size(); }
  /// Rows below the header.
  [[nodiscard]] std::size_t rows() const noexcept { return records_.size() - 1; }

  /// The name of a column, as it stands in the header.
  [[nodiscard]] std::string name(std::size_t column) const {
    auto const own = header().cells.size();
    return column < own ? unquoted(header().cells[column]) : added_[column - own];
  }
  /// The value of a cell, quotes resolved.
  [[nodiscard]] std::string value(std::size_t row, std::size_t column) const {
    if (auto const changed = changes_.find({row, column}); changed != changes_.end()) {
      return changed->second;
    }
    auto const& cells = records_[row + 1].cells;
    return column < cells.size() ? unquoted(cells[column]) : std::string{};
  }
  /// The line in the file, counted from 1, where a cell begins; of an added column the line where its row ends.
  [[nodiscard]] std::size_t line(std::size_t row, std::size_t column) const noexcept {
    auto const& cells = records_[row + 1].cells;
    return column < cells.size() ? cells[column].line : cells.back().line;
  }

  void set(std::size_t row, std::size_t column, std::string value) {
    changes_.insert_or_assign({row, column}, std::move(value));
  }
  /// Adds a column at the right, with empty cells. \return its number
  std::size_t add_column(std::string name) {
    added_.push_back(std::move(name));
    return columns() - 1;
  }

  /// The whole table with all changes.
  [[nodiscard]] std::string text() const {
    std::string out;
    out.reserve(text_.size());
    std::size_t copied = 0;
    for (std::size_t r = 0; r < records_.size(); ++r) {
      auto const& cells = records_[r].cells;
      for (std::size_t c = 0; c < cells.size(); ++c) {
        auto const changed = r == 0 ? changes_.end() : changes_.find({r - 1, c});
        if (changed != changes_.end()) {
          out.append(text_, copied, cells[c].begin - copied);
          append_quoted(out, changed->second, cells[c].quoted);
          copied = cells[c].end;
        }
      }
      if (added_.empty()) {
        continue;
      }
      out.append(text_, copied, cells.back().end - copied);
      copied = cells.back().end;
      for (std::size_t a = 0; a < added_.size(); ++a) {
        out.push_back(',');
        append_quoted(out, r == 0 ? added_[a] : value(r - 1, cells.size() + a), false);
      }
    }
    return out.append(text_, copied);
  }

private:
  struct cell {
    std::size_t begin; // of the raw text, quotes included
    std::size_t end;
    std::size_t line;
    bool quoted;
  };
  struct record {
    std::vector<cell> cells;
  };

  [[nodiscard]] record const& header() const noexcept { return records_.front(); }

  void parse() {
    std::size_t at = text_.starts_with("\xef\xbb\xbf") ? 3 : 0;
    std::size_t line = 1;
    while (at < text_.size()) {
      auto const first_of_line = at;
      record next;
      for (;;) {
        next.cells.push_back(parse_cell(at, line, next.cells.size() + 1));
        if (at == text_.size() || text_[at] != ',') {
          break;
        }
        ++at;
      }
      auto const end = at;
      if (at < text_.size()) { // a line end, as parse_cell stops nowhere else
        at += text_[at] == '\r' ? 2 : 1;
      }
      auto const is_blank = text_.find_first_not_of(" \t", first_of_line) >= end;
      if (!is_blank) {
        if (!records_.empty() && next.cells.size() != header().cells.size()) {
          auto const missing = next.cells.size() < header().cells.size();
          auto const column = missing ? name(next.cells.size()) : std::to_string(header().cells.size() + 1);
          fail(next.cells.front().line, column,
               missing ? "the row ends before it" : "the row has more cells than the header");
        }
        records_.push_back(std::move(next));
      }
      ++line;
    }
    if (records_.empty()) {
      fail(1, {}, "the header is missing");
    }
  }

  /// Reads one cell; stops at a comma, a line end or the end of the text. Quoted line ends advance `line`.
  [[nodiscard]] cell parse_cell(std::size_t& at, std::size_t& line, std::size_t number) {
    cell out{at, at, line, at < text_.size() && text_[at] == '"'};
    if (out.quoted) {
      for (++at;; ++at) {
        if (at == text_.size()) {
          fail(out.line, column_name(number), "the quotes are not closed");
        }
        if (text_[at] == '\n') {
          ++line;
        } else if (text_[at] == '"') {
          if (at + 1 == text_.size() || text_[at + 1] != '"') {
            ++at;
            break;
          }
          ++at;
        }
      }
    } else {
      at = text_.find_first_of(",\r\n\"", at);
      at = at == text_.npos ? text_.size() : at;
      if (at < text_.size() && text_[at] == '"') {
        fail(line, column_name(number), "quotes inside a cell that does not begin with them");
      }
    }
    out.end = at;
    if (at < text_.size() && text_[at] == '\r' && (at + 1 == text_.size() || text_[at + 1] != '\n')) {
      fail(line, column_name(number), "a carriage return without a line feed");
    }
    if (at < text_.size() && text_[at] != ',' && text_[at] != '\r' && text_[at] != '\n') {
      fail(line, column_name(number), "text after the closing quotes");
    }
    return out;
  }

  /// For errors: the header's name for it, where there is one already.
  [[nodiscard]] std::string column_name(std::size_t number) const {
    return !records_.empty() && number <= header().cells.size() ? name(number - 1) : std::to_string(number);
  }

  [[noreturn]] void fail(std::size_t line, std::string column, std::string_view problem) const {
    throw file_error{error::file_malformed, file_, line, std::move(column), problem};
  }

  [[nodiscard]] std::string unquoted(cell const& c) const {
    if (!c.quoted) {
      return text_.substr(c.begin, c.end - c.begin);
    }
    std::string out;
    for (auto i = c.begin + 1; i + 1 < c.end; ++i) {
      out.push_back(text_[i]);
      i += text_[i] == '"' ? 1 : 0; // the second of a pair
    }
    return out;
  }

  static void append_quoted(std::string& out, std::string_view value, bool force) {
    if (!force && value.find_first_of(",\"\r\n") == value.npos) {
      out.append(value);
      return;
    }
    out.push_back('"');
    for (auto const c : value) {
      out.append(c == '"' ? 2 : 1, c);
    }
    out.push_back('"');
  }

  std::string text_;
  std::string file_;
  std::vector<record> records_;
  std::vector<std::string> added_;
  std::map<std::pair<std::size_t, std::size_t>, std::string> changes_;
};

} // namespace rondo::store
