// SPDX-License-Identifier: BSL-1.0
#include "ledger.hpp"

#include <algorithm>

namespace sim {

namespace json = boost::json;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t records_kept = 100'000;

std::int64_t milliseconds(sliding_window::duration d) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(d).count();
}

json::object to_json(std::map<refusal, std::uint64_t> const& counts) {
  json::object out;
  for (auto const& [kind, n] : counts) {
    out[to_string(kind)] = n;
  }
  return out;
}

std::uint64_t total(std::map<refusal, std::uint64_t> const& counts) {
  std::uint64_t out = 0;
  for (auto const& c : counts) {
    out += c.second;
  }
  return out;
}

} // namespace

void ticket::finish(unsigned status) {
  if (auto* const owner = std::exchange(ledger_, nullptr)) {
    owner->finish(record_, account_, status);
  }
}

ledger::account_state::account_state(account_options const& o) : name{o.name}, options{o}, used{o.used} {
  auto const add = [this](refusal kind, std::uint32_t limit, bool counts_tokens, sliding_window::duration period) {
    windows.push_back({kind, limit, counts_tokens, sliding_window{period}, sliding_window{period}});
  };
  add(refusal::requests_per_second, o.limits.requests_per_second, false, 1s);
  add(refusal::requests_per_minute, o.limits.requests_per_minute, false, 1min);
  add(refusal::tokens_per_minute, o.limits.tokens_per_minute, true, 1min);
  // a log of a whole day is kept only where somebody wants to know
  if (o.limits.requests_per_day > 0) {
    add(refusal::requests_per_day, o.limits.requests_per_day, false, 24h);
  }
  if (o.limits.tokens_per_day > 0) {
    add(refusal::tokens_per_day, o.limits.tokens_per_day, true, 24h);
  }
}

ledger::ledger(provider_options const& o, rondo::clock_source const& clock)
    : account_options_{o.accounts}, key_options_{o.keys}, clock_{clock} {
  for (auto& k : key_options_) {
    if (std::none_of(account_options_.begin(), account_options_.end(),
                     [&](auto const& a) { return a.name == k.account; })) {
      account_options_.emplace_back().name = k.account;
    }
  }
  for (auto const& k : key_options_) {
    auto const a = std::find_if(account_options_.begin(), account_options_.end(),
                                [&](auto const& candidate) { return candidate.name == k.account; });
    account_of_.push_back(static_cast<std::size_t>(a - account_options_.begin()));
  }
  start_counts();
}

void ledger::start_counts() {
  started_ = clock_.steady_now();
  std::vector<account_state> fresh;
  for (auto const& o : account_options_) {
    auto& a = fresh.emplace_back(o);
    if (o.quota_reset > 0ms) {
      a.reset_at = started_ + o.quota_reset;
    }
    if (!accounts_.empty()) {
      a.in_flight = a.greatest_in_flight = accounts_[fresh.size() - 1].in_flight;
    }
  }
  accounts_ = std::move(fresh);
  keys_.assign(key_options_.size(), key_counts{});
  records_.clear();
  ids_.clear();
  peers_.clear();
  leaks_.clear();
  unknown_keys_ = 0;
}

void ledger::reset() {
  std::lock_guard const lock{mutex_};
  start_counts();
}

std::optional<std::size_t> ledger::find(std::string_view secret) const {
  for (std::size_t i = 0; i < key_options_.size(); ++i) {
    if (key_options_[i].secret.equals(secret)) {
      return i;
    }
  }
  return {};
}

void ledger::refill(account_state& a, rondo::steady_time now) const {
  while (a.reset_at && now >= *a.reset_at) {
    a.used = 0;
    *a.reset_at += a.options.quota_reset;
  }
}

