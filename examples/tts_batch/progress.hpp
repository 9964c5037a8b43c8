// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/pool_snapshot.hpp>

#include <cstddef>
#include <string>

namespace tts {

/// Shows how far the batch is: a bar on a terminal, a line for each text otherwise.
class progress {
public:
  explicit progress(std::size_t total);

  void done(std::string const& what, rondo::pool_snapshot const& keys);
  void failed(std::string const& what, rondo::pool_snapshot const& keys);
  void show(rondo::pool_snapshot const& keys);
  /// Takes the bar away.
  void finish();

  [[nodiscard]] std::size_t successes() const noexcept { return done_; }
  [[nodiscard]] std::size_t failures() const noexcept { return failed_; }

private:
  std::size_t total_;
  std::size_t done_ = 0;
  std::size_t failed_ = 0;
  bool on_terminal_;
};

} // namespace tts
