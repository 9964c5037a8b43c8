// SPDX-License-Identifier: BSL-1.0
// rondo-provider as a program: its certificate, what its faults do to a connection, and that its counts are true.
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <boost/json/parse.hpp>
#include <boost/test/unit_test.hpp>

#include <chrono>
#include <csignal>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <support/process.hpp>
#include <support/temporary_directory.hpp>

namespace asio = boost::asio;
namespace http = boost::beast::http;
namespace json = boost::json;
using namespace std::chrono_literals;
using boost::system::error_code;
using tcp = asio::ip::tcp;

BOOST_AUTO_TEST_SUITE(simulated_provider)

namespace {

using response = http::response<http::string_body>;

/// A rondo-provider on a port of its own.
class running_provider {
public:
  explicit running_provider(std::string_view config)
      : process_{{.arguments = {RONDO_PROVIDER, "--config", directory_.write("provider.json", config)},
                  .output = (directory_.path() / "output").string(),
                  .environment = {},
                  .directory = directory_.path().string()}} {
    constexpr std::string_view words = "listening on ";
    auto const end = std::chrono::steady_clock::now() + 20s;
    while (port_ == 0) {
      auto const output = directory_.read("output");
      auto const line = output.find(words);
      if (line != std::string::npos && output.find('\n', line) != std::string::npos) {
        port_ = static_cast<std::uint16_t>(std::stoi(output.substr(output.find(':', line + words.size() + 6) + 1)));
      } else if (!process_.running() || std::chrono::steady_clock::now() > end) {
        throw std::runtime_error{"rondo-provider did not start: " + output};
      } else {
        std::this_thread::sleep_for(2ms); // another program's start cannot be awaited otherwise
      }
    }
  }

  [[nodiscard]] std::uint16_t port() const { return port_; }
  [[nodiscard]] std::string ca_file() const { return (directory_.path() / "tls/ca.pem").string(); }
  rondo::test::process& process() { return process_; }

private:
  rondo::test::temporary_directory directory_;
  rondo::test::process process_;
  std::uint16_t port_ = 0;
};

/// A blocking client on one connection.
template <class Stream> class client {
public:
  explicit client(Stream stream) : stream_{std::move(stream)} {}

  /// Whether the connection is to stay open after the next answer.
  void keep_alive(bool on) { keep_alive_ = on; }

  error_code ask(http::verb method, std::string_view target, std::string_view key, response& out,
                 std::string_view body = {}, std::string_view id = {}) {
    http::request<http::string_body> r{method, {target.data(), target.size()}, 11, std::string{body}};
    r.set(http::field::host, "localhost");
    r.set("xi-api-key", {key.data(), key.size()});
    r.set("x-request-id", {id.data(), id.size()});
    r.keep_alive(keep_alive_);
    r.prepare_payload();
    error_code ec;
    http::write(stream_, r, ec);
    if (!ec) {
      http::response_parser<http::string_body> parser; // keeps what came before an error, too
      http::read(stream_, buffer_, parser, ec);
      out = parser.release();
    }
    return ec;
  }
  error_code speak(std::string_view key, response& out, std::string_view id = {}, std::string_view path = "/stream") {
    return ask(http::verb::post, "/v1/text-to-speech/v" + std::string{path}, key, out, R"({"text":"0123456789"})", id);
  }

  Stream& stream() { return stream_; }

private:
  Stream stream_;
  boost::beast::flat_buffer buffer_;
  bool keep_alive_ = true;
};

tcp::socket connect(asio::io_context& context, std::uint16_t port) {
  tcp::socket s{context};
  s.connect({asio::ip::address_v4::loopback(), port});
  return s;
}

using plain_client = client<tcp::socket>;

json::value report(asio::io_context& context, std::uint16_t port) {
  plain_client c{connect(context, port)};
  response r;
  auto const ec = c.ask(http::verb::get, "/_sim/report", "", r);
  BOOST_TEST_REQUIRE(!ec, ec.message());
  return json::parse(r.body());
}

/// Asks again and again what only the other process knows; the limit is for a broken one.
template <class Condition> bool eventually(Condition holds) {
  auto const end = std::chrono::steady_clock::now() + 20s;
  while (!holds()) {
    if (std::chrono::steady_clock::now() > end) {
      return false;
    }
    std::this_thread::yield();
  }
  return true;
}

std::int64_t number(json::value const& v) {
  return v.to_number<std::int64_t>();
}

} // namespace

