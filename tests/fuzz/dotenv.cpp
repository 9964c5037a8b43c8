// SPDX-License-Identifier: BSL-1.0
// A `.env` file; also the value of a variable that lists keys.
#include "fuzz/property.hpp"
#include "fuzz/targets.hpp"
#include "support/temporary_directory.hpp"
#include <rondo/error.hpp>
#include <rondo/store/file_error.hpp>
#include <rondo/store/key_sources.hpp>
#include <rondo/store/stored_key.hpp>

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace rondo::test::fuzz {

namespace {

using store::file_error;
using store::stored_key;

void check_keys(std::vector<stored_key> const& keys) {
  expect(!keys.empty(), "there is a key");
  for (auto const& key : keys) {
    expect(store::is_usable_secret(key.secret.reveal()), "a key can be sent");
    expect(std::count_if(keys.begin(), keys.end(), [&](stored_key const& k) { return k.secret == key.secret; }) == 1,
           "no key is there twice");
    expect(std::count_if(keys.begin(), keys.end(), [&](stored_key const& k) { return k.name == key.name; }) == 1,
           "no name is there twice");
  }
}

void check_variables(std::string_view text) {
  std::vector<store::dotenv_variable> variables;
  try {
    variables = store::parse_dotenv(text, ".env");
  } catch (file_error const& e) {
    auto const lines = static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n')) + 1;
    expect(e.code() == error::file_malformed && e.line() >= 1 && e.line() <= lines,
           "the fault is in a line that is there");
    return;
  }
  std::string written;
  for (auto const& variable : variables) {
    written.append(variable.name).append("=\"");
    for (auto const c : variable.value) {
      switch (c) {
      case '\n': written += "\\n"; break;
      case '\r': written += "\\r"; break;
      case '"':
      case '\\':
      case '$': written += '\\'; [[fallthrough]];
      default: written += c;
      }
    }
    written += "\"\n";
  }
  auto const again = store::parse_dotenv(written, ".env");
  expect(std::equal(again.begin(), again.end(), variables.begin(), variables.end(),
                    [](auto const& a, auto const& b) { return a.name == b.name && a.value == b.value; }),
         "written and read again the variables are the same");
}

void check_list(std::string_view text) {
  std::vector<stored_key> keys;
  try {
    keys = store::split_keys(text, "KEYS");
  } catch (file_error const& e) {
    expect(e.code() == error::file_malformed, "a list without usable keys is called malformed");
    return;
  }
  check_keys(keys);
  std::string written;
  for (auto const& key : keys) {
    written.append(key.secret.reveal()).append(" ,, ");
  }
  auto const again = store::split_keys(written, "KEYS");
  expect(std::equal(again.begin(), again.end(), keys.begin(), keys.end(),
                    [](auto const& a, auto const& b) { return a.secret == b.secret; }),
         "written and read again the keys are the same");
}

void check_file(std::string_view text) {
  static temporary_directory const folder;
  auto const file = folder.write(".env", text);
  try {
    auto const keys = store::dotenv_keys(file, "fuzzed-service");
    check_keys(keys);
    for (auto const& key : keys) {
      expect(key.name.starts_with("FUZZED_SERVICE_API_KEY"), "a key is called after its variable");
    }
  } catch (file_error const& e) {
    expect(e.code() == error::file_malformed || e.code() == error::variable_not_set,
           "what is wrong with a file is one of two things");
  }
}

} // namespace

void dotenv(std::string_view input) {
  check_variables(input);
  check_list(input);
  check_file(input);
}

} // namespace rondo::test::fuzz
