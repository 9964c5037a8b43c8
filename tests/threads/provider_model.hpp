// SPDX-License-Identifier: BSL-1.0
// What providers would have seen and what they allow, written down in the slowest and most obvious way: lists of
// requests with their times. The pool is judged by it, and it knows nothing of how the pool works.
//
// Where the library promises a moment only to within a margin (jitter of a rest, the parts of a window, the guard), the
// model keeps the earliest and the latest one. Before the earliest nothing may be granted; after the latest nobody may
// be kept waiting.
#pragma once

#include <rondo/capability.hpp>
#include <rondo/clock.hpp>
#include <rondo/limits.hpp>
#include <rondo/renewal.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace rondo::test {

/// A moment in ns.
using moment = std::int64_t;
inline constexpr moment millisecond = 1'000'000;
inline constexpr moment second = 1000 * millisecond;
inline constexpr moment hour = 3600 * second;
inline constexpr moment forever = std::numeric_limits<moment>::max();

/// Not before `earliest`, certainly from `latest` on.
struct margin {
  moment earliest = 0;
  moment latest = 0;

  /// `length` from `now` on, and up to 10 % more, at most 5 s more.
  [[nodiscard]] static margin of_rest(moment now, moment length) {
    return {now + length, now + length + std::min(length / 10, 5 * second)};
  }
};

enum class rest_reason { rate_limited, exhausted };

/// When somebody could be served if nobody else did anything: certainly at `at`, but if it takes an `event` (a lease
/// that ends), not before the event.
struct prospect {
  moment at = 0;
  bool event = false;

  [[nodiscard]] bool hopeless() const { return at == forever; }
  [[nodiscard]] bool now(moment t) const { return !event && at <= t; }
  [[nodiscard]] friend prospect operator&(prospect a, prospect b) { return {std::max(a.at, b.at), a.event || b.event}; }
};

/// The day by a calendar. When it ends is known when it begins, however the wall clock is set meanwhile, and no day
/// comes twice.
class calendar_day {
public:
  calendar_day(renewal const& how, moment now, wall_time wall) : how_{how}, begin_{now}, end_{now} {
    begin_next(wall, wall);
  }

  [[nodiscard]] moment begin() const { return begin_; }
  [[nodiscard]] moment end() const { return end_; }

  void pass(moment now, wall_time wall) {
    while (end_ <= now) {
      auto const wall_then =
          wall - std::chrono::duration_cast<wall_time::duration>(std::chrono::nanoseconds{now - end_});
      begin_ = end_;
      begin_next(wall_then, std::max(wall_then, midnight_));
    }
  }

private:
  void begin_next(wall_time wall, wall_time after) {
    midnight_ = how_.next(after).value();
    end_ += std::chrono::nanoseconds{midnight_ - wall}.count();
  }

  renewal how_;
  wall_time midnight_{};
  moment begin_;
  moment end_;
};

/// What an account, or its share of a lane, was used for.
class usage {
public:
  struct request {
    std::uint64_t lease;
    moment at; ///< of its arrival; `forever` = it has not left yet, and counts until it has
    std::int64_t tokens;
    std::int64_t requests;
    unsigned counted; ///< by these rates
  };
  struct rate {
    moment period;
    bool of_tokens;
    std::uint32_t limits::* limit;
  };
  static constexpr std::array<rate, 5> rates{{{second, false, &limits::requests_per_second},
                                              {60 * second, false, &limits::requests_per_minute},
                                              {60 * second, true, &limits::tokens_per_minute},
                                              {24 * hour, false, &limits::requests_per_day},
                                              {24 * hour, true, &limits::tokens_per_day}}};

  limits allowed;
  bool metered = false;
  std::int64_t quota = 0;
  std::int64_t least_left = 0; ///< of the quota
  std::int64_t most_left = 0;  ///< more, if it returned while requests were under way: in which period do they count?
  moment reset = 0;            ///< 0 = unknown
  std::int64_t charged = 0;
  std::map<std::uint64_t, std::int64_t> out; ///< leases and the tokens they have reserved
  margin rest;
  margin limited; ///< the same, if it had never been exhausted
  bool on_probation = false;
  std::uint64_t probe = 0;       ///< the lease of the one request that may be under way
  std::uint64_t rests = 0;       ///< how often it was sent to rest
  std::uint32_t learned_cap = 0; ///< 0 = nothing learned
  moment learn_after = 0;
  bool adapting = false;

  /// Limits of a day go by the calendar if the first ones do.
  void set_limits(limits const& l, moment now, wall_time wall) {
    allowed = l;
    for (std::size_t k = 0; k < rates.size(); ++k) {
      if (l.*rates[k].limit != 0 && (known_rates_ >> k & 1) == 0) {
        known_rates_ |= 1U << k;
        if (rates[k].period == 24 * hour && l.day_renewal != renewal{}) {
          days_[k].emplace(l.day_renewal, now, wall);
        }
      }
    }
  }
  [[nodiscard]] bool rated() const { return known_rates_ != 0; }

