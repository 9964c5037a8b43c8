// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/error.hpp>
#include <rondo/http/proxy.hpp>
#include <rondo/store/file_error.hpp>
#include <rondo/store/files.hpp>
#include <rondo/store/proxy_list.hpp>

#include <sys/stat.h>

#include <fcntl.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace rondo::store {

/// A file of proxies, in the form of `parse_proxy_list`, that is read again when it has changed. POSIX.
///
/// Nothing happens on its own: whoever wants to notice changes polls, on a timer or a signal. Replace the file by
/// renaming a new one over it; one that is written in place may be seen half written, which is noticed only where it
/// ends within a URL so that this is none, or is empty.
///
/// Distinct objects: safe. Shared objects: unsafe.
class proxy_file {
public:
  /// Does not touch the file yet.
  explicit proxy_file(std::filesystem::path path) : path_{std::move(path)} {}

  [[nodiscard]] std::filesystem::path const& path() const noexcept { return path_; }

  /// The proxies, if they are others than last time, else nothing; the first time always. Costs one `stat` when the
  /// file has not been touched for some seconds.
  ///
  /// \throws file_error with `file_unreadable`, or with `file_malformed`, naming the line. The same fault is told
  /// once, until the file is good again or has another one. What was returned last remains the list to use.
  [[nodiscard]] std::optional<std::vector<http::proxy>> poll() {
    try {
      return look();
    } catch (file_error const& e) {
      if (trouble_ == e.what()) {
        return std::nullopt; // has been told
      }
      trouble_ = e.what();
      throw;
    }
  }

private:
  /// What changes when a file does.
  struct stamp {
    dev_t device;
    ino_t inode;
    off_t size;
    std::chrono::nanoseconds modified;
    std::chrono::nanoseconds changed;
    friend bool operator==(stamp const&, stamp const&) = default;
  };

  /// Two changes within the grain of a file system's clock leave the same time: until it has passed, a stamp proves
  /// nothing.
  static constexpr std::chrono::seconds grain{2};

  static std::chrono::nanoseconds since_epoch(timespec const& t) noexcept {
    return std::chrono::seconds{t.tv_sec} + std::chrono::nanoseconds{t.tv_nsec};
  }
  static stamp stamp_of(struct stat const& s) noexcept {
    return {s.st_dev, s.st_ino, s.st_size, since_epoch(s.st_mtim), since_epoch(s.st_ctim)};
  }

  std::optional<std::vector<http::proxy>> look() {
    struct stat now{};
    if (::stat(path_.c_str(), &now) != 0) {
      seen_.reset();
      detail::fail_reading(path_);
    }
    if (seen_ == stamp_of(now)) {
      return std::nullopt;
    }
    seen_.reset();
    detail::descriptor const file{::open(path_.c_str(), O_RDONLY | O_CLOEXEC)};
    struct stat before{};
    struct stat after{};
    if (!file || ::fstat(file.get(), &before) != 0) {
      detail::fail_reading(path_);
    }
    auto const text = detail::read_all(file.get(), path_);
    if (::fstat(file.get(), &after) != 0 || stamp_of(before) != stamp_of(after)) {
      return std::nullopt; // is being written: the next time will tell
    }
    auto const age = std::chrono::system_clock::now().time_since_epoch() - stamp_of(after).changed;
    if (age > grain) {
      seen_ = stamp_of(after);
    }
    auto fresh = parse_proxy_list(text, path_.string());
    trouble_.clear();
    if (fresh == current_) {
      return std::nullopt;
    }
    current_ = fresh;
    return fresh;
  }

  std::filesystem::path path_;
  std::optional<stamp> seen_; ///< of the contents that were read last, unless they may have changed unseen
  std::vector<http::proxy> current_;
  std::string trouble_; ///< what was thrown last
};

} // namespace rondo::store
