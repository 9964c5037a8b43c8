// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/detail/date_time.hpp>
#include <rondo/error.hpp>
#include <rondo/secret.hpp>
#include <rondo/store/file_error.hpp>
#include <rondo/store/files.hpp>
#include <rondo/store/stored_key.hpp>
#include <rondo/store/text_lines.hpp>

#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

/// Where keys come from besides the configuration and the CSV: the environment and `.env` files. Reading the
/// environment while another thread changes it is unsafe, as everywhere.
namespace rondo::store {

namespace detail {

/// Appends a key unless its secret is there already: the same key under two names would be counted twice.
inline void add_key(std::vector<stored_key>& out, std::string name, std::string_view secret, std::string const& file,
                    std::size_t line) {
  if (!is_usable_secret(secret)) {
    throw file_error{error::file_malformed, file, line, {}, name + ": a key holds visible ASCII characters only"};
  }
  if (std::none_of(out.begin(), out.end(), [&](stored_key const& k) { return k.secret.equals(secret); })) {
    stored_key key;
    key.name = std::move(name);
    key.secret = rondo::secret{secret};
    out.push_back(std::move(key));
  }
}

} // namespace detail

/// The keys of a comma-separated list; blanks around them and empty places are ignored, and so are repetitions. The
/// names are those of the variable and the place in the list, `ELEVENLABS_API_KEYS-1`.
///
/// \throws file_error with `file_malformed` when there is no key in it or one holds an impossible character
[[nodiscard]] inline std::vector<stored_key> split_keys(std::string_view list, std::string const& variable) {
  std::vector<stored_key> out;
  std::size_t place = 0;
  for (;;) {
    auto const comma = std::min(list.find(','), list.size());
    auto item = list.substr(0, comma);
    item.remove_prefix(std::min(item.find_first_not_of(" \t\r\n"), item.size()));
    item = item.substr(0, item.find_last_not_of(" \t\r\n") + 1);
    ++place;
    if (!item.empty()) {
      detail::add_key(out, variable + '-' + std::to_string(place), item, "$" + variable, 0);
    }
    if (comma == list.size()) {
      break;
    }
    list.remove_prefix(comma + 1);
  }
  if (out.empty()) {
    throw file_error{error::file_malformed, "$" + variable, "holds no key"};
  }
  return out;
}

/// The keys listed in an environment variable, see `split_keys`. \throws file_error with `variable_not_set` too
[[nodiscard]] inline std::vector<stored_key> environment_keys(std::string const& variable) {
  auto const* const value = std::getenv(variable.c_str());
  if (value == nullptr) {
    throw file_error{error::variable_not_set, "$" + variable, "the environment variable is not set"};
  }
  return split_keys(value, variable);
}

struct dotenv_variable {
  std::string name;
  std::string value;
  std::size_t line; ///< counted from 1
};

/// The variables of a `.env` file, in order.
///
/// One a line: `NAME=value`, with `export` before it and blanks around `=` allowed; empty lines and those that begin
/// with `#` are skipped. An unquoted value ends at the line's end or before ` #`; `'...'` is taken literally; in
/// `"..."` there may be `\n \r \t \" \\ \$`. No other variables are expanded. CRLF and a byte order mark are accepted.
///
/// \param file for messages
/// \throws file_error with `file_malformed`, naming the line
[[nodiscard]] inline std::vector<dotenv_variable> parse_dotenv(std::string_view text, std::string const& file) {
  std::vector<dotenv_variable> out;
  detail::for_each_line(text, [&](std::string_view line, std::size_t number) {
    auto const fail = [&](std::string_view problem) {
      throw file_error{error::file_malformed, file, number, {}, problem};
    };
    if (line.starts_with("export ") || line.starts_with("export\t")) {
      line = rondo::detail::trimmed(line.substr(7));
    }
    auto const equals = line.find('=');
    if (equals == line.npos) {
      fail("there is no '=' in it");
    }
    auto const name = rondo::detail::trimmed(line.substr(0, equals));
    if (name.empty() || rondo::detail::is_digit(name.front()) || !std::all_of(name.begin(), name.end(), [](char c) {
          auto const lower = rondo::detail::to_lower(c);
          return (lower >= 'a' && lower <= 'z') || rondo::detail::is_digit(c) || c == '_' || c == '.' || c == '-';
        })) {
      fail("what stands before '=' is no name of a variable");
    }
    auto rest = rondo::detail::trimmed(line.substr(equals + 1));
    std::string value;
    if (!rest.empty() && (rest.front() == '"' || rest.front() == '\'')) {
      auto const quote = rest.front();
      std::size_t at = 1;
      for (; at < rest.size() && rest[at] != quote; ++at) {
        if (quote == '\'' || rest[at] != '\\' || at + 1 == rest.size()) {
          value.push_back(rest[at]);
          continue;
        }
        switch (auto const c = rest[++at]) {
        case 'n': value.push_back('\n'); break;
        case 'r': value.push_back('\r'); break;
        case 't': value.push_back('\t'); break;
        case '"':
        case '\\':
        case '$': value.push_back(c); break;
        default: value.append(1, '\\').push_back(c);
        }
      }
      if (at >= rest.size()) {
        fail("the quotes are not closed");
      }
      auto const after = rondo::detail::trimmed(rest.substr(at + 1));
      if (!after.empty() && after.front() != '#') {
        fail("text after the closing quotes");
      }
    } else {
      if (rest.starts_with('#')) {
        rest = {};
      }
      for (auto const comment : {" #", "\t#"}) {
        rest = rest.substr(0, rest.find(comment));
      }
      value = rondo::detail::trimmed(rest);
    }
    out.push_back({std::string{name}, std::move(value), number});
  });
  return out;
}

/// The keys of a service: `GEMINI_API_KEY`, then `GEMINI_API_KEY_1`, `_2` and so on in the order of their numbers, gaps
/// allowed, from a `.env` file and from the environment. A variable that is in both is taken from the file, of one that
/// is in the file twice the last counts; empty ones are ignored, and so are repetitions of a key. Keys are named after
/// their variables.
///
/// \param path the file; when it does not exist, the environment alone must have the keys
/// \param service in any case, `-` for `_`: `gemini`
/// \throws file_error with `file_unreadable`; with `file_malformed`, naming the line; with `variable_not_set` when
/// there is no key
[[nodiscard]] inline std::vector<stored_key> dotenv_keys(std::filesystem::path const& path, std::string_view service) {
  std::string base{service};
  std::transform(base.begin(), base.end(), base.begin(), [](char c) {
    return c == '-' ? '_' : c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  });
  base += "_API_KEY";

  std::map<std::uint64_t, dotenv_variable> found; // 0: the one without a number
  auto const consider = [&](dotenv_variable variable) {
    std::string_view number = variable.name;
    if (!number.starts_with(base) || rondo::detail::trimmed(variable.value).empty()) {
      return;
    }
    number.remove_prefix(base.size());
    if (number.empty()) {
      found.insert_or_assign(0, std::move(variable));
    } else if (number.size() >= 2 && number.size() <= 10 && number.front() == '_' &&
               std::all_of(number.begin() + 1, number.end(), rondo::detail::is_digit)) {
      // _0 comes after the one without a number and before _1
      found.insert_or_assign(std::stoull(std::string{number.substr(1)}) + 1, std::move(variable));
    }
  };
  for (auto const* const* entry = ::environ; entry != nullptr && *entry != nullptr; ++entry) {
    std::string_view const text{*entry};
    auto const equals = std::min(text.find('='), text.size());
    consider({std::string{text.substr(0, equals)}, std::string{text.substr(std::min(equals + 1, text.size()))}, 0});
  }
  std::error_code ec;
  if (std::filesystem::exists(path, ec) || found.empty()) {
    for (auto& variable : parse_dotenv(read_file(path), path.string())) {
      consider(std::move(variable));
    }
  }
  if (found.empty()) {
    throw file_error{error::variable_not_set, path.string(), "no " + base + " here or in the environment"};
  }
  std::vector<stored_key> out;
  for (auto const& [number, variable] : found) {
    detail::add_key(out, variable.name, rondo::detail::trimmed(variable.value), path.string(), variable.line);
  }
  return out;
}

} // namespace rondo::store
