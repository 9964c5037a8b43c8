// SPDX-License-Identifier: BSL-1.0
#include <rondo/http/detail/connect_fsm.hpp>

#include <boost/asio/error.hpp>
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>

namespace {

using rondo::http::detail::connect_fsm;
using rondo::http::detail::tunnel_action;
using kind = tunnel_action::kind;

rondo::http::proxy const plain{rondo::http::proxy_kind::http, "proxy", 3128, {}, {}, false, 0, {}};

std::string const agent = "User-Agent: rondo/" + std::to_string(RONDO_VERSION_MAJOR) + "." +
                          std::to_string(RONDO_VERSION_MINOR) + "." + std::to_string(RONDO_VERSION_PATCH);

/// Feeds `reply` in pieces of `step` bytes, and gives the last action.
tunnel_action feed(connect_fsm& machine, std::string_view reply, std::size_t step) {
  auto action = machine.resume({}, 0);
  BOOST_REQUIRE(action.what == kind::write);
  action = machine.resume({}, action.output.size());
  while (action.what == kind::read && !reply.empty()) {
    auto const n = std::min({step, reply.size(), action.input.size()});
    std::memcpy(action.input.data(), reply.data(), n);
    reply.remove_prefix(n);
    action = machine.resume({}, n);
  }
  return action;
}

tunnel_action answered(std::string_view reply, std::size_t step) {
  connect_fsm machine{"origin:443", plain};
  return feed(machine, reply, step);
}

void expect_done(std::string_view reply) {
  for (std::size_t const step : {std::size_t{1}, std::size_t{7}, reply.size()}) {
    auto const action = answered(reply, step);
    BOOST_TEST((action.what == kind::done), action << " for " << reply);
  }
}

void expect_failure(std::string_view reply, rondo::error e) {
  for (std::size_t const step : {std::size_t{1}, std::size_t{7}, reply.size()}) {
    auto const action = answered(reply, step);
    BOOST_TEST((action.what == kind::fail && action.ec == e), action << " for " << reply.substr(0, 60));
  }
}

} // namespace

BOOST_AUTO_TEST_SUITE(connect_fsm)

BOOST_AUTO_TEST_CASE(the_request_holds_three_fields_and_no_more) {
  auto via = plain;
  rondo::http::detail::connect_fsm without{"[::1]:8443", via};
  auto action = without.resume({}, 0);
  std::string_view text{static_cast<char const*>(action.output.data()), action.output.size()};
  BOOST_TEST(text == "CONNECT [::1]:8443 HTTP/1.1\r\nHost: [::1]:8443\r\n" + agent + "\r\n\r\n");

  via.has_credentials = true;
  via.user = "aladdin";
  via.password = rondo::secret{"opensesame"};
  rondo::http::detail::connect_fsm with{"h:1", via};
  action = with.resume({}, 0);
  text = {static_cast<char const*>(action.output.data()), action.output.size()};
  BOOST_TEST(text == "CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n" + agent + "\r\n" +
                         "Proxy-Authorization: Basic YWxhZGRpbjpvcGVuc2VzYW1l\r\n\r\n");
}

BOOST_AUTO_TEST_CASE(every_2xx_and_every_shape_of_it_is_accepted) {
  expect_done("HTTP/1.1 200 Connection established\r\n\r\n");
  expect_done("HTTP/1.0 200 OK\r\nProxy-agent: tinyproxy\r\n\r\n");
  expect_done("HTTP/1.1 200\r\n\r\n");
  expect_done("HTTP/1.1 200 \r\n\r\n");
  expect_done("HTTP/1.1 200 OK\n\n");
  expect_done("HTTP/1.1 200 OK\nA: b\r\n\n");
  expect_done("HTTP/1.1 204 No\r\n\r\n");
  expect_done("HTTP/1.1 299 x\r\nConnection: close\r\n\r\n");
  // lengths mean nothing in this answer (RFC 9110 9.3.6)
  expect_done("HTTP/1.1 200 OK\r\nContent-Length: 10\r\nTransfer-Encoding: chunked\r\n\r\n");
}

