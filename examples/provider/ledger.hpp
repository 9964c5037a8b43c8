// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "options.hpp"
#include "refusal.hpp"
#include "sliding_window.hpp"
#include <rondo/clock.hpp>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sim {

/// One request as it arrived, before anything is decided.
struct arrival {
  std::optional<std::size_t> key; ///< as found by `ledger::find`
  std::string_view id;            ///< the caller's x-request-id
  std::string_view peer;          ///< address of the other end
  std::uint16_t peer_port = 0;
  std::string_view target;
  std::int64_t tokens = 0;
  bool is_work = false;    ///< counts towards rates and concurrency; questions about the account do not
  bool is_voice = false;   ///< adds a voice
  bool is_faulted = false; ///< a scripted fault answers: counted as a request, nothing is charged
  std::string_view fault;  ///< the action of the fault that was drawn, if one was
};

/// What an account has left, right after a decision; the refused window's figures when one refused.
struct standing {
  rondo::limits limits;
  std::int64_t quota_used = 0;
  std::optional<rondo::wall_time> quota_reset;
  std::uint32_t voices = 0;
  std::uint32_t voice_limit = 0;
  std::uint32_t in_flight = 0;
  std::int64_t minute_requests = 0; ///< granted within the last minute
  std::int64_t minute_tokens = 0;
  sliding_window::duration minute_requests_reset{};
  sliding_window::duration minute_tokens_reset{};
  std::int64_t window_limit = 0;
  std::int64_t window_used = 0;
  sliding_window::duration retry_after{};
  hint retry_hint = hint::seconds;

  [[nodiscard]] std::int64_t quota_left() const noexcept { return limits.quota - quota_used; }
};

class ledger;

/// One admitted request: its place in the account's concurrency, until `finish` or destruction.
class ticket {
public:
  ticket() = default;
  ticket(ledger& owner, std::uint64_t record, std::optional<std::size_t> account)
      : ledger_{&owner}, record_{record}, account_{account} {}
  ticket(ticket&& other) noexcept { *this = std::move(other); }
  ticket& operator=(ticket&& other) noexcept {
    std::swap(ledger_, other.ledger_);
    std::swap(record_, other.record_);
    std::swap(account_, other.account_);
    return *this;
  }
  ~ticket() { finish(0); }

  /// Notes the status that was answered (0: none) and frees the place. To be called before the last byte is written:
  /// whoever has read it may send the next request.
  void finish(unsigned status);

private:
  ledger* ledger_ = nullptr;
  std::uint64_t record_ = 0;
  std::optional<std::size_t> account_;
};

struct decision {
  std::optional<refusal> why; ///< empty: granted
  standing at;
  ticket place;
};

/// What the provider knows about its accounts: enforces their limits, and counts everything that happened with exact
/// logs of its own. It is the judge of whoever calls.
///
/// Thread-safe.
class ledger {
public:
  ledger(provider_options const&, rondo::clock_source const& clock);

  [[nodiscard]] std::optional<std::size_t> find(std::string_view secret) const;
  [[nodiscard]] std::string_view key_name(std::size_t key) const { return key_options_[key].name; }
  [[nodiscard]] std::string_view account_name(std::size_t key) const { return account_options_[account_of_[key]].name; }

  [[nodiscard]] decision arrive(arrival const&);

  void connected(std::string_view peer);
  /// Notes something that should never have reached a provider.
  void leaked(std::string_view what);

  /// All counts since the start or the last reset.
  [[nodiscard]] boost::json::object report() const;
  /// The requests with number `since` and above, oldest first; the last 100,000 are kept.
  [[nodiscard]] boost::json::array requests(std::uint64_t since) const;
  /// Counts, windows and balances as they were at the start.
  void reset();

private:
  friend class ticket;
  using refusal_counts = std::map<refusal, std::uint64_t>;

  /// A limit over a sliding window: what was granted decides, what was asked for is judged.
  struct limit_window {
    refusal kind;
    std::uint32_t limit;
    bool counts_tokens;
    sliding_window granted;
    sliding_window asked;
  };

  struct account_state {
    explicit account_state(account_options const&);

    std::string name;
    account_options options;
    std::vector<limit_window> windows;
    std::int64_t used;
    std::optional<rondo::steady_time> reset_at;
    std::uint32_t voices = 0;
    std::uint32_t in_flight = 0;
    std::uint32_t greatest_in_flight = 0;
    std::uint64_t requests = 0;
    std::uint64_t granted = 0;
    std::int64_t granted_tokens = 0;
    refusal_counts refused;
    refusal_counts violations;
  };

  struct key_counts {
    std::uint64_t requests = 0;
    std::uint64_t reads = 0;
    std::uint64_t granted = 0;
    std::int64_t granted_tokens = 0;
    std::uint64_t faulted = 0;
    refusal_counts refused;
    std::map<std::string, std::uint64_t, std::less<>> peers;
  };

  struct record {
    std::uint64_t number;
    std::chrono::milliseconds at;
    std::string id, key, peer, target, fault;
    std::uint16_t peer_port;
    std::int64_t tokens;
    unsigned status;
  };

  struct id_counts {
    std::uint64_t arrived = 0;
    std::uint64_t granted = 0;
  };

  struct peer_counts {
    std::uint64_t connections = 0;
    std::uint64_t requests = 0;
    std::uint64_t granted = 0;
  };

  void start_counts();
  void refill(account_state&, rondo::steady_time now) const;
  [[nodiscard]] std::optional<refusal> judge(account_state&, arrival const&, rondo::steady_time now, standing&);
  void admit(account_state&, arrival const&, rondo::steady_time now);
  void describe(account_state&, rondo::steady_time now, standing&) const;
  void finish(std::uint64_t record, std::optional<std::size_t> account, unsigned status);

  std::vector<account_options> account_options_;
  std::vector<key_options> key_options_;
  std::vector<std::size_t> account_of_; // by key
  rondo::clock_source const& clock_;

  mutable std::mutex mutex_;
  rondo::steady_time started_;
  std::vector<account_state> accounts_;
  std::vector<key_counts> keys_;
  std::deque<record> records_;
  std::uint64_t next_record_ = 0;
  std::map<std::string, id_counts, std::less<>> ids_;
  std::map<std::string, peer_counts, std::less<>> peers_;
  std::map<std::string, std::uint64_t, std::less<>> leaks_;
  std::uint64_t unknown_keys_ = 0;
};

} // namespace sim
