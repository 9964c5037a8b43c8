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

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>
#include <variant>

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
  /// The same where `key_ring::take_quickly` stopped at `begun`.
  [[nodiscard]] static bool try_take_on(key_ring& ring, key_ring::quick_grant const& begun, demand const& want,
                                        lease& out) {
    if (!ring.try_take_on(begun, want, out.grant_)) {
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
  static void fill(key_ring& ring, capability_set needs, std::uint64_t affinity, lease& out) noexcept {
    auto const chosen = ring.choose(*out.grant_.from, needs, affinity);
    out.ring_ = &ring;
    out.key_ = &chosen.key;
    out.grant_.counted_by_front = chosen.counts_requests;
  }
};

/// What a coroutine waits for, in its frame: the request, then the operation that waits, then the result. Each lives in
/// the place of the one before, so a coroutine that waits takes no memory but its frame.
class acquisition {
public:
  /// Memory for an operation; more than those of Asio's own coroutines need.
  struct room {
    room() noexcept {} // not cleared
    alignas(void*) std::byte bytes[30 * sizeof(void*)];
  };

  explicit acquisition(patient_demand const& wanted) noexcept : state_{wanted} {}
  /// Only before anything was tried.
  acquisition(acquisition const& other) noexcept : state_{other.wanted()} {}
  acquisition& operator=(acquisition const&) = delete;

  [[nodiscard]] patient_demand const& wanted() const noexcept { return *std::get_if<patient_demand>(&state_); }

  [[nodiscard]] bool try_take(key_ring& ring) {
    return fill([&](demand const& want, lease& out) { return lease_factory::try_take(ring, want, out); });
  }
  /// The same where `key_ring::take_quickly` stopped at `begun`.
  [[nodiscard]] bool try_take_on(key_ring& ring, key_ring::quick_grant const& begun) {
    return fill([&](demand const& want, lease& out) { return lease_factory::try_take_on(ring, begun, want, out); });
  }

  [[nodiscard]] void* make_room() noexcept { return state_.emplace<room>().bytes; }

  void end(error_code ec, lease&& result) noexcept { state_.emplace<acquired>(std::move(result), ec); }
  /// Of one that has ended, or has taken at once.
  [[nodiscard]] lease& result() noexcept { return std::get_if<acquired>(&state_)->result; }
  [[nodiscard]] error_code const& failure() const noexcept { return std::get_if<acquired>(&state_)->ec; }

private:
  template <class Take> [[nodiscard]] bool fill(Take&& take) {
    auto const what = wanted();
    auto& out = state_.emplace<acquired>();
    if (what.want.tokens >= 0 && take(what.want, out.result)) [[likely]] {
      return true;
    }
    state_ = what;
    return false;
  }

  struct acquired {
    lease result{};
    error_code ec{};

    acquired() noexcept {} // not defaulted: that would clear the whole object first
    acquired(lease&& r, error_code e) noexcept : result{std::move(r)}, ec{e} {}
  };

  std::variant<patient_demand, acquired, room> state_;
};

/// How a handler wants to hear of the result.
struct as_arguments {
  static constexpr bool in_frame = false;
  template <class Handler> void operator()(Handler&& handler, error_code ec, lease&& result) const {
    std::forward<Handler>(handler)(ec, std::move(result));
  }
};
/// The handler is a coroutine's.
struct written_to {
  static constexpr bool in_frame = true;
  acquisition* target;
  template <class Handler> void operator()(Handler&& handler, error_code ec, lease&& result) const {
    target->end(ec, std::move(result));
    std::forward<Handler>(handler)();
  }
};

/// A parked `async_acquire`: lives from the initiation to the moment before the handler runs, in memory of the
/// handler's allocator, or of the pool if the handler has none; that of a coroutine in its frame, which the handler
/// owns.
///
/// Whoever serves it posts `deliver` to the handler's executor. Cancellation comes through that executor too, so the
/// operation is still there when it is looked for in the line.
template <class Handler, class Told> class wait_operation final : public waiter {
public:
  using executor_type = boost::asio::associated_executor_t<Handler, boost::asio::any_io_executor>;
  using tracked_executor = std::decay_t<decltype(boost::asio::prefer(
      std::declval<executor_type const&>(), boost::asio::execution::outstanding_work.tracked))>;
  using allocator_type = boost::asio::associated_allocator_t<Handler>;

  static void start(key_ring& ring, Handler&& handler, patient_demand const& wanted, Told told) {
    auto* const op = create(ring, std::move(handler), told);
    op->want = wanted.want;
    try {
      op->enter_line(wanted.patience);
    } catch (...) {
      op->forget_cancellation();
      auto const end = op->destroy(); // a coroutine goes with its handler
      throw;
    }
  }

  void complete() noexcept override {
    auto allocator = boost::asio::get_associated_allocator(handler_);
    auto completion = boost::asio::bind_allocator(std::move(allocator), deliver{this});
    if constexpr (Told::in_frame) {
      boost::asio::post(boost::asio::get_associated_executor(handler_), std::move(completion));
    } else {
      boost::asio::post(work_, std::move(completion));
    }
  }

private:
  /// The operation may be gone after this, unless it throws.
  void enter_line(tick patience) {
    auto slot = boost::asio::get_associated_cancellation_slot(handler_);
    if (slot.is_connected()) {
      slot.assign([this](boost::asio::cancellation_type type) {
        if (type != boost::asio::cancellation_type::none && ring_.cancel(*this)) {
          how = end::aborted;
          complete();
        }
      });
    }
    ring_.wait(*this, patience);
  }

  class deliver {
  public:
    explicit deliver(wait_operation* op) noexcept : op_{op} {}
    deliver(deliver&& other) noexcept : op_{std::exchange(other.op_, nullptr)} {}
    deliver(deliver const&) = delete;
    deliver& operator=(deliver const&) = delete;
    ~deliver() {
      if (op_) { // the context was destroyed: nobody will use the lease, and the signal of the slot may be gone
        if (op_->got.from) {
          op_->ring_.refund(op_->got);
        }
        auto const end = op_->destroy();
      }
    }

    void operator()() {
      auto* const op = std::exchange(op_, nullptr);
      error_code ec;
      lease result;
      switch (op->how) {
      case end::served: result = lease_factory::make(op->ring_, op->got, op->want); break;
      case end::failed:
        ec = op->why;
        result = lease_factory::failed(op->got.taken);
        break;
      case end::aborted: ec = boost::asio::error::operation_aborted; break;
      }
      op->forget_cancellation();
      auto const told = op->told_;
      auto ended = op->destroy();
      told(std::move(ended.handler), ec, std::move(result));
    }

  private:
    wait_operation* op_;
  };

  // Who brings no allocator leaves it to us.
  static constexpr bool uses_memory_of_pool = std::is_same_v<allocator_type, std::allocator<void>>;
  using own_allocator = typename std::allocator_traits<allocator_type>::template rebind_alloc<wait_operation>;

  [[nodiscard]] static constexpr bool has_room_in_frame() noexcept {
    return Told::in_frame && sizeof(wait_operation) <= sizeof(acquisition::room) &&
           alignof(wait_operation) <= alignof(acquisition::room);
  }

  struct nothing {};
  /// The handler's executor; its context does not run out of work meanwhile. `co_spawn` sees to that for a coroutine.
  using work = std::conditional_t<Told::in_frame, nothing, tracked_executor>;

  [[nodiscard]] static work work_of(key_ring& ring, Handler const& handler) {
    if constexpr (Told::in_frame) {
      return {};
    } else {
      return boost::asio::prefer(boost::asio::get_associated_executor(handler, ring.get_executor()),
                                 boost::asio::execution::outstanding_work.tracked);
    }
  }

  wait_operation(key_ring& ring, Handler&& handler, Told told)
      : ring_{ring}, handler_{std::move(handler)}, told_{told}, work_{work_of(ring, handler_)} {
    ring_.hold(); // a cancellation may come after the pool is gone
  }

  [[nodiscard]] static wait_operation* create(key_ring& ring, Handler&& handler, Told told) {
    auto const allocator = boost::asio::get_associated_allocator(handler); // the handler will have moved
    void* const memory = allocate(ring, allocator, told);
    try {
      return ::new (memory) wait_operation{ring, std::move(handler), told};
    } catch (...) {
      deallocate(ring, allocator, memory);
      throw;
    }
  }

  [[nodiscard]] static void* allocate(key_ring& ring, allocator_type const& from, Told told) {
    if constexpr (has_room_in_frame()) {
      return told.target->make_room();
    } else if constexpr (uses_memory_of_pool) {
      return ring.allocate_waiter(sizeof(wait_operation));
    } else {
      own_allocator own{from};
      return std::allocator_traits<own_allocator>::allocate(own, 1);
    }
  }
  static void deallocate(key_ring& ring, allocator_type const& to, void* memory) noexcept {
    if constexpr (has_room_in_frame()) {
      // it is the coroutine's
    } else if constexpr (uses_memory_of_pool) {
      ring.deallocate_waiter(memory, sizeof(wait_operation));
    } else {
      own_allocator own{to};
      std::allocator_traits<own_allocator>::deallocate(own, static_cast<wait_operation*>(memory), 1);
    }
  }

  struct remains {
    work for_handler;
    Handler handler;
  };

  void forget_cancellation() {
    if (auto slot = boost::asio::get_associated_cancellation_slot(handler_); slot.is_connected()) {
      slot.clear();
    }
  }

  /// What is left of the operation goes with the result: the handler may own the memory of the operation.
  [[nodiscard]] remains destroy() noexcept {
    auto const allocator = boost::asio::get_associated_allocator(handler_);
    auto& ring = ring_;
    remains out{std::move(work_), std::move(handler_)};
    this->~wait_operation();
    deallocate(ring, allocator, this);
    ring.let_go();
    return out;
  }

  key_ring& ring_;
  Handler handler_;
  [[no_unique_address]] Told told_;
  [[no_unique_address]] work work_;
};

/// What `async_acquire` does when it is initiated.
class initiate_acquire {
public:
  using executor_type = boost::asio::any_io_executor;

  explicit initiate_acquire(key_ring* ring) noexcept : ring_{ring} {}
  [[nodiscard]] executor_type get_executor() const { return ring_->get_executor(); }

  template <class Handler> void operator()(Handler&& handler, patient_demand const& what) const {
    if (what.want.tokens < 0) {
      post_result(std::forward<Handler>(handler), error::invalid_argument, lease{});
      return;
    }
    if (lease ready; lease_factory::try_take(*ring_, what.want, ready)) {
      post_result(std::forward<Handler>(handler), {}, std::move(ready));
      return;
    }
    ring_->found_nothing();
    using own = std::decay_t<Handler>; // it may be an lvalue that the caller keeps
    wait_operation<own, as_arguments>::start(*ring_, own(std::forward<Handler>(handler)), what, {});
  }

private:
  template <class Handler> void post_result(Handler&& handler, error_code ec, lease result) const {
    auto const executor = boost::asio::get_associated_executor(handler, ring_->get_executor());
    auto const allocator = boost::asio::get_associated_allocator(handler);
    boost::asio::post(executor,
                      boost::asio::bind_allocator(
                          allocator, [h = std::decay_t<Handler>(std::forward<Handler>(handler)), ec,
                                      result = std::move(result)]() mutable { std::move(h)(ec, std::move(result)); }));
  }

  key_ring* ring_;
};

/// The same for a coroutine that found nothing.
class initiate_acquisition {
public:
  using executor_type = boost::asio::any_io_executor;

  initiate_acquisition(key_ring* ring, acquisition* what) noexcept : ring_{ring}, what_{what} {}
  [[nodiscard]] executor_type get_executor() const { return ring_->get_executor(); }

  template <class Handler> void operator()(Handler&& handler) const {
    auto const what = what_->wanted();
    if (what.want.tokens < 0) {
      what_->end(error::invalid_argument, lease{});
      boost::asio::post(boost::asio::get_associated_executor(handler), std::forward<Handler>(handler));
      return;
    }
    ring_->found_nothing();
    using own = std::decay_t<Handler>;
    wait_operation<own, written_to>::start(*ring_, own(std::forward<Handler>(handler)), what, {what_});
  }

private:
  key_ring* ring_;
  acquisition* what_;
};

} // namespace rondo::detail
