// SPDX-License-Identifier: BSL-1.0
// The example programs as a reader runs them, against rondo-provider over TLS.
#include <rondo/store/files.hpp>

#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/write.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <boost/test/unit_test.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <support/process.hpp>
#include <support/temporary_directory.hpp>

namespace asio = boost::asio;
namespace fs = std::filesystem;
namespace json = boost::json;
using namespace std::chrono_literals;

BOOST_AUTO_TEST_SUITE(examples)

namespace {

bool has(std::string_view text, std::string_view part) {
  return text.find(part) != text.npos;
}

std::size_t count(std::string_view text, std::string_view part) {
  std::size_t out = 0;
  for (auto at = text.find(part); at != text.npos; at = text.find(part, at + part.size())) {
    ++out;
  }
  return out;
}

struct ended {
  int code;
  std::string output;
};

/// A folder with a provider that has its certificate there, and the programs that run in it.
class stage {
public:
  /// \param config of the provider, without its address
  void start_provider(std::string const& config) {
    folder_.write("provider.json", R"({"listen": "127.0.0.1:0", "certificate_dir": "tls", )" + config + "}");
    provider_.emplace(rondo::test::process::params{.arguments = {RONDO_PROVIDER, "--config", "provider.json"},
                                                   .output = file("provider.out"),
                                                   .environment = {},
                                                   .directory = folder_.path().string()});
    constexpr std::string_view words = "listening on ";
    auto const end = std::chrono::steady_clock::now() + 20s;
    while (url_.empty()) {
      auto const said = folder_.read("provider.out");
      auto const at = said.find(words);
      if (at != said.npos && said.back() == '\n') {
        url_ = said.substr(at + words.size(), said.find('\n', at) - at - words.size());
      } else {
        BOOST_TEST_REQUIRE((provider_->running() && std::chrono::steady_clock::now() < end), said);
        std::this_thread::sleep_for(2ms); // another program's start cannot be awaited otherwise
      }
    }
  }

  /// Runs a program to its end.
  ended run(std::vector<std::string> arguments, std::vector<std::string> environment = {}) {
    auto const name = "output-" + std::to_string(++runs_);
    rondo::test::process program{{.arguments = std::move(arguments),
                                  .output = file(name),
                                  .environment = std::move(environment),
                                  .directory = folder_.path().string()}};
    auto const code = program.wait_for(60s);
    BOOST_TEST_REQUIRE(code.has_value());
    return {*code, folder_.read(name)};
  }
  /// The same with what every program needs to find the provider.
  ended run_there(std::vector<std::string> arguments, std::vector<std::string> environment = {}) {
    arguments.insert(arguments.end(), {"--base-url", url_, "--ca", "tls/ca.pem"});
    return run(std::move(arguments), std::move(environment));
  }

  /// The provider's own counts.
  [[nodiscard]] json::object report() const {
    asio::io_context context;
    asio::ssl::context tls{asio::ssl::context::tls_client};
    tls.load_verify_file(file("tls/ca.pem"));
    asio::ssl::stream<asio::ip::tcp::socket> stream{context, tls};
    stream.set_verify_mode(asio::ssl::verify_peer);
    auto const port = static_cast<std::uint16_t>(std::stoi(url_.substr(url_.rfind(':') + 1)));
    stream.next_layer().connect({asio::ip::address_v4::loopback(), port});
    stream.handshake(asio::ssl::stream_base::client);
    std::string const ask = "GET /_sim/report HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    asio::write(stream, asio::buffer(ask));
    std::string answer;
    boost::system::error_code end;
    asio::read(stream, asio::dynamic_buffer(answer), end);
    return json::parse(answer.substr(answer.find("\r\n\r\n") + 4)).as_object();
  }

