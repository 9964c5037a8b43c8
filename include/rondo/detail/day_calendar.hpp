// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/clock.hpp>
#include <rondo/detail/tick.hpp>
#include <rondo/renewal.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>

namespace rondo::detail {

/// Days that begin when the calendar says so, numbered: what makes windows out of which units leave all at once. Within
/// a day the time of such a window stands still; from one day to the next it makes a step after which nothing is left.
///
/// When a day ends is decided when it begins, on the steady clock. What follows the last begin by the calendar is found
/// with the wall clock, or with that begin if it is ahead: a wall clock that was set back does not bring it again.
/// While the machine is suspended the steady clock may stand still, and the day ends that much later.
///
/// All functions but `set`: any thread. Who finds a day that has ended begins the next; the others spin for that
/// moment.
template <template <class> class Atomic> class day_calendar {
public:
  day_calendar(renewal const& how, clock_source const& clock) noexcept : clock_{&clock}, how_{how} {
    go_on(how_.next(clock_->wall_now()));
  }

  [[nodiscard]] renewal const& how() const noexcept { return how_; }
  /// The day that goes on ends as another calendar says. One thread at a time.
  void set(renewal const& how) noexcept {
    static_cast<void>(time_at(to_tick(clock_->steady_now()))); // what is due comes before what is said now
    while (end_.exchange(stopped) == stopped) {
    }
    how_ = how;
    go_on(how_.next(clock_->wall_now()));
  }

  /// The time of the windows at `now`.
  [[nodiscard]] tick time_at(tick now) noexcept {
    for (;;) {
      auto end = end_.load();
      if (end != stopped && now < end) {
        return number_.load() * step;
      }
      if (end != stopped && end_.compare_exchange_strong(end, stopped)) {
        begin_.store(end); // before the number, see time_of()
        number_.fetch_add(1);
        go_on(how_.next(last_begin()));
      }
    }
  }

  /// The time that the windows had for whoever looked at the clock at `since`; too early rather than too late.
  [[nodiscard]] tick time_of(tick since) const noexcept {
    for (;;) {
      auto const number = number_.load();
      auto const today = since >= begin_.load();
      if (number_.load() == number) {
        return (today ? number : number - 1) * step;
      }
    }
  }

  /// When the day ends.
  [[nodiscard]] tick end() const noexcept {
    for (;;) {
      if (auto const end = end_.load(); end != stopped) {
        return end;
      }
    }
  }

private:
  static constexpr tick stopped = -1; ///< stands in place of the end while it is being found out
  static constexpr tick step = 2 * tick{24 * 3600} * 1'000'000'000;

  /// What has just begun. Days ahead of the wall clock it was found with one that was wrong.
  [[nodiscard]] wall_time last_begin() const noexcept {
    constexpr std::chrono::hours most_ahead{48};
    auto const now = clock_->wall_now();
    return next_ > now && next_ - now > most_ahead ? now : std::max(next_, now);
  }

  void go_on(std::optional<wall_time> next) noexcept {
    using std::chrono::nanoseconds;
    next_ = next.value_or(wall_time::max());
    auto const left = next ? std::max<tick>(nanoseconds{*next - clock_->wall_now()}.count(), 0) : never;
    end_.store(after(to_tick(clock_->steady_now()), left));
  }

  clock_source const* clock_;
  Atomic<tick> end_{0};
  Atomic<tick> begin_{0};
  Atomic<tick> number_{1};
  // whoever stopped the end owns what follows
  renewal how_;
  wall_time next_{};
};

} // namespace rondo::detail
