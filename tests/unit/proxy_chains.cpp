// SPDX-License-Identifier: BSL-1.0
// A SOCKS proxy first, an HTTP or HTTPS proxy behind it.
#include <string>

#include <support/tunnel_fixture.hpp>

namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;
using rondo::error;
using rondo::test::established;
using rondo::test::peer;
using rondo::test::scripted_server;
using rondo::test::asio::awaitable;

struct chains_fixture : rondo::test::tunnel_fixture {
  std::string asked_for; ///< what the first proxy was asked for, behind "05 01 00"
  std::string login;     ///< what it was shown
  std::string head;      ///< what the second proxy was asked

  /// Plays a SOCKS 5 proxy up to the reply, and answers `reply`.
  awaitable<void> be_socks(peer& p, std::string_view reply = {"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00", 10}) {
    auto const greeting = co_await p.read_exactly(2);
    auto const count = static_cast<unsigned char>(greeting[1]);
    auto const methods = co_await p.read_exactly(count);
    if (methods.find('\x02') != std::string::npos) {
      co_await p.write("\x05\x02");
      login = co_await p.read_exactly(2 + 4 + 1 + 4);
      co_await p.write("\x01\x00"s);
    } else {
      co_await p.write("\x05\x00"s);
    }
    auto const begin = co_await p.read_exactly(5);
    auto const size = begin[3] == 1 ? 5U : static_cast<unsigned char>(begin[4]) + 2U;
    auto const rest = co_await p.read_exactly(size);
    asked_for = begin.substr(3) + rest;
    co_await p.write(reply);
  }

  awaitable<void> be_connect(peer& p) {
    head = co_await p.read_until("\r\n\r\n");
    co_await p.write(established);
  }

