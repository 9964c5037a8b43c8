// SPDX-License-Identifier: BSL-1.0
#include "verdict.hpp"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include <algorithm>
#include <cstdint>
#include <iostream>
#include <string>
#include <string_view>

namespace demo {

namespace json = boost::json;

namespace {

std::int64_t number(json::value const& v) {
  return v.to_number<std::int64_t>();
}

class verdicts {
public:
  void add(bool ok, std::string const& what) {
    std::cout << (ok ? "  ok     " : "  WRONG  ") << what << '\n';
    all_well_ = all_well_ && ok;
  }
  [[nodiscard]] bool all_well() const { return all_well_; }

private:
  bool all_well_ = true;
};

std::string milliseconds(std::vector<std::chrono::steady_clock::duration> all, double share) {
  if (all.empty()) {
    return "-";
  }
  std::sort(all.begin(), all.end());
  auto const i = static_cast<std::size_t>(share * static_cast<double>(all.size() - 1));
  return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(all[i]).count()) + " ms";
}

/// Each limit of an account and how close to it the account ever came; empty for an account without limits.
std::string closest(json::value const& a, bool& within) {
  std::string out;
  for (auto const& limit : a.at("limits").as_object()) {
    auto const most = number(limit.value());
    if (most == 0) {
      continue;
    }
    auto const name = limit.key();
    auto const seen = name == "quota" ? number(a.at("quotaUsed")) : number(a.at("greatest").at(name));
    within = within && seen <= most;
    std::string label{name};
    std::replace(label.begin(), label.end(), '_', ' ');
    out += "  " + label + " " + std::to_string(seen) + " of " + std::to_string(most);
  }
  return out;
}

void judge_limits(verdicts& out, json::value const& report) {
  bool within = number(report.at("violations")) == 0;
  std::vector<std::string> lines;
  for (auto const& a : report.at("accounts").as_array()) {
    if (auto const limits = closest(a, within); !limits.empty()) {
      std::string name{a.at("name").as_string()};
      name.resize(std::max<std::size_t>(name.size(), 8), ' ');
      lines.push_back(name + limits);
    }
  }
  out.add(within, within ? "no account was ever over a limit, in any window; the most that was seen:"
                         : "an account was over a limit; the most that was seen:");
  for (auto const& line : lines) {
    std::cout << "           " << line << '\n';
  }
}

void judge_proxies(verdicts& out, json::value const& report, proxy_names const& proxies) {
  bool all_through_proxies = true;
  std::string shares;
  for (auto const& peer : report.at("peers").as_object()) {
    auto const requests = number(peer.value().at("requests"));
    auto const name = proxies.find(std::string{peer.key()});
    if (name == proxies.end()) {
      all_through_proxies = all_through_proxies && requests == 0;
    } else {
      shares += (shares.empty() ? "" : ", ") + name->second + " " + std::to_string(requests);
    }
  }
  bool all_used = true;
  for (auto const& p : proxies) {
    all_used = all_used && report.at("peers").as_object().contains(p.first);
  }
  out.add(all_through_proxies && all_used, "requests that came through the proxies, and none without: " + shares);
}

} // namespace

bool judge(tally const& counts, json::value const& report, proxy_names const& proxies) {
  verdicts out;
  std::cout << "\nWhat the callers saw, and what the provider counted on its own side:\n";
  out.add(counts.served == counts.total,
          std::to_string(counts.served) + " of " + std::to_string(counts.total) +
              " requests were answered with 200 and the audio of their own text (half within " +
              milliseconds(counts.latencies, 0.5) + ", 99 of 100 within " + milliseconds(counts.latencies, 0.99) + ")");
  for (auto const& [what, n] : counts.failures) {
    std::cout << "           " << n << " x " << what << '\n';
  }
  if (counts.mixed_up > 0) {
    std::cout << "           " << counts.mixed_up << " x the audio of another text\n";
  }

  auto const granted = number(report.at("granted"));
  auto const& ids = report.at("ids");
  auto const twice = ids.at("grantedTwice").as_array().size();
  out.add(granted == counts.served && number(ids.at("distinct")) == counts.total && twice == 0,
          std::to_string(granted) + " were granted, " + (twice == 0 ? "none" : std::to_string(twice)) +
              " of them twice");
  auto const characters = number(report.at("grantedTokens"));
  out.add(characters == counts.characters && characters == counts.charged,
          std::to_string(characters) + " characters were charged; the texts hold " + std::to_string(counts.characters) +
              ", the answers say " + std::to_string(counts.charged));
  judge_limits(out, report);
  judge_proxies(out, report, proxies);
  auto const& leaks = report.at("leaks").as_object();
  out.add(leaks.empty(), "callers' tokens, proxy passwords and hop-by-hop headers that reached the provider: " +
                             std::string{leaks.empty() ? "none" : ""});
  for (auto const& leak : leaks) {
    std::cout << "           " << number(leak.value()) << " x " << std::string_view{leak.key()} << '\n';
  }

  std::cout << "  hidden from the callers:";
  for (auto const& kind : report.at("refused").as_object()) {
    std::cout << ' ' << number(kind.value()) << " x " << std::string_view{kind.key()} << ',';
  }
  std::int64_t faulted = 0;
  for (auto const& k : report.at("keys").as_array()) {
    faulted += number(k.at("faulted"));
  }
  std::cout << ' ' << faulted << " x scripted failure; " << counts.attempts << " attempts for " << counts.served
            << " answers\n";
  return out.all_well();
}

} // namespace demo
