// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/affinity.hpp>
#include <rondo/client.hpp>
#include <rondo/client_failure.hpp>
#include <rondo/client_options.hpp>
#include <rondo/clock.hpp>
#include <rondo/detail/attempt_end.hpp>
#include <rondo/detail/client_path.hpp>
#include <rondo/detail/client_task.hpp>
#include <rondo/detail/jitter.hpp>
#include <rondo/error.hpp>
#include <rondo/http/client.hpp>
#include <rondo/http/exchange.hpp>
#include <rondo/http/header_rules.hpp>
#include <rondo/http/message.hpp>
#include <rondo/key_pool.hpp>
#include <rondo/lease.hpp>
#include <rondo/outcome.hpp>
#include <rondo/provider/adapter.hpp>
#include <rondo/provider/redact.hpp>
#include <rondo/provider/reset_formats.hpp>
#include <rondo/proxy_lease.hpp>
#include <rondo/proxy_rotator.hpp>
#include <rondo/reply.hpp>
#include <rondo/retry_budget.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/http/field.hpp>
#include <boost/beast/http/verb.hpp>
#include <boost/system/result.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

namespace rondo {

// g++ 12 takes the memory of coroutine frames, which Asio recycles, for freed by the wrong function
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
#endif

RONDO_DECL boost::asio::awaitable<client::result> client::open(http::request message) {
  if (co_await boost::asio::this_coro::executor != executor_) {
    co_return co_await over_there(&client::open, message);
  }
  auto const c = begin(std::move(message));
  auto end = co_await serve(*c);
  if (!end) {
    co_return std::move(end).error();
  }
  co_return std::move(c->out);
}

RONDO_DECL boost::asio::awaitable<http::response> client::send(http::request message) {
  if (co_await boost::asio::this_coro::executor != executor_) {
    co_return co_await over_there(&client::send, message);
  }
  auto const c = begin(std::move(message));
  auto end = co_await serve(*c);
  if (!end) {
    throw client_error{std::move(end).error()};
  }
  auto& answer = c->out;
  http::response whole;
  whole.base() = std::move(answer.stream_.head());
  auto& body = whole.body();
  body = answer.take_kept();
  auto size = body.size();
  auto ec = check_size(size);
  while (!ec && !answer.complete()) {
    if (size == body.size()) {
      body.resize(room_for(answer, size));
    }
    auto const space = boost::asio::buffer(body) + size;
    auto const got = co_await answer.read(space);
    size += got.n;
    ec = got.ec ? got.ec : check_size(size);
  }
  if (ec) {
    throw client_error{{ec, blame_of(ec), {}, answer.attempts(), answer.masked_key()}};
  }
  body.resize(size);
  co_return whole;
}

template <class T>
boost::asio::awaitable<T> client::over_there(boost::asio::awaitable<T> (client::*f)(http::request),
                                             http::request& message) {
  return boost::asio::co_spawn(executor_, (this->*f)(std::move(message)), boost::asio::use_awaitable);
}

RONDO_DECL error_code client::check_size(std::size_t body) const noexcept {
  return body > options_.http.max_response ? make_error_code(error::response_too_large) : error_code{};
}

RONDO_DECL std::size_t client::room_for(reply const& answer, std::size_t size) const noexcept {
  auto const most = std::max<std::uint64_t>(options_.http.max_response, size + 1);
  auto const promised = answer.stream_.content_length().value_or(0);
  auto const wanted = promised > size ? promised : std::max<std::uint64_t>(2 * size, first_piece);
  return static_cast<std::size_t>(std::min(wanted, most));
}

RONDO_DECL std::unique_ptr<client::call> client::begin(http::request&& message) {
  auto const now = clock::now();
  auto c = std::make_unique<call>();
  auto& t = c->t;
  t.message = std::move(message);
  t.deadline = now + options_.retry.deadline;
  t.call = ++calls_;
  t.began = now;
  http::remove_hop_by_hop(t.message); // a caller's Connection must not name the field that the key will stand in
  auto path = std::string_view{options_.base_url.target};
  path = path.substr(0, path.find('?'));
  if (path.ends_with('/')) {
    path.remove_suffix(1);
  }
  if (!path.empty()) {
    auto const target = t.message.target();
    t.message.target(std::string{path}.append(target.data(), target.size()));
  }
  budget_->add_request(now);
  return c;
}

RONDO_DECL boost::asio::awaitable<client::ending> client::serve(call& c) {
  auto& t = c.t;
  t.most_attempts = options_.retry.max_attempts;
  t.work = adapter_->describe(t.message, t.message.body());
  auto const hedged = options_.retry.hedge_after > clock::duration::zero() && repeatable(t.message);
  return hedged ? race(t, c.out) : run(t, c.out);
}

RONDO_DECL boost::asio::awaitable<client::result> client::pass(http::request message) {
  if (co_await boost::asio::this_coro::executor != executor_) {
    co_return co_await over_there(&client::pass, message);
  }
  auto const c = begin(std::move(message));
  auto& [t, out] = *c;
  if (path_.has_proxies()) {
    if (auto const own = adapter_->credentials(t.message); !own.empty()) {
      t.who = affinity{own.front().value.reveal()};
    }
  }
  auto const state = co_await boost::asio::this_coro::cancellation_state;
  if (state.cancelled() != boost::asio::cancellation_type::none) {
    co_return t.fail(boost::asio::error::operation_aborted, blame::nobody);
  }
  auto answer = co_await path_.exchange(t, nullptr, out.proxy_, out.trace_);
  path_.conclude(t, answer, out.proxy_, out.trace_);
  if (!answer) {
    co_return t.fail(answer.error().ec, answer.error().who);
  }
  out.stream_ = std::move(*answer);
  out.attempts_ = t.attempts;
  if (out.complete()) {
    out.end();
  }
  co_return std::move(out);
}

RONDO_DECL boost::asio::awaitable<client::ending> client::run(task& t, reply& out) {
  std::unique_ptr<reply> last; // passed on if the deadline comes before a better one
  for (;; t.began = clock::now()) {
    auto state = co_await boost::asio::this_coro::cancellation_state;
    if (state.cancelled() != boost::asio::cancellation_type::none) {
      co_return t.fail(boost::asio::error::operation_aborted, blame::nobody);
    }
    auto key = acquire_at_once(t);
    if (!key) {
      error_code ec;
      std::tie(ec, key) = co_await acquire(t);
      if (ec) {
        if (last && ec == error::deadline_exceeded) {
          out = std::move(*last);
          co_return ending{};
        }
        co_return t.fail(ec, blame_of(ec), key.retry_after());
      }
      state = co_await boost::asio::this_coro::cancellation_state;
      if (state.cancelled() != boost::asio::cancellation_type::none) {
        key.refund(); // the caller went away while the lease was on its way
        co_return t.fail(boost::asio::error::operation_aborted, blame::nobody);
      }
    }
    adapter_->attach(t.message, key.secret());
    t.masked_key = key.masked_secret();
    t.account = key.account_id();
    t.who = affinity{key.key_name()};
    auto answer = co_await path_.exchange(t, &key, out.proxy_, out.trace_);
    path_.conclude(t, answer, out.proxy_, out.trace_);
    if (!answer) {
      auto const why = answer.error();
      if (!end_failed(t, key, why) || !may_repeat()) {
        if (last && !why.written && why.ec == error::deadline_exceeded) {
          out = std::move(*last);
          co_return ending{};
        }
        co_return t.fail(why.ec, why.who);
      }
      co_await pause(t);
      continue;
    }
    out.stream_ = std::move(*answer);
    error_code broken;
    if (out.status() >= 400) {
      broken = co_await read_error_body(out, t);
    }
    if (broken == boost::asio::error::operation_aborted) {
      key.settle(key.tokens());
      co_return t.fail(broken, blame::nobody);
    }
    auto const verdict = adapter_->judge(t.message, out.head(), out.kept_, std::chrono::system_clock::now());
    if (verdict.concurrency) {
      key.learn_concurrency(*verdict.concurrency);
    }
    out.attempts_ = t.attempts;
    out.masked_key_ = t.masked_key;
    if (!verdict.failure) {
      out.good_ = true;
      out.meter_ = adapter_->meter(out.head());
      out.lease_ = std::move(key);
      auto lost = keep_ready(out);
      auto const safe = repeatable(t.message);
      if (safe && !lost && out.kept_.empty() && !out.stream_.done()) {
        // whether anything comes of the body decides whether the request is sent again
        auto const first = co_await keep(out, beginning);
        lost = first.ec;
      }
      out.meter_.feed(out.kept_);
      if (!safe) {
        out.bad_ = std::exchange(lost, {}); // told when it is read
      }
      if (!lost) {
        if (out.complete()) {
          out.end();
        }
        co_return ending{};
      }
      if (!give_back_broken(t, out, lost) || !may_repeat()) {
        co_return t.fail(lost, blame_of(lost));
      }
      out = reply{};
      co_await pause(t);
      continue;
    }
    redact(out, key.secret());
    if (!end_answered(t, out, key, verdict)) {
      if (broken) {
        co_return t.fail(broken, blame_of(broken)); // what came of it was enough to judge, not to pass on
      }
      co_return ending{};
    }
    if (!broken && (out.stream_.done() || !out.proxy_)) { // no proxy is kept busy by an answer that may be thrown away
      last = std::make_unique<reply>(std::move(out));
    }
    out = reply{};
    if (t.rest && !t.pressed) {
      co_await pause(t);
    }
  }
}

RONDO_DECL boost::asio::awaitable<client::ending> client::race(task& t, reply& out) {
  auto const deadline = t.deadline;
  auto const both = std::make_shared<rivals>(executor_, std::move(t));
  start(both, 0);
  auto const start_second = clock::now() + options_.retry.hedge_after;
  auto cancelled = false;
  while (!cancelled && !both->decided() && clock::now() < start_second) {
    cancelled = co_await wait(*both, start_second);
  }
  auto& first = both->tasks[0];
  auto const under_way = !cancelled && both->running == 1 && first.account != none && clock::now() < deadline;
  if (under_way && may_repeat()) {
    auto& second = both->tasks[1];
    second.message = first.message;
    second.deadline = deadline;
    second.began = clock::now();
    second.call = first.call;
    second.work = first.work;
    second.tries = first.tries;
    second.is_hedge = true;
    second.tried_accounts = first.tried_accounts;
    second.tried_accounts.push_back(first.account);
    second.barred_proxies.push_back(first.proxy);
    start(both, 1);
  }
  while (!cancelled && !both->decided()) {
    cancelled = co_await wait(*both, steady_time::max());
  }
  co_await boost::asio::this_coro::reset_cancellation_state(boost::asio::disable_cancellation());
  for (auto& stop : both->stops) {
    stop.emit(boost::asio::cancellation_type::terminal);
  }
  while (both->running > 0) { // the one that lost refers to us
    static_cast<void>(co_await wait(*both, steady_time::max()));
  }
  if (both->thrown && !both->has_good(0) && !both->has_good(1)) {
    std::rethrow_exception(both->thrown);
  }
  co_return outcome_of(*both, cancelled, out);
}

RONDO_DECL void client::start(std::shared_ptr<rivals> const& both, std::size_t i) {
  ++both->running;
  boost::asio::co_spawn(
      executor_, run(both->tasks[i], both->answers[i]),
      boost::asio::bind_cancellation_slot(both->stops[i].slot(), [both, i](std::exception_ptr thrown, ending how) {
        --both->running;
        if (thrown) {
          both->thrown = thrown;
        } else {
          both->ends[i].emplace(std::move(how));
        }
        both->wake.cancel();
      }));
}

RONDO_DECL boost::asio::awaitable<bool> client::wait(rivals& both, steady_time until) {
  both.wake.expires_at(until);
  auto const [ec] = co_await both.wake.async_wait(boost::asio::as_tuple(boost::asio::use_awaitable));
  static_cast<void>(ec);
  auto const state = co_await boost::asio::this_coro::cancellation_state;
  co_return state.cancelled() != boost::asio::cancellation_type::none;
}

RONDO_DECL client::ending client::outcome_of(rivals& both, bool cancelled, reply& out) {
  auto const attempts = both.tasks[0].attempts + both.tasks[1].attempts;
  if (cancelled) {
    auto failure = both.tasks[0].fail(boost::asio::error::operation_aborted, blame::nobody);
    failure.attempts = attempts;
    return failure;
  }
  auto const answered = [&](std::size_t i) { return both.ends[i] && *both.ends[i]; };
  std::size_t const best = both.has_good(0) ? 0 : both.has_good(1) ? 1 : answered(0) ? 0 : answered(1) ? 1 : 0;
  auto end = std::move(*both.ends[best]);
  if (end) {
    out = std::move(both.answers[best]);
    out.attempts_ = attempts;
    return end;
  }
  auto failure = std::move(end).error();
  failure.attempts = attempts;
  return failure;
}

RONDO_DECL request client::wanted(task const& t) {
  request want;
  want.tokens = t.work.tokens;
  want.lane = t.work.lane;
  want.needs = t.work.needs;
  want.unsent = true;
  return want;
}

RONDO_DECL lease client::acquire_at_once(task const& t) {
  auto ready = t.tried_accounts.empty() ? keys_.try_acquire(wanted(t)) : keys_.try_acquire(wanted(t), t.tried_accounts);
  return ready ? std::move(*ready) : lease{};
}

RONDO_DECL boost::asio::awaitable<std::tuple<error_code, lease>> client::acquire(task& t) {
  auto want = wanted(t);
  if (!t.tried_accounts.empty()) {
    if (t.is_hedge) {
      co_return std::tuple{make_error_code(error::exhausted), lease{}};
    }
    if (t.pressed) {
      if (t.rest > t.left()) {
        co_return std::tuple{make_error_code(error::deadline_exceeded), lease{}};
      }
      co_await pause(t);
      auto const state = co_await boost::asio::this_coro::cancellation_state;
      if (state.cancelled() != boost::asio::cancellation_type::none) {
        co_return std::tuple{error_code{boost::asio::error::operation_aborted}, lease{}};
      }
    }
    if (auto ready = keys_.try_acquire(want)) {
      co_return std::tuple{error_code{}, std::move(*ready)};
    }
  }
  want.timeout = t.left();
  co_return co_await keys_.async_acquire(want, boost::asio::as_tuple(boost::asio::use_awaitable));
}

RONDO_DECL boost::asio::awaitable<void> client::pause(task& t) {
  auto const base = std::chrono::milliseconds{25} * (1U << std::min(t.attempts + 1, 6U));
  auto const spread = std::chrono::nanoseconds{spread_(std::chrono::nanoseconds{base}.count())};
  auto const wanted = std::exchange(t.rest, std::nullopt).value_or(clock::duration::zero());
  boost::asio::steady_timer timer{executor_};
  timer.expires_after(std::min(std::max<clock::duration>(spread, wanted), t.left()));
  auto const [ec] = co_await timer.async_wait(boost::asio::as_tuple(boost::asio::use_awaitable));
  static_cast<void>(ec);
}

RONDO_DECL bool client::end_failed(task const& t, lease& key, http::failure const& why) const {
  if (!why.written) {
    key.refund();
    auto const final = why.who == blame::caller || why.ec == boost::asio::error::operation_aborted ||
                       why.ec == error::certificate_rejected || why.ec == error::certificate_not_pinned ||
                       why.ec == error::deadline_exceeded || path_.has_proxies();
    return !final && !t.over();
  }
  if (why.ec == boost::asio::error::operation_aborted) {
    key.settle(key.tokens()); // it may have been carried out, and nobody will tell what it cost
    return false;
  }
  key.report(outcome::transport_error());
  return repeatable(t.message) && !t.over();
}

RONDO_DECL bool client::end_answered(task& t, reply& out, lease& key, provider::verdict const& verdict) {
  using kind = outcome::kind;
  t.rest.reset();
  if (out.proxy_ && refuses_address(out)) {
    key.report(outcome::rejected()); // it is not the key's
    out.trace_.blame_for_answer(blame::proxy);
    out.proxy_.refused_there(provider::retry_after(out.head(), std::chrono::system_clock::now()));
    return !t.over() && may_repeat();
  }
  out.trace_.blame_for_answer(detail::blame_of_answer(verdict));
  auto const what = verdict.failure->what();
  t.pressed = what == kind::concurrency_limited || what == kind::overloaded;
  if (what == kind::overloaded || what == kind::transport_error) { // nobody rests: it is for us to wait
    t.rest = provider::retry_after(out.head(), std::chrono::system_clock::now());
  }
  t.tried_accounts.push_back(key.account_id());
  auto const next = detail::end_answered(key, verdict);
  out.good_ = next == detail::next_step::pass_on;
  if (out.stream_.done()) {
    out.end(); // it is over, whatever comes after it
  }
  if (next == detail::next_step::pass_on || t.over()) {
    return false;
  }
  if (next == detail::next_step::try_again_if_repeatable) {
    if (!repeatable(t.message) || t.rest > t.left()) {
      return false;
    }
  }
  return detail::takes_key_away(verdict) || may_repeat();
}

RONDO_DECL bool client::refuses_address(reply const& out) const {
  return std::any_of(options_.address_refusals.begin(), options_.address_refusals.end(),
                     [&](address_refusal const& each) {
                       return each.status == out.status() && out.kept_.find(each.marker) != std::string::npos;
                     });
}

RONDO_DECL bool client::give_back_broken(task& t, reply& out, error_code why) const {
  if (why == boost::asio::error::operation_aborted) {
    return false; // the reply settles what was reserved
  }
  out.trace_.fail(why, blame_of(why));
  out.lease_.report(outcome::transport_error());
  if (out.proxy_) {
    t.suspects.push_back({std::move(out.proxy_), true});
  }
  return !t.over();
}

RONDO_DECL bool client::repeatable(http::request const& message) const {
  using boost::beast::http::verb;
  auto const method = message.method();
  return options_.retry.unsafe || method == verb::get || method == verb::head || method == verb::put ||
         method == verb::delete_ || method == verb::options || method == verb::trace ||
         message.find("idempotency-key") != message.end();
}

RONDO_DECL boost::asio::awaitable<error_code> client::read_error_body(reply& out, task const& t) {
  while (!out.stream_.done() && out.kept_.size() < most_judged) {
    out.stream_.set_idle_timeout(std::min(options_.idle_timeout, t.left()));
    auto const got = co_await keep(out, most_judged);
    if (got.ec) {
      co_return got.ec;
    }
    if (got.n == 0) {
      break;
    }
  }
  out.stream_.set_idle_timeout(options_.idle_timeout);
  co_return error_code{};
}

RONDO_DECL error_code client::keep_ready(reply& out) {
  if (!out.kept_.empty() || out.stream_.done()) {
    return {};
  }
  std::array<char, beginning> piece;
  auto const got = out.stream_.try_read(boost::asio::buffer(piece)).value_or(http::read_result{});
  out.kept_.assign(piece.data(), got.n);
  return got.ec;
}

RONDO_DECL boost::asio::awaitable<http::read_result> client::keep(reply& out, std::size_t most) {
  auto const before = out.kept_.size();
  out.kept_.resize(std::min(before + beginning, most));
  auto const space = boost::asio::buffer(out.kept_.data() + before, out.kept_.size() - before);
  auto const got = co_await out.stream_.read(space);
  out.kept_.resize(before + got.n);
  co_return got;
}

RONDO_DECL void client::redact(reply& out, std::string_view key) {
  auto& head = out.stream_.head();
  std::vector<std::pair<std::string, std::string>> echoes;
  for (auto const& field : head) {
    std::string const value{field.value()};
    if (auto clean = provider::redacted(value, key); clean != value) {
      echoes.emplace_back(field.name_string(), std::move(clean));
    }
  }
  for (auto const& [name, value] : echoes) {
    head.erase(name);
  }
  for (auto const& [name, value] : echoes) {
    head.insert(name, value);
  }
  if (!out.stream_.done()) {
    return; // larger than any error that was ever seen: passed on as it comes
  }
  auto clean = provider::redacted(out.kept_, key);
  if (clean != out.kept_) {
    out.kept_ = std::move(clean);
    if (head.find(boost::beast::http::field::content_length) != head.end()) {
      head.set(boost::beast::http::field::content_length, std::to_string(out.kept_.size()));
    }
  }
}

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

} // namespace rondo
