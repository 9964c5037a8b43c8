// SPDX-License-Identifier: BSL-1.0
// Programs that tests start: found, started on free loopback ports, watched, and stopped whatever happens.
#pragma once

#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace rondo::test {

namespace detail {

inline int loopback_socket(std::uint16_t port, sockaddr_in& address) {
  address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

} // namespace detail

/// A loopback port that nobody listens on at this moment.
inline std::uint16_t free_port() {
  sockaddr_in address;
  auto const fd = detail::loopback_socket(0, address);
  socklen_t length = sizeof(address);
  auto const bound = ::bind(fd, reinterpret_cast<sockaddr*>(&address), length) == 0 &&
                     ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) == 0;
  ::close(fd);
  if (!bound) {
    throw std::runtime_error{"no free port"};
  }
  return ntohs(address.sin_port);
}

/// Whether somebody accepts connections on the loopback port.
inline bool port_answers(std::uint16_t port) {
  sockaddr_in address;
  auto const fd = detail::loopback_socket(port, address);
  auto const connected = ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  ::close(fd);
  return connected;
}

/// The path of a program by the first of `names` found in PATH or in the system's folders.
inline std::optional<std::string> find_program(std::initializer_list<std::string_view> names) {
  std::string path = std::getenv("PATH") != nullptr ? std::getenv("PATH") : "";
  path += ":/usr/sbin:/usr/bin:/usr/local/bin";
  for (auto const name : names) {
    for (std::size_t begin = 0; begin <= path.size();) {
      auto const end = std::min(path.find(':', begin), path.size());
      auto const file = std::filesystem::path{path.substr(begin, end - begin)} / name;
      if (::access(file.c_str(), X_OK) == 0) {
        return file.string();
      }
      begin = end + 1;
    }
  }
  return std::nullopt;
}

/// Whether a missing program may skip a test; on the build server everything must be there.
inline bool may_skip() {
  auto const* const ci = std::getenv("RONDO_CI");
  return ci == nullptr || std::string_view{ci} != "1";
}

/// A running child. It gets its own process group, is killed together with its children by the destructor, and dies
/// with the test program should that crash.
class process {
public:
  struct params {
    std::vector<std::string> arguments;   ///< the program's path first
    std::string output;                   ///< file that receives stdout and stderr; empty = discarded
    std::vector<std::string> environment; ///< `NAME=value`, added to what the test program has
    std::string directory;                ///< working directory; empty = the test program's
  };

  explicit process(params const& p) {
    std::vector<char*> argv;
    for (auto const& a : p.arguments) {
      argv.push_back(const_cast<char*>(a.c_str()));
    }
    argv.push_back(nullptr);
    auto const* const output = p.output.empty() ? "/dev/null" : p.output.c_str();
    pid_ = ::fork();
    if (pid_ < 0) {
      throw std::runtime_error{"fork failed"};
    }
    if (pid_ == 0) {
      ::setpgid(0, 0);
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      auto const in = ::open("/dev/null", O_RDONLY);
      auto const out = ::open(output, O_WRONLY | O_CREAT | O_APPEND, 0644);
      ::dup2(in, 0);
      ::dup2(out, 1);
      ::dup2(out, 2);
      if (!p.directory.empty() && ::chdir(p.directory.c_str()) != 0) {
        ::_exit(126);
      }
      for (auto const& e : p.environment) {
        ::putenv(const_cast<char*>(e.c_str()));
      }
      ::execv(argv[0], argv.data());
      ::_exit(127);
    }
    ::setpgid(pid_, pid_); // whichever of the two comes first
  }
  process(process&& other) noexcept : pid_{std::exchange(other.pid_, -1)}, status_{other.status_} {}
  process& operator=(process&&) = delete;
  ~process() {
    kill(SIGKILL);
    wait();
  }

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }

  /// Sends `signal` to the child and its children, when it still runs.
  void kill(int signal) noexcept {
    if (pid_ > 0 && !status_) {
      ::kill(-pid_, signal);
    }
  }

  [[nodiscard]] bool running() { return pid_ > 0 && !poll(WNOHANG); }

  /// Waits for the end; the exit code, or 128 + the signal that ended it.
  int wait() {
    if (pid_ <= 0) {
      return -1;
    }
    poll(0);
    return *status_;
  }

  /// The exit code if the child ends within `limit`.
  std::optional<int> wait_for(std::chrono::milliseconds limit) {
    auto const end = std::chrono::steady_clock::now() + limit;
    while (running()) {
      if (std::chrono::steady_clock::now() > end) {
        return std::nullopt;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds{5});
    }
    return status_;
  }

  /// Asks it to end with SIGTERM, and makes it after `limit`.
  int stop(std::chrono::milliseconds limit = std::chrono::seconds{10}) {
    kill(SIGTERM);
    if (!wait_for(limit)) {
      kill(SIGKILL);
    }
    return wait();
  }

  /// Waits until somebody accepts connections on `port`; false when the child ended or `limit` passed.
  [[nodiscard]] bool listens(std::uint16_t port, std::chrono::milliseconds limit = std::chrono::seconds{20}) {
    auto const end = std::chrono::steady_clock::now() + limit;
    while (running() && std::chrono::steady_clock::now() < end) {
      if (port_answers(port)) {
        return true;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds{5}); // another program's start cannot be awaited otherwise
    }
    return false;
  }

private:
  bool poll(int flags) {
    if (!status_) {
      int raw = 0;
      auto const got = ::waitpid(pid_, &raw, flags);
      if (got == pid_) {
        status_ = WIFEXITED(raw) ? WEXITSTATUS(raw) : 128 + WTERMSIG(raw);
      } else if (got < 0) {
        status_ = -1;
      }
    }
    return status_.has_value();
  }

  pid_t pid_ = -1;
  std::optional<int> status_;
};

} // namespace rondo::test
