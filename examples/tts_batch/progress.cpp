// SPDX-License-Identifier: BSL-1.0
#include "progress.hpp"

#include <unistd.h>

#include <iostream>
#include <string_view>

namespace tts {

namespace {

constexpr std::size_t bar_width = 20;
constexpr std::string_view clear_line = "\r\x1b[K";

} // namespace

progress::progress(std::size_t total) : total_{total}, on_terminal_{::isatty(STDOUT_FILENO) == 1} {}

void progress::done(std::string const& what, rondo::pool_snapshot const& keys) {
  ++done_;
  if (!on_terminal_) {
    std::cout << what << std::endl; // whoever reads the other end of a pipe wants to see it now
  }
  show(keys);
}

void progress::failed(std::string const& what, rondo::pool_snapshot const& keys) {
  ++failed_;
  if (on_terminal_) {
    std::cout << clear_line << std::flush;
  }
  std::cerr << what << std::endl;
  show(keys);
}

void progress::finish() {
  if (on_terminal_) {
    std::cout << clear_line << std::flush;
  }
}

void progress::show(rondo::pool_snapshot const& keys) {
  if (!on_terminal_) {
    return;
  }
  auto const ended = done_ + failed_;
  auto const filled = total_ == 0 ? bar_width : bar_width * ended / total_;
  std::cout << clear_line << '[';
  for (std::size_t i = 0; i < bar_width; ++i) {
    std::cout << (i < filled ? "\u2588" : "\u2591");
  }
  std::cout << "] " << ended << '/' << total_;
  if (failed_ != 0) {
    std::cout << ", " << failed_ << " failed";
  }
  std::cout << ", keys " << keys.active() << '/' << keys.size() << ", " << keys.total_remaining() << " characters left"
            << std::flush;
}

} // namespace tts
