// SPDX-License-Identifier: BSL-1.0
// rondo-gateway and rondo-provider as programs, and a caller that sees every byte.
#pragma once

#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http.hpp>
#include <boost/json.hpp>
#include <boost/test/unit_test.hpp>

#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <support/process.hpp>
#include <support/temporary_directory.hpp>

namespace rondo::test {

namespace asio = boost::asio;
namespace json = boost::json;
namespace beast_http = boost::beast::http;
using namespace std::chrono_literals;

/// Waits for what another program does; nothing tells when.
inline bool eventually(std::function<bool()> const& holds) {
  auto const end = std::chrono::steady_clock::now() + 20s;
  while (!holds()) {
    if (std::chrono::steady_clock::now() > end) {
      return false;
    }
    std::this_thread::sleep_for(5ms);
  }
  return true;
}

struct answer {
  beast_http::response<beast_http::string_body> message;
  std::string raw; ///< everything that came
  boost::system::error_code ec;

  [[nodiscard]] unsigned status() const { return message.result_int(); }
  [[nodiscard]] std::string const& body() const { return message.body(); }
  [[nodiscard]] std::string field(std::string_view name) const {
    return std::string{message[boost::beast::string_view{name.data(), name.size()}]};
  }
  [[nodiscard]] std::string error_type() const {
    return std::string{json::parse(body()).at("error").at("type").as_string()};
  }
};

/// What all callers received, for the search for secrets.
class collection {
public:
  void add(std::string_view text) {
    std::lock_guard const lock{mutex_};
    all_.append(text);
  }
  [[nodiscard]] std::string all() const {
    std::lock_guard const lock{mutex_};
    return all_;
  }

private:
  mutable std::mutex mutex_;
  std::string all_;
};
inline collection& everything_received() {
  static collection texts;
  return texts;
}

/// One connection of a caller, without any help of a client library. Waits 20 s at most.
class caller {
public:
  explicit caller(std::uint16_t port) : socket_{context_} {
    socket_.connect({asio::ip::address_v4::loopback(), port});
    socket_.set_option(asio::ip::tcp::no_delay{true}); // what is sent in pieces shall arrive so
    timeval const patience{20, 0};
    ::setsockopt(socket_.native_handle(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    ::setsockopt(socket_.native_handle(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  }

  void send(std::string_view text) { asio::write(socket_, asio::buffer(text)); }
  /// The same when the other side may have stopped reading; false then.
  bool try_send(std::string_view text) {
    boost::system::error_code ec;
    asio::write(socket_, asio::buffer(text), ec);
    return !ec;
  }

  /// The next answer on this connection.
  answer read(bool to_head = false) {
    answer out;
    beast_http::response_parser<beast_http::string_body> parser;
    parser.body_limit(boost::none);
    parser.skip(to_head);
    parser.eager(true);
    while (!parser.is_done()) {
      boost::system::error_code ec;
      if (!input_.empty()) {
        auto const used = parser.put(asio::buffer(input_), ec);
        out.raw.append(input_, 0, used);
        input_.erase(0, used);
        if (parser.is_done()) {
          break;
        }
        if (ec && ec != beast_http::error::need_more) {
          out.ec = ec;
          break;
        }
      }
      if (!receive(out.ec)) {
        if (out.ec == asio::error::eof && parser.got_some()) {
          parser.put_eof(ec);
        }
        out.ec = parser.is_done() ? boost::system::error_code{} : out.ec;
        break;
      }
    }
    out.message = parser.release();
    return out;
  }
  /// The head of the next answer.
  std::string read_head() {
    boost::system::error_code ec;
    while (input_.find("\r\n\r\n") == std::string::npos && receive(ec)) {
    }
    auto const size = std::min(input_.find("\r\n\r\n") + 4, input_.size());
    auto out = input_.substr(0, size);
    input_.erase(0, size);
    return out;
  }
  /// Everything up to the end of the connection.
  std::string read_all() {
    boost::system::error_code ec;
    while (receive(ec)) {
    }
    return std::exchange(input_, {});
  }
  /// Some bytes, or none at the end.
  std::size_t read_some() {
    boost::system::error_code ec;
    input_.clear();
    receive(ec);
    return input_.size();
  }

  /// What came, up to `size` bytes; 0 at the end.
  std::size_t read_into(char* bytes, std::size_t size) {
    boost::system::error_code ec;
    if (input_.empty()) {
      receive(ec);
    }
    auto const n = input_.copy(bytes, size);
    input_.erase(0, n);
    return n;
  }

  void close() { socket_.close(); }

private:
  bool receive(boost::system::error_code& ec) {
    char bytes[65536];
    auto const n = socket_.read_some(asio::buffer(bytes), ec);
    input_.append(bytes, n);
    everything_received().add({bytes, std::min<std::size_t>(n, 4096)});
    return n != 0;
  }

  asio::io_context context_;
  asio::ip::tcp::socket socket_;
  std::string input_;
};

inline std::string request(std::string_view method, std::string_view target, std::string_view body = {},
                           std::string_view fields = {}) {
  std::ostringstream out;
  out << method << ' ' << target << " HTTP/1.1\r\nHost: localhost\r\n" << fields;
  if (!body.empty() || method == "POST") {
    out << "Content-Length: " << body.size() << "\r\n";
  }
  out << "\r\n" << body;
  return out.str();
}

inline answer ask(std::uint16_t port, std::string_view text) {
  caller c{port};
  c.send(text);
  return c.read();
}

/// A program that says on a line of its output where it listens.
class listening_program {
public:
  listening_program(std::string program, std::string config, std::vector<std::string> environment = {})
      : program_{std::move(program)}, environment_{std::move(environment)} {
    write_config(config);
    start();
  }

  void write_config(std::string const& config) { directory_.write("config.json", config); }
  void start() {
    directory_.write("output", "");
    process_.emplace(process::params{.arguments = {program_, "--config", config_file()},
                                     .output = (directory_.path() / "output").string(),
                                     .environment = environment_,
                                     .directory = directory_.path().string()});
    auto const ready = eventually([this] {
      auto const text = output();
      return (text.find("listening on ") != text.npos && text.back() == '\n') || !process_->running();
    });
    ports_.clear();
    auto const text = output();
    for (auto at = text.find("://"); at != text.npos; at = text.find("://", at + 3)) {
      ports_.push_back(static_cast<std::uint16_t>(std::stoi(text.substr(text.find(':', at + 3) + 1))));
    }
    if (!ready || ports_.empty()) {
      throw std::runtime_error{program_ + " did not start: " + text};
    }
  }

  [[nodiscard]] std::uint16_t port(std::size_t n = 0) const { return ports_.at(n); }
  [[nodiscard]] process& running() { return *process_; }
  [[nodiscard]] temporary_directory const& directory() const { return directory_; }
  [[nodiscard]] std::string config_file() const { return (directory_.path() / "config.json").string(); }
  [[nodiscard]] std::string output() const { return directory_.read("output"); }

private:
  temporary_directory directory_;
  std::string program_;
  std::vector<std::string> environment_;
  std::optional<process> process_;
  std::vector<std::uint16_t> ports_;
};

/// A simulated provider over plain TCP.
class provider_program : public listening_program {
public:
  explicit provider_program(json::object config) : listening_program{RONDO_PROVIDER, finished(std::move(config))} {}

  [[nodiscard]] json::object report() const {
    return json::parse(ask(port(), request("GET", "/_sim/report")).body()).as_object();
  }

private:
  static std::string finished(json::object config) {
    config["tls"] = false;
    config["listen"] = "127.0.0.1:0";
    return json::serialize(config);
  }
};

/// A gateway in front of a provider on a loopback port.
class gateway_program : public listening_program {
public:
  explicit gateway_program(json::object config, std::vector<std::string> environment = {})
      : listening_program{RONDO_GATEWAY, json::serialize(config), std::move(environment)} {}
  /// However a test ends, the program can be stopped (at once, when told twice) and no sanitizer complains.
  ~gateway_program() {
    auto const stopped = eventually([this] {
      running().kill(SIGTERM);
      return running().wait_for(20ms).has_value();
    });
    BOOST_TEST(stopped);
    auto const said = output();
    BOOST_TEST(said.find("Sanitizer") == said.npos, said);
    BOOST_TEST(said.find("runtime error") == said.npos, said);
  }

  [[nodiscard]] std::uint16_t admin() const { return port(1); }
  [[nodiscard]] json::object status(std::string_view pool = "p") const {
    auto const page = ask(admin(), request("GET", "/api/" + std::string{pool} + "-status"));
    return json::parse(page.body()).as_object();
  }
  [[nodiscard]] json::object key(std::string_view name) const {
    auto const all = status();
    for (auto const& each : all.at("keys").as_array()) {
      if (each.at("name").as_string() == name) {
        return each.as_object();
      }
    }
    throw std::runtime_error{"no key " + std::string{name}};
  }
  [[nodiscard]] double metric(std::string_view sample) const {
    auto const page = "\n" + ask(admin(), request("GET", "/metrics")).body();
    auto const at = page.find("\n" + std::string{sample} + " ");
    return at == page.npos ? -1 : std::stod(page.substr(at + sample.size() + 2));
  }
  void reload(json::object const& config) {
    write_config(json::serialize(config));
    running().kill(SIGHUP);
  }
};

/// A configuration of one pool `p` before the provider at `port`, to be changed at will.
inline json::object gateway_config(std::uint16_t port, json::array keys) {
  return {{"listen", "127.0.0.1:0"},
          {"admin", "127.0.0.1:0"},
          {"threads", 2},
          {"pools",
           {json::object{{"name", "p"},
                         {"provider", "elevenlabs"},
                         {"base_url", "http://127.0.0.1:" + std::to_string(port)},
                         {"keys", std::move(keys)}}}}};
}
inline json::object& pool_of(json::object& config) {
  return config.at("pools").as_array().at(0).as_object();
}

} // namespace rondo::test
