// SPDX-License-Identifier: BSL-1.0
#include "support/check_schedules.hpp"
#include "support/manual_clock.hpp"
#include <rondo/detail/slot_table.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

using rondo::detail::claim;
using rondo::detail::lazy_now;
using rondo::detail::on_refusal;
using rondo::detail::tick;
using rondo::test::check_schedules;
using rondo::test::expect;
using rondo::test::explored_atomic;

namespace gate = rondo::detail::gate;

namespace {

/// A table with one slot, and just as much of a pool around it as the protocol of the table needs: who is refused parks
/// the slot or has it watched, who frees something looks for the waiter. There is one waiter, and a second count of
/// everything that must not be granted twice.
class pool_of_one {
public:
  explicit pool_of_one(rondo::limits const& l) : limits_{l} {
    table_.set_limits(slot_, limits_, limits_.quota != 0, [this](std::int64_t) { return limits_.quota; });
    table_.set_off(slot_, false);
  }

  // --- what threads do

  /// A request that does not wait.
  std::optional<claim> take(std::int64_t tokens) {
    bool disturbed = false;
    claim quick{.tokens = tokens};
    auto const simple = waiting_.load() == 0 && table_.ready().next_near(0) == 0 && take_quickly(quick, disturbed);
    auto const taken = simple ? std::optional{quick} : take_with_care(tokens, on_refusal::forget, disturbed);
    if (taken) {
      count(*taken);
    }
    if (disturbed) {
      wake();
    }
    return taken;
  }

  /// A request that waits if it must.
  void wait(std::int64_t tokens) {
    lock();
    wanted_ = tokens;
    waiting_.store(1);
    serve_waiter();
    if (!served_) {
      auto const seen = table_.available(slot_, wanted_, now());
      alarm_ = std::min(seen.on_event ? rondo::detail::never : seen.at, table_.next_return());
    }
    unlock();
  }

  void settle(claim const& c, std::int64_t actual) {
    --leases_;
    granted_tokens_ -= std::max<std::int64_t>(c.tokens - actual, 0);
    auto const word = slot_.gate.load();
    if (c.probe || !table_.is_simple(word) || (word & gate::rated) != 0) {
      lazy_now at{clock_};
      table_.charge(slot_, c, actual, now(), at);
      end(c);
      return;
    }
    auto const before = table_.charge_quickly(slot_, actual);
    if (rondo::detail::expense::is_half_full(before)) {
      table_.correct_books(slot_);
    }
    if (!table_.end_quietly(slot_, c.tokens, word)) {
      end_with_care(c);
    }
  }

  void refund(claim const& c) {
    --leases_;
    granted_tokens_ -= c.tokens;
    table_.give_back(slot_, c, now());
    end(c);
  }

  void take_and_refund(std::int64_t tokens) {
    if (auto const taken = take(tokens)) {
      refund(*taken);
    }
  }

  void rest(tick length) { table_.cool(slot_, rondo::detail::rest_kind::rate_limited, now() + length, now()); }
  void exhaust(tick length) { table_.cool(slot_, rondo::detail::rest_kind::exhausted, now() + length, now()); }
  /// A balance has come.
  void end_exhaustion() {
    table_.end_exhaustion(slot_, now());
    if ((slot_.gate.load() & gate::parked) != 0) {
      table_.reconsider(slot_, now());
    }
    wake();
  }
  void restore(tick judged) { table_.restore(slot_, judged); }

  void allow(std::uint32_t concurrency) {
    limits_.concurrency = concurrency;
    table_.set_limits(slot_, limits_, limits_.quota != 0, [](std::int64_t left) { return left; });
    wake();
  }

  /// The quota is used up, and comes back after `length`.
  void reset_after(tick length) {
    limits_.quota_reset = clock_.wall_now() + std::chrono::nanoseconds{length};
    table_.set_limits(slot_, limits_, true, [](std::int64_t) { return 0; });
    granted_tokens_ = 0;
  }

  /// Limits that say when the quota returns, and nothing else.
  void change_return(tick length) {
    limits_.quota_reset = clock_.wall_now() + std::chrono::nanoseconds{length};
    table_.set_limits(slot_, limits_, true, [](std::int64_t left) { return left; });
    wake();
  }

