// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>

/// The files of the system's time zone database: TZif, RFC 9636.
namespace rondo::detail {

/// Removes a header and the data that it announces, whose times take `time_size` bytes each; false if it is none or the
/// data are cut short.
[[nodiscard]] constexpr bool skip_tzif_block(std::string_view& file, std::uint64_t time_size) noexcept {
  constexpr std::size_t header_size = 44;
  if (file.size() < header_size || !file.starts_with("TZif")) {
    return false;
  }
  auto const count = [&file](std::size_t index) {
    std::uint64_t value = 0;
    for (auto const byte : file.substr(20 + 4 * index, 4)) {
      value = value << 8 | static_cast<unsigned char>(byte);
    }
    return value;
  };
  auto const local_indicators = count(0) + count(1);
  auto const leap_seconds = count(2);
  auto const transitions = count(3);
  auto const types = count(4);
  auto const characters = count(5);
  auto const size = header_size + transitions * (time_size + 1) + types * 6 + characters +
                    leap_seconds * (time_size + 4) + local_indicators; // 32-bit counts: no overflow
  if (file.size() < size) {
    return false;
  }
  file.remove_prefix(static_cast<std::size_t>(size));
  return true;
}

/// The TZ string in the footer of a TZif file; empty if there is none, because the file gives no rule, is cut short, is
/// of version 1, or is something else.
[[nodiscard]] constexpr std::string_view tzif_footer(std::string_view file) noexcept {
  // the first block is there for readers of version 1
  if (!skip_tzif_block(file, 4) || !skip_tzif_block(file, 8) || file.size() < 2 || file.front() != '\n' ||
      file.back() != '\n') {
    return {};
  }
  return file.substr(1, file.size() - 2);
}

/// Whether a text may be the name of a zone: letters, digits, `_`, `+` and `-` between slashes. Without a dot and a
/// leading slash it cannot leave the directory of the zones.
[[nodiscard]] constexpr bool is_zone_name(std::string_view text) noexcept {
  constexpr std::string_view allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-/";
  return !text.empty() && text.front() != '/' && text.find_first_not_of(allowed) == text.npos;
}

/// Where the zone files are: `$TZDIR`, else where systems keep them.
[[nodiscard]] inline std::string zone_directory() {
  auto const* const chosen = std::getenv("TZDIR");
  return chosen != nullptr && *chosen != '\0' ? chosen : "/usr/share/zoneinfo";
}

/// The contents of a file, cut after 64 KiB: the largest zone takes 4. Nothing if it cannot be opened.
[[nodiscard]] inline std::optional<std::string> read_zone_file(std::string const& path) {
  std::ifstream in{path, std::ios::binary};
  if (!in) {
    return std::nullopt;
  }
  std::string out(64 * 1024, '\0');
  in.read(out.data(), static_cast<std::streamsize>(out.size()));
  out.resize(static_cast<std::size_t>(in.gcount()));
  return out;
}

} // namespace rondo::detail
