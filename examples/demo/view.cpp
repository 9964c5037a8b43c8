// SPDX-License-Identifier: BSL-1.0
#include "view.hpp"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <sstream>
#include <string_view>

namespace demo {

namespace json = boost::json;

namespace {

constexpr std::size_t changes_shown = 4;
constexpr int bar_width = 10;

std::string_view text(json::value const& v) {
  return v.as_string();
}

std::int64_t number(json::value const& v) {
  return v.is_null() ? 0 : v.to_number<std::int64_t>();
}

std::string padded(std::string_view s, std::size_t width) {
  std::string out{s};
  out.resize(std::max(width, out.size()), ' ');
  return out;
}

std::string right(std::int64_t n, std::size_t width) {
  auto out = std::to_string(n);
  out.insert(0, width > out.size() ? width - out.size() : 0, ' ');
  return out;
}

std::string_view colour(std::string_view status) {
  if (status == "active") {
    return "\x1b[32m";
  }
  return status == "rate_limited" ? "\x1b[33m" : "\x1b[31m";
}

std::string bar(json::value const& percentage) {
  if (percentage.is_null()) {
    return std::string(bar_width + 6, ' ');
  }
  auto const p = std::clamp(percentage.to_number<double>(), 0.0, 100.0);
  auto const full = static_cast<int>(p / 100 * bar_width + 0.5);
  std::string out;
  for (int i = 0; i < bar_width; ++i) {
    out += i < full ? "\u2588" : "\u2591";
  }
  return out + right(static_cast<std::int64_t>(p), 4) + " %";
}

json::value const* key_in(json::value const& report, std::string_view name) {
  for (auto const& k : report.at("keys").as_array()) {
    if (text(k.at("name")) == name) {
      return &k;
    }
  }
  return nullptr;
}

std::int64_t total(json::value const& counts) {
  std::int64_t out = 0;
  for (auto const& c : counts.as_object()) {
    out += number(c.value());
  }
  return out;
}

std::string proxies_line(json::value const& report, proxy_names const& names) {
  std::string out;
  auto const& peers = report.at("peers").as_object();
  for (auto const& [address, name] : names) {
    auto const* const p = peers.if_contains(address);
    out += (out.empty() ? "" : ", ") + name + " " + std::to_string(p ? number(p->at("requests")) : 0) +
           " requests in " + std::to_string(p ? number(p->at("connections")) : 0) + " tunnels";
  }
  return out;
}

} // namespace

std::string view::seconds() const {
  char out[16];
  std::chrono::duration<double> const d = std::chrono::steady_clock::now() - start_;
  std::snprintf(out, sizeof out, "%5.1f s", d.count());
  return out;
}

void view::note_changes(json::value const& status) {
  for (auto const& pool : status.at("pools").as_array()) {
    for (auto const& k : pool.at("keys").as_array()) {
      std::string const name{text(k.at("name"))};
      std::string const now{text(k.at("status"))};
      auto const [at, is_new] = states_.try_emplace(name, now);
      if (!is_new && at->second != now) {
        changes_.push_back(seconds() + "  " + padded(name, 8) + at->second + " -> " + now);
        at->second = now;
      }
    }
  }
}

void view::update(tally const& counts, json::value const& status, json::value const& report) {
  note_changes(status);
  if (terminal_) {
    draw(counts, status, report);
  } else {
    print(counts, report);
  }
}

void view::finish(tally const& counts, json::value const& status, json::value const& report) {
  printed_ = {};
  update(counts, status, report);
}

void view::print(tally const& counts, json::value const& report) {
  for (auto const& c : changes_) {
    std::cout << c << '\n';
  }
  changes_.clear();
  auto const now = std::chrono::steady_clock::now();
  if (now - printed_ >= std::chrono::seconds{1}) {
    printed_ = now;
    std::cout << seconds() << "  " << right(counts.answered(), 4) << '/' << counts.total << " answered |";
    for (auto const& k : report.at("keys").as_array()) {
      std::cout << ' ' << text(k.at("name")) << ' ' << number(k.at("granted"));
    }
    std::cout << " | " << proxies_line(report, proxies_) << '\n';
  }
  std::cout.flush();
}

void view::draw(tally const& counts, json::value const& status, json::value const& report) {
  std::ostringstream out;
  int lines = 0;
  auto const line = [&](std::string const& s) {
    out << s << "\x1b[K\n"; // what was longer before is wiped
    ++lines;
  };
  if (drawn_lines_ > 0) {
    out << "\x1b[" << drawn_lines_ << "A\r";
  }
  line("\x1b[1m" + seconds() + "   " + std::to_string(counts.answered()) + " of " + std::to_string(counts.total) +
       " requests answered\x1b[0m");
  line("");
  line("key       account   status        quota             in flight  served  refused  failed");
  for (auto const& pool : status.at("pools").as_array()) {
    for (auto const& k : pool.at("keys").as_array()) {
      auto const state = text(k.at("status"));
      auto const* const seen = key_in(report, text(k.at("name")));
      line(padded(text(k.at("name")), 10) + padded(text(k.at("account")), 10) + std::string{colour(state)} +
           padded(state, 14) + "\x1b[0m" + bar(k.at("usagePercentage")) + right(number(k.at("inFlight")), 11) +
           right(seen ? number(seen->at("granted")) : 0, 8) + right(seen ? total(seen->at("refused")) : 0, 9) +
           right(seen ? number(seen->at("faulted")) : 0, 8));
    }
  }
  line("");
  line(proxies_line(report, proxies_));
  line("");
  auto const first = changes_.size() > changes_shown ? changes_.size() - changes_shown : 0;
  for (auto i = first; i < first + changes_shown; ++i) {
    line(i < changes_.size() ? changes_[i] : "");
  }
  // a list that became shorter must not leave lines of the longer one behind
  out << "\x1b[J";
  drawn_lines_ = lines;
  std::cout << out.str() << std::flush;
}

} // namespace demo
