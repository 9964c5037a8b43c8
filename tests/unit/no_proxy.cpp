// SPDX-License-Identifier: BSL-1.0
#include <rondo/http/no_proxy.hpp>

#include <boost/test/unit_test.hpp>

#include <string_view>
#include <utility>

#include <support/no_proxy_cases.hpp>

BOOST_AUTO_TEST_SUITE(no_proxy)

BOOST_AUTO_TEST_CASE(the_rules_of_curl) { // tests/integration asks curl itself about the same table
  for (auto const& [list, host, direct] : rondo::test::no_proxy_cases) {
    BOOST_TEST(rondo::http::no_proxy{list}.matches(host) == direct, host << " in \"" << list << '"');
  }
  BOOST_TEST(!rondo::http::no_proxy{}.matches("example.com"));
}

BOOST_AUTO_TEST_CASE(ipv6_addresses_are_addresses) { // documented by curl; its version 7.88 takes them for names
  for (auto const& [list, host] :
       {std::pair{"0:0:0:0:0:0:0:1", "::1"}, std::pair{"FD00::/8", "fdab::1"},
        std::pair{"2001:db8::/33", "2001:db8:7fff::1"}, std::pair{"2001:db8::1/128", "2001:db8::1"}}) {
    BOOST_TEST(rondo::http::no_proxy{list}.matches(host), host << " in \"" << list << '"');
  }
}

BOOST_AUTO_TEST_CASE(where_this_is_stricter_than_curl) {
  struct refused {
    std::string_view list;
    std::string_view host;
  };
  for (auto const& [list, host] :
       {refused{"10.1.2.3/0", "10.1.2.3"}, refused{"0.0.0.0/0", "10.1.2.3"}, refused{"::/0", "::1"},
        refused{"10.0.0.0/8x", "10.1.2.3"}, refused{"10.0.0.0/", "10.0.0.0"}, refused{"10.0.0.0/-8", "10.1.2.3"},
        refused{"10.0.0.0/8/8", "10.1.2.3"}, refused{"10.0.0.0/ 8", "10.1.2.3"},
        refused{"10.0.0.0/99999999999999999999", "10.1.2.3"}, refused{"fe80::/10", "fe80::1%eth0"},
        refused{"fe80::%eth0/10", "fe80::1"}, refused{"*", ""}, refused{"x", ""}}) {
    BOOST_TEST(!rondo::http::no_proxy{list}.matches(host), host << " in \"" << list << '"');
  }
}

BOOST_AUTO_TEST_SUITE_END()