  /// Limits that say the same of when the quota returns.
  void grow_quota_by(std::int64_t more) {
    limits_.quota += more;
    table_.set_limits(slot_, limits_, true, [=](std::int64_t left) { return left + more; });
    wake();
  }

  /// An account without a quota was said to have ten tokens, which come back after `length`, and then to have more.
  void have_a_balance(std::int64_t left, tick length) {
    limits_.quota_reset = clock_.wall_now() + std::chrono::nanoseconds{length};
    table_.set_limits(slot_, limits_, true, [](std::int64_t) { return 10; });
    table_.set_balance(slot_, [=](std::int64_t) { return left; });
  }

  /// Limits that have nothing to do with a balance.
  void keep_the_balance() {
    table_.set_limits(slot_, limits_, true, [](std::int64_t) { return std::nullopt; });
    wake();
  }

  /// So much was spent that the next charge has to move it into the books.
  void fill_the_books() {
    constexpr auto much = std::int64_t{1} << 39;
    slot_.spent.store(static_cast<std::uint64_t>(much) << rondo::detail::expense::tokens_at);
    slot_.base.fetch_add(much);
  }

  /// Whoever wants to know when the slot can serve must find it somewhere, unless it was just changing places.
  void look_for_it() {
    auto const before = table_.transitions();
    auto const ready = !table_.ready().empty() || !table_.pending().empty();
    auto returns = false;
    table_.returns().visit([&](auto const&, tick) { return returns = true; });
    expect(ready || returns || table_.transitions() != before, "a slot is nowhere to be found");
  }

  void close() { counted_at_close_ = table_.close(slot_); }

  void advance(tick by) { clock_.advance(std::chrono::nanoseconds{by}); }
  [[nodiscard]] tick now() const { return rondo::detail::to_tick(clock_.steady_now()); }

  // --- what must hold when no thread is at work

  void check_waiter_was_served() {
    if (alarm_ <= now()) {
      wake();
    }
    expect(served_.has_value(), "the waiter sleeps although he could be served");
  }

  /// Whatever the slot can grant is found by those who look for it.
  void check_is_offered() { expect(take(1).has_value(), "a slot that could serve is not offered"); }

  void check_is_not_offered() { expect(!take(1).has_value(), "a slot that cannot serve is offered"); }

  /// Fails if that is more than there may be.
  void take_what_is_left() {
    while (take(1)) {
    }
  }
  [[nodiscard]] std::uint32_t leases() const { return leases_; }
  [[nodiscard]] std::int64_t granted_tokens() const { return granted_tokens_; }
  [[nodiscard]] std::int64_t quota() const { return slot_.quota.load(); }

  void check_every_lease_saw_the_close() {
    expect(ended_after_close_ == counted_at_close_, "the leases that were counted at the close have not all seen it");
  }

private:
  std::optional<claim> take_with_care(std::int64_t tokens, on_refusal refused, bool& disturbed) {
    lazy_now at{clock_};
    if (table_.next_return() <= at()) {
      table_.run_due(at());
      disturbed = true;
    }
    if (table_.ready().empty()) {
      return {};
    }
    claim c{.tokens = tokens};
    bool contended = false;
    while (!table_.reserve(slot_, c, at, disturbed, contended)) {
      disturbed = true;
      if (table_.refuse(slot_, refused, at)) {
        return {};
      }
    }
    return c;
  }

  void wake() {
    if (waiting_.load() != 0) {
      lock();
      serve_waiter();
      unlock();
    }
  }

  void serve_waiter() {
    bool disturbed = false; // there is nobody else in the line
    if (waiting_.load() != 0) {
      if ((served_ = take_with_care(wanted_, on_refusal::watch, disturbed))) {
        waiting_.store(0);
        count(*served_);
      }
    }
  }

  bool take_quickly(claim& c, bool& disturbed) {
    using attempt = rondo::detail::slot_table<explored_atomic>::attempt;
    auto const word = slot_.gate.load();
    if (table_.next_change(slot_, word) <= now()) {
      return false;
    }
    auto const how = table_.reserve_quickly(slot_, c.tokens, word);
    if (how == attempt::unclear || how == attempt::contended) {
      return false;
    }
    auto const rated = (word & gate::rated) != 0;
    auto const overdrawn = how == attempt::in_doubt && table_.is_overdrawn(slot_);
    auto const missed = overdrawn || (rated && !table_.take_rates(slot_, c, now()));
    if (missed) {
      lazy_now at{clock_};
      table_.undo(slot_, c, at);
    }
    disturbed = rated || missed;
    return !missed;
  }