  [[nodiscard]] std::uint64_t cap() const {
    auto const most = std::uint64_t{0xffff};
    return std::min(
        {most, allowed.concurrency != 0 ? allowed.concurrency : most, learned_cap != 0 ? learned_cap : most});
  }
  [[nodiscard]] std::int64_t reserved() const {
    std::int64_t sum = 0;
    for (auto const& [lease, tokens] : out) {
      sum += tokens;
    }
    return sum;
  }

  /// Empty if a lease of `tokens` may be granted, else the promise it would break.
  [[nodiscard]] std::string forbids(std::int64_t tokens, moment now) const {
    if (out.size() >= cap()) {
      return "concurrency";
    }
    if (metered && most_left - reserved() < std::max<std::int64_t>(tokens, 1)) {
      return "quota";
    }
    if (on_probation && (probe != 0 || now < rest.earliest)) {
      return probe != 0 ? "one probe at a time" : "rest";
    }
    for (std::size_t k = 0; k < rates.size(); ++k) {
      auto const limit = allowed.*rates[k].limit;
      auto const before = days_[k] ? days_[k]->begin() - 1 : now - rates[k].period;
      if (limit != 0 && counted(k, before) + units(k, tokens, 1) > limit) {
        return "rate " + std::to_string(k);
      }
    }
    return {};
  }

  void grant(std::uint64_t lease, std::int64_t tokens, bool unsent, moment now) {
    out.emplace(lease, tokens);
    if (on_probation) {
      probe = lease;
    }
    if (known_rates_ != 0) {
      requests_.push_back({lease, unsent ? forever : now, tokens, 1, known_rates_});
    }
    for (std::size_t k = 0; k < rates.size(); ++k) {
      unseen_days_ &= units(k, tokens, 1) != 0 ? ~(1U << k) : ~0U;
    }
  }
  void mark_sent(std::uint64_t lease, moment now) {
    for (auto& r : requests_) {
      if (r.lease == lease && r.at == forever) {
        r.at = now;
      }
    }
  }
  void refund(std::uint64_t lease) {
    std::erase_if(requests_, [&](request const& r) { return r.lease == lease; });
    end(lease);
  }
  void charge(std::uint64_t lease, std::int64_t actual, bool late, moment now) {
    auto const reserved_for_it = out.at(lease);
    for (auto& r : requests_) {
      if (r.lease == lease) {
        r.tokens = std::min(r.tokens, actual);
      }
    }
    if (actual > reserved_for_it && known_rates_ != 0) {
      requests_.push_back({0, now, actual - reserved_for_it, 0, known_rates_});
    }
    charged += actual;
    least_left -= actual;
    most_left -= late ? 0 : actual;
    end(lease);
  }

  void begin_rest(margin until, rest_reason why) {
    auto const longer = [&](margin const& m) {
      return margin{std::max(m.earliest, until.earliest), std::max(m.latest, until.latest)};
    };
    if (why != rest_reason::exhausted) {
      limited = longer(limited);
    }
    if (until.latest <= rest.earliest) {
      return; // it rests at least as long already
    }
    rest = longer(rest);
    on_probation = true;
    ++rests;
  }
  void restore() {
    rest = limited = {};
    on_probation = false;
  }

  /// A day has begun of which the pool may not know: it looks when it has to. Until then, a wall clock that is set
  /// changes the end of that day.
  [[nodiscard]] bool has_unseen_day() const { return unseen_days_ != 0; }

  void pass(moment now, wall_time wall) {
    for (std::size_t k = 0; k < rates.size(); ++k) {
      if (days_[k] && days_[k]->end() <= now) {
        days_[k]->pass(now, wall);
        unseen_days_ |= 1U << k;
      }
    }
    if (reset != 0 && now >= reset) {
      reset = 0;
      least_left = most_left = quota;
      ++periods;
    }
    std::erase_if(requests_, [&](request const& r) {
      auto counts = false;
      for (std::size_t k = 0; k < rates.size(); ++k) {
        auto const period = rates[k].period;
        auto const still = days_[k] ? r.at >= days_[k]->begin() : r.at + period + period / 8 >= now;
        counts = counts || ((r.counted >> k & 1) != 0 && still);
      }
      return r.at != forever && !counts;
    });
  }
  std::uint64_t periods = 0; ///< how often the quota came back

  [[nodiscard]] prospect when(std::int64_t tokens, moment now) const {
    prospect p{now, out.size() >= cap()};
    if (on_probation) {
      p.at = std::max(p.at, rest.latest);
      p.event = p.event || probe != 0;
    }
    if (metered && least_left - reserved() < tokens) {
      if (tokens > quota || (reset == 0 && least_left < tokens)) {
        return {forever};
      }
      p.at = std::max(p.at, reset);
      p.event = p.event || reset == 0; // what is reserved may be given back
    }
    for (std::size_t k = 0; k < rates.size(); ++k) {
      if (allowed.*rates[k].limit != 0) {
        p = p & window_has_room(k, units(k, tokens, 1), now);
      }
    }
    return p;
  }