  [[nodiscard]] std::string file(std::string_view name) const { return (folder_.path() / name).string(); }
  [[nodiscard]] rondo::test::temporary_directory const& folder() const { return folder_; }
  [[nodiscard]] std::string const& url() const { return url_; }

private:
  rondo::test::temporary_directory folder_;
  std::optional<rondo::test::process> provider_;
  std::string url_;
  int runs_ = 0;
};

std::int64_t number(json::value const& v) {
  return v.to_number<std::int64_t>();
}

json::object key_in(json::object const& report, std::string_view name) {
  for (auto const& key : report.at("keys").as_array()) {
    if (key.at("name").as_string() == name) {
      return key.as_object();
    }
  }
  BOOST_FAIL("the provider has no key " << name);
  return {};
}

void check_that_nothing_went_wrong(json::object const& report) {
  BOOST_TEST(number(report.at("violations")) == 0);
  BOOST_TEST(report.at("leaks").as_object().empty());
}

constexpr std::string_view secrets[] = {"sk_first_0123456789abcdef0123456789abcdef",
                                        "sk_second_0123456789abcdef0123456789abcde",
                                        "sk_third_0123456789abcdef0123456789abcdef"};

void check_that_no_secret_is_in(std::string_view text) {
  for (auto const secret : secrets) {
    BOOST_TEST(!has(text, secret));
  }
  BOOST_TEST(!has(text, "proxy-password"));
}

/// Three accounts of a provider that has a key of `secrets` for each.
std::string three_keys(std::initializer_list<std::string_view> limits) {
  std::string accounts;
  std::string keys;
  std::size_t i = 0;
  for (auto const each : limits) {
    auto const name = "k" + std::to_string(i + 1);
    auto const comma = i == 0 ? "" : ", ";
    accounts.append(comma).append(R"({"name": ")" + name + R"(", )").append(each).append("}");
    keys.append(comma).append(R"({"name": ")" + name + R"(", "account": ")" + name + R"(", "secret": ")");
    keys.append(secrets[i]).append("\"}");
    ++i;
  }
  return R"("accounts": [)" + accounts + R"(], "keys": [)" + keys + "]";
}

std::size_t files_in(std::string const& folder) {
  std::size_t out = 0;
  for ([[maybe_unused]] auto const& entry : fs::directory_iterator{folder}) {
    ++out;
  }
  return out;
}

} // namespace

BOOST_AUTO_TEST_CASE(quickstart_takes_turns) {
  stage s;
  auto const got = s.run({QUICKSTART});
  BOOST_TEST(got.code == 0);
  BOOST_TEST(got.output == "request 1 goes out with a\nrequest 2 goes out with b\n"
                           "request 3 goes out with a\nrequest 4 goes out with b\n");
}

BOOST_AUTO_TEST_CASE(the_readme_shows_quickstart) {
  auto const source = rondo::store::read_file(QUICKSTART_SOURCE);
  auto const begin = source.find("asio::awaitable<void> work");
  BOOST_TEST_REQUIRE(begin != source.npos);
  BOOST_TEST(has(rondo::store::read_file(README), source.substr(begin)));
}

BOOST_AUTO_TEST_CASE(tts_batch_speaks_every_line_and_keeps_the_balances) {
  stage s;
  s.start_provider(R"("response_bytes": 500, )" +
                   three_keys({R"("quota": 1000, "concurrency": 2)", R"("quota": 1000, "used": 400, "concurrency": 2)",
                               R"("quota": 1000, "used": 995)"}));
  std::string csv = "Comment,API,available_tokens\r\n";
  for (auto const secret : secrets) {
    csv.append("mine,").append(secret).append(",\r\n");
  }
  s.folder().write("BASE.csv", csv);
  s.folder().write("texts", "The first line.\n\nGr\xc3\xbc\xc3\x9f"
                            "e!\n  the fourth  \r\nfive\nsix\nseven\neight");
  auto const got =
      s.run_there({TTS_BATCH, "--keys", "BASE.csv", "--texts", "texts", "--out", "audio", "--parallel", "3"});
  BOOST_TEST(got.code == 0, got.output);
  check_that_no_secret_is_in(got.output);
  BOOST_TEST(has(got.output, "7 texts spoken, 0 failed, 0 not tried"), got.output);
  BOOST_TEST(!has(got.output, "\x1b")); // no terminal, no bar
  BOOST_TEST(files_in(s.file("audio")) == 7U);
  BOOST_TEST(s.folder().read("audio/0001.mp3").starts_with("ID3The first line.The"));
  BOOST_TEST(s.folder()
                 .read("audio/0003.mp3")
                 .starts_with("ID3Gr\xc3\xbc\xc3\x9f"
                              "e!"));
  BOOST_TEST(s.folder().read("audio/0004.mp3").starts_with("ID3the fourththe"));
  BOOST_TEST(fs::file_size(s.file("audio/0008.mp3")) == 500U);

  auto const report = s.report();
  check_that_nothing_went_wrong(report);
  BOOST_TEST(number(report.at("granted")) == 7);
  BOOST_TEST(number(report.at("grantedTokens")) == 15 + 6 + 10 + 4 + 3 + 5 + 5);
  auto const left = [&](std::string_view key, std::int64_t before) {
    return std::to_string(before - number(key_in(report, key).at("grantedTokens")));
  };
  auto const kept = s.folder().read("BASE.csv");
  BOOST_TEST(has(kept, "mine," + std::string{secrets[0]} + "," + left("k1", 1000) + ","), kept);
  BOOST_TEST(has(kept, "mine," + std::string{secrets[1]} + "," + left("k2", 600) + ","), kept);
  BOOST_TEST(has(kept, "mine," + std::string{secrets[2]} + "," + left("k3", 5) + ","), kept);

  auto const again = s.run_there({TTS_BATCH, "--keys", "BASE.csv", "--texts", "texts", "--out", "audio"});
  BOOST_TEST(again.code == 0, again.output);
  BOOST_TEST(has(again.output, "7 files are there already"), again.output);
  BOOST_TEST(number(s.report().at("granted")) == 7); // nothing was paid for twice
}