  void count(claim const& c) {
    ++leases_;
    granted_tokens_ += c.tokens;
    expect(limits_.concurrency == 0 || leases_ <= limits_.concurrency, "more leases are out than may be");
    expect(limits_.quota == 0 || granted_tokens_ <= limits_.quota, "more tokens were granted than there are");
  }

  void end(claim const& c) {
    auto const word = slot_.gate.load();
    if (c.probe || (word & gate::attention) != 0 || !table_.end_quietly(slot_, c.tokens, word)) {
      end_with_care(c);
    }
  }

  void end_with_care(claim const& c) {
    auto const word = table_.end_lease(slot_, c);
    if ((word & gate::closed) != 0) {
      ++ended_after_close_;
      return;
    }
    if ((word & gate::parked) != 0) {
      lazy_now at{clock_};
      table_.reconsider(slot_, table_.time_for(slot_, at));
    }
    wake();
  }

  void lock() {
    while (locked_.exchange(true)) {
    }
  }
  void unlock() { locked_.store(false); }

  rondo::limits limits_;
  rondo::test::manual_clock clock_;
  rondo::detail::slot_table<explored_atomic> table_{clock_};
  rondo::detail::slot<explored_atomic>& slot_ = table_.add();

  explored_atomic<bool> locked_; // guards the waiter
  explored_atomic<int> waiting_;
  std::int64_t wanted_ = 0;
  std::optional<claim> served_;
  tick alarm_ = rondo::detail::never; // when somebody will look for him in any case

