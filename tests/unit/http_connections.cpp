// SPDX-License-Identifier: BSL-1.0
// Which connection a request goes over, and which connections are never used again.
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>

#include <sys/resource.h>

#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <support/http_fixture.hpp>

namespace {

using namespace std::chrono_literals;
using rondo::test::ok;
using rondo::test::peer;
using rondo::test::scripted_server;
using rondo::test::asio::awaitable;
using verb = rondo::http::beast_http::verb;

char server_bytes[16];

awaitable<void> answer_everything(peer& p) {
  for (;;) {
    co_await p.read_request();
    co_await p.write(ok);
  }
}

/// Answers the first request of the first connection and then does `second` when another arrives; later connections
/// answer everything.
scripted_server::script once_then(std::function<awaitable<void>(peer&)> second) {
  return [second = std::move(second)](peer& p) -> awaitable<void> {
    if (p.number() == 0) {
      co_await p.read_request();
      co_await p.write(ok);
      co_await p.read_request();
      co_await second(p);
    } else {
      co_await answer_everything(p);
    }
  };
}

struct connections_fixture : rondo::test::http_fixture {
  bool get(rondo::http::url const& to) {
    auto const request = request_of(verb::get);
    auto const got = run(client->send(to, request));
    return got && got->body() == "hello";
  }
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(http_connections, connections_fixture)

BOOST_AUTO_TEST_CASE(requests_one_after_the_other_share_a_connection) {
  scripted_server server{context, answer_everything};
  auto const to = url_of("http", "127.0.0.1", server.port());
  for (auto i = 0; i < 5; ++i) {
    BOOST_TEST(get(to));
  }
  BOOST_TEST(server.accepted() == 1);
}

BOOST_AUTO_TEST_CASE(requests_at_once_do_not_and_the_last_used_is_taken_first) {
  std::vector<unsigned> order;
  scripted_server server{context, [&](peer& p) -> awaitable<void> {
                           for (;;) {
                             co_await p.read_request();
                             order.push_back(p.number());
                             co_await p.write(ok);
                           }
                         }};
  auto const to = url_of("http", "127.0.0.1", server.port());
  auto const request = request_of(verb::get);
  {
    auto first = run(client->open(to, request));
    auto second = run(client->open(to, request));
    BOOST_REQUIRE((first && second));
    BOOST_TEST(client->active_connections() == 2);
    char body[8];
    BOOST_TEST(run(second->read(boost::asio::buffer(body))).n == 5U);
    BOOST_TEST(run(first->read(boost::asio::buffer(body))).n == 5U);
  }
  BOOST_TEST(client->idle_connections() == 2);
  BOOST_TEST(get(to));
  BOOST_TEST((order == std::vector<unsigned>{0, 1, 0}));
}

BOOST_AUTO_TEST_CASE(another_host_name_is_another_connection) {
  scripted_server server{context, answer_everything};
  BOOST_TEST(get(url_of("http", "127.0.0.1", server.port())));
  BOOST_TEST(get(url_of("http", "localhost", server.port())));
  BOOST_TEST(server.accepted() == 2);
}

BOOST_AUTO_TEST_CASE(a_connection_that_was_closed_meanwhile_is_not_tried) {
  for (auto const reset : {false, true}) {
    scripted_server server{context, [reset](peer& p) -> awaitable<void> {
                             co_await p.read_request();
                             co_await p.write(ok);
                             co_await boost::asio::post(boost::asio::use_awaitable);
                             if (reset) {
                               p.reset();
                             }
                           }};
    auto const to = url_of("http", "127.0.0.1", server.port());
    auto const request = request_of(verb::post); // would not be repeated
    for (auto i = 0; i < 3; ++i) {
      BOOST_TEST(run(client->send(to, request)).has_value());
      while (server.open() > 0) {
        context.run_one();
      }
    }
    BOOST_TEST(server.accepted() == 3);
  }
}

BOOST_AUTO_TEST_CASE(a_connection_with_unasked_bytes_is_not_used) {
  scripted_server server{context, [](peer& p) -> awaitable<void> {
                           co_await p.read_request();
                           co_await p.write(ok);
                           co_await boost::asio::post(boost::asio::use_awaitable);
                           co_await p.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
                           co_await p.wait_for_close();
                         }};
  auto const to = url_of("http", "127.0.0.1", server.port());
  BOOST_TEST(get(to));
  settle();
  BOOST_TEST(get(to));
  BOOST_TEST(server.accepted() == 2);
}

BOOST_AUTO_TEST_CASE(a_stale_connection_is_replaced_once_for_a_request_that_may_be_repeated) {
  scripted_server server{context, once_then([](peer& p) -> awaitable<void> {
                           p.close();
                           co_return;
                         })};
  auto const to = url_of("http", "127.0.0.1", server.port());
  BOOST_TEST(get(to));
  BOOST_TEST(get(to));
  BOOST_TEST(server.accepted() == 2);
}

BOOST_AUTO_TEST_CASE(a_written_post_is_never_repeated_unless_it_has_an_idempotency_key) {
  for (auto const with_key : {false, true}) {
    scripted_server server{context, once_then([](peer& p) -> awaitable<void> {
                             p.close();
                             co_return;
                           })};
    auto const to = url_of("http", "127.0.0.1", server.port());
    BOOST_TEST(get(to));
    auto request = request_of(verb::post, "/", "{}");
    if (with_key) {
      request.set("Idempotency-Key", "1");
    }
    auto const got = run(client->send(to, request));
    BOOST_TEST(got.has_value() == with_key);
    BOOST_TEST(server.accepted() == (with_key ? 2U : 1U));
    if (!got) {
      BOOST_TEST((got.error().ec == rondo::error::connection_lost && got.error().written));
    }
    client->close_idle();
  }
}

BOOST_AUTO_TEST_CASE(a_byte_of_an_answer_forbids_the_repetition) {
  scripted_server server{context, once_then([](peer& p) -> awaitable<void> { co_await p.write("H"); })};
  auto const to = url_of("http", "127.0.0.1", server.port());
  BOOST_TEST(get(to));
  BOOST_TEST(!get(to));
  BOOST_TEST(server.accepted() == 1);
}

BOOST_AUTO_TEST_CASE(the_replacement_is_not_replaced) {
  scripted_server server{context, [](peer& p) -> awaitable<void> {
                           co_await p.read_request();
                           if (p.number() == 0) {
                             co_await p.write(ok);
                             co_await p.read_request();
                           }
                         }};
  auto const to = url_of("http", "127.0.0.1", server.port());
  BOOST_TEST(get(to));
  BOOST_TEST(!get(to));
  BOOST_TEST(server.accepted() == 2);
}

BOOST_AUTO_TEST_CASE(limits_of_the_pool) {
  auto const accepted_after_two = [&](rondo::http::client_options options) {
    use_client(std::move(options));
    scripted_server server{context, answer_everything};
    auto const to = url_of("http", "127.0.0.1", server.port());
    BOOST_TEST(get(to));
    BOOST_TEST(get(to));
    return server.accepted();
  };
  rondo::http::client_options options;
  BOOST_TEST(accepted_after_two(options) == 1U);
  options.idle_limit = 0s;
  BOOST_TEST(accepted_after_two(options) == 2U);
  options = {};
  options.max_age = 0s;
  BOOST_TEST(accepted_after_two(options) == 2U);
  options = {};
  options.max_idle = 0;
  BOOST_TEST(accepted_after_two(options) == 2U);
}

BOOST_AUTO_TEST_CASE(a_dropped_answer_closes_its_connection) {
  scripted_server server{context, answer_everything};
  auto const to = url_of("http", "127.0.0.1", server.port());
  auto const request = request_of(verb::get);
  {
    auto const opened = run(client->open(to, request));
    BOOST_REQUIRE(opened);
    BOOST_TEST(client->active_connections() == 1);
  }
  BOOST_TEST(client->active_connections() == 0);
  BOOST_TEST(client->idle_connections() == 0);
  BOOST_TEST(get(to));
  BOOST_TEST(server.accepted() == 2);
}

BOOST_AUTO_TEST_CASE(cancellation_at_every_step_leaves_nothing_half_used) {
  auto server_tls = rondo::test::server_context(rondo::test::test_trust::instance().root.issue());
  scripted_server server{context, [&](peer& p) -> awaitable<void> {
                           co_await p.start_tls(server_tls);
                           for (;;) {
                             co_await p.read_request();
                             for (auto const c : ok) {
                               co_await p.write({&c, 1});
                             }
                           }
                         }};
  auto const to = url_of("https", "localhost", server.port());
  for (auto const type : {boost::asio::cancellation_type::terminal, boost::asio::cancellation_type::partial,
                          boost::asio::cancellation_type::total}) {
    auto cancelled = 0;
    for (auto steps = 0;; ++steps) {
      client->close_idle();
      std::optional<rondo::error_code> result;
      std::string body;
      boost::asio::cancellation_signal signal;
      client->async_send(to, request_of(verb::post, "/", "{}"), {},
                         boost::asio::bind_cancellation_slot(
                             signal.slot(), [&](rondo::error_code ec, rondo::http::response const& answer) {
                               result = ec;
                               body = answer.body();
                             }));
      context.restart();
      for (auto i = 0; i < steps && !result; ++i) {
        context.run_one();
      }
      auto const over = result.has_value();
      signal.emit(type);
      while (!result) {
        context.run_one();
      }
      BOOST_TEST(client->active_connections() == 0);
      if (!*result) {
        BOOST_TEST(steps > 0); // one that comes before the first step counts, too
        BOOST_TEST(body == "hello");
        BOOST_TEST(client->idle_connections() == 1);
      } else {
        BOOST_TEST((*result == boost::asio::error::operation_aborted), result->message());
        BOOST_TEST(client->idle_connections() == 0);
        ++cancelled;
      }
      if (over) {
        break;
      }
    }
    BOOST_TEST(cancelled > 40); // at least once for every byte of the answer
    BOOST_TEST(get(to));
  }
}

BOOST_AUTO_TEST_CASE(a_cancelled_read_closes_its_connection) {
  scripted_server server{context, [](peer& p) -> awaitable<void> {
                           co_await p.read_request();
                           co_await p.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel");
                           co_await p.wait_for_close();
                         }};
  auto const to = url_of("http", "127.0.0.1", server.port());
  auto const request = request_of(verb::get);
  auto opened = run(client->open(to, request));
  BOOST_REQUIRE(opened);
  auto read_on = [](rondo::http::incoming& answer) -> awaitable<rondo::error_code> {
    char bytes[16];
    rondo::http::read_result last{{}, 1};
    while (!last.ec && last.n > 0) {
      auto const space = boost::asio::buffer(bytes);
      last = co_await answer.read(space);
    }
    co_return last.ec;
  };
  std::optional<rondo::error_code> result;
  boost::asio::cancellation_signal signal;
  boost::asio::co_spawn(context, read_on(*opened),
                        boost::asio::bind_cancellation_slot(
                            signal.slot(), [&](std::exception_ptr const&, rondo::error_code ec) { result = ec; }));
  settle();
  BOOST_TEST(!result);
  signal.emit(boost::asio::cancellation_type::terminal);
  settle();
  BOOST_REQUIRE(result);
  BOOST_TEST((*result == boost::asio::error::operation_aborted));
  BOOST_TEST(client->active_connections() == 0);
  BOOST_TEST(client->idle_connections() == 0);
  auto const space = boost::asio::buffer(server_bytes);
  BOOST_TEST((run(opened->read(space)).ec == rondo::error::truncated_response)); // and so it stays
}

BOOST_AUTO_TEST_CASE(a_context_may_go_with_exchanges_under_way) {
  scripted_server server{context, [](peer& p) -> awaitable<void> { co_await p.wait_for_close(); }};
  auto const to = url_of("http", "127.0.0.1", server.port());
  auto doomed = std::make_unique<boost::asio::io_context>();
  auto other = std::make_unique<rondo::http::client>(doomed->get_executor());
  auto completed = false;
  rondo::http::exchange_options options;
  options.deadline = std::chrono::steady_clock::now() + 1h;
  other->async_send(to, request_of(verb::get), options,
                    [&](rondo::error_code, rondo::http::response const&) { completed = true; });
  while (server.accepted() == 0) {
    doomed->poll();
    settle();
  }
  doomed->poll();
  BOOST_TEST(other->active_connections() == 1);
  other.reset();
  doomed.reset();
  BOOST_TEST(!completed);
}

BOOST_AUTO_TEST_CASE(no_descriptor_left_is_nobodys_fault) {
  scripted_server server{context, answer_everything};
  auto const to = url_of("http", "127.0.0.1", server.port());
  settle(); // the server must wait already
  rlimit before{};
  BOOST_REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  auto none = before;
  none.rlim_cur = 3; // those that are open stay so
  BOOST_REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
  auto const request = request_of(verb::get);
  auto const got = run(client->send(to, request));
  ::setrlimit(RLIMIT_NOFILE, &before);
  BOOST_TEST((!got && got.error().ec == rondo::error::no_resources && got.error().who == rondo::blame::nobody));
  BOOST_TEST(get(to));
}

BOOST_AUTO_TEST_SUITE_END()
