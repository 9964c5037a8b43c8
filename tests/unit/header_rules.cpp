// SPDX-License-Identifier: BSL-1.0
#include <rondo/http/header_rules.hpp>

#include <boost/test/unit_test.hpp>

#include <string>
#include <string_view>

namespace {

namespace http = rondo::http;
using verb = http::beast_http::verb;

http::request_head head_of(verb method, std::string_view target) {
  http::request_head head;
  head.method(method);
  head.target({target.data(), target.size()});
  return head;
}

bool accepted(http::request_head const& head) {
  auto const target = std::string{head.target()};
  return !http::detail::check_request(head, target);
}

std::string written(http::request_head const& head, http::detail::own_fields own = {}) {
  std::string out;
  auto const target = std::string{head.target()};
  http::detail::append_head(out, "h:8443", head, target, own);
  return out;
}

} // namespace

BOOST_AUTO_TEST_SUITE(header_rules)

BOOST_AUTO_TEST_CASE(no_byte_that_ends_a_line_gets_into_a_field) {
  for (int c = 0; c < 256; ++c) {
    auto const text = std::string{"a"} + static_cast<char>(c) + "b";
    auto head = head_of(verb::get, "/");
    head.insert("x-name", text);
    auto const control = (c < 0x20 && c != '\t') || c == 0x7f;
    BOOST_TEST(accepted(head) == !control, "value with byte " << c);

    head = head_of(verb::get, "/");
    head.insert(text, "value");
    auto const token =
        std::isalnum(c) != 0 ||
        (c != 0 && std::string_view{"!#$%&'*+-.^_`|~"}.find(static_cast<char>(c)) != std::string_view::npos);
    BOOST_TEST(accepted(head) == token, "name with byte " << c);

    head = head_of(verb::get, "/" + text);
    BOOST_TEST(accepted(head) == (c > 0x20 && c < 0x7f && c != '#'), "target with byte " << c);

    head = head_of(verb::get, "/");
    head.method_string({text.data(), text.size()});
    BOOST_TEST(accepted(head) == token, "method with byte " << c);
  }
}

BOOST_AUTO_TEST_CASE(targets_and_methods_that_mean_something_else_are_refused) {
  BOOST_TEST(!accepted(head_of(verb::get, "")));
  BOOST_TEST(!accepted(head_of(verb::get, "x")));
  BOOST_TEST(!accepted(head_of(verb::get, "http://elsewhere/")));
  BOOST_TEST(!accepted(head_of(verb::get, "*")));
  BOOST_TEST(accepted(head_of(verb::options, "*")));
  BOOST_TEST(!accepted(head_of(verb::connect, "/")));
}

BOOST_AUTO_TEST_CASE(the_length_and_the_host_are_ours) {
  auto head = head_of(verb::post, "/x");
  head.insert("Host", "elsewhere");
  head.insert("Content-Length", "999");
  head.insert("Transfer-Encoding", "chunked");
  head.insert("X-A", "1");
  BOOST_TEST(written(head, {false, 7}) == "POST /x HTTP/1.1\r\nHost: h:8443\r\nX-A: 1\r\nContent-Length: 7\r\n\r\n");
  BOOST_TEST(written(head, {true, {}}) ==
             "POST /x HTTP/1.1\r\nHost: h:8443\r\nX-A: 1\r\nTransfer-Encoding: chunked\r\n\r\n");
  BOOST_TEST(written(head) == "POST /x HTTP/1.1\r\nHost: h:8443\r\nX-A: 1\r\n\r\n");
}

BOOST_AUTO_TEST_CASE(a_coding_that_is_not_wanted_is_not_asked_for) {
  auto head = head_of(verb::get, "/");
  head.insert("accept-encoding", "gzip");
  head.insert("Accept-Encoding", "br");
  BOOST_TEST(written(head) == "GET / HTTP/1.1\r\nHost: h:8443\r\naccept-encoding: gzip\r\nAccept-Encoding: br\r\n\r\n");
  http::detail::own_fields own;
  own.identity = true;
  BOOST_TEST(written(head, own) == "GET / HTTP/1.1\r\nHost: h:8443\r\nAccept-Encoding: identity\r\n\r\n");
}

BOOST_AUTO_TEST_CASE(hop_by_hop_fields_stay_behind) {
  auto head = head_of(verb::get, "/");
  for (auto const* const name : {"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "TE", "Trailer",
                                 "Upgrade", "Expect", "Proxy-Authenticate", "proxy-authentication-info"}) {
    head.insert(name, "x-named, close");
  }
  head.insert("X-Named", "1");
  head.insert("X-Other", "2");
  head.insert("x-other", "3");
  BOOST_TEST(written(head) == "GET / HTTP/1.1\r\nHost: h:8443\r\nX-Other: 2\r\nx-other: 3\r\n\r\n");

  http::response_head answer;
  answer.insert("Connection", "x-named");
  answer.insert("X-Named", "1");
  answer.insert("Transfer-Encoding", "chunked");
  answer.insert("X-Other", "2");
  http::remove_hop_by_hop(answer);
  BOOST_TEST(std::distance(answer.begin(), answer.end()) == 1);
  BOOST_TEST(answer["x-other"] == "2");
}

BOOST_AUTO_TEST_CASE(what_may_be_repeated) {
  for (auto const method : {verb::get, verb::head, verb::options, verb::trace, verb::put, verb::delete_}) {
    BOOST_TEST(http::detail::is_idempotent(head_of(method, "/")));
  }
  for (auto const method : {verb::post, verb::patch, verb::unknown}) {
    auto head = head_of(verb::post, "/");
    head.method(verb::post);
    BOOST_TEST(!http::detail::is_idempotent(head), "method " << static_cast<int>(method));
    head.insert("idempotency-key", "7");
    BOOST_TEST(http::detail::is_idempotent(head));
  }
}

BOOST_AUTO_TEST_SUITE_END()