BOOST_AUTO_TEST_CASE(is_trusted_by_its_own_authority_under_each_of_its_names) {
  running_provider p{R"({"certificate_dir": "tls", "keys": [{"name": "k", "secret": "s"}]})"};
  asio::io_context context;
  asio::ssl::context tls{asio::ssl::context::tls_client};
  tls.load_verify_file(p.ca_file());
  tls.set_verify_mode(asio::ssl::verify_peer);
  for (auto const* const name : {"localhost", "127.0.0.1", "::1"}) {
    asio::ssl::stream<tcp::socket> stream{connect(context, p.port()), tls};
    stream.set_verify_callback(asio::ssl::host_name_verification{name});
    error_code ec;
    stream.handshake(asio::ssl::stream_base::client, ec);
    BOOST_TEST_REQUIRE(!ec, name << ": " << ec.message());
    client<asio::ssl::stream<tcp::socket>> c{std::move(stream)};
    response r;
    ec = c.speak("s", r);
    BOOST_TEST(!ec, ec.message());
    BOOST_TEST(r.result_int() == 200U);
    BOOST_TEST(r.body().starts_with("ID30123456789"));
    ec = c.speak("s", r, {}, ""); // and a second one on the same connection
    BOOST_TEST(!ec, ec.message());
  }
  asio::ssl::stream<tcp::socket> stream{connect(context, p.port()), tls};
  stream.set_verify_callback(asio::ssl::host_name_verification{"example.com"});
  error_code ec;
  stream.handshake(asio::ssl::stream_base::client, ec);
  BOOST_TEST(ec.failed());
}

BOOST_AUTO_TEST_CASE(each_fault_does_to_the_connection_what_it_says) {
  running_provider p{R"({"tls": false, "response_bytes": 100, "keys": [{"name": "k", "secret": "s"}], "faults": [
    {"nth": 1, "action": "drop"}, {"nth": 2, "action": "drop_after_head"},
    {"nth": 3, "action": "truncate", "after_bytes": 30}, {"nth": 4, "action": "garbage"},
    {"nth": 5, "action": "slow", "bytes_per_second": 2000}, {"nth": 6, "action": "close"},
    {"nth": 7, "status": 503, "headers": {"Retry-After": "7"}, "body": {"busy": true}}]})"};
  asio::io_context context;
  auto const ask = [&](response& r) {
    plain_client c{connect(context, p.port())};
    return c.speak("s", r, {}, "");
  };
  response r;
  BOOST_TEST((ask(r) == http::error::end_of_stream));
  BOOST_TEST((ask(r) == http::error::partial_message));
  BOOST_TEST(r.result_int() == 200U);
  BOOST_TEST((ask(r) == http::error::partial_message));
  BOOST_TEST(r.body().size() == 30U);
  BOOST_TEST((ask(r) == http::error::bad_version));
  BOOST_TEST(!ask(r).failed());
  BOOST_TEST(r.body().size() == 100U);

  plain_client closing{connect(context, p.port())};
  BOOST_TEST(!closing.speak("s", r).failed());
  BOOST_TEST(r.keep_alive());
  error_code end;
  char byte = 0;
  closing.stream().read_some(asio::buffer(&byte, 1), end);
  BOOST_TEST((end == asio::error::eof));

  BOOST_TEST(!ask(r).failed());
  BOOST_TEST(r.result_int() == 503U);
  BOOST_TEST(r["Retry-After"] == "7");
  BOOST_TEST(r.body() == R"({"busy":true})");

  auto const counts = report(context, p.port());
  BOOST_TEST(number(counts.at("keys").at(0).at("requests")) == 7);
  BOOST_TEST(number(counts.at("keys").at(0).at("granted")) == 4);
  BOOST_TEST(number(counts.at("keys").at(0).at("faulted")) == 3);
}

