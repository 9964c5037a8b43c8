// SPDX-License-Identifier: BSL-1.0
// When proxies are shown user and password, and what becomes of their refusals.
#include <string>
#include <vector>

#include <support/tunnel_fixture.hpp>

namespace {

using rondo::error;
using rondo::http::proxy_login;
using rondo::test::established;
using rondo::test::peer;
using rondo::test::scripted_server;
using rondo::test::asio::awaitable;

/// Asks for a login with `challenge`, and lets in who shows `user` and `pass`; keeps the heads of all requests.
struct asking_proxy {
  rondo::test::tunnel_fixture& fixture;
  std::string challenge;
  std::vector<std::string> heads{};
  scripted_server server{fixture.context, [this](peer& p) -> awaitable<void> {
                           auto const head = co_await p.read_until("\r\n\r\n");
                           heads.push_back(head);
                           if (head.find("Proxy-Authorization: Basic dXNlcjpwYXNz\r\n") == head.npos) {
                             co_await p.write(challenge);
                             co_await p.wait_for_close(); // it would take another request on this connection
                           }
                           co_await p.write(established);
                           co_await fixture.be_origin(p);
                         }};

  [[nodiscard]] rondo::http::exchange_options by(std::string_view login, proxy_login when) {
    auto p =
        rondo::http::parse_proxy("http://" + std::string{login} + "127.0.0.1:" + std::to_string(server.port())).value();
    p.login = when;
    return fixture.by(p);
  }
};

std::string const basic = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\n"
                          "Proxy-Connection: keep-alive\r\nContent-Length: 5\r\n\r\nlogin";
std::string const digest = "HTTP/1.1 407 No\r\nProxy-Authenticate: Digest realm=\"Basic\", nonce=\"a, Basic\"\r\n\r\n";

bool shows_login(std::string_view head) {
  return head.find("Proxy-Authorization: ") != head.npos;
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(proxy_login, rondo::test::tunnel_fixture)

BOOST_AUTO_TEST_CASE(at_once_shows_the_login_with_the_first_request) {
  asking_proxy proxy{*this, basic};
  expect_good(proxy.by("user:pass@", rondo::http::proxy_login::at_once));
  BOOST_TEST(proxy.heads.size() == 1U);
}

BOOST_AUTO_TEST_CASE(when_asked_shows_it_in_a_second_request_only) {
  for (auto const& challenge :
       {basic,
        std::string{"HTTP/1.1 407 No\r\nproxy-authenticate: NTLM, bASIC realm=\"x\"\r\nConnection: close\r\n\r\n"},
        std::string{
            "HTTP/1.1 407 No\r\nProxy-Authenticate: Digest nonce=\"a\"\r\nProxy-Authenticate: Basic\r\n\r\n"}}) {
    asking_proxy proxy{*this, challenge};
    auto const options = proxy.by("user:pass@", rondo::http::proxy_login::when_asked);
    expect_good(options);
    BOOST_TEST_REQUIRE(proxy.heads.size() == 2U);
    BOOST_TEST(!shows_login(proxy.heads[0]));
    BOOST_TEST(shows_login(proxy.heads[1]));
    BOOST_TEST(proxy.server.accepted() == 2U);
    expect_good(options); // through the tunnel that stands
    BOOST_TEST(proxy.server.accepted() == 2U);
    client->close_idle();
  }
}

BOOST_AUTO_TEST_CASE(who_is_not_asked_shows_nothing) {
  std::string head;
  scripted_server open{context, [&](peer& p) -> awaitable<void> {
                         head = co_await p.read_until("\r\n\r\n");
                         co_await p.write(established);
                         co_await be_origin(p);
                       }};
  auto p = rondo::http::parse_proxy("http://user:pass@127.0.0.1:" + std::to_string(open.port())).value();
  p.login = rondo::http::proxy_login::when_asked;
  expect_good(by(p));
  BOOST_TEST(!shows_login(head));
  BOOST_TEST(open.accepted() == 1U);
}

BOOST_AUTO_TEST_CASE(there_is_one_second_try) {
  asking_proxy proxy{*this, basic};
  expect(proxy.by("user:wrong@", rondo::http::proxy_login::when_asked), error::proxy_auth_failed);
  BOOST_TEST(proxy.heads.size() == 2U);
  expect(proxy.by("user:wrong@", rondo::http::proxy_login::at_once), error::proxy_auth_failed);
  BOOST_TEST(proxy.heads.size() == 3U);
  for (auto const when : {rondo::http::proxy_login::at_once, rondo::http::proxy_login::when_asked}) {
    proxy.heads.clear();
    expect(proxy.by("", when), error::proxy_auth_failed); // nothing to show
    BOOST_TEST(proxy.heads.size() == 1U);
    BOOST_TEST(!shows_login(proxy.heads[0]));
  }
}

BOOST_AUTO_TEST_CASE(what_is_not_basic_is_refused_with_its_own_error) {
  for (auto const& challenge :
       {digest, std::string{"HTTP/1.1 407 No\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM\r\n\r\n"},
        std::string{"HTTP/1.1 407 No\r\nProxy-Authenticate: Bearer realm=\"\\\", Basic\"\r\n\r\n"}}) {
    asking_proxy proxy{*this, challenge};
    expect(proxy.by("user:wrong@", rondo::http::proxy_login::at_once), error::proxy_auth_unsupported);
    BOOST_TEST(proxy.heads.size() == 1U);
    expect(proxy.by("user:pass@", rondo::http::proxy_login::when_asked), error::proxy_auth_unsupported);
    BOOST_TEST(proxy.heads.size() == 2U); // and it has not been shown the password
    BOOST_TEST(!shows_login(proxy.heads[1]));
  }
}

BOOST_AUTO_TEST_CASE(a_401_is_no_invitation) {
  asking_proxy proxy{*this, "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=\"x\"\r\n\r\n"};
  expect(proxy.by("user:pass@", rondo::http::proxy_login::when_asked), error::proxy_auth_failed);
  BOOST_TEST(proxy.heads.size() == 1U);
}

BOOST_AUTO_TEST_CASE(a_challenge_without_end_stays_a_refusal) {
  asking_proxy proxy{*this, "HTTP/1.1 407 No\r\nProxy-Authenticate: " + std::string(20'000, 'x')};
  expect(proxy.by("user:pass@", rondo::http::proxy_login::when_asked), error::proxy_auth_failed);
  BOOST_TEST(proxy.heads.size() == 1U);
}

BOOST_AUTO_TEST_CASE(the_second_try_counts_against_the_same_limit) {
  auto tries = 0;
  scripted_server slow{context, [&](peer& p) -> awaitable<void> {
                         co_await p.read_until("\r\n\r\n");
                         if (tries++ == 0) {
                           co_await p.write(basic);
                         }
                         co_await p.wait_for_close();
                       }};
  auto p = rondo::http::parse_proxy("http://user:pass@127.0.0.1:" + std::to_string(slow.port())).value();
  p.login = rondo::http::proxy_login::when_asked;
  auto options = by(p);
  options.connect_timeout = std::chrono::seconds{1};
  expect(options, error::proxy_timeout);
  BOOST_TEST(tries == 2);
}

BOOST_AUTO_TEST_CASE(cancellation_at_every_step_leaves_nothing_half_used) {
  asking_proxy proxy{*this, basic};
  auto const options = proxy.by("user:pass@", rondo::http::proxy_login::when_asked);
  cancel_everywhere(options, 10);
  expect_good(options);
}

BOOST_AUTO_TEST_CASE(an_https_proxy_asks_in_tls_and_gets_the_answer_in_tls) {
  std::vector<std::string> heads;
  scripted_server proxy{context, [&](peer& p) -> awaitable<void> {
                          co_await p.start_tls(proxy_tls);
                          heads.push_back(co_await p.read_until("\r\n\r\n"));
                          if (!shows_login(heads.back())) {
                            co_await p.write(basic);
                            co_await p.wait_for_close();
                          }
                          co_await p.write(established);
                          co_await be_origin(p);
                        }};
  auto p = rondo::http::parse_proxy("https://user:pass@127.0.0.1:" + std::to_string(proxy.port())).value();
  p.login = rondo::http::proxy_login::when_asked;
  expect_good(by(p));
  BOOST_TEST(heads.size() == 2U);
}

BOOST_AUTO_TEST_SUITE_END()
