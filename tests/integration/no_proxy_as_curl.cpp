// SPDX-License-Identifier: BSL-1.0
// What curl itself does with the table that tests/unit/no_proxy.cpp holds the library to.
#include <boost/test/unit_test.hpp>

#include <chrono>
#include <iostream>
#include <stdexcept>
#include <string>

#include <support/no_proxy_cases.hpp>
#include <support/process.hpp>
#include <support/temporary_directory.hpp>

BOOST_AUTO_TEST_SUITE(no_proxy_as_curl)

BOOST_AUTO_TEST_CASE(curl_goes_where_the_table_says) {
  auto const curl = rondo::test::find_program({"curl"});
  if (!curl) {
    BOOST_TEST(rondo::test::may_skip(), "curl is not installed");
    std::cerr << "SKIPPED: curl is not installed\n";
    return;
  }
  rondo::test::temporary_directory const files;
  // neither is there, and curl says which one it could not reach; nothing leaves this machine
  auto const proxy = std::to_string(rondo::test::free_port());
  auto const origin = std::to_string(rondo::test::free_port());
  BOOST_REQUIRE(proxy != origin);
  for (auto const& [list, host, direct] : rondo::test::no_proxy_cases) {
    auto const name = host.find(':') != host.npos ? "[" + std::string{host} + "]" : std::string{host};
    rondo::test::process::params params;
    params.arguments = {
        *curl, "-q", "-sS", "-g", "--max-time", "20", "--connect-to", "::127.0.0.1:" + origin, "http://" + name + "/"};
    params.environment = {"http_proxy=http://127.0.0.1:" + proxy, "no_proxy=" + std::string{list},
                          "NO_PROXY=", "all_proxy="};
    files.write("output", "");
    params.output = (files.path() / "output").string();
    BOOST_TEST(rondo::test::process{params}.wait() == 7); // cannot connect
    auto const output = files.read("output");
    auto const to_proxy = output.find(" port " + proxy) != output.npos;
    BOOST_TEST(to_proxy != (output.find(" port " + origin) != output.npos), output);
    BOOST_TEST(to_proxy != direct, host << " in \"" << list << "\": " << output);
  }
}

BOOST_AUTO_TEST_SUITE_END()