  std::uint32_t leases_ = 0;
  std::int64_t granted_tokens_ = 0; // of leases that are out, and what others have spent of theirs
  std::uint32_t counted_at_close_ = 0;
  std::uint32_t ended_after_close_ = 0;
};

constexpr rondo::limits one_at_a_time{.concurrency = 1};
constexpr rondo::limits two_at_a_time{.concurrency = 2};
constexpr rondo::limits ten_tokens{.quota = 10};

/// The last lease ends while somebody else finds the slot full and takes it out of the index.
struct a_lease_ends_as_another_is_refused : pool_of_one {
  a_lease_ends_as_another_is_refused() : pool_of_one{one_at_a_time} {}
  claim held = *take(1);
  std::vector<std::function<void()>> threads{[this] { refund(held); }, [this] { take_and_refund(1); }};
  void check() { check_is_offered(); }
};

struct a_lease_ends_as_one_begins_to_wait : pool_of_one {
  a_lease_ends_as_one_begins_to_wait() : pool_of_one{one_at_a_time} {}
  claim held = *take(1);
  std::vector<std::function<void()>> threads{[this] { refund(held); }, [this] { wait(1); }};
  void check() { check_waiter_was_served(); }
};

/// The slot is not full, but has too few tokens for the waiter.
struct tokens_come_back_as_one_begins_to_wait : pool_of_one {
  tokens_come_back_as_one_begins_to_wait() : pool_of_one{ten_tokens} {}
  claim held = *take(6);
  std::vector<std::function<void()>> threads{[this] { settle(held, 2); }, [this] { wait(8); }};
  void check() { check_waiter_was_served(); }
};

/// Neither of the two is enough for the one who waits.
struct two_leases_end_for_one_waiter : pool_of_one {
  two_leases_end_for_one_waiter() : pool_of_one{ten_tokens} { wait(8); }
  claim one = *take(5);
  claim other = *take(5);
  std::vector<std::function<void()>> threads{[this] { settle(one, 1); }, [this] { settle(other, 1); }};
  void check() { check_waiter_was_served(); }
};

struct three_compete_for_two_places : pool_of_one {
  three_compete_for_two_places() : pool_of_one{two_at_a_time} {}
  std::vector<std::function<void()>> threads{[this] { take(1); }, [this] { take(1); }, [this] { take_and_refund(1); }};
  void check() {
    take_what_is_left();
    expect(leases() == 2, "a place is lost");
  }
};

struct three_compete_for_tokens : pool_of_one {
  three_compete_for_tokens() : pool_of_one{ten_tokens} {}
  std::vector<std::function<void()>> threads{3, [this] {
                                               if (auto const taken = take(4)) {
                                                 settle(*taken, 3);
                                               }
                                             }};
  void check() { check_is_offered(); }
};

/// A lease ends and another one of the same size begins, so that nothing can be seen of it in the gate; but the tokens
/// of the first are spent.
struct the_gate_looks_as_before : pool_of_one {
  the_gate_looks_as_before() : pool_of_one{ten_tokens} {}
  claim held = *take(4);
  std::vector<std::function<void()>> threads{[this] {
                                               settle(held, 4);
                                               take(4);
                                             },
                                             [this] { take(4); }};
  void check() { take_what_is_left(); }
};

/// More was spent than had been taken, just as somebody takes what was left; a third one may be refused by either.
struct an_overdraft_meets_a_request : pool_of_one {
  an_overdraft_meets_a_request() : pool_of_one{ten_tokens} {}
  claim held = *take(2);
  std::vector<std::function<void()>> threads{[this] { settle(held, 5); }, [this] { take_and_refund(6); },
                                             [this] { wait(4); }};
  void check() { check_waiter_was_served(); }
};

/// What is taken for a moment and given back, because another limit refused, must not leave anybody asleep.
struct a_request_is_taken_back_as_one_begins_to_wait : pool_of_one {
  a_request_is_taken_back_as_one_begins_to_wait() : pool_of_one{{.requests_per_minute = 2, .tokens_per_minute = 10}} {}
  claim held = *take(5);
  std::vector<std::function<void()>> threads{[this] { take_and_refund(6); }, [this] { wait(5); }};
  void check() { check_waiter_was_served(); }
};

/// The same when the quota refuses, because the gate looked as before.
struct a_request_is_undone_as_one_begins_to_wait : pool_of_one {
  a_request_is_undone_as_one_begins_to_wait() : pool_of_one{ten_tokens} {}
  claim held = *take(4);
  std::vector<std::function<void()>> threads{[this] {
                                               settle(held, 4);
                                               take(4);
                                             },
                                             [this] { take(4); }, [this] { wait(2); }};
  void check() { check_waiter_was_served(); }
};

/// One finds the slot full, only because of another one that is refused in the end.
struct a_slot_is_full_for_a_moment : pool_of_one {
  a_slot_is_full_for_a_moment() : pool_of_one{{.tokens_per_minute = 10, .concurrency = 1}} { settle(*take(5), 5); }
  std::vector<std::function<void()>> threads{[this] { take_and_refund(6); }, [this] { take_and_refund(1); }};
  void check() { check_is_offered(); }
};

struct a_cap_is_raised_as_one_begins_to_wait : pool_of_one {
  a_cap_is_raised_as_one_begins_to_wait() : pool_of_one{one_at_a_time} {}
  claim held = *take(1);
  std::vector<std::function<void()>> threads{[this] { allow(2); }, [this] { wait(1); }};
  void check() { check_waiter_was_served(); }
};

/// The probe of a rest that is over succeeds as another request has the slot rest again.
struct a_slot_is_restored_as_it_begins_to_rest : pool_of_one {
  a_slot_is_restored_as_it_begins_to_rest() : pool_of_one{{}} {
    rest(10);
    advance(10);
    rested_until = now();
    probe = *take(1);
  }
  tick rested_until = 0;
  claim probe;
  std::vector<std::function<void()>> threads{[this] {
                                               restore(rested_until);
                                               refund(probe);
                                             },
                                             [this] { rest(30); }, [this] { take_and_refund(1); }};
  void check() {
    advance(29);
    check_is_not_offered();
    advance(1);
    check_is_offered();     // the one request of the probation
    check_is_not_offered(); // which is under way
  }
};

/// What was exhausted is told to rest for another reason as a balance comes.
struct a_slot_rests_as_it_is_no_longer_exhausted : pool_of_one {
  a_slot_rests_as_it_is_no_longer_exhausted() : pool_of_one{{}} { exhaust(100); }
  std::vector<std::function<void()>> threads{[this] { rest(30); }, [this] { end_exhaustion(); },
                                             [this] { take_and_refund(1); }};
  void check() {
    advance(29);
    check_is_not_offered();
    advance(1);
    check_is_offered();
    check_is_not_offered();
  }
};

/// A slot is taken out of the index for a rest as others bring it back from the one before.
struct a_slot_rests_again_as_it_comes_back : pool_of_one {
  a_slot_rests_again_as_it_comes_back() : pool_of_one{{}} {
    rest(10);
    advance(10);
  }
  std::vector<std::function<void()>> threads{[this] { rest(20); }, [this] { take_and_refund(1); },
                                             [this] { take_and_refund(1); }};
  void check() {
    advance(19);
    check_is_not_offered();
    advance(1);
    check_is_offered();
    check_is_not_offered();
  }
};

/// What was used up comes back, whole and once.
struct a_quota_comes_back : pool_of_one {
  a_quota_comes_back() : pool_of_one{ten_tokens} {
    reset_after(10);
    advance(10);
  }
  std::vector<std::function<void()>> threads{[this] { take(6); }, [this] { take(6); }, [this] { wait(4); }};
  void check() { check_waiter_was_served(); }
};

/// It comes back as the limits grow, but for what somebody had of it before.
struct a_quota_comes_back_as_it_grows : pool_of_one {
  a_quota_comes_back_as_it_grows() : pool_of_one{ten_tokens} { reset_after(10); }
  std::vector<std::function<void()>> threads{[this] { grow_quota_by(10); },
                                             [this] {
                                               advance(10);
                                               take(6);
                                             }};
  void check() {
    take_what_is_left();
    expect(granted_tokens() == 20, "the quota did not come back");
  }
};

/// It is due when others say that it comes back later.
struct a_quota_comes_back_as_its_return_is_changed : pool_of_one {
  a_quota_comes_back_as_its_return_is_changed() : pool_of_one{ten_tokens} {
    reset_after(10);
    advance(10);
  }
  std::vector<std::function<void()>> threads{[this] { change_return(20); }, [this] { take(6); }};
  void check() {
    take_what_is_left();
    expect(granted_tokens() == 10, "the quota did not come back");
  }
};

/// It had more than comes back.
struct a_balance_is_over_as_limits_change : pool_of_one {
  a_balance_is_over_as_limits_change() : pool_of_one{{}} { have_a_balance(15, 10); }
  std::vector<std::function<void()>> threads{[this] { keep_the_balance(); },
                                             [this] {
                                               advance(10);
                                               take(6);
                                             }};
  void check() {
    take_what_is_left();
    expect(granted_tokens() == 10 && quota() == 10, "the balance of before the return is taken for the quota");
  }
};

/// What was spent moves into the books as the quota comes back.
struct books_are_corrected_as_a_quota_comes_back : pool_of_one {
  books_are_corrected_as_a_quota_comes_back() : pool_of_one{ten_tokens} {
    held = *take(2);
    fill_the_books();
    reset_after(10);
    advance(10);
  }
  claim held;
  std::vector<std::function<void()>> threads{[this] { settle(held, 2); }, [this] { take(6); }};
  void check() { take_what_is_left(); }
};

struct a_slot_is_looked_for_as_it_comes_and_goes : pool_of_one {
  a_slot_is_looked_for_as_it_comes_and_goes() : pool_of_one{one_at_a_time} {}
  claim held = *take(1);
  std::vector<std::function<void()>> threads{[this] { refund(held); }, [this] { take_and_refund(1); },
                                             [this] { look_for_it(); }};
  void check() { check_is_offered(); }
};

struct a_slot_is_looked_for_as_it_rests : pool_of_one {
  a_slot_is_looked_for_as_it_rests() : pool_of_one{{}} {
    rest(10);
    advance(10);
  }
  std::vector<std::function<void()>> threads{[this] { take_and_refund(1); }, [this] { rest(20); },
                                             [this] { look_for_it(); }};
  void check() {
    advance(20);
    check_is_offered();
  }
};

struct leases_end_as_the_pool_closes : pool_of_one {
  leases_end_as_the_pool_closes() : pool_of_one{two_at_a_time} {}
  claim held = *take(1);
  std::vector<std::function<void()>> threads{[this] { close(); }, [this] { refund(held); },
                                             [this] { take_and_refund(1); }};
  void check() { check_every_lease_saw_the_close(); }
};

} // namespace

