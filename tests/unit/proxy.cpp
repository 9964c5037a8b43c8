// SPDX-License-Identifier: BSL-1.0
#include <rondo/error.hpp>
#include <rondo/http/proxy.hpp>

#include <boost/test/unit_test.hpp>

#include <string>

namespace {

using rondo::http::proxy_kind;

rondo::http::proxy proxy_of(std::string_view text) {
  auto const out = rondo::http::parse_proxy(text);
  BOOST_TEST_REQUIRE(out.has_value(), "not parsed: " << text);
  return *out;
}

} // namespace

BOOST_AUTO_TEST_SUITE(proxy)

BOOST_AUTO_TEST_CASE(kinds_and_usual_ports) {
  BOOST_TEST((proxy_of("http://h").kind == proxy_kind::http));
  BOOST_TEST(proxy_of("http://h").port == 80);
  BOOST_TEST((proxy_of("HTTPS://h").kind == proxy_kind::https));
  BOOST_TEST(proxy_of("https://h").port == 443);
  BOOST_TEST((proxy_of("SOCKS5://h").kind == proxy_kind::socks5));
  BOOST_TEST((proxy_of("socks5h://h/").kind == proxy_kind::socks5h));
  BOOST_TEST((proxy_of("socks4://h").kind == proxy_kind::socks4));
  BOOST_TEST((proxy_of("socks4a://h").kind == proxy_kind::socks4a));
  BOOST_TEST(proxy_of("socks5h://h").port == 1080);
  BOOST_TEST(proxy_of("socks5h://[::1]:9").host == "::1");
  BOOST_TEST(proxy_of("http://Proxy.Example:3128").host == "proxy.example");
}

BOOST_AUTO_TEST_CASE(credentials_are_percent_decoded) {
  auto const p = proxy_of("socks5h://us%65r%40zone:p%3ass%2Fw%25%20@h:1");
  BOOST_TEST(p.has_credentials);
  BOOST_TEST(p.user == "user@zone");
  BOOST_TEST(p.password.reveal() == "p:ss/w% ");
  BOOST_TEST(!proxy_of("socks5h://h:1").has_credentials);
  BOOST_TEST(proxy_of("http://user@h:1").password.empty());
  BOOST_TEST(proxy_of("http://user:a:b@h:1").password.reveal() == "a:b");
}

BOOST_AUTO_TEST_CASE(what_is_no_proxy_is_refused) {
  for (auto const* const text : {"", "h:3128", "127.0.0.1:3128", "ftp://h:1", "http://", "http://h:1/path",
                                 "http://h:1?q", "http://h:1#f", "http://h:0", "http://h:65536", "http://h:99999",
                                 "http://a b:1", "socks5://[::1", "socks5:h:1", "http://h\r\n:1"}) {
    auto const out = rondo::http::parse_proxy(text);
    BOOST_TEST(!out.has_value(), text);
    BOOST_TEST((!out && out.error() == rondo::error::invalid_proxy), text);
  }
}

BOOST_AUTO_TEST_CASE(credentials_that_the_protocol_cannot_carry_are_refused) {
  auto const long_text = std::string(256, 'x');
  for (auto const& text :
       {std::string{"http://us%3Aer:p@h:1"}, std::string{"http://us%0D%0Aer:p@h:1"},
        std::string{"http://user:p%00w@h:1"}, std::string{"http://user:p%7Fw@h:1"}, std::string{"socks5://user@h:1"},
        std::string{"socks5://:p@h:1"}, "socks5h://" + long_text + ":p@h:1", "socks5h://u:" + long_text + "@h:1",
        std::string{"socks4://user:p@h:1"}, std::string{"socks4a://us%00er@h:1"}}) {
    auto const out = rondo::http::parse_proxy(text);
    BOOST_TEST((!out && out.error() == rondo::error::invalid_credentials), text);
  }
  auto const fits = std::string(255, 'x');
  BOOST_TEST(proxy_of("socks5h://" + fits + ":" + fits + "@h:1").user.size() == 255);
}

BOOST_AUTO_TEST_CASE(user_and_password_are_part_of_the_identity) {
  auto const p = proxy_of("http://session-1:secret@gate:8000");
  BOOST_TEST((p == proxy_of("http://session-1:secret@GATE:8000/")));
  for (auto const* const other : {"http://session-2:secret@gate:8000", "http://session-1:other@gate:8000",
                                  "http://gate:8000", "http://session-1:secret@gate:8001",
                                  "socks5://session-1:secret@gate:8000", "http://session-1:secret@gate2:8000"}) {
    BOOST_TEST(!(p == proxy_of(other)), other);
  }
}

