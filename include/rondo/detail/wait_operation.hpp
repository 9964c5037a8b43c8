// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/detail/key_ring.hpp>
#include <rondo/error.hpp>
#include <rondo/lease.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_allocator.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/bind_allocator.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/execution/outstanding_work.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/prefer.hpp>
#include <boost/config.hpp>

#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>

namespace rondo::detail {

/// Makes leases out of grants.
class lease_factory {
public:
  /// Tries to fill an empty lease.
  [[nodiscard]] static bool try_take(key_ring& ring, demand const& want, lease& out,
                                     std::span<std::uint32_t const> avoid = {}) {
    if (!ring.try_take(want, out.grant_, avoid)) {
      return false;
    }
    fill(ring, want.needs, want.affinity, out);
    return true;
  }
  [[nodiscard]] BOOST_FORCEINLINE static bool try_take(key_ring& ring, std::int64_t tokens, lease& out) {
    if (tokens < 0 || !ring.try_take(tokens, out.grant_)) [[unlikely]] {
      return false;
    }
    fill(ring, {}, 0, out);
    return true;
  }
  [[nodiscard]] static lease make(key_ring& ring, grant const& g, demand const& want) noexcept {
    lease out;
    out.grant_ = g;
    fill(ring, want.needs, want.affinity, out);
    return out;
  }
  [[nodiscard]] static lease failed(tick back_in) noexcept {
    lease out;
    out.grant_.taken = back_in;
    return out;
  }

private:
  BOOST_FORCEINLINE static void fill(key_ring& ring, capability_set needs, std::uint64_t affinity,
                                     lease& out) noexcept {
    out.key_ = &ring.choose(out.grant_, needs, affinity, out.grant_.counted_by_front);
    out.ring_ = &ring;
  }
};

/// How a handler wants to hear of the result.
struct as_arguments {
  template <class Handler> void operator()(Handler&& handler, error_code ec, lease&& result) const {
    std::forward<Handler>(handler)(ec, std::move(result));
  }
};
/// What a coroutine waits for, in its frame: the lease is copied once, and can be seen before it throws.
struct acquisition {
  demand want{};
  lease result{};
  error_code ec{};
};
struct written_to {
  acquisition* target;
  template <class Handler> void operator()(Handler&& handler, error_code ec, lease&& result) const {
    target->ec = ec;
    target->result = std::move(result);
    std::forward<Handler>(handler)();
  }
};

/// A parked `async_acquire`: lives in memory of the handler's allocator, or of the pool if the handler has none, from
/// the initiation to the moment before the handler runs.
///
/// Whoever serves it posts `deliver` to the handler's executor. Cancellation comes through that executor too, so the
/// operation is still there when it is looked for in the line.
template <class Handler, class Told> class wait_operation final : public waiter {
public:
  using executor_type = boost::asio::associated_executor_t<Handler, boost::asio::any_io_executor>;
  using tracked_executor = std::decay_t<decltype(boost::asio::prefer(
      std::declval<executor_type const&>(), boost::asio::execution::outstanding_work.tracked))>;
  using allocator_type = boost::asio::associated_allocator_t<Handler>;

  static void start(key_ring& ring, Handler&& handler, demand const& wanted, Told told) {
    auto* const op = create(ring, std::move(handler), told);
    op->want = wanted;
    try {
      op->enter_line();
    } catch (...) {
      op->forget_cancellation();
      op->destroy(boost::asio::get_associated_allocator(op->handler_));
      throw;
    }
  }

  void complete() noexcept override {
    auto const allocator = boost::asio::get_associated_allocator(handler_);
    boost::asio::post(executor_, boost::asio::bind_allocator(allocator, deliver{this}));
  }

private:
  /// The operation may be gone after this, unless it throws.
  void enter_line() {
    auto slot = boost::asio::get_associated_cancellation_slot(handler_);
    if (slot.is_connected()) {
      slot.assign([this](boost::asio::cancellation_type type) {
        if (type != boost::asio::cancellation_type::none && ring_.cancel(*this)) {
          aborted = true;
          complete();
        }
      });
    }
    ring_.wait(*this);
  }

  class deliver {
  public:
    explicit deliver(wait_operation* op) noexcept : op_{op} {}
    deliver(deliver&& other) noexcept : op_{std::exchange(other.op_, nullptr)} {}
    deliver(deliver const&) = delete;
    deliver& operator=(deliver const&) = delete;
    ~deliver() {
      if (op_) { // the context was destroyed: nobody will ever use the lease
        op_->forget_cancellation();
        if (op_->got.from) {
          op_->ring_.refund(op_->got);
        }
        op_->destroy(boost::asio::get_associated_allocator(op_->handler_));
      }
    }

    void operator()() {
      auto* const op = std::exchange(op_, nullptr);
      op->forget_cancellation();
      error_code ec;
      lease result;
      if (op->aborted) {
        ec = boost::asio::error::operation_aborted;
      } else if (op->failed) {
        ec = *op->failed;
        result = lease_factory::failed(op->back_in);
      } else {
        result = lease_factory::make(op->ring_, op->got, op->want);
      }
      auto const work = std::move(op->executor_);
      auto const allocator = boost::asio::get_associated_allocator(op->handler_);
      auto handler = std::move(op->handler_);
      auto const told = op->told_;
      op->destroy(allocator);
      told(std::move(handler), ec, std::move(result));
    }

  private:
    wait_operation* op_;
  };

  // Who brings no allocator leaves it to us.
  static constexpr bool uses_memory_of_pool = std::is_same_v<allocator_type, std::allocator<void>>;
  using own_allocator = typename std::allocator_traits<allocator_type>::template rebind_alloc<wait_operation>;

  wait_operation(key_ring& ring, Handler&& handler, Told told)
      : ring_{ring}, handler_{std::move(handler)}, told_{told},
        executor_{boost::asio::prefer(boost::asio::get_associated_executor(handler_, ring.get_executor()),
                                      boost::asio::execution::outstanding_work.tracked)} {
    ring_.hold(); // a cancellation may come after the pool is gone
  }

  void forget_cancellation() {
    if (auto slot = boost::asio::get_associated_cancellation_slot(handler_); slot.is_connected()) {
      slot.clear();
    }
  }

  [[nodiscard]] static wait_operation* create(key_ring& ring, Handler&& handler, Told told) {
    void* memory = nullptr;
    if constexpr (uses_memory_of_pool) {
      memory = ring.allocate_waiter(sizeof(wait_operation));
    } else {
      own_allocator allocator{boost::asio::get_associated_allocator(handler)};
      memory = std::allocator_traits<own_allocator>::allocate(allocator, 1);
    }
    return ::new (memory) wait_operation{ring, std::move(handler), told};
  }

  void destroy(allocator_type const& from) noexcept {
    auto& ring = ring_;
    this->~wait_operation();
    if constexpr (uses_memory_of_pool) {
      ring.deallocate_waiter(this, sizeof(wait_operation));
    } else {
      own_allocator allocator{from};
      std::allocator_traits<own_allocator>::deallocate(allocator, this, 1);
    }
    ring.let_go();
  }

  key_ring& ring_;
  Handler handler_;
  [[no_unique_address]] Told told_;
  tracked_executor executor_; ///< the handler's; its context does not run out of work meanwhile
};

/// What `async_acquire` does when it is initiated.
class initiate_acquire {
public:
  using executor_type = boost::asio::any_io_executor;

