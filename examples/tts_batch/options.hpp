// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/http/url.hpp>

#include <chrono>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace tts {

struct options {
  std::filesystem::path keys;
  std::filesystem::path texts;
  std::filesystem::path out = "audio";
  std::filesystem::path proxies; ///< empty: no proxies
  rondo::http::url provider;
  std::string ca_file; ///< empty: the system's authorities
  std::string voice = "21m00Tcm4TlvDq8ikWAM";
  std::string model = "eleven_multilingual_v2";
  unsigned parallel = 4;
  std::chrono::seconds deadline{120};
  bool resend = false;
  bool help = false;
};

/// Wrong arguments, or an input file that cannot be used: the text says what to change.
struct usage_error : std::runtime_error {
  using runtime_error::runtime_error;
};

extern std::string_view const usage;

/// \throws usage_error
[[nodiscard]] options parse(std::vector<std::string> const& arguments);

struct text {
  std::size_t line; ///< in the file, counted from 1
  std::string words;
};

/// The lines that are not blank. \throws usage_error
[[nodiscard]] std::vector<text> read_texts(std::filesystem::path const& file);

/// One URL a line; blank lines and those that begin with `#` are skipped. \throws usage_error, which quotes no URL
[[nodiscard]] std::vector<std::string> read_proxies(std::filesystem::path const& file);

} // namespace tts