BOOST_AUTO_TEST_CASE(informational_answers_are_skipped) {
  expect_done("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\n\r\n");
  expect_failure("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 407 No\r\n\r\n", rondo::error::proxy_auth_failed);
  expect_failure("HTTP/1.1 407 No\r\nProxy-Authenticate\r\n\r\n", rondo::error::proxy_auth_failed);
  expect_failure("HTTP/1.1 101 Switching\r\n\r\n", rondo::error::proxy_protocol);
}

BOOST_AUTO_TEST_CASE(every_status_has_its_error) {
  using rondo::error;
  for (unsigned status = 0; status < 1000; ++status) {
    if (status >= 100 && status < 300 && status != 101) {
      continue;
    }
    auto digits = std::to_string(status);
    digits.insert(0, 3 - digits.size(), '0');
    auto expected = status < 200 || status > 599 ? error::proxy_protocol : error::proxy_failed;
    if (status == 401 || status == 407) {
      expected = error::proxy_auth_failed;
    } else if (status == 403 || status == 451) {
      expected = error::proxy_denied;
    } else if (status == 500 || status == 502 || status == 503 || status == 504) {
      expected = error::origin_unreachable_via_proxy;
    }
    expect_failure("HTTP/1.1 " + digits + " x\r\nA: b\r\n\r\nbody", expected);
  }
}

BOOST_AUTO_TEST_CASE(credentials_can_be_kept_back) {
  auto via = plain;
  via.has_credentials = true;
  via.user = "aladdin";
  via.password = rondo::secret{"opensesame"};
  rondo::http::detail::connect_fsm machine{"h:1", via, false};
  auto const action = machine.resume({}, 0);
  std::string_view const text{static_cast<char const*>(action.output.data()), action.output.size()};
  BOOST_TEST(text == "CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n" + agent + "\r\n\r\n");
}

BOOST_AUTO_TEST_CASE(a_407_is_read_for_what_it_offers) {
  using rondo::error;
  struct challenge {
    std::string fields;
    bool basic;
    error e;
  };
  for (auto const& [fields, basic, e] :
       {challenge{"", false, error::proxy_auth_failed},
        challenge{"Proxy-Authenticate: Basic realm=\"x\"\r\n", true, error::proxy_auth_failed},
        challenge{"PROXY-AUTHENTICATE:basic\n", true, error::proxy_auth_failed},
        challenge{"Proxy-Authenticate: Negotiate, NTLM , Basic realm = \"x\"\r\n", true, error::proxy_auth_failed},
        challenge{"A: b\r\nProxy-Authenticate: Digest nonce=\"a\", algorithm=MD5, Basic realm=x\r\n", true,
                  error::proxy_auth_failed},
        challenge{"Proxy-Authenticate: NTLM\r\nProxy-Authenticate: Basic\r\n", true, error::proxy_auth_failed},
        challenge{"Proxy-Authenticate: Digest realm=\"a, Basic b\", basic=1\r\n", false, error::proxy_auth_unsupported},
        challenge{"Proxy-Authenticate: Digest realm=\"a\\\", Basic \"\r\n", false, error::proxy_auth_unsupported},
        challenge{"Proxy-Authenticate: Negotiate YWJj==\r\n", false, error::proxy_auth_unsupported},
        challenge{"Proxy-Authenticate: Basics\r\n", false, error::proxy_auth_unsupported},
        challenge{"Proxy-Authenticate: =, ,=Basic,\r\n", false, error::proxy_auth_failed},
        challenge{"Proxy-Authenticate: \"Basic\r\n", false, error::proxy_auth_unsupported},
        challenge{"X-Proxy-Authenticate: Digest\r\nWWW-Authenticate: Digest\r\n", false, error::proxy_auth_failed}}) {
    auto const reply = "HTTP/1.1 407 No\r\n" + fields + "\r\nbody";
    for (std::size_t const step : {std::size_t{1}, std::size_t{7}, reply.size()}) {
      rondo::http::detail::connect_fsm machine{"origin:443", plain};
      auto const action = feed(machine, reply, step);
      BOOST_TEST((action.what == kind::fail && action.ec == e), action << " for " << fields);
      BOOST_TEST(machine.asked_for_basic() == basic, fields);
    }
  }
}

