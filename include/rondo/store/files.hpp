// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/error.hpp>
#include <rondo/store/file_error.hpp>

#include <sys/file.h>
#include <sys/stat.h>

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

/// Files that are whole at every moment. POSIX.
namespace rondo::store {

namespace detail {

/// Owns a file descriptor.
class descriptor {
public:
  descriptor() noexcept = default;
  explicit descriptor(int fd) noexcept : fd_{fd} {}
  descriptor(descriptor&& other) noexcept : fd_{std::exchange(other.fd_, -1)} {}
  descriptor& operator=(descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~descriptor() {
    if (fd_ >= 0) {
      ::close(fd_);
    }
  }

  [[nodiscard]] int get() const noexcept { return fd_; }
  [[nodiscard]] explicit operator bool() const noexcept { return fd_ >= 0; }

private:
  int fd_ = -1;
};

[[nodiscard]] inline std::string errno_text() {
  return std::generic_category().message(errno);
}

[[noreturn]] inline void fail_reading(std::filesystem::path const& path) {
  throw file_error{error::file_unreadable, path.string(), errno_text()};
}
[[noreturn]] inline void fail_writing(std::filesystem::path const& path) {
  throw file_error{error::file_unwritable, path.string(), errno_text()};
}

/// The file that a path means once symbolic links in its last part are followed; it need not exist.
[[nodiscard]] inline std::filesystem::path followed(std::filesystem::path path) {
  std::error_code ec;
  for (int links = 0; links < 40 && std::filesystem::is_symlink(path, ec); ++links) { // as many as Linux follows
    auto target = std::filesystem::read_symlink(path, ec);
    path = target.is_absolute() ? std::move(target) : path.parent_path() / target;
  }
  return path;
}

[[nodiscard]] inline std::string read_all(int fd, std::filesystem::path const& path) {
  std::string out;
  char block[16 * 1024];
  for (;;) {
    auto const n = ::read(fd, block, sizeof block);
    if (n == 0) {
      return out;
    }
    if (n > 0) {
      out.append(block, static_cast<std::size_t>(n));
    } else if (errno != EINTR) {
      fail_reading(path);
    }
  }
}

/// Replaces a file in one step that a crash cannot divide: the new contents are on disk under another name before they
/// take the old one's. `save_atomically` goes through the steps; they are apart so that tests can stop between them.
class replacement {
public:
  explicit replacement(std::filesystem::path const& path) : path_{followed(path)} {}
  replacement(replacement const&) = delete;
  replacement& operator=(replacement const&) = delete;
  ~replacement() {
    if (!temporary_.empty()) {
      ::unlink(temporary_.c_str());
    }
  }

  void create() {
    auto const name = path_.parent_path() / ("." + path_.filename().string() + ".XXXXXX.tmp");
    temporary_ = name.string();
    file_ = descriptor{::mkostemps(temporary_.data(), 4, O_CLOEXEC)}; // mode 0600
    if (!file_) {
      temporary_.clear();
      fail_writing(path_);
    }
  }
  void write(std::string_view content) {
    while (!content.empty()) {
      auto const n = ::write(file_.get(), content.data(), content.size());
      if (n >= 0) {
        content.remove_prefix(static_cast<std::size_t>(n));
      } else if (errno != EINTR) {
        fail_writing(path_);
      }
    }
  }
  void sync() {
    if (::fsync(file_.get()) != 0) {
      fail_writing(path_);
    }
  }
  void rename() {
    if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
      fail_writing(path_);
    }
    temporary_.clear();
  }
  /// Makes the new name survive a power cut. A file system that cannot sync a folder is no error: the file is whole.
  void sync_folder() noexcept {
    auto const folder = path_.parent_path();
    descriptor const fd{::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (fd) {
      ::fsync(fd.get());
    }
  }
  /// The new file, still open.
  [[nodiscard]] descriptor& file() noexcept { return file_; }

private:
  std::filesystem::path path_;
  std::string temporary_;
  descriptor file_;
};

} // namespace detail

/// The contents of a file. \throws file_error with `file_unreadable`
[[nodiscard]] inline std::string read_file(std::filesystem::path const& path) {
  detail::descriptor const fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!fd) {
    detail::fail_reading(path);
  }
  return detail::read_all(fd.get(), path);
}

/// Writes a file so that a crash at any moment leaves the old contents or the new ones, whole, and the new ones once
/// this has returned. The file gets mode 0600, as it holds keys. A symbolic link stays one: the file that it points to
/// is replaced.
///
/// Blocks until the disk has it. \throws file_error with `file_unwritable`; the old file is then untouched.
inline void save_atomically(std::filesystem::path const& path, std::string_view content) {
  detail::replacement next{path};
  next.create();
  next.write(content);
  next.sync();
  next.rename();
  next.sync_folder();
}

} // namespace rondo::store
