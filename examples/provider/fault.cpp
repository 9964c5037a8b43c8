// SPDX-License-Identifier: BSL-1.0
#include "fault.hpp"

#include "json_fields.hpp"

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include <algorithm>
#include <array>

namespace sim {

namespace json = boost::json;

namespace {

constexpr std::array<std::pair<fault_action, std::string_view>, 9> action_names{{
    {fault_action::status, "status"},
    {fault_action::refuse, "refuse"},
    {fault_action::drop, "drop"},
    {fault_action::hang, "hang"},
    {fault_action::garbage, "garbage"},
    {fault_action::drop_after_head, "drop_after_head"},
    {fault_action::truncate, "truncate"},
    {fault_action::slow, "slow"},
    {fault_action::close, "close"},
}};

bool matches(fault_rule const& r, std::string_view key, std::string_view account, std::string_view target) {
  return (r.key.empty() || r.key == key) && (r.account.empty() || r.account == account) &&
         target.find(r.path) != std::string_view::npos;
}

} // namespace

std::string_view to_string(fault_action a) noexcept {
  for (auto const& [value, name] : action_names) {
    if (value == a) {
      return name;
    }
  }
  return "unknown";
}

fault_rule parse_fault(json::value const& value, std::string const& where, std::vector<std::string>& faults) {
  constexpr std::int64_t no_end = 1'000'000'000'000;
  fault_rule r;
  json_fields f{value, where, faults};
  f.read("name", r.name);
  f.read("key", r.key);
  f.read("account", r.account);
  f.read("path", r.path);
  f.read("first", r.first, 1, no_end);
  f.read("last", r.last, 0, no_end);
  f.read("every", r.every, 1, no_end);
  if (f.find("nth")) {
    f.read("nth", r.first, 1, no_end);
    r.last = r.first;
  }
  if (auto const* const share = f.find("share")) {
    json::error_code ec;
    r.share = share->to_number<double>(ec);
    if (ec || !(r.share >= 0 && r.share <= 1)) {
      f.complain("share", "must be a number from 0 to 1");
    }
  }

  std::string action = "status";
  f.read("action", action);
  auto const known =
      std::find_if(action_names.begin(), action_names.end(), [&](auto& a) { return a.second == action; });
  if (known == action_names.end()) {
    f.complain("action", "must be status, refuse, drop, hang, garbage, drop_after_head, truncate, slow or close");
  } else {
    r.action = known->first;
  }
  f.read("status", r.status, 200, 999);
  if (auto const* const body = f.find("body")) {
    auto const* const text = body->if_string();
    r.body = text ? std::string{text->begin(), text->end()} : json::serialize(*body);
    if (!text) {
      r.headers.emplace_back("Content-Type", "application/json");
    }
  }
  if (auto const* const headers = f.find("headers")) {
    auto const* const object = headers->if_object();
    for (auto const& h : object ? *object : json::object{}) {
      if (auto const* const text = h.value().if_string()) {
        r.headers.emplace_back(h.key(), std::string{text->begin(), text->end()});
      } else {
        f.complain("headers", "every value must be a string");
      }
    }
    if (!object) {
      f.complain("headers", "must be an object");
    }
  }
  std::string reason;
  f.read("reason", reason);
  r.reason = parse_refusal(reason);
  if ((r.action == fault_action::refuse || !reason.empty()) && !r.reason) {
    f.complain("reason", "must name a refusal, such as invalid_key, quota_exceeded or requests_per_minute");
  }
  f.read("retry_after_ms", r.retry_after);
  f.read("bytes_per_second", r.bytes_per_second, 1);
  if (f.find("after_bytes")) {
    f.read("after_bytes", r.after_bytes.emplace(), 0, no_end);
  }
  f.read("delay_ms", r.delay);
  return r;
}

void fault_list::replace(std::vector<fault_rule> rules) {
  std::lock_guard const lock{mutex_};
  entries_.clear();
  for (auto& rule : rules) {
    auto& e = entries_.emplace_back();
    e.random.seed(seed_ + entries_.size());
    e.rule = std::make_shared<fault_rule const>(std::move(rule));
  }
}

void fault_list::restart() {
  std::lock_guard const lock{mutex_};
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    entries_[i] = {entries_[i].rule, std::mt19937_64{seed_ + i + 1}};
  }
}

std::shared_ptr<fault_rule const> fault_list::draw(std::string_view key, std::string_view account,
                                                   std::string_view target) {
  std::lock_guard const lock{mutex_};
  std::shared_ptr<fault_rule const> found;
  for (auto& e : entries_) {
    auto const& r = *e.rule;
    if (!matches(r, key, account, target)) {
      continue;
    }
    auto const position = ++e.matched;
    bool hit = position >= r.first && (r.last == 0 || position <= r.last) && (position - r.first) % r.every == 0;
    if (hit && r.share < 1) {
      hit = std::generate_canonical<double, 53>(e.random) < r.share;
    }
    if (hit && !found) {
      ++e.hit;
      found = e.rule;
    }
  }
  return found;
}

json::array fault_list::to_json() const {
  std::lock_guard const lock{mutex_};
  json::array out;
  for (auto const& e : entries_) {
    out.push_back(
        {{"name", e.rule->name}, {"action", to_string(e.rule->action)}, {"matched", e.matched}, {"hit", e.hit}});
  }
  return out;
}

} // namespace sim
