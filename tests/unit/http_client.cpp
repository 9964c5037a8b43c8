// SPDX-License-Identifier: BSL-1.0
#include <support/http_fixture.hpp>

namespace {

using namespace std::chrono_literals;
using rondo::test::peer;
using rondo::test::scripted_server;
using rondo::test::asio::awaitable;
using verb = rondo::http::beast_http::verb;

constexpr std::string_view ok = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

} // namespace

BOOST_FIXTURE_TEST_SUITE(http_client, rondo::test::http_fixture)

BOOST_AUTO_TEST_CASE(a_request_and_its_answer) {
  std::string seen;
  scripted_server server{context, [&](peer& p) -> awaitable<void> {
                           seen = co_await p.read_request();
                           co_await p.write(ok);
                           co_await p.wait_for_close();
                         }};
  auto const to = url_of("http", "127.0.0.1", server.port());
  auto const request = request_of(verb::post, "/v1/x?y=z", "{}");
  auto const answer = run(client->send(to, request));
  BOOST_REQUIRE(answer);
  BOOST_TEST(answer->body() == "hello");
  BOOST_TEST(answer->result_int() == 200);
  BOOST_TEST(seen == "POST /v1/x?y=z HTTP/1.1\r\nHost: 127.0.0.1:" + std::to_string(server.port()) +
                         "\r\nContent-Length: 2\r\n\r\n{}");
  BOOST_TEST(client->idle_connections() == 1);
  BOOST_TEST(client->active_connections() == 0);
}

BOOST_AUTO_TEST_CASE(tls_with_a_verified_name) {
  auto server_tls = rondo::test::server_context(rondo::test::test_trust::instance().root.issue());
  scripted_server server{context, [&](peer& p) -> awaitable<void> {
                           co_await p.start_tls(server_tls);
                           for (;;) {
                             co_await p.read_request();
                             co_await p.write(ok);
                           }
                         }};
  auto const to = url_of("https", "localhost", server.port());
  auto const request = request_of(verb::get);
  for (auto i = 0; i < 3; ++i) {
    auto const answer = run(client->send(to, request));
    BOOST_TEST_REQUIRE(answer.has_value(), (answer ? "" : answer.error().ec.message()));
    BOOST_TEST(answer->body() == "hello");
  }
  BOOST_TEST(server.accepted() == 1);
}

BOOST_AUTO_TEST_SUITE_END()
