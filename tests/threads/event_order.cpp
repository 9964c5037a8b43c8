// SPDX-License-Identifier: BSL-1.0
#include <rondo/detail/event_queue.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <atomic>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace asio = boost::asio;

BOOST_AUTO_TEST_SUITE(event_order)

// Several threads push, several run the context, and some calls throw: every event arrives, those of one key in their
// order, and never two at once.
BOOST_AUTO_TEST_CASE(every_event_arrives_in_order_one_at_a_time) {
  constexpr int pushers = 3;
  constexpr int runners = 3;
  constexpr int events = 4000;
  asio::io_context ctx;
  auto const queue = std::make_shared<rondo::detail::event_queue>(ctx.get_executor());
  std::map<std::string, int> last;
  std::atomic<int> inside{0};
  int together = 0;
  int out_of_order = 0;
  int arrived = 0;
  auto const subscription = queue->add([&](rondo::event const& e) {
    together += inside.fetch_add(1) != 0 ? 1 : 0;
    auto const number = std::stoi(e.account);
    out_of_order += last[e.key] + 1 == number ? 0 : 1;
    last[e.key] = number;
    ++arrived;
    inside.fetch_sub(1);
    if (number % 7 == 0) {
      throw std::runtime_error{"an observer that fails"};
    }
  });
  auto const run = [&] {
    for (;;) {
      try {
        ctx.run();
        return;
      } catch (std::runtime_error const&) { // goes to whoever runs the context, and stops nothing
      }
    }
  };
  {
    auto work = asio::make_work_guard(ctx);
    std::vector<std::jthread> crew;
    for (int i = 0; i < runners; ++i) {
      crew.emplace_back(run);
    }
    {
      std::vector<std::jthread> pushing;
      for (int i = 0; i < pushers; ++i) {
        pushing.emplace_back([&, key = "key-" + std::to_string(i)] {
          for (int number = 1; number <= events; ++number) {
            queue->push({rondo::event_kind::key_rotated, key, std::to_string(number)});
          }
        });
      }
    }
    work.reset();
  }
  BOOST_TEST(arrived == pushers * events);
  BOOST_TEST(out_of_order == 0);
  BOOST_TEST(together == 0);
}

BOOST_AUTO_TEST_CASE(what_is_not_delivered_is_freed) {
  auto ctx = std::make_unique<asio::io_context>();
  auto const queue = std::make_shared<rondo::detail::event_queue>(ctx->get_executor());
  int arrived = 0;
  auto const subscription = queue->add([&](rondo::event const&) { ++arrived; });
  for (int i = 0; i < 3; ++i) {
    queue->push({rondo::event_kind::invalid, "a", "a"});
  }
  ctx->run_one();
  queue->close();
  queue->push({rondo::event_kind::invalid, "a", "a"});
  ctx.reset();
  BOOST_TEST(arrived == 1);
}

BOOST_AUTO_TEST_SUITE_END()
