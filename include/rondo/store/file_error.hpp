// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/error.hpp>

#include <boost/system/system_error.hpp>

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

namespace rondo::store {

/// What is wrong with a file or another source of keys, and where. The text never quotes the contents, as they may be
/// keys in the wrong place.
class file_error : public boost::system::system_error {
public:
  /// \param line counted from 1; 0 = the file as a whole
  /// \param column name of a CSV column, or its number; may be empty
  file_error(error code, std::string file, std::size_t line, std::string column, std::string_view problem)
      : system_error{make_error_code(code), where(file, line, column).append(problem)}, file_{std::move(file)},
        line_{line}, column_{std::move(column)} {}
  file_error(error code, std::string file, std::string_view problem)
      : file_error{code, std::move(file), 0, {}, problem} {}

  [[nodiscard]] std::string const& file() const noexcept { return file_; }
  [[nodiscard]] std::size_t line() const noexcept { return line_; }
  [[nodiscard]] std::string const& column() const noexcept { return column_; }

private:
  [[nodiscard]] static std::string where(std::string_view file, std::size_t line, std::string_view column) {
    std::string out{file};
    if (line != 0) {
      out.append(":").append(std::to_string(line));
    }
    out.append(": ");
    if (!column.empty()) {
      out.append("column ").append(column).append(": ");
    }
    return out;
  }

  std::string file_;
  std::size_t line_;
  std::string column_;
};

} // namespace rondo::store
