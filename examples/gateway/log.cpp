// SPDX-License-Identifier: BSL-1.0
#include "log.hpp"

#include <array>
#include <cstdio>
#include <ctime>
#include <string>

namespace gateway {

void log_line(std::string_view text) {
  std::timespec now{};
  std::timespec_get(&now, TIME_UTC);
  std::tm parts{};
  gmtime_r(&now.tv_sec, &parts);
  std::array<char, 40> time{};
  auto const n = std::strftime(time.data(), time.size(), "%Y-%m-%dT%H:%M:%S", &parts);
  std::snprintf(time.data() + n, time.size() - n, ".%03dZ ", static_cast<int>(now.tv_nsec / 1'000'000));
  std::string line{time.data()};
  for (auto const c : text) {
    line += static_cast<unsigned char>(c) < ' ' || c == '\x7f' ? '?' : c;
  }
  line += '\n';
  std::fwrite(line.data(), 1, line.size(), stderr);
}

} // namespace gateway
