// SPDX-License-Identifier: BSL-1.0
#include <rondo/store/proxy_list.hpp>

#include <boost/test/unit_test.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace {

std::vector<std::string> masked_list(std::string_view text) {
  std::vector<std::string> out;
  for (auto const& p : rondo::store::parse_proxy_list(text, "proxies.txt")) {
    out.push_back(masked(p));
  }
  return out;
}

} // namespace

BOOST_AUTO_TEST_SUITE(proxy_list)

BOOST_AUTO_TEST_CASE(one_a_line_with_comments_and_empty_lines) {
  std::vector<std::string> const expected{"http://a:80", "socks5h://l***:***@[::1]:1080", "https://c:443",
                                          "socks5h://a:1080|http://d:1", "socks4a://e:9"};
  BOOST_TEST(masked_list("# ours\nhttp://a\n\n  socks5h://longname:p%40ss@[::1]\t\r\n\t# more\nhttps://c/\n"
                         "socks5h://a|http://d:1\nsocks4a://e:9") == expected);
  BOOST_TEST(masked_list("\xef\xbb\xbfhttp://a:80\n") == std::vector<std::string>{"http://a:80"});
}

BOOST_AUTO_TEST_CASE(repetitions_are_ignored_and_users_tell_proxies_apart) {
  auto const got = rondo::store::parse_proxy_list(
      "http://a:1\nhttp://A:1/\nsocks5h://a:1\nhttp://u:1@a:1\nhttp://u:2@a:1\nhttp://u:1@a:1\n", "x");
  BOOST_TEST(got.size() == 4U);
}

BOOST_AUTO_TEST_CASE(errors_name_the_line_and_never_its_text) {
  struct fault {
    std::string_view line;
    rondo::error why;
  };
  for (auto const& [line, why] :
       {fault{"longname:hunter22@a:1", rondo::error::invalid_proxy}, fault{"hunter22", rondo::error::invalid_proxy},
        fault{"http://longname:hunter22@a:1 # comment", rondo::error::invalid_proxy},
        fault{"http://longname:hunter22@a:1,http://b:1", rondo::error::invalid_proxy},
        fault{"socks5h://longname:@hunter22:1", rondo::error::invalid_credentials},
        fault{"http://a:1|socks5h://longname:hunter22@b:1", rondo::error::invalid_proxy}}) {
    try {
      (void)rondo::store::parse_proxy_list("# x\nhttp://ok:1\n" + std::string{line} + "\nhttp://b:1\n", "list.txt");
      BOOST_TEST(false, line);
    } catch (rondo::store::file_error const& e) {
      BOOST_TEST((e.code() == rondo::error::file_malformed));
      BOOST_TEST(e.line() == 3U);
      std::string_view const text = e.what();
      BOOST_TEST(text.starts_with("list.txt:3: " + make_error_code(why).message()), text);
      BOOST_TEST(text.find("hunter22") == text.npos);
      BOOST_TEST(text.find("longname") == text.npos);
    }
  }
}

BOOST_AUTO_TEST_CASE(a_list_without_proxies_is_an_error) {
  for (auto const* const text : {"", "\n\n", "# nothing\n", "\xef\xbb\xbf"}) {
    BOOST_CHECK_EXCEPTION((void)rondo::store::parse_proxy_list(text, "x"), rondo::store::file_error,
                          [](auto const& e) { return e.code() == rondo::error::file_malformed && e.line() == 0; });
  }
}

BOOST_AUTO_TEST_SUITE_END()
