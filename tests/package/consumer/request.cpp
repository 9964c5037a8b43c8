// SPDX-License-Identifier: BSL-1.0
// One request with a key of a pool. Built with the bodies of the library inline, and with them in a file of their own.
#include "origin.hpp"
#include <rondo.hpp>
#include <rondo/provider/provider.hpp>

#include <boost/asio.hpp>

#include <iostream>
#include <string>
#include <utility>

namespace asio = boost::asio;

asio::awaitable<unsigned> ask(rondo::client& client) {
  rondo::http::request request{boost::beast::http::verb::get, "/v1/models", 11};
  rondo::http::response const answer = co_await client.send(std::move(request));
  co_return answer.result_int();
}

int main() {
  asio::io_context context;
  origin server{context};
  rondo::key_pool pool{context.get_executor()};
  pool.add({.name = "a", .secret = rondo::secret{"sk_a"}});
  rondo::client_options options;
  options.base_url = rondo::http::parse_url("http://127.0.0.1:" + std::to_string(server.port())).value();
  rondo::client client{context.get_executor(), pool, rondo::provider::make("openai"), std::move(options)};
  auto answer = asio::co_spawn(context, ask(client), asio::use_future);
  context.run();
  auto const status = answer.get();
  std::cout << status << '\n';
  return status == 200 ? 0 : 1;
}