BOOST_AUTO_TEST_CASE(hanging_and_idle_connections_cost_nothing_and_do_not_hold_the_end) {
  running_provider p{R"({"tls": false, "keys": [{"name": "k", "secret": "s"}, {"name": "h", "secret": "hang"}],
                         "accounts": [{"name": "h", "concurrency": 3}], "faults": [{"key": "h", "action": "hang"}]})"};
  asio::io_context context;
  std::vector<tcp::socket> idle;
  for (int i = 0; i < 300; ++i) {
    idle.push_back(connect(context, p.port()));
  }
  std::string const question = "POST /v1/text-to-speech/v HTTP/1.1\r\nHost: localhost\r\nxi-api-key: hang\r\n"
                               "Content-Length: 12\r\n\r\n{\"text\":\"a\"}";
  for (std::size_t i = 0; i < 3; ++i) {
    asio::write(idle[i], asio::buffer(question));
  }
  plain_client c{connect(context, p.port())};
  response r;
  BOOST_TEST(!c.speak("s", r).failed());

  // a caller that goes away gives its place back
  auto const in_flight = [&] { return number(report(context, p.port()).at("accounts").at(0).at("inFlight")); };
  BOOST_TEST(eventually([&] { return in_flight() == 3; }));
  idle[0].close();
  BOOST_TEST(eventually([&] { return in_flight() == 2; }));
  BOOST_TEST(number(report(context, p.port()).at("peers").at("127.0.0.1").at("connections")) >= 301);
  BOOST_TEST(p.process().stop() == 0);
}

BOOST_AUTO_TEST_CASE(a_caller_who_leaves_during_the_latency_is_noticed) {
  running_provider p{R"({"tls": false, "latency_ms": 3600000, "keys": [{"name": "k", "secret": "s"}]})"};
  asio::io_context context;
  auto const in_flight = [&] { return number(report(context, p.port()).at("accounts").at(0).at("inFlight")); };
  auto s = connect(context, p.port());
  std::string const question = "POST /v1/text-to-speech/v HTTP/1.1\r\nHost: localhost\r\nxi-api-key: s\r\n"
                               "Content-Length: 12\r\n\r\n{\"text\":\"a\"}";
  asio::write(s, asio::buffer(question));
  BOOST_TEST(eventually([&] { return in_flight() == 1; }));
  s.close();
  BOOST_TEST(eventually([&] { return in_flight() == 0; }));
  p.process().kill(SIGINT);
  BOOST_TEST(p.process().wait() == 0);
}

BOOST_AUTO_TEST_CASE(a_place_is_free_as_soon_as_the_end_of_the_answer_can_be_read) {
  running_provider p{R"({"tls": false, "accounts": [{"name": "a", "concurrency": 1}],
                         "keys": [{"name": "k", "secret": "s", "account": "a"}]})"};
  asio::io_context context;
  std::vector<plain_client> clients;
  for (auto const* const path : {"", "/stream", "", "/stream"}) {
    clients.emplace_back(connect(context, p.port()));
    clients.back().keep_alive(false); // the provider waits for this side to close, which it does not
    response r;
    BOOST_TEST(!clients.back().speak("s", r, {}, path).failed());
    BOOST_TEST(r.result_int() == 200U);
  }
  BOOST_TEST(number(report(context, p.port()).at("violations")) == 0);
}