  rondo::http::exchange_options chain(std::string_view first, scripted_server const& server, std::string_view second) {
    return by(std::string{first} + "127.0.0.1:" + std::to_string(server.port()) + "|" + std::string{second});
  }
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(proxy_chains, chains_fixture)

BOOST_AUTO_TEST_CASE(socks_leads_to_the_http_proxy_and_that_to_the_origin) {
  std::string to_origin;
  scripted_server both{context, [&](peer& p) -> awaitable<void> {
                         co_await be_socks(p);
                         co_await be_connect(p);
                         co_await be_origin(p, &to_origin);
                       }};
  auto const options = chain("socks5h://one1:pas1@", both, "http://two2:pas2@second.example:3128");
  for (auto i = 0; i < 2; ++i) {
    expect_good(options);
  }
  BOOST_TEST(both.accepted() == 1U);
  BOOST_TEST(asked_for == "\x03\x0esecond.example\x0c\x38"s);
  BOOST_TEST(login == "\x01\x04one1\x04pas1"s);
  // each hop sees its own login and not the other's
  BOOST_TEST(head.starts_with("CONNECT localhost:4443 HTTP/1.1\r\nHost: localhost:4443\r\n"));
  BOOST_TEST(head.find("Proxy-Authorization: Basic dHdvMjpwYXMy\r\n") != head.npos);
  BOOST_TEST(to_origin.find("Proxy-") == to_origin.npos);
}

BOOST_AUTO_TEST_CASE(the_second_proxy_may_speak_tls) {
  scripted_server both{context, [&](peer& p) -> awaitable<void> {
                         co_await be_socks(p);
                         co_await p.start_tls(proxy_tls);
                         co_await be_connect(p);
                         co_await be_origin(p);
                       }};
  // it is the second one's name that the certificate must hold
  expect_good(chain("socks5h://", both, "https://localhost:8443"));
  client->close_idle();
  BOOST_TEST(asked_for == "\x03\x09localhost\x20\xfb"s);
  expect(chain("socks5h://", both, "https://second.example:8443"), error::proxy_certificate_rejected);
}

BOOST_AUTO_TEST_CASE(addresses_and_names_resolved_here_reach_the_first_proxy_as_addresses) {
  scripted_server both{context, [&](peer& p) -> awaitable<void> {
                         co_await be_socks(p);
                         co_await be_connect(p);
                         co_await be_origin(p);
                       }};
  for (auto const* const second : {"http://localhost:258", "http://127.0.0.1:258"}) {
    expect_good(chain("socks5://", both, second));
    BOOST_TEST(asked_for == "\x01\x7f\x00\x00\x01\x01\x02"s);
  }
  scripted_server four{context, [&](peer& p) -> awaitable<void> {
                         asked_for = co_await p.read_exactly(9 + 15);
                         co_await p.write("\x00\x5a\x00\x00\x00\x00\x00\x00"s);
                         co_await be_connect(p);
                         co_await be_origin(p);
                       }};
  expect_good(chain("socks4a://", four, "http://second.example:258"));
  BOOST_TEST(asked_for == "\x04\x01\x01\x02\x00\x00\x00\x01\x00second.example\x00"s);
}

BOOST_AUTO_TEST_CASE(a_tunnel_belongs_to_the_whole_chain) {
  scripted_server both{context, [&](peer& p) -> awaitable<void> {
                         co_await be_socks(p);
                         co_await be_connect(p);
                         co_await be_origin(p);
                       }};
  auto tunnels = 0U;
  for (auto const* const first :
       {"socks5h://", "socks5h://one1:pas1@", "socks5h://one2:pas1@", "socks5h://one1:pas2@"}) {
    for (auto const* const second : {"http://second:1", "http://a:b@second:1", "http://second:2"}) {
      ++tunnels;
      for (auto i = 0; i < 2; ++i) {
        expect_good(chain(first, both, second));
        BOOST_TEST(both.accepted() == tunnels);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(failures_of_either_hop_are_the_proxies_fault) {
  struct refusal {
    std::string reply;
    error e;
  };
  for (auto const& [reply, e] :
       {refusal{"\x05\x01"s, error::proxy_failed}, refusal{"\x05\x02"s, error::proxy_denied},
        // the first cannot reach the second
        refusal{"\x05\x04"s, error::proxy_connect_failed}, refusal{"\x05\x05"s, error::proxy_connect_failed},
        refusal{"\x05\x00\x00\x01"s, error::proxy_closed}, refusal{"HT"s, error::proxy_protocol}}) {
    scripted_server first{context, [&](peer& p) -> awaitable<void> { co_await be_socks(p, reply); }};
    expect(chain("socks5h://", first, "http://second:1"), e, rondo::blame::proxy);
  }
  for (auto const& [reply, e] :
       {refusal{"HTTP/1.1 407 No\r\n\r\n", error::proxy_auth_failed},
        refusal{"HTTP/1.1 403 No\r\n\r\n", error::proxy_denied}, refusal{"", error::proxy_closed},
        refusal{"HTTP/1.1 502 No\r\n\r\n", error::origin_unreachable_via_proxy}}) {
    scripted_server second{context, [&](peer& p) -> awaitable<void> {
                             co_await be_socks(p);
                             co_await p.read_until("\r\n\r\n");
                             co_await p.write(reply);
                           }};
    expect(chain("socks5h://", second, "http://second:1"), e);
  }
  // names that cannot exist: of the second for the first to be asked, of the first
  scripted_server unused{context, [](peer&) -> awaitable<void> { co_return; }};
  auto const impossible = std::string(64, 'a');
  expect(chain("socks5://", unused, "http://" + impossible + ":1"), error::proxy_connect_failed);
  expect(by("socks5h://" + impossible + ":1|http://second:1"), error::proxy_connect_failed);
}

BOOST_AUTO_TEST_CASE(either_hop_may_hang) {
  scripted_server first{context, [](peer& p) -> awaitable<void> { co_await p.wait_for_close(); }};
  scripted_server second{context, [&](peer& p) -> awaitable<void> {
                           co_await be_socks(p);
                           co_await p.wait_for_close();
                         }};
  for (auto const* const server : {&first, &second}) {
    auto options = chain("socks5h://", *server, "http://second:1");
    options.connect_timeout = 60ms;
    expect(options, error::proxy_timeout);
  }
}

BOOST_AUTO_TEST_CASE(cancellation_at_every_step_leaves_nothing_half_used) {
  scripted_server both{context, [&](peer& p) -> awaitable<void> {
                         co_await be_socks(p);
                         co_await p.start_tls(proxy_tls);
                         co_await be_connect(p);
                         co_await be_origin(p);
                       }};
  auto const options = chain("socks5h://one1:pas1@", both, "https://localhost:8443");
  cancel_everywhere(options, 10);
  expect_good(options);
}

BOOST_AUTO_TEST_CASE(other_chains_are_refused_before_anything_happens) {
  scripted_server first{context, [](peer&) -> awaitable<void> { co_return; }};
  using rondo::http::parse_proxy;
  auto const make = [&](std::string_view text) {
    return parse_proxy(std::string{text} + "127.0.0.1:" + std::to_string(first.port())).value();
  };
  auto const chained = [&](rondo::http::proxy before, rondo::http::proxy last) {
    last.through = std::make_shared<rondo::http::proxy const>(std::move(before));
    return by(std::move(last));
  };
  expect(chained(make("http://"), make("http://")), error::invalid_proxy);
  expect(chained(make("https://"), make("http://")), error::invalid_proxy);
  expect(chained(make("socks5h://"), make("socks5h://")), error::invalid_proxy);
  expect(chained(make("http://"), make("socks5h://")), error::invalid_proxy);
  expect(chained(*chained(make("socks5h://"), make("http://")).via, make("http://")), error::invalid_proxy);
  auto long_name = make("http://");
  long_name.host = std::string(256, 'a');
  expect(chained(make("socks5h://"), long_name), error::name_too_long);
  auto bad_login = make("socks5h://");
  bad_login.has_credentials = true;
  expect(chained(bad_login, make("http://")), error::invalid_credentials);
  BOOST_TEST(first.accepted() == 0U);
}

BOOST_AUTO_TEST_CASE(plain_text_must_stay_on_this_machine_on_the_whole_way) {
  auto const to = url_of("http", "127.0.0.1", 80);
  auto const request = request_of(rondo::http::beast_http::verb::get);
  for (auto const* const text :
       {"socks5h://127.0.0.1:1|http://second.example:1", "socks5h://first.example:1|http://127.0.0.1:1"}) {
    auto const options = by(text);
    auto const got = run(client->send(to, request, options));
    BOOST_TEST((!got && got.error().ec == error::plaintext_refused), text);
  }
}

BOOST_AUTO_TEST_SUITE_END()
