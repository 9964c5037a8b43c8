// SPDX-License-Identifier: BSL-1.0
#include <rondo/http/detail/socks_fsm.hpp>

#include <boost/asio/error.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace std::string_literals;
using rondo::http::detail::socks4_fsm;
using rondo::http::detail::socks5_fsm;
using rondo::http::detail::socks_destination;
using rondo::http::detail::tunnel_action;
using kind = tunnel_action::kind;

rondo::http::proxy open_proxy() {
  rondo::http::proxy p;
  p.kind = rondo::http::proxy_kind::socks5h;
  return p;
}

rondo::http::proxy login_proxy(std::string user = "user", std::string_view password = "pass") {
  auto p = open_proxy();
  p.has_credentials = true;
  p.user = std::move(user);
  p.password = rondo::secret{password};
  return p;
}

socks_destination named(std::string_view name) {
  return {name, {}, 443};
}

struct result {
  tunnel_action last;
  std::vector<std::string> sent;
  std::size_t left; ///< bytes that were not asked for
};

template <class Machine> result talk(Machine& machine, std::string_view replies, std::size_t step) {
  result out{machine.resume({}, 0), {}, 0};
  for (;;) {
    if (out.last.what == kind::write) {
      out.sent.emplace_back(static_cast<char const*>(out.last.output.data()), out.last.output.size());
      out.last = machine.resume({}, out.last.output.size());
    } else if (out.last.what == kind::read && !replies.empty()) {
      BOOST_REQUIRE(out.last.input.size() > 0);
      auto const n = std::min({step, replies.size(), out.last.input.size()});
      std::memcpy(out.last.input.data(), replies.data(), n);
      replies.remove_prefix(n);
      out.last = machine.resume({}, n);
    } else {
      out.left = replies.size();
      return out;
    }
  }
}

result talk5(std::string_view replies, rondo::http::proxy const& via, socks_destination const& to = named("origin"),
             std::size_t step = 1) {
  socks5_fsm machine{to, via};
  return talk(machine, replies, step);
}

void expect_failure(result const& r, rondo::error e) {
  BOOST_TEST((r.last.what == kind::fail && r.last.ec == e), r.last);
}

auto const granted = "\x05\x00\x00\x01\x7f\x00\x00\x01\x12\x34"s;

} // namespace

BOOST_AUTO_TEST_SUITE(socks_fsm)

BOOST_AUTO_TEST_CASE(without_login_the_name_goes_to_the_proxy) {
  for (std::size_t const step : {1, 3, 100}) {
    auto const r = talk5("\x05\x00"s + granted, open_proxy(), named("origin"), step);
    BOOST_TEST((r.last.what == kind::done), r.last);
    BOOST_REQUIRE(r.sent.size() == 2);
    BOOST_TEST(r.sent[0] == "\x05\x01\x00"s);
    BOOST_TEST(r.sent[1] == "\x05\x01\x00\x03\x06origin\x01\xbb"s);
  }
}

BOOST_AUTO_TEST_CASE(with_login) {
  for (std::size_t const step : {1, 3, 100}) {
    auto const r = talk5("\x05\x02\x01\x00"s + granted, login_proxy(), named("origin"), step);
    BOOST_TEST((r.last.what == kind::done), r.last);
    BOOST_REQUIRE(r.sent.size() == 3);
    BOOST_TEST(r.sent[0] == "\x05\x02\x00\x02"s);
    BOOST_TEST(r.sent[1] == "\x01\x04user\x04pass"s);
  }
  // a proxy that wants no login although one is there
  BOOST_TEST((talk5("\x05\x00"s + granted, login_proxy()).last.what == kind::done));
}

BOOST_AUTO_TEST_CASE(addresses_go_as_addresses) {
  auto r = talk5("\x05\x00"s + granted, open_proxy(), {"", boost::asio::ip::make_address("1.2.3.4"), 80});
  BOOST_TEST(r.sent.back() == "\x05\x01\x00\x01\x01\x02\x03\x04\x00\x50"s);
  r = talk5("\x05\x00"s + granted, open_proxy(), {"", boost::asio::ip::make_address("::1"), 80});
  BOOST_TEST(r.sent.back() == "\x05\x01\x00\x04"s + std::string(15, '\0') + "\x01\x00\x50"s);
}

BOOST_AUTO_TEST_CASE(replies_are_read_by_their_own_length_and_not_a_byte_further) {
  for (auto const& reply : {granted, "\x05\x00\x00\x04"s + std::string(18, 'x'), "\x05\x00\x00\x03\x00\x12\x34"s,
                            "\x05\x00\x00\x03\x05hello\x12\x34"s, "\x05\x00\x00\x03\xff"s + std::string(257, 'x')}) {
    for (std::size_t const step : {1, 2, 1000}) {
      auto const r = talk5("\x05\x00"s + reply + "TLS", open_proxy(), named("origin"), step);
      BOOST_TEST((r.last.what == kind::done), r.last);
      BOOST_TEST(r.left == 3U);
    }
  }
}

BOOST_AUTO_TEST_CASE(every_reply_code_has_its_error) {
  using rondo::error;
  for (int code = 1; code < 256; ++code) {
    auto const expected = code == 2                ? error::proxy_denied
                          : code >= 3 && code <= 6 ? error::origin_unreachable_via_proxy
                          : code <= 8              ? error::proxy_failed
                                                   : error::proxy_protocol;
    // the refusal may end after its second byte
    expect_failure(talk5("\x05\x00\x05"s + static_cast<char>(code), open_proxy()), expected);
    expect_failure(talk5("\x05\x00\x05"s + static_cast<char>(code) + granted.substr(2), open_proxy(), named("o"), 100),
                   expected);
  }
}