BOOST_AUTO_TEST_CASE(hosts_of_every_form) {
  BOOST_TEST(proxy_of("http://[2001:DB8:0::1]:1").host == "2001:db8::1");
  BOOST_TEST(proxy_of("https://[::ffff:10.1.2.3]").host == "::ffff:10.1.2.3");
  BOOST_TEST(proxy_of("https://user:pass@[::1]").port == 443);
  BOOST_TEST(proxy_of("socks5h://10.1.2.3").host == "10.1.2.3");
  for (auto const* const text : {"http://::1:3128", "http://[::1%25lo]:1", "http://[::1]x:1", "http://[10.1.2.3]:1",
                                 "http://[::1", "http://[]:1"}) {
    BOOST_TEST(!rondo::http::parse_proxy(text).has_value(), text);
  }
  auto const longest = std::string(255, 'a');
  BOOST_TEST(proxy_of("http://" + longest + ":1").host == longest);
  auto const too_long = rondo::http::parse_proxy("http://a" + longest + ":1");
  BOOST_TEST((!too_long && too_long.error() == rondo::error::name_too_long));
}

BOOST_AUTO_TEST_CASE(chains_of_a_socks_proxy_and_one_behind_it) {
  auto const p = proxy_of("socks5h://u:p@a:1|https://v:q@b:2");
  BOOST_TEST((p.kind == proxy_kind::https));
  BOOST_TEST(p.host == "b");
  BOOST_TEST(p.user == "v");
  BOOST_TEST_REQUIRE(p.through != nullptr);
  BOOST_TEST((*p.through == proxy_of("socks5h://u:p@a:1")));
  BOOST_TEST((p == proxy_of("socks5h://u:p@a:1|https://v:q@b:2")));
  for (auto const* const other :
       {"https://v:q@b:2", "socks5h://u:x@a:1|https://v:q@b:2", "socks5h://u:p@a:1|https://v:q@b:3"}) {
    BOOST_TEST(!(p == proxy_of(other)), other);
    BOOST_TEST(!(proxy_of(other) == p), other);
  }
  for (auto const* const text : {"http://a:1|http://b:1", "https://a:1|http://b:1", "socks5h://a:1|socks5h://b:1",
                                 "socks5h://a:1|socks4://c:1|http://b:1", "|http://b:1", "socks5h://a:1|", "|",
                                 "socks5h://a:1 | http://b:1", "socks5h://a:1 http://b:1"}) {
    auto const out = rondo::http::parse_proxy(text);
    BOOST_TEST((!out && out.error() == rondo::error::invalid_proxy), text);
  }
  auto const out = rondo::http::parse_proxy("socks5h://user@a:1|http://b:1");
  BOOST_TEST((!out && out.error() == rondo::error::invalid_credentials));
}

BOOST_AUTO_TEST_CASE(the_whole_form_is_the_same_proxy) {
  for (auto const* const text : {"http://h", "HTTPS://User@Proxy.Example", "socks4a://id@h:1", "socks5h://[::1]:9",
                                 "http://:p@h:1", "http://@h:1", "socks5://us%65r%40zone:p%3ass%2Fw%25%20%7c%c3%a4@h:1",
                                 "socks5h://u:%00%0d%7f@a|https://v%7C:q@[2001:db8::1]:2"}) {
    auto const p = proxy_of(text);
    BOOST_TEST((proxy_of(to_url(p).reveal()) == p), text);
  }
  BOOST_TEST(to_url(proxy_of("socks5h://a:1|http://u%3f:p@b")).reveal() == "socks5h://a:1|http://u%3F:p@b:80");
}

BOOST_AUTO_TEST_CASE(the_masked_form_gives_nothing_away) {
  BOOST_TEST(masked(proxy_of("socks5h://username:password@h:1080")) == "socks5h://u***:***@h:1080");
  BOOST_TEST(masked(proxy_of("http://joe:password@h:3128")) == "http://***:***@h:3128");
  BOOST_TEST(masked(proxy_of("http://%22quoted:password@h:3128")) == "http://***:***@h:3128");
  BOOST_TEST(masked(proxy_of("http://[::1]:3128")) == "http://[::1]:3128");
  BOOST_TEST(masked(proxy_of("socks5h://username:password@a|https://username:password@[::1]")) ==
             "socks5h://u***:***@a:1080|https://u***:***@[::1]:443");
}

BOOST_AUTO_TEST_SUITE_END()