std::optional<refusal> ledger::judge(account_state& a, arrival const& in, rondo::steady_time now, standing& s) {
  auto const& limits = a.options.limits;
  for (auto& w : a.windows) {
    if (!w.counts_tokens) {
      w.asked.add(now, 1);
    }
  }
  a.greatest_in_flight = std::max(a.greatest_in_flight, a.in_flight + 1);
  if (limits.concurrency > 0 && a.in_flight >= limits.concurrency) {
    return refusal::concurrency;
  }
  auto const refused_by = [&](limit_window& w, std::int64_t amount) {
    if (w.limit == 0 || w.granted.sum(now) + amount <= w.limit) {
      return false;
    }
    s.window_limit = w.limit;
    s.window_used = w.granted.sum(now);
    s.retry_after = w.granted.wait(now, amount, w.limit);
    return true;
  };
  for (auto& w : a.windows) {
    if (!w.counts_tokens && refused_by(w, 1)) {
      return w.kind;
    }
  }
  if (in.is_faulted) {
    return {};
  }
  if (in.is_voice && a.options.voice_limit > 0 && a.voices >= a.options.voice_limit) {
    return refusal::voice_limit;
  }
  for (auto& w : a.windows) {
    if (w.counts_tokens && w.limit > 0 && in.tokens > w.limit) {
      s.window_limit = w.limit;
      return refusal::too_large;
    }
  }
  for (auto& w : a.windows) {
    if (w.counts_tokens) {
      w.asked.add(now, in.tokens);
      if (refused_by(w, in.tokens)) {
        return w.kind;
      }
    }
  }
  if (limits.quota > 0 && in.tokens > limits.quota - a.used) {
    return a.options.exhausted;
  }
  return {};
}

void ledger::admit(account_state& a, arrival const& in, rondo::steady_time now) {
  ++a.in_flight;
  for (auto& w : a.windows) {
    if (!w.counts_tokens) {
      w.granted.add(now, 1);
    } else if (!in.is_faulted) {
      w.granted.add(now, in.tokens);
    }
  }
  if (!in.is_faulted) {
    a.used += in.tokens;
    a.voices += in.is_voice ? 1 : 0;
    ++a.granted;
    a.granted_tokens += in.tokens;
  }
}

void ledger::describe(account_state& a, rondo::steady_time now, standing& s) const {
  s.limits = a.options.limits;
  s.quota_used = a.used;
  if (a.reset_at) {
    s.quota_reset = clock_.wall_now() + std::chrono::duration_cast<rondo::wall_time::duration>(*a.reset_at - now);
  }
  s.voices = a.voices;
  s.voice_limit = a.options.voice_limit;
  s.in_flight = a.in_flight;
  s.retry_hint = a.options.retry_after;
  for (auto& w : a.windows) {
    if (w.kind == refusal::requests_per_minute) {
      s.minute_requests = w.granted.sum(now);
      s.minute_requests_reset = w.granted.until_empty(now);
    } else if (w.kind == refusal::tokens_per_minute) {
      s.minute_tokens = w.granted.sum(now);
      s.minute_tokens_reset = w.granted.until_empty(now);
    }
  }
}

decision ledger::arrive(arrival const& in) {
  std::lock_guard const lock{mutex_};
  auto const now = clock_.steady_now();
  decision out;
  std::optional<std::size_t> place;

  auto& peer = peers_[std::string{in.peer}];
  ++peer.requests;
  if (!in.key) {
    ++unknown_keys_;
    out.why = refusal::invalid_key;
  } else {
    auto& k = keys_[*in.key];
    auto& a = accounts_[account_of_[*in.key]];
    refill(a, now);
    ++(in.is_work ? k.requests : k.reads);
    ++k.peers[std::string{in.peer}];
    k.faulted += in.is_faulted ? 1 : 0;
    if (key_options_[*in.key].invalid) {
      out.why = refusal::invalid_key;
    } else if (in.is_work) {
      ++a.requests;
      out.why = judge(a, in, now, out.at);
      if (!out.why) {
        admit(a, in, now);
        place = account_of_[*in.key];
      } else if (is_violation(*out.why)) {
        ++a.violations[*out.why];
      }
    }
    describe(a, now, out.at);
    if (out.why) {
      ++k.refused[*out.why];
      ++a.refused[*out.why];
    } else if (in.is_work && !in.is_faulted) {
      ++k.granted;
      k.granted_tokens += in.tokens;
    }
  }

  bool const granted = in.is_work && !out.why && !in.is_faulted;
  peer.granted += granted ? 1 : 0;
  if (!in.id.empty()) {
    auto& id = ids_[std::string{in.id}];
    ++id.arrived;
    id.granted += granted ? 1 : 0;
  }
  if (records_.size() == records_kept) {
    records_.pop_front();
  }
  records_.push_back({next_record_, std::chrono::duration_cast<std::chrono::milliseconds>(now - started_),
                      std::string{in.id}, in.key ? key_options_[*in.key].name : std::string{}, std::string{in.peer},
                      std::string{in.target}, std::string{in.fault}, in.peer_port, in.tokens, 0});
  out.place = ticket{*this, next_record_++, place};
  return out;
}

