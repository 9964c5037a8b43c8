// SPDX-License-Identifier: BSL-1.0
// The README's ten lines as a program: two keys take turns. Needs no network.
#include <rondo.hpp>

#include <boost/asio.hpp>

#include <iostream>

namespace asio = boost::asio;

asio::awaitable<void> work(rondo::key_pool& pool) {
  for (int i = 1; i <= 4; ++i) {
    rondo::lease lease = co_await pool.acquire(200); // a key that can pay 200 tokens; waits if none can now
    std::cout << "request " << i << " goes out with " << lease.key_name() << '\n'; // send lease.secret()
    lease.settle(173); // what it really cost; or lease.report(rondo::outcome::rate_limited())
  }
}

int main() {
  asio::thread_pool context{1}; // any Asio execution context will do
  rondo::key_pool pool{context.get_executor()};
  pool.add({.name = "a", .secret = rondo::secret{"sk_a"}, .limits = {.requests_per_minute = 60, .quota = 10'000}});
  pool.add({.name = "b", .secret = rondo::secret{"sk_b"}, .limits = {.requests_per_minute = 60, .quota = 10'000}});
  asio::co_spawn(context, work(pool), asio::use_future).get(); // throws what work throws
}
