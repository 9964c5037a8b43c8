// SPDX-License-Identifier: BSL-1.0
#include "support/temporary_directory.hpp"
#include <rondo/key_pool.hpp>
#include <rondo/store/csv_keys.hpp>
#include <rondo/store/csv_store.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/test/unit_test.hpp>

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr int spenders = 3;
constexpr int each = 20'000;
constexpr int rounds = 6;

} // namespace

BOOST_AUTO_TEST_SUITE(csv_store_stress)

BOOST_AUTO_TEST_CASE(no_change_is_lost_however_saves_and_settles_fall_together) {
  rondo::test::temporary_directory const directory;
  std::filesystem::path const file =
      directory.write("BASE.csv", "API,available_tokens\nsk_one,9000000\nsk_two,9000000\n");
  boost::asio::io_context context{2};
  rondo::key_pool pool{context.get_executor()};
  rondo::store::csv_store store{pool, file};

  for (int round = 0; round < rounds; ++round) {
    std::atomic<int> busy{spenders};
    std::vector<std::thread> threads;
    for (int t = 0; t < spenders; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < each; ++i) {
          pool.try_acquire(1)->settle(1);
        }
        --busy;
      });
    }
    threads.emplace_back([&] {
      while (busy > 0) {
        store.save();
      }
    });
    for (auto& thread : threads) {
      thread.join();
    }
    // what is left to save is saved without being told to
    context.restart();
    std::thread second{[&] { context.run(); }};
    context.run();
    second.join();
    std::int64_t left = 0;
    for (auto const& key : rondo::store::csv_keys::load(file).keys()) {
      left += key.remaining.value();
    }
    BOOST_TEST_REQUIRE(left == std::int64_t{18'000'000} - (round + 1) * spenders * each);
  }
}

BOOST_AUTO_TEST_SUITE_END()