BOOST_AUTO_TEST_CASE(every_method_that_was_not_offered_is_refused) {
  for (int method = 0; method < 256; ++method) {
    auto const reply = "\x05"s + static_cast<char>(method);
    if (method != 0) {
      expect_failure(talk5(reply, open_proxy()),
                     method == 0xff ? rondo::error::proxy_auth_failed : rondo::error::proxy_protocol);
    }
    if (method != 0 && method != 2) {
      expect_failure(talk5(reply, login_proxy()),
                     method == 0xff ? rondo::error::proxy_auth_unsupported : rondo::error::proxy_protocol);
    }
  }
}

BOOST_AUTO_TEST_CASE(every_login_status_but_zero_is_a_refusal) {
  for (int status = 1; status < 256; ++status) {
    expect_failure(talk5("\x05\x02\x01"s + static_cast<char>(status), login_proxy()), rondo::error::proxy_auth_failed);
  }
}

BOOST_AUTO_TEST_CASE(other_versions_are_refused_at_their_first_byte) {
  expect_failure(talk5("\x04"s, open_proxy()), rondo::error::proxy_protocol);
  expect_failure(talk5("H"s, open_proxy()), rondo::error::proxy_protocol);
  expect_failure(talk5("\x05\x02\x05"s, login_proxy()), rondo::error::proxy_protocol);
  expect_failure(talk5("\x05\x00\x01"s, open_proxy()), rondo::error::proxy_protocol);
  expect_failure(talk5("\x05\x00\x05\x00\x00\x02"s, open_proxy()), rondo::error::proxy_protocol);
}

BOOST_AUTO_TEST_CASE(what_does_not_fit_is_refused_before_a_byte_is_sent) {
  auto const refused = [](rondo::http::proxy const& via, std::string_view name, rondo::error e) {
    auto const r = talk5("", via, named(name));
    BOOST_TEST(r.sent.empty());
    expect_failure(r, e);
  };
  refused(open_proxy(), std::string(256, 'a'), rondo::error::name_too_long);
  refused(login_proxy(std::string(256, 'a')), "o", rondo::error::invalid_credentials);
  refused(login_proxy("", "p"), "o", rondo::error::invalid_credentials);
  refused(login_proxy("u", std::string(256, 'a')), "o", rondo::error::invalid_credentials);
  refused(login_proxy("u", ""), "o", rondo::error::invalid_credentials);
  BOOST_TEST((talk5("\x05\x02\x01\x00"s + granted, login_proxy(std::string(255, 'u'), std::string(255, 'p')),
                    named(std::string(255, 'h')))
                  .last.what == kind::done));
}

BOOST_AUTO_TEST_CASE(the_end_at_every_byte_is_told_from_a_cancellation) {
  auto const replies = "\x05\x02\x01\x00"s + granted;
  for (std::size_t n = 0; n < replies.size(); ++n) {
    for (auto const& ec : {boost::system::error_code{boost::asio::error::eof},
                           boost::system::error_code{boost::asio::error::operation_aborted}}) {
      socks5_fsm machine{named("origin"), login_proxy()};
      auto const r = talk(machine, std::string_view{replies}.substr(0, n), 1);
      BOOST_REQUIRE(r.last.what == kind::read);
      auto const action = machine.resume(ec, 0);
      BOOST_TEST((action.what == kind::fail));
      BOOST_TEST((ec == boost::asio::error::eof ? action.ec == rondo::error::proxy_closed : action.ec == ec));
    }
  }
}

BOOST_AUTO_TEST_CASE(version_4_and_4a) {
  rondo::http::proxy via;
  via.user = "me";
  for (std::size_t const step : {1, 3, 100}) {
    socks4_fsm address{{"", boost::asio::ip::make_address("1.2.3.4"), 80}, via};
    auto r = talk(address, "\x00\x5a\x00\x50\x01\x02\x03\x04TLS"s, step);
    BOOST_TEST((r.last.what == kind::done), r.last);
    BOOST_TEST(r.left == 3U);
    BOOST_TEST(r.sent.at(0) == "\x04\x01\x00\x50\x01\x02\x03\x04me\x00"s);

    socks4_fsm name{named("origin"), via};
    r = talk(name, "\x00\x5a\x00\x50\x01\x02\x03\x04"s, step);
    BOOST_TEST((r.last.what == kind::done), r.last);
    BOOST_TEST(r.sent.at(0) == "\x04\x01\x01\xbb\x00\x00\x00\x01me\x00origin\x00"s);
  }
  for (int code = 0; code < 256; ++code) {
    if (code != 0x5a) {
      socks4_fsm machine{named("origin"), via};
      expect_failure(talk(machine, "\x00"s + static_cast<char>(code), 1),
                     code == 0x5b                   ? rondo::error::origin_unreachable_via_proxy
                     : code == 0x5c || code == 0x5d ? rondo::error::proxy_auth_failed
                                                    : rondo::error::proxy_protocol);
    }
  }
  socks4_fsm v6{{"", boost::asio::ip::make_address("::1"), 80}, via};
  expect_failure(talk(v6, "", 1), rondo::error::origin_unreachable_via_proxy);
  socks4_fsm garbage{named("origin"), via};
  expect_failure(talk(garbage, "H", 1), rondo::error::proxy_protocol);
}

BOOST_AUTO_TEST_SUITE_END()