BOOST_AUTO_TEST_CASE(a_407_that_ends_early_is_one) {
  using boost::system::error_code;
  for (std::string_view const reply : {"HTTP/1.1 407 No\r\n", "HTTP/1.1 407 No\r\nProxy-Authenticate: Dig"}) {
    for (auto const& [given, expected] :
         {std::pair{error_code{boost::asio::error::eof}, make_error_code(rondo::error::proxy_auth_failed)},
          std::pair{error_code{boost::asio::error::operation_aborted},
                    error_code{boost::asio::error::operation_aborted}}}) {
      rondo::http::detail::connect_fsm machine{"origin:443", plain};
      auto action = feed(machine, reply, 1);
      BOOST_REQUIRE(action.what == kind::read);
      action = machine.resume(given, 0);
      BOOST_TEST((action.what == kind::fail && action.ec == expected));
    }
  }
  expect_failure("HTTP/1.1 407 No\r\nA: " + std::string(17 * 1024, 'x'), rondo::error::proxy_auth_failed);
}

BOOST_AUTO_TEST_CASE(bytes_after_the_head_are_an_error) {
  // only those that come with the head can be seen here; the others break the TLS handshake
  auto const reply = std::string{"HTTP/1.1 200 OK\r\n\r\nX"};
  auto const action = answered(reply, reply.size());
  BOOST_TEST((action.what == kind::fail && action.ec == rondo::error::proxy_protocol));
}

BOOST_AUTO_TEST_CASE(what_is_not_http_is_refused_without_waiting_for_its_end) {
  for (auto const* const reply :
       {"SSH-2.0-OpenSSH_9.2", "\x15\x03\x01", "\x05", "HTTP/2 200 OK\r\n\r\n", "HTTP/1.x 200\r\n",
        "HTTP/1.1  200 OK\r\n", "HTTP/1.1 20\r\n", "HTTP/1.1 2000 OK\r\n", "HTTP/1.1 2x0 OK\r\n", "HTTP/1.1\r\n",
        "\r\n", "http/1.1 200 OK\r\n\r\n", "ICY 200 OK\r\n\r\n"}) {
    expect_failure(reply, rondo::error::proxy_protocol);
  }
}

BOOST_AUTO_TEST_CASE(the_answer_has_a_largest_size) {
  auto const fits = "HTTP/1.1 200 OK\r\nA: " + std::string(16 * 1024 - 24, 'x') + "\r\n\r\n";
  BOOST_TEST(fits.size() == 16U * 1024);
  expect_done(fits);
  expect_failure("HTTP/1.1 200 OK\r\nA: x" + std::string(16 * 1024 - 24, 'x') + "\r\n\r\n",
                 rondo::error::proxy_reply_too_large);
  expect_failure("HTTP/1.1 200 " + std::string(17 * 1024, 'x'), rondo::error::proxy_reply_too_large);
  std::string many;
  while (many.size() < 17 * 1024) {
    many += "HTTP/1.1 100 Continue\r\n\r\n";
  }
  expect_failure(many, rondo::error::proxy_reply_too_large);
}

BOOST_AUTO_TEST_CASE(the_end_at_every_byte_is_told_from_a_cancellation) {
  std::string_view const reply = "HTTP/1.1 200 OK\r\nA: b\r\n\r\n";
  for (std::size_t n = 0; n < reply.size(); ++n) {
    for (auto const& [given, expected] :
         {std::pair{boost::system::error_code{boost::asio::error::eof}, make_error_code(rondo::error::proxy_closed)},
          std::pair{boost::system::error_code{boost::asio::error::connection_reset},
                    make_error_code(rondo::error::proxy_closed)},
          std::pair{boost::system::error_code{boost::asio::error::operation_aborted},
                    boost::system::error_code{boost::asio::error::operation_aborted}}}) {
      rondo::http::detail::connect_fsm machine{"origin:443", plain};
      auto action = feed(machine, reply.substr(0, n), 1);
      BOOST_REQUIRE(action.what == kind::read);
      action = machine.resume(given, 0);
      BOOST_TEST((action.what == kind::fail && action.ec == expected));
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()
