// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "clocks.hpp"
#include "contest.hpp"
#include <rondo/key_pool.hpp>
#include <rondo/outcome.hpp>

#include <boost/asio/io_context.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

// What every contender that rotates keys is given, what it has to do with it, and what is checked afterwards. A
// contender is made from a field and a clock, and has
//
//   lease acquire();                             something that is false when no key is ready
//   static std::string_view secret(lease const&);
//   void settle(lease&, std::int64_t cost);
//   books count() const;                         at rest

namespace bench {

constexpr std::int64_t quota = 1'000'000'000'000'000;
constexpr std::int64_t reserved = 200;
constexpr std::chrono::hours cooldown{1};

/// What a request costs: never more than reserved.
[[nodiscard]] constexpr std::int64_t cost_of(std::uint64_t request) {
  return 130 + static_cast<std::int64_t>(request % 64);
}

/// How many keys there are and how many of them are ready, evenly spread; the others cool for longer than it takes.
struct field {
  std::size_t keys;
  std::size_t ready;

  [[nodiscard]] bool cools(std::size_t key) const { return ready == 0 || key % (keys / ready) != keys / ready - 1; }
};

[[nodiscard]] inline std::string to_string(field const& f) {
  return "/keys:" + std::to_string(f.keys) + "/ready:" + std::to_string(f.ready);
}
[[nodiscard]] inline std::string with_clock(std::string_view clock) {
  return "/clock:" + std::string{clock};
}
[[nodiscard]] inline std::string with_threads(unsigned threads) {
  return "/threads:" + std::to_string(threads);
}

/// What a contender has done.
struct books {
  std::uint64_t granted = 0;
  std::int64_t charged = 0;
  std::uint64_t in_flight = 0;
};

template <class Clock> class rondo_contender {
public:
  explicit rondo_contender(field const& f, rondo::limits const& limits = {.quota = quota}) {
    for (std::size_t i = 0; i < f.keys; ++i) {
      pool_.add({.name = std::to_string(i), .secret = rondo::secret{"sk_" + std::to_string(i)}, .limits = limits});
    }
    while (reported_ < f.keys - f.ready) {
      auto lease = pool_.try_acquire(reserved).value();
      if (f.cools(std::stoul(std::string{lease.key_name()}))) {
        lease.report(rondo::outcome::rate_limited(cooldown));
        ++reported_;
      } else {
        lease.refund();
      }
    }
  }

  [[nodiscard]] std::optional<rondo::lease> acquire() { return pool_.try_acquire(reserved); }
  [[nodiscard]] static std::string_view secret(std::optional<rondo::lease> const& lease) { return lease->secret(); }
  static void settle(std::optional<rondo::lease>& lease, std::int64_t cost) { lease->settle(cost); }

  [[nodiscard]] books count() const {
    books out;
    for (auto const& key : pool_.snapshot()) {
      out.granted += key.requests;
      out.charged += key.character_count;
      out.in_flight += key.in_flight;
    }
    out.granted -= reported_;
    return out;
  }

  [[nodiscard]] boost::asio::io_context& context() { return context_; }
  [[nodiscard]] rondo::key_pool& pool() { return pool_; }

private:
  boost::asio::io_context context_;
  rondo::key_pool pool_{context_.get_executor(), {.clock = Clock::source()}};
  std::size_t reported_ = 0;
};

/// A contender that serves one request after another on each thread, and what it must have in its books in the end.
template <class Contender> class server {
public:
  explicit server(std::function<std::unique_ptr<Contender>()> build) : build_{std::move(build)} {}

  /// Ready to be used; built by whoever needs it first.
  Contender& contender() {
    std::call_once(once_, [this] { contender_ = build_(); });
    return *contender_;
  }

  /// \param acquire calls the contender's function of that name, and may watch it
  template <class Acquire> void serve(std::uint64_t times, Acquire&& acquire) {
    books done;
    for (; done.granted < times; ++done.granted) {
      auto lease = acquire(*contender_);
      if (!lease) {
        check(false, "refused");
        break;
      }
      keep(Contender::secret(lease).data());
      auto const cost = cost_of(done.granted);
      contender_->settle(lease, cost);
      done.charged += cost;
    }
    expect(done);
  }

  /// This was done, and must be found in the contender's books.
  void expect(books const& done) {
    granted_ += done.granted;
    charged_ += done.charged;
  }

  void audit() const {
    auto const got = contender_->count();
    check(got.granted == granted_, "requests granted are not those that were served");
    check(got.charged == charged_, "the charges do not add up to what the requests cost");
    check(got.in_flight == 0, "leases are left");
  }

private:
  std::function<std::unique_ptr<Contender>()> build_;
  std::once_flag once_;
  std::unique_ptr<Contender> contender_;
  std::atomic<std::uint64_t> granted_{0};
  std::atomic<std::int64_t> charged_{0};
};

/// Enters a contender whose requests are measured as a whole, acquire and settle.
template <class Contender>
void enter(contest& into, std::string name, unsigned threads, std::function<std::unique_ptr<Contender>()> build) {
  auto const it = std::make_shared<server<Contender>>(std::move(build));
  into.enter(
      std::move(name), threads,
      [it](std::uint64_t times) {
        static_cast<void>(it->contender());
        auto const start = clock_type::now();
        it->serve(times, [](Contender& c) { return c.acquire(); });
        return ns_since(start) / static_cast<double>(times);
      },
      [it] { it->audit(); });
}

/// Enters contenders that share nothing but the processor, one for each thread: what it gives to a second one.
template <class Contender> void enter_apart(contest& into, std::string name, unsigned threads, field const& f) {
  into.enter(std::move(name), threads, [f](std::uint64_t times) {
    server<Contender> mine{[f] { return std::make_unique<Contender>(f); }};
    static_cast<void>(mine.contender());
    auto const start = clock_type::now();
    mine.serve(times, [](Contender& c) { return c.acquire(); });
    auto const out = ns_since(start) / static_cast<double>(times);
    mine.audit();
    return out;
  });
}

/// The same as `enter` in `f`, once with each clock.
template <template <class> class Contender>
void enter(contest& into, std::string const& name, field const& f, unsigned threads) {
  auto const with = [&]<class Clock>(Clock) {
    enter<Contender<Clock>>(into, name + to_string(f) + with_clock(Clock::name) + with_threads(threads), threads,
                            [f] { return std::make_unique<Contender<Clock>>(f); });
  };
  with(own_clock{});
  with(cached_clock{});
}

} // namespace bench
