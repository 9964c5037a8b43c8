// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/client.hpp>
#include <rondo/error.hpp>
#include <rondo/http/message.hpp>
#include <rondo/key_pool.hpp>
#include <rondo/pool_snapshot.hpp>
#include <rondo/provider/adapter.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/beast/http/field.hpp>
#include <boost/system/system_error.hpp>

#include <cstddef>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// What providers say about accounts outside of serving requests.
namespace rondo::account {

/// How a round of questions went.
struct refresh_result {
  std::size_t asked = 0;    ///< accounts
  std::size_t answered = 0; ///< accounts whose balance is known now
  error_code last_failure;  ///< of the last account that got no answer at all
};

namespace detail {

/// One usable key of each account. Invalid keys are not tried: providers punish repeated failures.
[[nodiscard]] inline std::vector<std::string> keys_to_ask(pool_snapshot const& pool) {
  std::vector<std::string> out;
  std::set<std::string_view> accounts;
  for (auto const& key : pool) {
    auto const usable = key.status != key_status::invalid && key.status != key_status::disabled;
    if (usable && accounts.insert(key.account).second) {
      out.push_back(key.name);
    }
  }
  return out;
}

} // namespace detail

/// Asks the provider for the balance of every account of a pool, one after the other, and takes over what it says.
///
/// The questions go through the client with everything it is set to, proxies and deadlines, but take no lease: balances
/// are asked just when no key can serve. Does nothing when the provider has no such question.
///
/// Preconditions: on the client's executor. Lifetimes: all arguments must live until it completes.
/// Completion: when the last answer has come; a question that fails is no error. Executor: the client's.
/// Cancellation: terminal, partial, total, as far as the calling coroutine lets them through; throws
/// `asio::error::operation_aborted`. Errors: none else. Thread safety: none; the pool may be used by others meanwhile.
/// Cost: one small request for each account.
/// \code
/// co_await rondo::account::refresh_balances(client, pool, *provider);
/// \endcode
[[nodiscard]] inline boost::asio::awaitable<refresh_result> refresh_balances(client& through, key_pool& pool,
                                                                             provider::adapter const& provider) {
  constexpr std::size_t most = 1024 * 1024; // of one answer
  refresh_result out;
  auto const question = provider.balance_request();
  auto const names = question ? detail::keys_to_ask(pool.snapshot()) : std::vector<std::string>{};
  std::string piece(4096, '\0');
  for (auto const& name : names) {
    try {
      auto const mark = pool.begin_balance(name);
      http::request request{*question};
      provider.attach(request, pool.secret_of(name).reveal());
      request.set(boost::beast::http::field::accept_encoding, "identity");
      ++out.asked;
      auto opened = co_await through.pass(std::move(request));
      if (!opened) {
        if (opened.error().ec == boost::asio::error::operation_aborted) {
          throw boost::system::system_error{opened.error().ec};
        }
        out.last_failure = opened.error().ec;
        continue;
      }
      auto answer = *std::move(opened);
      std::string body;
      for (auto done = false; !done && body.size() < most;) {
        auto const space = boost::asio::buffer(piece);
        auto const got = co_await answer.read(space);
        out.last_failure = got.ec ? got.ec : out.last_failure;
        done = got.ec || got.n == 0;
        body.append(piece, 0, got.n);
      }
      if (auto const balance = provider.parse_balance(answer.status(), body)) {
        pool.set_balance(name, *balance, mark);
        ++out.answered;
      }
    } catch (boost::system::system_error const& e) {
      if (e.code() != error::unknown_name) { // a key that was removed meanwhile
        throw;
      }
    }
  }
  co_return out;
}

} // namespace rondo::account
