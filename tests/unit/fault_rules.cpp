// SPDX-License-Identifier: BSL-1.0
#include <boost/json/parse.hpp>
#include <boost/test/unit_test.hpp>

#include <string>
#include <string_view>
#include <vector>

#include <provider/fault.hpp>

BOOST_AUTO_TEST_SUITE(fault_rules)

namespace {

sim::fault_list rules(std::string_view text, std::uint64_t seed = 1) {
  std::vector<std::string> faults;
  std::vector<sim::fault_rule> out;
  auto const document = boost::json::parse({text.data(), text.size()});
  for (auto const& v : document.as_array()) {
    out.push_back(sim::parse_fault(v, "f", faults));
  }
  BOOST_TEST_REQUIRE(faults.empty(), (faults.empty() ? "" : faults.front()));
  return {std::move(out), seed};
}

/// Which of `n` requests are hit: "-x-x".
std::string hits(sim::fault_list& list, int n, std::string_view key = "k", std::string_view account = "a",
                 std::string_view target = "/t") {
  std::string out;
  for (int i = 0; i < n; ++i) {
    out += list.draw(key, account, target) ? 'x' : '-';
  }
  return out;
}

std::vector<std::string> complaints(std::string_view text) {
  std::vector<std::string> out;
  auto const document = boost::json::parse({text.data(), text.size()});
  [[maybe_unused]] auto const rule = sim::parse_fault(document, "f", out);
  return out;
}

} // namespace

BOOST_AUTO_TEST_CASE(positions_count_from_one) {
  auto nth = rules(R"([{"nth": 3}])");
  BOOST_TEST(hits(nth, 5) == "--x--");
  auto range = rules(R"([{"first": 2, "last": 4}])");
  BOOST_TEST(hits(range, 6) == "-xxx--");
  auto every = rules(R"([{"first": 2, "every": 3}])");
  BOOST_TEST(hits(every, 9) == "-x--x--x-");
  auto always = rules(R"([{}])");
  BOOST_TEST(hits(always, 3) == "xxx");
}

BOOST_AUTO_TEST_CASE(only_matching_requests_are_counted) {
  auto list = rules(R"([{"key": "k1", "path": "/stream", "nth": 2}])");
  BOOST_TEST(hits(list, 5, "k2", "a", "/x/stream") == "-----");
  BOOST_TEST(hits(list, 5, "k1", "a", "/x") == "-----");
  BOOST_TEST(hits(list, 3, "k1", "a", "/x/stream") == "-x-");
  auto account = rules(R"([{"account": "a1", "last": 1}])");
  BOOST_TEST(hits(account, 2, "k", "a2") == "--");
  BOOST_TEST(hits(account, 2, "k", "a1") == "x-");
}

BOOST_AUTO_TEST_CASE(the_first_rule_that_hits_wins_and_the_others_still_count) {
  auto list = rules(R"([{"name": "one", "nth": 1}, {"name": "two", "last": 2}])");
  BOOST_TEST(list.draw("k", "a", "/")->name == "one");
  BOOST_TEST(list.draw("k", "a", "/")->name == "two");
  BOOST_TEST(!list.draw("k", "a", "/"));
  auto const counts = list.to_json();
  BOOST_TEST(counts.at(0).at("hit").to_number<int>() == 1);
  BOOST_TEST(counts.at(1).at("hit").to_number<int>() == 1);
  BOOST_TEST(counts.at(1).at("matched").to_number<int>() == 3);
}

BOOST_AUTO_TEST_CASE(a_share_is_about_that_share_and_the_same_for_the_same_seed) {
  constexpr auto text = R"([{"share": 0.25}])";
  auto one = rules(text, 5);
  auto again = rules(text, 5);
  auto other = rules(text, 6);
  auto const pattern = hits(one, 1000);
  BOOST_TEST(pattern == hits(again, 1000));
  BOOST_TEST(pattern != hits(other, 1000));
  auto const n = std::count(pattern.begin(), pattern.end(), 'x');
  BOOST_TEST(n > 200);
  BOOST_TEST(n < 300);
  one.restart();
  BOOST_TEST(hits(one, 1000) == pattern);
  auto never = rules(R"([{"share": 0}])");
  BOOST_TEST(hits(never, 50).find('x') == std::string::npos);
}

BOOST_AUTO_TEST_CASE(what_is_wrong_with_a_rule_is_named) {
  BOOST_TEST(complaints(R"({"action": "refuse"})").at(0).starts_with("f.reason: "));
  BOOST_TEST(complaints(R"({"action": "explode"})").at(0).starts_with("f.action: "));
  BOOST_TEST(complaints(R"({"share": 1.5})").at(0).starts_with("f.share: "));
  BOOST_TEST(complaints(R"({"nth": 0})").at(0).starts_with("f.nth: "));
  BOOST_TEST(complaints(R"({"stauts": 500})").at(0) == "f.stauts: unknown field");
  BOOST_TEST(complaints(R"([])").at(0) == "f: must be an object");
}

BOOST_AUTO_TEST_SUITE_END()