  explicit initiate_acquire(key_ring* ring) noexcept : ring_{ring} {}
  [[nodiscard]] executor_type get_executor() const { return ring_->get_executor(); }

  template <class Handler, class Told = as_arguments>
  void operator()(Handler&& handler, demand const& want, Told told = {}) const {
    if (want.tokens < 0) {
      post_result(std::forward<Handler>(handler), error::invalid_argument, lease{}, told);
      return;
    }
    if (lease ready; lease_factory::try_take(*ring_, want, ready)) {
      post_result(std::forward<Handler>(handler), {}, std::move(ready), told);
      return;
    }
    ring_->found_nothing();
    using own = std::decay_t<Handler>; // it may be an lvalue that the caller keeps
    wait_operation<own, Told>::start(*ring_, own(std::forward<Handler>(handler)), want, told);
  }

private:
  template <class Handler, class Told>
  void post_result(Handler&& handler, error_code ec, lease result, Told told) const {
    auto const executor = boost::asio::get_associated_executor(handler, ring_->get_executor());
    auto const allocator = boost::asio::get_associated_allocator(handler);
    boost::asio::post(executor,
                      boost::asio::bind_allocator(allocator, [h = std::decay_t<Handler>(std::forward<Handler>(handler)),
                                                              told, ec, result = std::move(result)]() mutable {
                        told(std::move(h), ec, std::move(result));
                      }));
  }

  key_ring* ring_;
};

/// The same for a coroutine. What it wants stays in its frame.
class initiate_acquisition {
public:
  using executor_type = boost::asio::any_io_executor;

  initiate_acquisition(key_ring* ring, acquisition* what) noexcept : ring_{ring}, what_{what} {}
  [[nodiscard]] executor_type get_executor() const { return ring_->get_executor(); }

  template <class Handler> void operator()(Handler&& handler) const {
    initiate_acquire{ring_}(std::forward<Handler>(handler), what_->want, written_to{what_});
  }

private:
  key_ring* ring_;
  acquisition* what_;
};

} // namespace rondo::detail