BOOST_AUTO_TEST_CASE(its_counts_are_those_of_parallel_clients_with_several_threads) {
  constexpr int clients = 8;
  constexpr int each = 50;
  running_provider p{R"({"tls": false, "threads": 2, "response_bytes": 3000,
                         "accounts": [{"name": "a", "concurrency": 8, "quota": 3000}],
                         "keys": [{"name": "k", "secret": "s", "account": "a"}]})"};
  std::vector<int> granted(clients);
  std::vector<int> refused(clients);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < clients; ++t) {
    threads.emplace_back([&, t] {
      asio::io_context context;
      plain_client c{connect(context, p.port())};
      for (int i = 0; i < each; ++i) {
        response r;
        if (c.speak("s", r, std::to_string(t) + "-" + std::to_string(i))) {
          return;
        }
        granted[t] += r.result_int() == 200 ? 1 : 0;
        refused[t] += r.result_int() == 401 ? 1 : 0;
      }
    });
  }
  int all_granted = 0;
  int all_refused = 0;
  for (std::size_t t = 0; t < clients; ++t) {
    threads[t].join();
    all_granted += granted[t];
    all_refused += refused[t];
  }
  BOOST_TEST(all_granted == 300); // ten characters each
  BOOST_TEST(all_refused == 100);

  asio::io_context context;
  auto const counts = report(context, p.port());
  BOOST_TEST(number(counts.at("granted")) == all_granted);
  BOOST_TEST(number(counts.at("grantedTokens")) == 3000);
  BOOST_TEST(number(counts.at("violations")) == 0);
  BOOST_TEST(number(counts.at("refused").at("quota_exceeded")) == all_refused);
  BOOST_TEST(number(counts.at("ids").at("distinct")) == clients * each);
  BOOST_TEST(counts.at("ids").at("repeated").as_array().empty());
}

BOOST_AUTO_TEST_CASE(faults_change_at_run_time) {
  running_provider p{R"({"tls": false, "keys": [{"name": "k", "secret": "s"}]})"};
  asio::io_context context;
  plain_client c{connect(context, p.port())};
  response r;
  BOOST_TEST(!c.speak("s", r).failed());
  BOOST_TEST(r.result_int() == 200U);
  BOOST_TEST(
      !c.ask(http::verb::post, "/_sim/faults", "", r, R"([{"action": "refuse", "reason": "invalid_key"}])").failed());
  BOOST_TEST(r.result_int() == 200U);
  BOOST_TEST(!c.speak("s", r).failed());
  BOOST_TEST(r.result_int() == 401U);
  BOOST_TEST(!c.ask(http::verb::post, "/_sim/faults", "", r, R"([{"action": "explode"}])").failed());
  BOOST_TEST(r.result_int() == 400U);
  BOOST_TEST(!c.speak("s", r).failed());
  BOOST_TEST(r.result_int() == 401U); // the rejected list changed nothing
}

BOOST_AUTO_TEST_CASE(rubbish_is_answered_or_cut_and_harms_nobody) {
  running_provider p{R"({"tls": false, "keys": [{"name": "k", "secret": "s"}]})"};
  asio::io_context context;
  std::string const many_headers = "GET / HTTP/1.1\r\nX: " + std::string(100'000, 'x') + "\r\n\r\n";
  std::string const rubbish[] = {
      "\x16\x03\x01 hello", "GET\r\n\r\n", "POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
      std::string(1, '\0'), many_headers,  "POST /v1/voices HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"};
  for (auto const& text : rubbish) {
    auto s = connect(context, p.port());
    error_code ec;
    asio::write(s, asio::buffer(text), ec);
    s.shutdown(tcp::socket::shutdown_send, ec);
    std::string answer;
    asio::read(s, asio::dynamic_buffer(answer), ec);
    BOOST_TEST((answer.empty() || answer.starts_with("HTTP/1.1 4")), answer);
  }
  plain_client c{connect(context, p.port())};
  response r;
  BOOST_TEST(!c.speak("s", r).failed());
}

BOOST_AUTO_TEST_CASE(a_configuration_with_faults_is_refused_with_one_line_for_each) {
  rondo::test::temporary_directory directory;
  auto const config = directory.write("provider.json", R"({"tls": false, "treads": 2, "keys": [{"secret": "sk_x"}]})");
  rondo::test::process p{{.arguments = {RONDO_PROVIDER, "--config", config},
                          .output = (directory.path() / "output").string(),
                          .environment = {},
                          .directory = {}}};
  BOOST_TEST(p.wait() == 2);
  auto const output = directory.read("output");
  BOOST_TEST(output.find("keys[0].name: must not be empty\n") != std::string::npos, output);
  BOOST_TEST(output.find("treads: unknown field\n") != std::string::npos, output);
  BOOST_TEST(output.find("sk_x") == std::string::npos);
}

BOOST_AUTO_TEST_SUITE_END()
