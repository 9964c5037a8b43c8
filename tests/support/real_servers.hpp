// SPDX-License-Identifier: BSL-1.0
// Real proxies and servers of the system, each on a free loopback port, stopped by its destructor.
#pragma once

#include <unistd.h>

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
  std::optional<process> helper_;  // what it needs, ends after it
  std::optional<process> process_; // ends before its files go
};

/// How squid shall ask and be spoken to.
struct squid_params {
  identity const* tls = nullptr; ///< what it shows as an `https` proxy; null = it is an `http` proxy
  bool digest = false;           ///< offers Digest instead of Basic
};

/// Starts servers. Where one is missing, null comes back after a word on stderr; with RONDO_CI=1 it throws instead.
struct servers {
  using pointer = std::unique_ptr<real_server>;

  /// A SOCKS5 proxy that wants `user` and `pass`, or nothing when `login` is false, and leaves from `address`.
  static pointer microsocks(bool login, std::string_view address = "127.0.0.1") {
    auto const program = need({"microsocks"});
    auto server = program ? std::make_unique<real_server>() : nullptr;
    if (server) {
      std::vector<std::string> arguments{
          *program, "-i", "127.0.0.1", "-p", std::to_string(server->port_), "-b", std::string{address}};
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

  /// npm's proxy-chain: an HTTP proxy that wants `user` and `pass`. `./dev test` installs it where npm's packages can
  /// be reached, which the build server need not be able to: so it alone is never insisted on.
  static pointer proxy_chain() {
    auto const program = find_program({"node", "nodejs"});
    auto const package = std::filesystem::path{RONDO_NPM_FOLDER} / "node_modules/proxy-chain";
    if (!program || !std::filesystem::exists(package)) {
      std::cerr << "SKIPPED: npm's proxy-chain is not installed; see ./dev\n";
      return nullptr;
    }
    auto server = std::make_unique<real_server>();
    auto const script = server->files_.write(
        "proxy.js", "const { Server } = require('" + package.string() +
                        "');\nnew Server({ host: '127.0.0.1', port: " + std::to_string(server->port_) +
                        ",\n  prepareRequestFunction: ({ username, password }) => ({\n"
                        "    requestAuthentication: username !== 'user' || password !== 'pass' }) }).listen();\n");
    start(*server, {*program, script});
    return server;
  }

  /// An HTTP or HTTPS proxy that wants `user` and `pass`, and denies port 1.
  static pointer squid(squid_params const& how = {}) {
    auto const program = need({"squid"});
    auto server = program ? std::make_unique<real_server>() : nullptr;
    if (server) {
      auto const& dir = server->directory();
      std::filesystem::permissions(dir, std::filesystem::perms::all); // it writes as another user
      auto const passwords = server->files_.write("passwords", "user:$apr1$rondotst$zAfQhk5MJKcWJPBldbGk0.\n");
      auto port = "http_port 127.0.0.1:" + std::to_string(server->port_);
      if (how.tls != nullptr) {
        port = "https_port 127.0.0.1:" + std::to_string(server->port_) +
               " tls-cert=" + server->files_.write("cert.pem", how.tls->certificate) +
               " tls-key=" + server->files_.write("key.pem", how.tls->key);
      }
      auto const file = server->files_.write(
          "squid.conf",
          port + "\npid_filename " + (dir / "squid.pid").string() + "\ncache_log " + (dir / "cache.log").string() +
              "\ncoredump_dir " + dir.string() +
              "\naccess_log none\ncache deny all\nshutdown_lifetime 0 seconds\n"
              "dns_timeout 1 seconds\ndns_retransmit_interval 1 seconds\n"
              "auth_param " +
              (how.digest ? "digest realm rondo\nauth_param digest program /usr/lib/squid/digest_file_auth "
                          : "basic program /usr/lib/squid/basic_ncsa_auth ") +
              passwords +
              "\nacl forbidden port 1\nhttp_access deny forbidden\n"
              "acl authed proxy_auth REQUIRED\nhttp_access allow authed\nhttp_access deny all\n");
      start(*server, {*program, "-N", "-n", "rondo" + std::to_string(server->port_), "-f", file});
    }
    return server;
  }

  /// A SOCKS5 proxy that wants `user` and `pass`, or nothing when `login` is false, and denies port 1.
  ///
  /// It asks the system's users, and finds `user` in a copy of /etc that nobody else sees: that needs root.
  static pointer dante(bool login) {
    auto const program = need({"danted", "sockd"});
    auto const unshare = need({"unshare"});
    auto server = program && unshare ? std::make_unique<real_server>() : nullptr;
    if (server) {
      auto const file = server->files_.write(
          "danted.conf",
          "logoutput: stderr\ninternal: 127.0.0.1 port = " + std::to_string(server->port_) +
              "\nexternal: 127.0.0.1\nclientmethod: none\nsocksmethod: " + (login ? "username" : "none") +
              "\nuser.privileged: root\nuser.unprivileged: nobody\n"
              "client pass {\n  from: 127.0.0.0/8 to: 0.0.0.0/0\n}\n"
              "socks block {\n  from: 127.0.0.0/8 to: 0.0.0.0/0 port = 1\n}\n"
              "socks pass {\n  from: 127.0.0.0/8 to: 0.0.0.0/0\n}\n");
      auto const pid_file = (server->directory() / "danted.pid").string();
      if (login) {
        auto const script = server->files_.write(
            "as_user", "set -e\ncp -a /etc \"$1/etc\"\nmount --bind \"$1/etc\" /etc\n"
                       "echo 'user:x:4711:4711::/:/usr/sbin/nologin' >> /etc/passwd\n"
                       "echo \"user:$(openssl passwd -6 pass):19000:0:99999:7:::\" >> /etc/shadow\n"
                       "shift\nexec \"$@\"\n");
        start(*server,
              {*unshare, "-m", "/bin/sh", script, server->directory().string(), *program, "-f", file, "-p", pid_file});
      } else {
        start(*server, {*program, "-f", file, "-p", pid_file});
      }
    }
    return server;
  }

  /// Speaks TLS as `who`, and passes what is inside to the loopback port `target`.
  static pointer stunnel(identity const& who, std::uint16_t target) {
    auto const program = need({"stunnel4", "stunnel"});
    auto server = program ? std::make_unique<real_server>() : nullptr;
    if (server) {
      auto const file = server->files_.write(
          "stunnel.conf", "foreground = yes\npid =\nsyslog = no\n[proxy]\naccept = 127.0.0.1:" +
                              std::to_string(server->port_) + "\nconnect = 127.0.0.1:" + std::to_string(target) +
                              "\ncert = " + server->files_.write("cert.pem", who.certificate) +
                              "\nkey = " + server->files_.write("key.pem", who.key) + "\n");
      start(*server, {*program, file});
    }
    return server;
  }

  /// Passes each connection to the next of the loopback ports `targets`: a gateway that rotates for its clients.
  static pointer haproxy(std::vector<std::uint16_t> const& targets) {
    auto const program = need({"haproxy"});
    auto server = program ? std::make_unique<real_server>() : nullptr;
    if (server) {
      auto text = "defaults\n  mode tcp\n  retries 0\n  timeout connect 5s\n  timeout client 60s\n"
                  "  timeout server 60s\nlisten gate\n  balance roundrobin\n  bind 127.0.0.1:" +
                  std::to_string(server->port_) + "\n";
      for (auto const target : targets) {
        text += "  server s" + std::to_string(target) + " 127.0.0.1:" + std::to_string(target) + "\n";
      }
      start(*server, {*program, "-db", "-f", server->files_.write("haproxy.conf", text)});
    }
    return server;
  }

  /// The SOCKS proxy (4, 4A and 5, no login) of `ssh -D`, with an sshd and keys of its own.
  static pointer ssh() {
    auto const client = need({"ssh"});
    auto const daemon = need({"sshd"});
    auto const keygen = need({"ssh-keygen"});
    auto server = client && daemon && keygen ? std::make_unique<real_server>() : nullptr;
    if (server) {
      auto const dir = server->directory().string();
      for (auto const* const key : {"/host_key", "/user_key"}) {
        process::params params;
        params.arguments = {*keygen, "-q", "-t", "ed25519", "-N", "", "-f", dir + key};
        if (process{params}.wait() != 0) {
          throw std::runtime_error{"ssh-keygen failed"};
        }
      }
      if (::geteuid() == 0) {
        std::filesystem::create_directory("/run/sshd"); // it insists
      }
      auto const port = free_port();
      auto const file =
          server->files_.write("sshd_config", "Port " + std::to_string(port) + "\nListenAddress 127.0.0.1\nHostKey " +
                                                  dir + "/host_key\nAuthorizedKeysFile " + dir +
                                                  "/user_key.pub\nStrictModes no\nPidFile none\nUsePAM no\n");
      process::params params;
      params.arguments = {*daemon, "-D", "-e", "-f", file};
      params.output = dir + "/sshd_output";
      server->helper_.emplace(params);
      if (!server->helper_->listens(port)) {
        throw std::runtime_error{"sshd did not start: " + server->files_.read("sshd_output")};
      }
      start(*server, {*client, "-F", "/dev/null", "-N", "-D", "127.0.0.1:" + std::to_string(server->port_), "-p",
                      std::to_string(port), "-i", dir + "/user_key", "-o", "StrictHostKeyChecking=no", "-o",
                      "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "127.0.0.1"});
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
