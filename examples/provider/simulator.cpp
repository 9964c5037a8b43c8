// SPDX-License-Identifier: BSL-1.0
#include "simulator.hpp"

#include <boost/beast/core/string.hpp>
#include <boost/json/parse.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <string>
#include <utility>

namespace sim {

namespace json = boost::json;
namespace http = boost::beast::http;

namespace {

constexpr std::string_view admin_prefix = "/_sim/";

std::string_view view(boost::beast::string_view s) {
  return {s.data(), s.size()};
}

answer scripted_answer(fault_rule const& rule) {
  answer a;
  a.status = rule.status;
  a.headers = rule.headers;
  if (!rule.body.empty()) {
    a.pieces.push_back(rule.body);
  }
  return a;
}

} // namespace

simulator::simulator(provider_options options, rondo::clock_source const& clock)
    : options_{std::move(options)}, clock_{clock}, ledger_{options_, clock_}, faults_{options_.faults, options_.seed},
      random_{options_.seed} {}

plan simulator::handle(request const& r, std::string_view peer, std::uint16_t peer_port) {
  plan out;
  auto const target = view(r.target());
  auto const path = path_of(target);
  if (path.starts_with(admin_prefix)) {
    out.reply = administrate(r, path.substr(admin_prefix.size()));
    return out;
  }
  look_for_leaks(r);
  auto const* const api = shape_of(target);
  if (!api) {
    out.reply = json_answer(404, {{"error", "no provider has this path"}});
    return out;
  }

  auto const wanted = api->describe(r, options_);
  auto const key = ledger_.find(api->credential(r));
  out.fault = faults_.draw(key ? ledger_.key_name(*key) : "", key ? ledger_.account_name(*key) : "", target);
  bool const replaced = out.fault && !out.fault->is_served();

  arrival in;
  in.key = key;
  in.id = view(r["x-request-id"]);
  in.peer = peer;
  in.peer_port = peer_port;
  in.target = target;
  in.tokens = wanted.tokens();
  in.is_work = wanted.is_work;
  in.is_voice = wanted.is_voice;
  in.is_faulted = replaced || wanted.malformed;
  in.fault = out.fault ? to_string(out.fault->action) : "";
  auto decided = ledger_.arrive(in);
  out.place = std::move(decided.place);

  auto const now = clock_.wall_now();
  if (replaced && out.fault->action == fault_action::refuse) {
    decided.at.retry_after = out.fault->retry_after;
    out.reply = api->refuse(*out.fault->reason, wanted, decided.at, now);
  } else if (replaced) {
    out.reply = scripted_answer(*out.fault);
  } else if (decided.why) {
    out.reply = api->refuse(*decided.why, wanted, decided.at, now);
  } else if (wanted.malformed) {
    out.reply = *wanted.malformed;
  } else {
    out.reply = api->serve(r, wanted, decided.at, options_);
    out.delay = latency();
  }
  if (out.fault) {
    out.delay += out.fault->delay;
  }
  return out;
}

std::chrono::milliseconds simulator::latency() {
  if (options_.latency == options_.latency_max) {
    return options_.latency;
  }
  std::lock_guard const lock{random_mutex_};
  std::uniform_int_distribution<std::int64_t> d{options_.latency.count(), options_.latency_max.count()};
  return std::chrono::milliseconds{d(random_)};
}

void simulator::look_for_leaks(request const& r) {
  constexpr std::array<std::string_view, 5> hop_by_hop{"proxy-connection", "keep-alive", "te", "trailer", "upgrade"};
  int credentials = query_value(view(r.target()), "key").empty() ? 0 : 1;
  for (auto const& field : r) {
    std::string name{view(field.name_string())};
    std::transform(name.begin(), name.end(), name.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; });
    if (name.starts_with("x-rondo-") || name.starts_with("proxy-auth") ||
        std::find(hop_by_hop.begin(), hop_by_hop.end(), name) != hop_by_hop.end()) {
      ledger_.leaked(name);
    }
    if (name == "authorization" || name == "xi-api-key" || name == "x-goog-api-key" || name == "x-api-key") {
      ++credentials;
    }
    for (auto const& canary : options_.canaries) {
      if (view(field.value()).find(canary.reveal()) != std::string_view::npos) {
        ledger_.leaked("canary in " + name);
      }
    }
  }
  if (credentials > 1) {
    ledger_.leaked("several credentials");
  }
  for (auto const& canary : options_.canaries) {
    if (view(r.target()).find(canary.reveal()) != std::string_view::npos) {
      ledger_.leaked("canary in the target");
    }
    if (r.body().find(canary.reveal()) != std::string::npos) {
      ledger_.leaked("canary in the body");
    }
  }
}

answer simulator::administrate(request const& r, std::string_view path) {
  bool const is_get = r.method() == http::verb::get;
  bool const is_post = r.method() == http::verb::post;
  if (path == "report" && is_get) {
    auto report = ledger_.report();
    report["faults"] = faults_.to_json();
    return json_answer(200, report);
  }
  if (path == "requests" && is_get) {
    auto const text = query_value(view(r.target()), "since");
    std::uint64_t since = 0;
    auto const [end, ec] = std::from_chars(text.data(), text.data() + text.size(), since);
    if (ec != std::errc{} && !text.empty()) {
      return json_answer(400, {{"errors", {"since: must be a number"}}});
    }
    return json_answer(200, ledger_.requests(since));
  }
  if (path == "reset" && is_post) {
    ledger_.reset();
    faults_.restart();
    return json_answer(200, {{"ok", true}});
  }
  if (path == "faults" && is_get) {
    return json_answer(200, faults_.to_json());
  }
  if (path == "faults" && is_post) {
    json::error_code ec;
    auto const body = json::parse(r.body(), ec);
    std::vector<std::string> errors;
    std::vector<fault_rule> rules;
    auto const* const list = ec ? nullptr : body.if_array();
    if (!list) {
      errors.emplace_back("the body must be an array of faults");
    } else {
      for (std::size_t i = 0; i < list->size(); ++i) {
        rules.push_back(parse_fault((*list)[i], "faults[" + std::to_string(i) + "]", errors));
      }
    }
    if (!errors.empty()) {
      return json_answer(400, {{"errors", json::value_from(errors)}});
    }
    faults_.replace(std::move(rules));
    return json_answer(200, {{"ok", true}});
  }
  return json_answer(404, {{"error", "try GET report, requests?since=N or faults; POST reset or faults"}});
}

} // namespace sim