void ledger::finish(std::uint64_t number, std::optional<std::size_t> account, unsigned status) {
  std::lock_guard const lock{mutex_};
  if (account) {
    --accounts_[*account].in_flight;
  }
  if (!records_.empty() && number >= records_.front().number) {
    records_[number - records_.front().number].status = status;
  }
}

void ledger::connected(std::string_view peer) {
  std::lock_guard const lock{mutex_};
  ++peers_[std::string{peer}].connections;
}

void ledger::leaked(std::string_view what) {
  std::lock_guard const lock{mutex_};
  ++leaks_[std::string{what}];
}

json::object ledger::report() const {
  std::lock_guard const lock{mutex_};
  std::uint64_t requests = unknown_keys_;
  std::uint64_t granted = 0;
  std::int64_t granted_tokens = 0;
  std::uint64_t violations = 0;
  refusal_counts refused;
  if (unknown_keys_ > 0) {
    refused[refusal::invalid_key] = unknown_keys_;
  }

  json::array accounts;
  for (auto const& a : accounts_) {
    json::object greatest{{"concurrency", a.greatest_in_flight}};
    json::object limits{{"concurrency", a.options.limits.concurrency}, {"quota", a.options.limits.quota}};
    for (auto const& w : a.windows) {
      greatest[to_string(w.kind)] = w.asked.greatest();
      limits[to_string(w.kind)] = w.limit;
    }
    granted += a.granted;
    granted_tokens += a.granted_tokens;
    violations += total(a.violations);
    accounts.push_back({{"name", a.name},
                        {"requests", a.requests},
                        {"granted", a.granted},
                        {"grantedTokens", a.granted_tokens},
                        {"quotaUsed", a.used},
                        {"voices", a.voices},
                        {"inFlight", a.in_flight},
                        {"limits", std::move(limits)},
                        {"greatest", std::move(greatest)},
                        {"refused", to_json(a.refused)},
                        {"violations", to_json(a.violations)}});
  }

  json::array keys;
  for (std::size_t i = 0; i < keys_.size(); ++i) {
    auto const& k = keys_[i];
    json::object peers;
    for (auto const& [address, n] : k.peers) {
      peers[address] = n;
    }
    requests += k.requests + k.reads;
    for (auto const& [kind, n] : k.refused) {
      refused[kind] += n;
    }
    keys.push_back({{"name", key_options_[i].name},
                    {"account", key_options_[i].account},
                    {"requests", k.requests},
                    {"reads", k.reads},
                    {"granted", k.granted},
                    {"grantedTokens", k.granted_tokens},
                    {"faulted", k.faulted},
                    {"refused", to_json(k.refused)},
                    {"peers", std::move(peers)}});
  }

  json::object peers;
  for (auto const& [address, p] : peers_) {
    peers[address] = {{"connections", p.connections}, {"requests", p.requests}, {"granted", p.granted}};
  }
  json::array repeated;
  json::array granted_twice;
  for (auto const& [id, n] : ids_) {
    if (n.arrived > 1) {
      repeated.emplace_back(id);
    }
    if (n.granted > 1) {
      granted_twice.emplace_back(id);
    }
  }
  json::object leaks;
  for (auto const& [what, n] : leaks_) {
    leaks[what] = n;
  }
  return {{"uptimeMs", milliseconds(clock_.steady_now() - started_)},
          {"requests", requests},
          {"granted", granted},
          {"grantedTokens", granted_tokens},
          {"refused", to_json(refused)},
          {"violations", violations},
          {"accounts", std::move(accounts)},
          {"keys", std::move(keys)},
          {"peers", std::move(peers)},
          {"ids",
           {{"distinct", ids_.size()}, {"repeated", std::move(repeated)}, {"grantedTwice", std::move(granted_twice)}}},
          {"leaks", std::move(leaks)}};
}

json::array ledger::requests(std::uint64_t since) const {
  std::lock_guard const lock{mutex_};
  json::array out;
  for (auto const& r : records_) {
    if (r.number >= since) {
      out.push_back({{"number", r.number},
                     {"atMs", r.at.count()},
                     {"id", r.id},
                     {"key", r.key},
                     {"peer", r.peer},
                     {"peerPort", r.peer_port},
                     {"target", r.target},
                     {"tokens", r.tokens},
                     {"status", r.status},
                     {"fault", r.fault}});
    }
  }
  return out;
}

} // namespace sim
