// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "rotation.hpp"

#include <boost/lockfree/queue.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <concurrentqueue/concurrentqueue.h>

// What an engineer would write who does not have rondo. Every one of them does what `rondo_contender` is asked for: it
// picks the next key that does not cool and whose quota can pay, reserves the tokens, counts requests and leases,
// charges what the request cost, gives the rest back, and notices when 80 % of a quota are spent. None of them waits,
// or knows rates, concurrency, accounts of several keys and lanes.

namespace bench {

/// What is known of a key; `Cell` makes its members plain or atomic.
template <template <class> class Cell> struct key_state {
  std::string secret;
  Cell<rondo::steady_time> cools_until{};
  Cell<std::int64_t> remaining{quota};
  Cell<std::int64_t> charged{0};
  Cell<std::uint64_t> requests{0};
  Cell<std::uint32_t> in_flight{0};
  Cell<bool> near_limit{false};
};

template <class Clock, class Key> void set_up(std::vector<Key>& keys, field const& f) {
  for (std::size_t i = 0; i < keys.size(); ++i) {
    keys[i].secret = "sk_" + std::to_string(i);
    if (f.cools(i)) {
      keys[i].cools_until = Clock::now() + cooldown;
    }
  }
}

template <class Key> [[nodiscard]] books sum_of(std::vector<Key> const& keys) {
  books out;
  for (auto const& key : keys) {
    out.granted += key.requests;
    out.charged += key.charged;
    out.in_flight += key.in_flight;
  }
  return out;
}

/// A vector under a mutex, scanned from where the last scan ended.
template <class Clock> class mutex_and_vector {
  template <class T> using plain = T;
  using key_type = key_state<plain>;

public:
  explicit mutex_and_vector(field const& f) : keys_(f.keys) { set_up<Clock>(keys_, f); }

  /// Null when no key is ready.
  [[nodiscard]] key_type* acquire() {
    std::lock_guard const lock{mutex_};
    return scan(Clock::now(), [](key_type const&) {});
  }

  /// The same, for callers who want to know when to come back. Not a second pass: the scan sees every key anyway.
  [[nodiscard]] key_type* acquire(rondo::steady_time& next_return) {
    std::lock_guard const lock{mutex_};
    next_return = rondo::steady_time::max();
    return scan(Clock::now(), [&](key_type const& key) { next_return = std::min(next_return, key.cools_until); });
  }

  [[nodiscard]] static std::string_view secret(key_type const* key) { return key->secret; }

  void settle(key_type* key, std::int64_t cost) {
    std::lock_guard const lock{mutex_};
    key->remaining += reserved - cost;
    key->charged += cost;
    --key->in_flight;
    key->near_limit = key->charged >= quota - quota / 5;
  }

  [[nodiscard]] books count() const { return sum_of(keys_); }

private:
  template <class SeesCooling> key_type* scan(rondo::steady_time now, SeesCooling&& sees_cooling) {
    for (std::size_t tried = 0; tried < keys_.size(); ++tried) {
      auto& key = keys_[next_];
      next_ = next_ + 1 == keys_.size() ? 0 : next_ + 1;
      if (key.cools_until > now) {
        sees_cooling(key);
      } else if (key.remaining >= reserved) {
        key.remaining -= reserved;
        ++key.in_flight;
        ++key.requests;
        return &key;
      }
    }
    return nullptr;
  }

  std::mutex mutex_;
  std::vector<key_type> keys_;
  std::size_t next_ = 0;
};

/// Indices of keys go round in a lock-free queue. Whoever takes one out has its key to himself until he puts it back,
/// which he does before he uses it, so that a key may serve several requests at once. There is no end to its search:
/// it is for fields where some key is ready.
template <class Queue, class Clock> class queue_of_keys {
  using key_type = key_state<std::atomic>;

public:
  explicit queue_of_keys(field const& f) : keys_(f.keys), queue_{f.keys} {
    set_up<Clock>(keys_, f);
    for (std::size_t i = 0; i < f.keys; ++i) {
      queue_.push(static_cast<std::uint32_t>(i));
    }
  }

  [[nodiscard]] key_type* acquire() {
    constexpr auto relaxed = std::memory_order_relaxed;
    auto const now = Clock::now();
    for (;;) {
      std::uint32_t index = 0;
      if (!queue_.pop(index)) {
        continue; // all of them are being looked at
      }
      auto& key = keys_[index];
      auto const ready = key.cools_until.load(relaxed) <= now && key.remaining.load(relaxed) >= reserved;
      if (ready) {
        key.remaining.fetch_sub(reserved, relaxed);
        key.in_flight.fetch_add(1, relaxed);
        key.requests.store(key.requests.load(relaxed) + 1, relaxed); // nobody else has the index
      }
      queue_.push(index);
      if (ready) {
        return &key;
      }
    }
  }

  [[nodiscard]] static std::string_view secret(key_type const* key) { return key->secret; }

  void settle(key_type* key, std::int64_t cost) {
    constexpr auto relaxed = std::memory_order_relaxed;
    key->remaining.fetch_add(reserved - cost, relaxed);
    auto const charged = key->charged.fetch_add(cost, relaxed) + cost;
    if (charged >= quota - quota / 5) {
      key->near_limit.store(true, relaxed);
    }
    key->in_flight.fetch_sub(1, relaxed);
  }

  [[nodiscard]] books count() const { return sum_of(keys_); }

private:
  std::vector<key_type> keys_;
  Queue queue_;
};

class boost_queue {
public:
  explicit boost_queue(std::size_t capacity) : queue_{capacity} {}
  void push(std::uint32_t index) { queue_.push(index); }
  [[nodiscard]] bool pop(std::uint32_t& index) { return queue_.pop(index); }

private:
  boost::lockfree::queue<std::uint32_t> queue_;
};

/// Without a token, a consumer prefers what the busiest producer has put in, in the end itself: a key that was left by
/// a thread that ended would never be found.
class moodycamel_queue {
public:
  explicit moodycamel_queue(std::size_t capacity) : queue_{capacity} {}
  void push(std::uint32_t index) { queue_.enqueue(index); }
  [[nodiscard]] bool pop(std::uint32_t& index) {
    thread_local moodycamel_queue const* of = nullptr;
    thread_local std::optional<moodycamel::ConsumerToken> token;
    if (of != this) {
      of = this;
      token.emplace(queue_);
    }
    return queue_.try_dequeue(*token, index);
  }

private:
  moodycamel::ConcurrentQueue<std::uint32_t> queue_;
};

/// No rival: the three atomic operations by which rondo reserves, charges and gives back, on one key after the other,
/// and a look at nothing. For one thread, and fields where all are ready.
template <class Clock> class bare_exchanges {
  struct alignas(64) key_type {
    std::atomic<std::uint64_t> leases{0}; ///< and above them the tokens that they have reserved
    std::atomic<std::uint64_t> spent{0};  ///< tokens, and above them the requests
    std::string secret;
  };
  static constexpr std::uint64_t lease = (std::uint64_t{reserved} << 28) + 1;
  static constexpr std::uint64_t request = std::uint64_t{1} << 40;

public:
  explicit bare_exchanges(field const& f) : keys_(f.keys) {
    for (std::size_t i = 0; i < keys_.size(); ++i) {
      keys_[i].secret = "sk_" + std::to_string(i);
    }
  }

  [[nodiscard]] key_type* acquire() {
    auto& key = keys_[next_];
    next_ = next_ + 1 == keys_.size() ? 0 : next_ + 1;
    auto seen = key.leases.load();
    while (!key.leases.compare_exchange_weak(seen, seen + lease)) {
    }
    return &key;
  }

  [[nodiscard]] static std::string_view secret(key_type const* key) { return key->secret; }

  void settle(key_type* key, std::int64_t cost) {
    auto const before = key->spent.fetch_add(request + static_cast<std::uint64_t>(cost));
    if (before % request >= request / 2) { // before the tokens run into the requests
      key->spent.fetch_sub(before % request);
      moved_ += static_cast<std::int64_t>(before % request);
    }
    auto seen = key->leases.load();
    while (!key->leases.compare_exchange_weak(seen, seen - lease)) {
    }
  }

  [[nodiscard]] books count() const {
    books out{0, moved_, 0};
    for (auto const& key : keys_) {
      out.granted += key.spent / request;
      out.charged += static_cast<std::int64_t>(key.spent % request);
      out.in_flight += key.leases;
    }
    return out;
  }

private:
  std::vector<key_type> keys_;
  std::size_t next_ = 0;
  std::int64_t moved_ = 0;
};

template <class Clock> using keys_in_boost_queue = queue_of_keys<boost_queue, Clock>;
template <class Clock> using keys_in_moodycamel_queue = queue_of_keys<moodycamel_queue, Clock>;

} // namespace bench
