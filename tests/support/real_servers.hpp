// SPDX-License-Identifier: BSL-1.0
// Real proxies and servers of the system, each on a free loopback port, stopped by its destructor.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <iostream>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <support/certificates.hpp>
#include <support/process.hpp>
#include <support/temporary_directory.hpp>

namespace rondo::test {

/// A started server; null where the program is not installed.
class real_server {
public:
  real_server() = default;
  real_server(real_server const&) = delete;
  real_server& operator=(real_server const&) = delete;
  ~real_server() {
    if (process_) {
      process_->stop(std::chrono::seconds{5}); // killed, squid would leave its shared memory behind
    }
  }

  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
  [[nodiscard]] std::filesystem::path const& directory() const noexcept { return files_.path(); }

private:
  friend struct servers;
  temporary_directory files_;
  std::uint16_t port_ = free_port();
  std::optional<process> process_; // ends before its files go
};

/// Starts servers. Where one is missing, null comes back after a word on stderr; with RONDO_CI=1 it throws instead.
struct servers {
  using pointer = std::unique_ptr<real_server>;

  /// A SOCKS5 proxy that wants `user` and `pass`, or nothing when `login` is false.
  static pointer microsocks(bool login) {
    auto const program = need({"microsocks"});
    auto server = program ? std::make_unique<real_server>() : nullptr;
    if (server) {
      std::vector<std::string> arguments{*program, "-i", "127.0.0.1", "-p", std::to_string(server->port_)};
      if (login) {
        arguments.insert(arguments.end(), {"-u", "user", "-P", "pass"});
      }
      start(*server, std::move(arguments));
    }
    return server;
  }

  /// An HTTP proxy that wants `user` and `pass`, or nothing when `login` is false.
  static pointer tinyproxy(bool login) {
    auto const program = need({"tinyproxy"});
    auto server = program ? std::make_unique<real_server>() : nullptr;
    if (server) {
      auto const file = server->files_.write("tinyproxy.conf",
                                             "Port " + std::to_string(server->port_) +
                                                 "\nListen 127.0.0.1\nTimeout 60\nMaxClients 100\nAllow 127.0.0.1\n" +
                                                 (login ? "BasicAuth user pass\n" : ""));
      start(*server, {*program, "-d", "-c", file});
    }
    return server;
  }

  /// An HTTP proxy that wants `user` and `pass`, and denies port 1.
  static pointer squid() {
    auto const program = need({"squid"});
    auto server = program ? std::make_unique<real_server>() : nullptr;
    if (server) {
      auto const& dir = server->directory();
      std::filesystem::permissions(dir, std::filesystem::perms::all); // it writes as another user
      auto const passwords = server->files_.write("passwords", "user:$apr1$rondotst$zAfQhk5MJKcWJPBldbGk0.\n");
      auto const file = server->files_.write(
          "squid.conf", "http_port 127.0.0.1:" + std::to_string(server->port_) + "\npid_filename " +
                            (dir / "squid.pid").string() + "\ncache_log " + (dir / "cache.log").string() +
                            "\ncoredump_dir " + dir.string() +
                            "\naccess_log none\ncache deny all\nshutdown_lifetime 0 seconds\n"
                            "dns_timeout 1 seconds\ndns_retransmit_interval 1 seconds\n"
                            "auth_param basic program /usr/lib/squid/basic_ncsa_auth " +
                            passwords +
                            "\nacl forbidden port 1\nhttp_access deny forbidden\n"
                            "acl authed proxy_auth REQUIRED\nhttp_access allow authed\nhttp_access deny all\n");
      start(*server, {*program, "-N", "-n", "rondo" + std::to_string(server->port_), "-f", file});
    }
    return server;
  }

  /// A SOCKS5 proxy; with `login` it asks the system's users, otherwise everybody is let in, but not to port 1.
  static pointer dante(bool login) {
    auto const program = need({"danted", "sockd"});
    auto server = program ? std::make_unique<real_server>() : nullptr;
    if (server) {
      auto const file = server->files_.write(
          "danted.conf",
          "logoutput: stderr\ninternal: 127.0.0.1 port = " + std::to_string(server->port_) +
              "\nexternal: 127.0.0.1\nclientmethod: none\nsocksmethod: " + (login ? "username" : "none") +
              "\nuser.privileged: root\nuser.unprivileged: nobody\n"
              "client pass {\n  from: 127.0.0.0/8 to: 0.0.0.0/0\n}\n"
              "socks block {\n  from: 127.0.0.0/8 to: 0.0.0.0/0 port = 1\n}\n"
              "socks pass {\n  from: 127.0.0.0/8 to: 0.0.0.0/0\n}\n");
      start(*server, {*program, "-f", file, "-p", (server->directory() / "danted.pid").string()});
    }
    return server;
  }

  /// An HTTPS server that shows `who` and serves the folder `www` of its directory; `more` are further directives of
  /// its `server` block. `/resumed` says `r` when the TLS session was resumed, and `.` when not.
  static pointer nginx(identity const& who, std::string const& more = "") {
    auto const program = need({"nginx"});
    auto server = program ? std::make_unique<real_server>() : nullptr;
    if (server) {
      auto const dir = server->directory().string();
      std::filesystem::create_directory(server->directory() / "www");
      server->files_.write("cert.pem", who.certificate);
      server->files_.write("key.pem", who.key);
      auto const file = server->files_.write(
          "nginx.conf",
          "daemon off;\nuser root;\npid " + dir + "/nginx.pid;\nerror_log stderr;\nworker_processes 1;\n" +
              "events { worker_connections 256; }\nhttp {\n  access_log off;\n  client_body_temp_path " + dir +
              "/t1;\n  proxy_temp_path " + dir + "/t2;\n  fastcgi_temp_path " + dir + "/t3;\n  uwsgi_temp_path " + dir +
              "/t4;\n  scgi_temp_path " + dir +
              "/t5;\n  client_max_body_size 100m;\n  server {\n    listen 127.0.0.1:" + std::to_string(server->port_) +
              " ssl;\n    ssl_certificate " + dir + "/cert.pem;\n    ssl_certificate_key " + dir +
              "/key.pem;\n    root " + dir +
              "/www;\n    location /status/ { return 429 \"slow down\"; }\n    "
              "location /resumed { return 200 $ssl_session_reused; }\n    " +
              more + "\n  }\n}\n");
      start(*server, {*program, "-p", dir, "-c", file});
    }
    return server;
  }

private:
  static std::optional<std::string> need(std::initializer_list<std::string_view> names) {
    auto found = find_program(names);
    if (!found && !may_skip()) {
      throw std::runtime_error{std::string{*names.begin()} + " is not installed"};
    }
    if (!found) {
      std::cerr << "SKIPPED: " << *names.begin() << " is not installed\n";
    }
    return found;
  }

  static void start(real_server& server, std::vector<std::string> arguments) {
    process::params params;
    params.arguments = std::move(arguments);
    params.output = (server.directory() / "output").string();
    server.process_.emplace(params);
    if (!server.process_->listens(server.port_)) {
      throw std::runtime_error{params.arguments[0] + " did not start: " + server.files_.read("output")};
    }
  }
};

} // namespace rondo::test