BOOST_AUTO_TEST_CASE(tts_batch_says_which_lines_could_not_be_paid_and_goes_on_later) {
  stage s;
  s.start_provider(three_keys({R"("quota": 25, "quota_reset_ms": 0)", R"("quota": 9)"}));
  s.folder().write("BASE.csv", "API\n" + std::string{secrets[0]} + "\n" + std::string{secrets[1]} + "\n");
  s.folder().write("texts", "twenty characters 1.\ntwenty characters 2.\n12345\n");
  auto const got = s.run_there({TTS_BATCH, "--keys", "BASE.csv", "--texts", "texts", "--parallel", "1"});
  BOOST_TEST(got.code == 1, got.output);
  check_that_no_secret_is_in(got.output);
  BOOST_TEST(has(got.output, "audio/0001.mp3\n"), got.output);
  BOOST_TEST(has(got.output, "line 2: "), got.output);
  BOOST_TEST(has(got.output, "2 texts spoken, 1 failed, 0 not tried"), got.output);
  BOOST_TEST(files_in(s.file("audio")) == 2U);
  check_that_nothing_went_wrong(s.report());

  auto const kept = s.folder().read("BASE.csv");
  s.folder().write("BASE.csv", kept + std::string{secrets[2]} +
                                   std::string(count(kept.substr(0, kept.find('\n')), ","), ',') + "\n");
  auto const unknown = s.run_there({TTS_BATCH, "--keys", "BASE.csv", "--texts", "texts"}); // a key that nobody knows
  BOOST_TEST(unknown.code == 1, unknown.output);
  check_that_no_secret_is_in(unknown.output);
}

BOOST_AUTO_TEST_CASE(tts_batch_goes_through_proxies) {
  auto const microsocks = rondo::test::find_program({"microsocks"});
  if (!microsocks && rondo::test::may_skip()) {
    BOOST_TEST_MESSAGE("microsocks is not installed");
    return;
  }
  BOOST_TEST_REQUIRE(microsocks.has_value());
  stage s;
  s.start_provider(three_keys({R"("quota": 1000)"}) + R"(, "canaries": ["proxy-password"])");
  auto const port = rondo::test::free_port();
  auto const nobody = rondo::test::free_port();
  rondo::test::process proxy{{.arguments = {*microsocks, "-i", "127.0.0.1", "-p", std::to_string(port), "-u", "me",
                                            "-P", "proxy-password", "-b", "127.0.0.2"},
                              .output = {},
                              .environment = {},
                              .directory = {}}};
  BOOST_TEST_REQUIRE(proxy.listens(port));
  s.folder().write("proxies", "# the first one is down\nhttp://127.0.0.1:" + std::to_string(nobody) +
                                  "\n\nsocks5h://me:proxy-password@127.0.0.1:" + std::to_string(port) + "\n");
  s.folder().write("BASE.csv", "API\n" + std::string{secrets[0]} + "\n");
  s.folder().write("texts", "one\ntwo\nthree\n");
  auto const got = s.run_there({TTS_BATCH, "--keys", "BASE.csv", "--texts", "texts", "--proxies", "proxies"});
  BOOST_TEST(got.code == 0, got.output);
  check_that_no_secret_is_in(got.output);
  auto const report = s.report();
  check_that_nothing_went_wrong(report);
  BOOST_TEST(number(report.at("peers").at("127.0.0.2").at("granted")) == 3);
}

