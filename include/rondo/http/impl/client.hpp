// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/http/client.hpp>
#include <rondo/http/detail/client_core.hpp>
#include <rondo/http/impl/connections.hpp>
#include <rondo/http/impl/establish.hpp>
#include <rondo/http/impl/exchange.hpp>
#include <rondo/http/impl/incoming.hpp>

#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/execution/outstanding_work.hpp>
#include <boost/asio/prefer.hpp>
#include <boost/asio/this_coro.hpp>

#include <exception>
#include <limits>
#include <type_traits>
#include <utility>

namespace rondo::http {

namespace detail {

inline exchange_options const default_exchange{};

/// Keeps a cancellation back until its coroutine runs: in Boost 1.81 one that comes between `co_spawn` and the first
/// step is thrown out of `io_context::run`.
struct cancellation_relay {
  asio::cancellation_signal signal;
  bool started = false;
  bool early = false;

  void emit(asio::cancellation_type type) {
    if (started) {
      signal.emit(type);
    } else {
      early = true;
    }
  }
};

inline asio::awaitable<client_core::open_result> run_open(std::shared_ptr<client_core> core,
                                                          std::shared_ptr<cancellation_relay> relay, url to,
                                                          request_head head, std::string body,
                                                          exchange_options options) {
  co_await asio::this_coro::reset_cancellation_state(asio::enable_total_cancellation());
  relay->started = true;
  if (relay->early) {
    co_return fail(asio::error::operation_aborted);
  }
  auto const most = options.max_body.value_or(std::numeric_limits<std::uint64_t>::max());
  co_return co_await core->open(to, head, body, options, most);
}

inline asio::awaitable<client_core::send_result> run_send(std::shared_ptr<client_core> core,
                                                          std::shared_ptr<cancellation_relay> relay, url to,
                                                          request message, exchange_options options) {
  co_await asio::this_coro::reset_cancellation_state(asio::enable_total_cancellation());
  relay->started = true;
  if (relay->early) {
    co_return fail(asio::error::operation_aborted);
  }
  co_return co_await core->send(to, message, options);
}

template <class Handler> std::shared_ptr<cancellation_relay> relay_for(Handler const& handler) {
  auto relay = std::make_shared<cancellation_relay>();
  if (auto slot = asio::get_associated_cancellation_slot(handler); slot.is_connected()) {
    slot.assign([relay](asio::cancellation_type type) { relay->emit(type); });
  }
  return relay;
}

/// Takes the outcome of a coroutine on the client's executor, and hands it over on the handler's.
///
/// It has a cancellation slot but, on purpose, no executor: `co_spawn` of Boost 1.81 would post cancellations to that
/// one, where they may arrive after everything is gone.
template <class T, class Handler> class hand_over {
public:
  using cancellation_slot_type = asio::cancellation_slot;

  hand_over(asio::any_io_executor const& executor, std::shared_ptr<cancellation_relay> relay, Handler handler)
      : relay_{std::move(relay)}, slot_{asio::get_associated_cancellation_slot(handler)},
        target_{
            asio::prefer(asio::get_associated_executor(handler, executor), asio::execution::outstanding_work.tracked)},
        handler_{std::move(handler)} {}

  [[nodiscard]] cancellation_slot_type get_cancellation_slot() const noexcept { return relay_->signal.slot(); }

  void operator()(std::exception_ptr const& thrown, boost::system::result<T, failure> outcome) {
    if (slot_.is_connected()) {
      slot_.clear();
    }
    error_code ec;
    T value;
    try {
      if (thrown) {
        std::rethrow_exception(thrown);
      }
      if (outcome) {
        value = std::move(*outcome);
      } else {
        ec = outcome.error().ec;
      }
    } catch (boost::system::system_error const& e) {
      ec = e.code();
    }
    asio::dispatch(target_, [handler = std::move(handler_), ec, value = std::move(value)]() mutable {
      std::move(handler)(ec, std::move(value));
    });
  }

private:
  using target = decltype(asio::prefer(std::declval<asio::associated_executor_t<Handler, asio::any_io_executor>>(),
                                       asio::execution::outstanding_work.tracked));

  std::shared_ptr<cancellation_relay> relay_;
  cancellation_slot_type slot_;
  std::decay_t<target> target_;
  Handler handler_;
};

} // namespace detail

RONDO_DECL client::client(boost::asio::any_io_executor executor, client_options options)
    : core_{std::make_shared<detail::client_core>(std::move(executor), std::move(options))} {}
RONDO_DECL client::client(client&&) noexcept = default;
RONDO_DECL client& client::operator=(client&& other) noexcept {
  if (core_) {
    core_->close_idle();
  }
  core_ = std::move(other.core_);
  return *this;
}
RONDO_DECL client::~client() {
  if (core_) {
    core_->close_idle();
  }
}

RONDO_DECL boost::asio::awaitable<boost::system::result<incoming, failure>>
client::open(url const& to, request_head const& head, body_view body, exchange_options const& options) {
  return core_->open(to, head, body, options, options.max_body.value_or(std::numeric_limits<std::uint64_t>::max()));
}

RONDO_DECL boost::asio::awaitable<boost::system::result<incoming, failure>>
client::open(url const& to, request_head const& head, body_view body) {
  return open(to, head, body, detail::default_exchange);
}

RONDO_DECL boost::asio::awaitable<boost::system::result<response, failure>>
client::send(url const& to, request const& message, exchange_options const& options) {
  return core_->send(to, message, options);
}

RONDO_DECL boost::asio::awaitable<boost::system::result<response, failure>> client::send(url const& to,
                                                                                         request const& message) {
  return send(to, message, detail::default_exchange);
}

RONDO_DECL boost::asio::any_io_executor client::get_executor() const noexcept {
  return core_->executor();
}
RONDO_DECL void client::close_idle() noexcept {
  core_->close_idle();
}
RONDO_DECL std::size_t client::idle_connections() const noexcept {
  return core_->idle_count();
}
RONDO_DECL std::size_t client::active_connections() const noexcept {
  return core_->active_count();
}

RONDO_DECL boost::asio::any_io_executor client::initiate_open::get_executor() const noexcept {
  return core->executor();
}
RONDO_DECL boost::asio::any_io_executor client::initiate_send::get_executor() const noexcept {
  return core->executor();
}

RONDO_DECL void client::initiate_open::operator()(open_handler handler, url to, request_head head, std::string body,
                                                  exchange_options options) const {
  auto const relay = detail::relay_for(handler);
  boost::asio::co_spawn(
      core->executor(),
      detail::run_open(core, relay, std::move(to), std::move(head), std::move(body), std::move(options)),
      detail::hand_over<incoming, open_handler>{core->executor(), relay, std::move(handler)});
}

RONDO_DECL void client::initiate_send::operator()(send_handler handler, url to, request message,
                                                  exchange_options options) const {
  auto const relay = detail::relay_for(handler);
  boost::asio::co_spawn(core->executor(),
                        detail::run_send(core, relay, std::move(to), std::move(message), std::move(options)),
                        detail::hand_over<response, send_handler>{core->executor(), relay, std::move(handler)});
}

} // namespace rondo::http