  [[nodiscard]] bool too_large(std::int64_t tokens) const {
    return (metered && quota != 0 && tokens > quota) || std::any_of(rates.begin(), rates.end(), [&](rate const& r) {
             return allowed.*r.limit != 0 && (r.of_tokens ? tokens : 1) > allowed.*r.limit;
           });
  }

private:
  [[nodiscard]] static std::int64_t units(std::size_t k, std::int64_t tokens, std::int64_t requests) {
    return rates[k].of_tokens ? tokens : requests;
  }
  [[nodiscard]] std::int64_t counted(std::size_t k, moment after) const {
    std::int64_t sum = 0;
    for (auto const& r : requests_) {
      sum += (r.counted >> k & 1) != 0 && r.at > after ? units(k, r.tokens, r.requests) : 0;
    }
    return sum;
  }
  /// When `n` more fit in, if a window that slides holds its units for up to 1/16 and a guard longer than the period.
  [[nodiscard]] prospect window_has_room(std::size_t k, std::int64_t n, moment now) const {
    auto const limit = std::int64_t{allowed.*rates[k].limit};
    if (n > limit) {
      return {forever};
    }
    auto const held = rates[k].period / 16 * 17 + std::min(rates[k].period / 100, second);
    auto const leaves = [&](moment at) {
      return at == forever ? forever : !days_[k] ? at + held : at >= days_[k]->begin() ? days_[k]->end() : at;
    };
    std::vector<std::pair<moment, std::int64_t>> leaving;
    std::int64_t used = 0;
    for (auto const& r : requests_) {
      if ((r.counted >> k & 1) != 0 && leaves(r.at) > now) {
        leaving.emplace_back(leaves(r.at), units(k, r.tokens, r.requests));
        used += leaving.back().second;
      }
    }
    std::sort(leaving.begin(), leaving.end());
    auto at = now;
    for (auto const& [then, freed] : leaving) {
      if (used + n <= limit) {
        break;
      }
      if (then == forever) {
        return {at, true};
      }
      at = then;
      used -= freed;
    }
    return {at, used + n > limit};
  }

  void end(std::uint64_t lease) {
    out.erase(lease);
    probe = probe == lease ? 0 : probe;
  }

  std::vector<request> requests_;
  unsigned known_rates_ = 0; ///< a rate counts from the moment it was first limited
  unsigned unseen_days_ = 0;
  std::array<std::optional<calendar_day>, rates.size()> days_;
};

struct key_model {
  std::string name;
  std::uint64_t id = 0; ///< another one with the same name may come later
  bool disabled = false;
  bool invalid = false;
  capability_set barred;
  std::uint64_t requests = 0;
  std::uint64_t failures = 0;

  [[nodiscard]] bool usable() const { return !disabled && !invalid; }
};

struct account_model {
  std::string name;
  renewal days;                    ///< of all its limits
  bool known = false;              ///< to the pool
  bool metered_by_balance = false; ///< it has no quota of its own
  std::map<std::string, limits> lanes;
  limits lane_limits;
  usage whole;
  std::map<std::string, usage> shares; ///< of lanes
  std::vector<key_model> keys;

  [[nodiscard]] limits const& limits_of(std::string const& lane) const {
    auto const at = lanes.find(lane);
    return at == lanes.end() ? lane_limits : at->second;
  }
  [[nodiscard]] bool usable() const {
    return std::any_of(keys.begin(), keys.end(), [](auto const& k) { return k.usable(); });
  }
  /// One of its keys can do that kind of work. For several kinds at once, there is a key that can do whatever any of
  /// them can, or each of them can do all that is needed.
  [[nodiscard]] bool can_do(capability_set needs) const {
    auto const several = (needs.bits() & (needs.bits() - 1)) != 0;
    auto const suits = [&](key_model const& k) { return !k.barred.intersects(needs); };
    std::vector<key_model> in_use;
    std::copy_if(keys.begin(), keys.end(), std::back_inserter(in_use), [](auto const& k) { return k.usable(); });
    if (in_use.empty()) {
      return false;
    }
    auto nobody_can = ~std::uint32_t{0};
    for (auto const& k : in_use) {
      nobody_can &= k.barred.bits();
    }
    auto const one_can_all =
        std::any_of(in_use.begin(), in_use.end(), [&](auto const& k) { return k.barred.bits() == nobody_can; });
    return several && !one_can_all ? std::all_of(in_use.begin(), in_use.end(), suits)
                                   : std::any_of(in_use.begin(), in_use.end(), suits);
  }
};

struct lane_model {
  bool counted = false; ///< accounts have shares of it, because one has limits for it or was refused in it
  margin rest;          ///< the provider is overloaded
  std::uint32_t overloads = 0;
  std::uint32_t most_overloads = 0; ///< more, if it is not clear whether it rested at one of them
  std::size_t last_account = 0;
  moment last_at = -1;
};

} // namespace rondo::test
