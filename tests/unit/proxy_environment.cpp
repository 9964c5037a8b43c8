// SPDX-License-Identifier: BSL-1.0
#include <rondo/error.hpp>
#include <rondo/http/proxy_environment.hpp>

#include <boost/test/unit_test.hpp>

#include <string>

#include <support/proxy_variables.hpp>

using variables = rondo::test::proxy_variables;

namespace {

/// The proxy for a URL, masked; `direct`, or the text of the error.
std::string found(std::string_view url) {
  auto const out = rondo::http::proxy_from_environment(rondo::http::parse_url(url).value());
  return !out ? out.error().message() : *out == nullptr ? "direct" : masked(**out);
}

} // namespace

BOOST_AUTO_TEST_SUITE(proxy_environment)

BOOST_AUTO_TEST_CASE(each_scheme_has_its_variables) {
  variables const set{{"http_proxy", "http://plain:1"}, {"https_proxy", "https://secure:2"}};
  BOOST_TEST(found("http://o.test/") == "http://plain:1");
  BOOST_TEST(found("https://o.test/") == "https://secure:2");
}

BOOST_AUTO_TEST_CASE(without_variables_nothing_is_used) {
  variables const set{};
  BOOST_TEST(found("http://o.test/") == "direct");
  BOOST_TEST(found("https://o.test/") == "direct");
}

BOOST_AUTO_TEST_CASE(upper_case_http_proxy_is_ignored) {
  variables const set{{"HTTP_PROXY", "http://evil:1"}, {"HTTPS_PROXY", "http://good:1"}};
  BOOST_TEST(found("http://o.test/") == "direct");
  BOOST_TEST(found("https://o.test/") == "http://good:1");
}

BOOST_AUTO_TEST_CASE(lower_case_comes_first_and_empty_means_unset) {
  variables const set{{"https_proxy", "http://low:1"},
                      {"HTTPS_PROXY", "http://up:1"},
                      {"http_proxy", ""},
                      {"all_proxy", ""},
                      {"ALL_PROXY", "socks5h://all:3"}};
  BOOST_TEST(found("https://o.test/") == "http://low:1");
  BOOST_TEST(found("http://o.test/") == "socks5h://all:3");
  ::unsetenv("https_proxy");
  BOOST_TEST(found("https://o.test/") == "http://up:1");
  ::unsetenv("HTTPS_PROXY");
  BOOST_TEST(found("https://o.test/") == "socks5h://all:3");
  ::setenv("all_proxy", "socks4a://low:4", 1);
  BOOST_TEST(found("https://o.test/") == "socks4a://low:4");
}

BOOST_AUTO_TEST_CASE(no_proxy_makes_exceptions) {
  variables const set{{"all_proxy", "http://p:1"}, {"no_proxy", "near.test,10.0.0.0/8"}, {"NO_PROXY", "o.test"}};
  BOOST_TEST(found("https://near.test:8443/") == "direct");
  BOOST_TEST(found("https://a.near.test./") == "direct");
  BOOST_TEST(found("http://10.2.3.4/") == "direct");
  BOOST_TEST(found("https://o.test/") == "http://p:1"); // the lower case one counts
  ::unsetenv("no_proxy");
  BOOST_TEST(found("https://o.test/") == "direct");
}

BOOST_AUTO_TEST_CASE(the_value_is_a_proxy_url_or_an_http_proxys_host) {
  for (auto const& [value, expected] :
       {std::pair{"p.test:3128", "http://p.test:3128"}, std::pair{"p.test", "http://p.test:80"},
        std::pair{"longname:secret@p.test:3128", "http://l***:***@p.test:3128"},
        std::pair{"[::1]:3128", "http://[::1]:3128"},
        std::pair{"socks5h://longname:secret@p.test|https://q.test",
                  "socks5h://l***:***@p.test:1080|https://q.test:443"}}) {
    variables const set{{"https_proxy", value}};
    BOOST_TEST(found("https://o.test/") == expected);
  }
}

BOOST_AUTO_TEST_CASE(a_misspelt_proxy_is_not_none) {
  for (auto const* const value :
       {"htp://p.test:1", "http://", "p.test:0", "p.test:99999", "a b", "http://p.test:1/x"}) {
    variables const set{{"https_proxy", value}, {"all_proxy", "http://other:1"}};
    BOOST_TEST(found("https://o.test/") == make_error_code(rondo::error::invalid_proxy).message(), value);
  }
  variables const set{{"https_proxy", "socks5://user@p.test:1"}};
  BOOST_TEST(found("https://o.test/") == make_error_code(rondo::error::invalid_credentials).message());
}

BOOST_AUTO_TEST_SUITE_END()
