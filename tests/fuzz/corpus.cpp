// SPDX-License-Identifier: BSL-1.0
// Runs every target over its stored inputs and over mutations of them, with any compiler and without a fuzzer.
#include "fuzz/mutations.hpp"
#include "fuzz/targets.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

namespace {

namespace fuzz = rondo::test::fuzz;

void run(void (*target)(std::string_view), std::string const& input, std::string const& what) {
  BOOST_TEST_CONTEXT(what) {
    try {
      target(input);
    } catch (std::exception const& e) {
      BOOST_ERROR(e.what());
    }
  }
}

void run_corpus(std::string_view name, void (*target)(std::string_view)) {
  std::vector<std::filesystem::path> files;
  for (auto const& entry : std::filesystem::directory_iterator{std::filesystem::path{RONDO_FUZZ_CORPUS} / name}) {
    files.push_back(entry.path());
  }
  BOOST_REQUIRE(!files.empty());
  std::sort(files.begin(), files.end());
  std::vector<std::string> corpus;
  for (auto const& file : files) {
    std::ifstream in{file, std::ios::binary};
    corpus.emplace_back(std::istreambuf_iterator<char>{in}, std::istreambuf_iterator<char>{});
    run(target, corpus.back(), file.filename().string());
  }
  run(target, {}, "nothing");
  constexpr int per_file = 40;
  for (std::size_t i = 0; i < corpus.size(); ++i) {
    fuzz::mutations mutated{corpus, 1};
    for (int n = 1; n <= per_file; ++n) {
      run(target, mutated.of(corpus[i]), files[i].filename().string() + ", mutation " + std::to_string(n));
    }
  }
}

} // namespace

BOOST_AUTO_TEST_SUITE(corpus)

BOOST_AUTO_TEST_CASE(connect_reply) {
  run_corpus("connect_reply", fuzz::connect_reply);
}

BOOST_AUTO_TEST_CASE(csv) {
  run_corpus("csv", fuzz::csv);
}

BOOST_AUTO_TEST_CASE(dotenv) {
  run_corpus("dotenv", fuzz::dotenv);
}

BOOST_AUTO_TEST_CASE(gateway_config) {
  run_corpus("gateway_config", fuzz::gateway_config);
}

BOOST_AUTO_TEST_CASE(http_answer) {
  run_corpus("http_answer", fuzz::http_answer);
}

BOOST_AUTO_TEST_CASE(no_proxy) {
  run_corpus("no_proxy", fuzz::no_proxy);
}

BOOST_AUTO_TEST_CASE(provider_answers) {
  run_corpus("provider_answers", fuzz::provider_answers);
}

BOOST_AUTO_TEST_CASE(proxy_list) {
  run_corpus("proxy_list", fuzz::proxy_list);
}

BOOST_AUTO_TEST_CASE(reset_formats) {
  run_corpus("reset_formats", fuzz::reset_formats);
}

BOOST_AUTO_TEST_CASE(socks_reply) {
  run_corpus("socks_reply", fuzz::socks_reply);
}

BOOST_AUTO_TEST_CASE(time_zones) {
  run_corpus("time_zones", fuzz::time_zones);
}

BOOST_AUTO_TEST_CASE(url) {
  run_corpus("url", fuzz::url);
}

BOOST_AUTO_TEST_SUITE_END()
