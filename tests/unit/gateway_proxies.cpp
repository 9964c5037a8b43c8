// SPDX-License-Identifier: BSL-1.0
// Where the proxies of the gateway come from.
#include "../../examples/gateway/proxy_loading.hpp"

#include <boost/test/unit_test.hpp>

#include <string>
#include <string_view>
#include <vector>

#include <support/proxy_variables.hpp>
#include <support/temporary_directory.hpp>

namespace {

using rondo::test::proxy_variables;

struct fixture {
  rondo::test::temporary_directory files;
  gateway::fault_list faults;

  std::vector<rondo::proxy_params> load(std::string const& proxies,
                                        std::string const& base = "https://api.example.com") {
    auto const text = R"({"pools":[{"name":"p","provider":"openai","base_url":")" + base +
                      R"(","keys":[{"secret":"sk-1"}],"proxies":)" + proxies + "}]}";
    faults = {};
    auto const settings = gateway::parse_settings(text, files.path(), faults);
    BOOST_TEST_REQUIRE(faults.empty(), (faults.empty() ? "" : faults.lines()[0]));
    return gateway::load_proxies(settings.pools.at(0), faults);
  }
  [[nodiscard]] std::string names(std::string const& proxies, std::string const& base = "https://api.example.com") {
    std::string out;
    for (auto const& each : load(proxies, base)) {
      out += each.name + " ";
    }
    return out;
  }
  void check_fault(std::string_view begin) const {
    BOOST_TEST_REQUIRE(faults.lines().size() == 1U);
    BOOST_TEST(faults.lines()[0].substr(0, begin.size()) == begin);
    BOOST_TEST(faults.lines()[0].find("secret") == std::string::npos);
  }
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(gateway_proxies, fixture)

BOOST_AUTO_TEST_CASE(single_ones_and_chains) {
  auto const got = load(R"(["socks5h://user:p%40ss@a:1|http://b:2", {"url": "http://c:3", "login": "when_asked",
                            "concurrency": 1, "tier": 2, "tags": {"country": "de"}, "requests_per_tunnel": 4,
                            "tunnel_age_ms": 5}])");
  BOOST_TEST_REQUIRE(got.size() == 2U);
  BOOST_TEST(got[0].name == "socks5h://u***:***@a:1|http://b:2");
  BOOST_TEST(got[0].url.reveal() == "socks5h://user:p%40ss@a:1|http://b:2");
  BOOST_TEST(!got[0].login_when_asked);
  BOOST_TEST(got[1].login_when_asked);
  BOOST_TEST(got[1].concurrency == 1U);
  BOOST_TEST(got[1].tier == 2U);
  BOOST_TEST(got[1].tags.size() == 1U);
  BOOST_TEST(got[1].requests_per_tunnel == 4U);
  BOOST_TEST((got[1].tunnel_age == std::chrono::milliseconds{5}));
}

BOOST_AUTO_TEST_CASE(sessions_of_one_gateway_look_alike_and_are_two) {
  BOOST_TEST(names(R"(["http://user-1:p@gate:1", "http://user-2:p@gate:1", "http://gate:1"])") ==
             "http://u***:***@gate:1 http://u***:***@gate:1#2 http://gate:1 ");
}

BOOST_AUTO_TEST_CASE(a_file_stands_for_its_proxies) {
  files.write("proxies.txt", "# ours\nhttp://b:1\n\nsocks5h://user:secret@c:1\r\nhttp://b:1\n");
  auto const got = load(R"(["http://a:1", {"file": "proxies.txt", "tier": 1, "login": "when_asked"}, "http://d:1"])");
  BOOST_TEST(faults.empty());
  BOOST_TEST_REQUIRE(got.size() == 4U);
  BOOST_TEST(got[0].name == "http://a:1");
  BOOST_TEST(got[1].name == "http://b:1");
  BOOST_TEST(got[2].url.reveal() == "socks5h://user:secret@c:1");
  BOOST_TEST(got[2].tier == 1U);
  BOOST_TEST(got[2].login_when_asked);
  BOOST_TEST(got[3].tier == 0U);
  BOOST_TEST(names(R"(["http://b:1", {"file": "proxies.txt"}, {"file": "proxies.txt"}])") ==
             "http://b:1 socks5h://u***:***@c:1 "); // what is there already is left out
}

BOOST_AUTO_TEST_CASE(a_file_that_cannot_be_used_is_named) {
  (void)load(R"(["http://a:1", {"file": "missing.txt"}])");
  check_fault("pools[0].proxies[1].file: ");
  auto const file = files.write("proxies.txt", "http://a:1\nsocks9://user:secret@b:1\n");
  (void)load(R"([{"file": "proxies.txt"}])");
  check_fault("pools[0].proxies[0].file: " + file + ":2: ");
  files.write("proxies.txt", "# none yet\n");
  (void)load(R"([{"file": "proxies.txt"}])");
  check_fault("pools[0].proxies[0].file: ");
}

BOOST_AUTO_TEST_CASE(the_environment_counts_when_it_is_asked_only) {
  proxy_variables const set{{"https_proxy", "user:secret@a:1"}, {"ALL_PROXY", "socks5h://b:2"}};
  BOOST_TEST(names("[]").empty());
  BOOST_TEST(names(R"([{"environment": true}])") == "http://u***:***@a:1 ");
  BOOST_TEST(load(R"([{"environment": true}])")[0].url.reveal() == "http://user:secret@a:1");
  BOOST_TEST(names(R"([{"environment": true}, "http://c:1"])", "http://127.0.0.1:1") == "socks5h://b:2 http://c:1 ");
}

BOOST_AUTO_TEST_CASE(where_the_environment_says_direct_it_names_no_proxy) {
  proxy_variables const set{{"HTTPS_PROXY", "http://a:1"}, {"NO_PROXY", "localhost,.example.com"}};
  BOOST_TEST(names(R"([{"environment": true}])").empty());
  BOOST_TEST(names(R"([{"environment": true}, "http://b:1"])") == "http://b:1 ");
  BOOST_TEST(names(R"([{"environment": true}])", "https://example.org") == "http://a:1 ");
  proxy_variables const none{};
  BOOST_TEST(names(R"([{"environment": true}])").empty());
  BOOST_TEST(faults.empty());
}

BOOST_AUTO_TEST_CASE(a_misspelt_environment_is_not_taken_for_none) {
  proxy_variables const set{{"https_proxy", "socks9://user:secret@a:1"}};
  (void)load(R"([{"environment": true}])");
  check_fault("pools[0].proxies[0].environment: ");
}

BOOST_AUTO_TEST_SUITE_END()