BOOST_AUTO_TEST_SUITE(slot_table)

BOOST_AUTO_TEST_CASE(no_slot_is_lost_as_a_lease_ends) {
  check_schedules<a_lease_ends_as_another_is_refused>(4);
}
BOOST_AUTO_TEST_CASE(no_waiter_sleeps_as_a_lease_ends) {
  check_schedules<a_lease_ends_as_one_begins_to_wait>(4);
}
BOOST_AUTO_TEST_CASE(no_waiter_sleeps_as_tokens_come_back) {
  check_schedules<tokens_come_back_as_one_begins_to_wait>(4);
}
BOOST_AUTO_TEST_CASE(no_waiter_sleeps_as_two_leases_end) {
  check_schedules<two_leases_end_for_one_waiter>(4);
}
BOOST_AUTO_TEST_CASE(no_more_leases_than_places) {
  check_schedules<three_compete_for_two_places>(3);
}
BOOST_AUTO_TEST_CASE(no_more_tokens_than_there_are) {
  check_schedules<three_compete_for_tokens>(3);
}
BOOST_AUTO_TEST_CASE(no_tokens_are_granted_again) {
  check_schedules<the_gate_looks_as_before>(4);
}
BOOST_AUTO_TEST_CASE(no_waiter_sleeps_after_an_overdraft) {
  check_schedules<an_overdraft_meets_a_request>(3);
}
BOOST_AUTO_TEST_CASE(no_waiter_sleeps_as_a_request_is_taken_back) {
  check_schedules<a_request_is_taken_back_as_one_begins_to_wait>(3);
}
BOOST_AUTO_TEST_CASE(no_slot_is_lost_as_a_request_is_undone) {
  check_schedules<a_slot_is_full_for_a_moment>(3);
}
BOOST_AUTO_TEST_CASE(no_waiter_sleeps_as_a_request_is_undone) {
  check_schedules<a_request_is_undone_as_one_begins_to_wait>(3);
}
BOOST_AUTO_TEST_CASE(no_waiter_sleeps_as_a_cap_is_raised) {
  check_schedules<a_cap_is_raised_as_one_begins_to_wait>(4);
}
BOOST_AUTO_TEST_CASE(no_old_success_ends_a_new_rest) {
  check_schedules<a_slot_is_restored_as_it_begins_to_rest>(2);
}
BOOST_AUTO_TEST_CASE(no_rest_is_forgotten_as_another_ends) {
  check_schedules<a_slot_rests_again_as_it_comes_back>(2);
}
BOOST_AUTO_TEST_CASE(no_balance_ends_a_rest_that_is_not_for_exhaustion) {
  check_schedules<a_slot_rests_as_it_is_no_longer_exhausted>(2);
}
BOOST_AUTO_TEST_CASE(a_quota_comes_back_once) {
  check_schedules<a_quota_comes_back>(2);
}
BOOST_AUTO_TEST_CASE(a_quota_comes_back_once_as_limits_grow) {
  check_schedules<a_quota_comes_back_as_it_grows>(3);
}
BOOST_AUTO_TEST_CASE(a_quota_that_is_due_comes_back_as_its_return_is_changed) {
  check_schedules<a_quota_comes_back_as_its_return_is_changed>(3);
}
BOOST_AUTO_TEST_CASE(a_balance_is_not_taken_for_the_quota_that_ends_it) {
  check_schedules<a_balance_is_over_as_limits_change>(3);
}
BOOST_AUTO_TEST_CASE(a_quota_comes_back_once_as_books_are_corrected) {
  check_schedules<books_are_corrected_as_a_quota_comes_back>(4);
}
BOOST_AUTO_TEST_CASE(a_slot_is_always_somewhere) {
  check_schedules<a_slot_is_looked_for_as_it_comes_and_goes>(2);
}
BOOST_AUTO_TEST_CASE(a_resting_slot_is_always_somewhere) {
  check_schedules<a_slot_is_looked_for_as_it_rests>(3);
}
BOOST_AUTO_TEST_CASE(no_lease_is_forgotten_at_the_close) {
  check_schedules<leases_end_as_the_pool_closes>(3);
}

BOOST_AUTO_TEST_SUITE_END()
