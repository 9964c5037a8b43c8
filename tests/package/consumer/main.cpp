// SPDX-License-Identifier: BSL-1.0
#include <rondo/key_pool.hpp>
#include <rondo/status_json.hpp>
#include <rondo/version.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/json/serialize.hpp>

#include <iostream>

int main() {
  boost::asio::io_context context;
  rondo::key_pool pool{context.get_executor()};
  pool.add({.name = "key", .secret = rondo::secret{"secret"}, .limits = {.quota = 10}});
  auto lease = pool.try_acquire(10);
  std::cout << boost::json::serialize(rondo::to_json(pool.snapshot())) << '\n';
  return lease && !pool.try_acquire(1) ? 0 : 1;
}