BOOST_AUTO_TEST_CASE(tts_batch_explains_what_it_cannot_use) {
  stage s;
  s.start_provider(three_keys({R"("quota": 1000)"}));
  s.folder().write("BASE.csv", "API,available_tokens\n" + std::string{secrets[0]} + ",12\n");
  s.folder().write("broken.csv", "API,available_tokens\n" + std::string{secrets[0]} + ",many\n");
  s.folder().write("texts", "one\n");
  s.folder().write("blank", "\n \n");
  s.folder().write("proxies", "gopher://me:proxy-password@127.0.0.1:1\n");
  auto const refused = [&](std::vector<std::string> arguments, int code, std::string_view part) {
    arguments.insert(arguments.begin(), TTS_BATCH);
    auto const got = s.run_there(std::move(arguments));
    BOOST_TEST(got.code == code, got.output);
    BOOST_TEST(has(got.output, part), got.output);
    check_that_no_secret_is_in(got.output);
  };
  refused({"--keys", "BASE.csv"}, 2, "--keys and --texts are needed");
  refused({"--keys", "BASE.csv", "--texts", "texts", "--paralel", "3"}, 2, "there is no option --paralel");
  refused({"--keys", "BASE.csv", "--texts", "texts", "--parallel", "0"}, 2, "--parallel: must be a number");
  refused({"--keys", "none.csv", "--texts", "texts"}, 2, "none.csv: ");
  refused({"--keys", "broken.csv", "--texts", "texts"}, 2, "broken.csv:2: column available_tokens");
  refused({"--keys", "BASE.csv", "--texts", "none"}, 2, "none: cannot be read");
  refused({"--keys", "BASE.csv", "--texts", "blank"}, 2, "blank: holds no text");
  refused({"--keys", "BASE.csv", "--texts", "texts", "--proxies", "proxies"}, 2, "proxies:1: ");
  refused({"--keys", "BASE.csv", "--texts", "texts", "--voice", "../x"}, 2, "--voice: ");
  refused({"--help"}, 0, "usage: tts_batch");

  auto const strange = s.run({TTS_BATCH, "--keys", "BASE.csv", "--texts", "texts", "--base-url", s.url()});
  BOOST_TEST(strange.code == 1); // its certificate is none the system knows
  BOOST_TEST(has(strange.output, "the origin's certificate is not acceptable"), strange.output);
  BOOST_TEST(number(s.report().at("requests")) == 0);
}

BOOST_AUTO_TEST_CASE(round_robin_keeps_ten_requests_a_minute) {
  stage s;
  constexpr std::string_view limits = R"("requests_per_minute": 10)";
  s.start_provider(three_keys({limits, limits, limits}));
  s.folder().write(".env", "# keys\nGEMINI_API_KEY = " + std::string{secrets[0]} + "\nexport GEMINI_API_KEY_2=\"" +
                               std::string{secrets[2]} + "\"\n");
  auto const got = s.run_there({ROUND_ROBIN, "--requests", "35", "--deadline", "1"},
                               {"GEMINI_API_KEY_1=" + std::string{secrets[1]}});
  BOOST_TEST(got.code == 1, got.output); // thirty are what three keys may do now
  check_that_no_secret_is_in(got.output);
  BOOST_TEST(count(got.output, "failed: no key can serve the request before its deadline; the next key is back in") ==
                 5U,
             got.output);
  auto const table = got.output.substr(got.output.find("\n\n"));
  BOOST_TEST(count(table, "GEMINI_API_KEY") == 3U, table);
  BOOST_TEST(has(table, "all                     30         0"), table);
  auto const report = s.report();
  check_that_nothing_went_wrong(report);
  for (auto const* const key : {"k1", "k2", "k3"}) {
    BOOST_TEST(number(key_in(report, key).at("granted")) == 10);
  }
  BOOST_TEST(number(report.at("requests")) == 30);
}

BOOST_AUTO_TEST_CASE(round_robin_speaks_openai_and_passes_over_a_dead_key) {
  stage s;
  s.start_provider(three_keys({R"("requests_per_minute": 10)", R"("requests_per_minute": 10)"}));
  auto const got =
      s.run_there({ROUND_ROBIN, "--service", "openai", "--requests", "6"},
                  {"OPENAI_API_KEY=" + std::string{secrets[0]}, "OPENAI_API_KEY_1=" + std::string{secrets[2]},
                   "OPENAI_API_KEY_2=" + std::string{secrets[1]}});
  BOOST_TEST(got.code == 0, got.output);
  check_that_no_secret_is_in(got.output);
  BOOST_TEST(has(got.output, "invalid"), got.output);
  auto const report = s.report();
  check_that_nothing_went_wrong(report);
  BOOST_TEST(number(report.at("granted")) == 6);
  BOOST_TEST(number(key_in(report, "k1").at("granted")) >= 2);
  BOOST_TEST(number(key_in(report, "k2").at("granted")) >= 2);
}

BOOST_AUTO_TEST_CASE(round_robin_explains_what_it_cannot_use) {
  stage s;
  auto const no_keys = s.run({ROUND_ROBIN, "--service", "openai"});
  BOOST_TEST(no_keys.code == 2);
  BOOST_TEST(has(no_keys.output, ".env"), no_keys.output);
  auto const bad = s.run({ROUND_ROBIN, "--requests", "many"});
  BOOST_TEST(bad.code == 2);
  BOOST_TEST(has(bad.output, "--requests: must be a number"), bad.output);
  auto const help = s.run({ROUND_ROBIN, "--help"});
  BOOST_TEST(help.code == 0);
  BOOST_TEST(help.output.starts_with("usage: round_robin"));
}

BOOST_AUTO_TEST_SUITE_END()
