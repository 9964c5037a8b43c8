// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/pool_snapshot.hpp>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace rondo::monitor {

/// A page of metrics in the text format of Prometheus (exposition format 0.0.4), put together from several sources:
/// samples of one metric are kept together, whatever the order in which they come.
///
/// Distinct objects: safe. Shared objects: unsafe.
class prometheus_page {
public:
  using label = std::pair<std::string_view, std::string_view>;

  /// The media type of `text`.
  static constexpr std::string_view content_type = "text/plain; version=0.0.4; charset=utf-8";

  /// A count that only grows; the name should end in `_total`.
  void counter(std::string_view name, std::string_view help, std::initializer_list<label> labels, double value) {
    sample(family_of(name, help, "counter"), "", labels, {}, value);
  }
  void gauge(std::string_view name, std::string_view help, std::initializer_list<label> labels, double value) {
    sample(family_of(name, help, "gauge"), "", labels, {}, value);
  }
  /// \param bounds upper bounds of the buckets, ascending
  /// \param counts one for each bound, not cumulated, and one more for what lies above the last bound
  /// \param sum of all values observed
  void histogram(std::string_view name, std::string_view help, std::initializer_list<label> labels,
                 std::span<double const> bounds, std::span<std::uint64_t const> counts, double sum) {
    auto& to = family_of(name, help, "histogram");
    std::uint64_t total = 0;
    for (std::size_t i = 0; i != counts.size(); ++i) {
      total += counts[i];
      auto const bound = i < bounds.size() ? number(bounds[i]) : std::string{"+Inf"};
      sample(to, "_bucket", labels, bound, static_cast<double>(total));
    }
    sample(to, "_sum", labels, {}, sum);
    sample(to, "_count", labels, {}, static_cast<double>(total));
  }

  [[nodiscard]] std::string text() const {
    std::string out;
    for (auto const& each : families_) {
      out.append("# HELP ").append(each.name).append(" ").append(each.help).append("\n");
      out.append("# TYPE ").append(each.name).append(" ").append(each.type).append("\n");
      out.append(each.samples);
    }
    return out;
  }

private:
  struct family {
    std::string name;
    std::string help;
    std::string_view type;
    std::string samples;
  };

  family& family_of(std::string_view name, std::string_view help, std::string_view type) {
    auto const found =
        std::find_if(families_.begin(), families_.end(), [name](family const& each) { return each.name == name; });
    return found != families_.end() ? *found
                                    : families_.emplace_back(family{std::string{name}, std::string{help}, type, {}});
  }

  static std::string number(double value) {
    char text[32];
    auto const end = std::to_chars(text, text + sizeof text, value).ptr;
    return {text, end};
  }

  static void sample(family& to, std::string_view suffix, std::initializer_list<label> labels, std::string_view bound,
                     double value) {
    auto& out = to.samples;
    out.append(to.name).append(suffix);
    auto separator = '{';
    auto const write = [&out, &separator](std::string_view name, std::string_view content) {
      out += std::exchange(separator, ',');
      out.append(name).append("=\"");
      for (auto const c : content) {
        if (c == '\n') {
          out.append("\\n");
          continue;
        }
        if (c == '\\' || c == '"') {
          out += '\\';
        }
        out += c;
      }
      out += '"';
    };
    for (auto const& [name, content] : labels) {
      write(name, content);
    }
    if (!bound.empty()) {
      write("le", bound);
    }
    out.append(separator == ',' ? "} " : " ").append(number(value)).append("\n");
  }

  std::vector<family> families_;
};

/// Adds the metrics of a pool: the status of its keys, what is left, what is in use.
///
/// Each key is labelled with its name, never with any part of its secret. Every key has one sample of each metric, so
/// a pool of a hundred thousand keys makes a large page.
inline void describe(prometheus_page& page, pool_snapshot const& pool) {
  std::string_view const name = pool.name();
  for (auto const s : {key_status::active, key_status::rate_limited, key_status::exhausted, key_status::invalid,
                       key_status::disabled}) {
    page.gauge("rondo_pool_keys", "Keys of the pool, by status.", {{"pool", name}, {"status", to_string(s)}},
               static_cast<double>(pool.count(s)));
  }
  page.gauge("rondo_pool_near_limit_keys", "Keys that have spent 80 % of their quota or more.", {{"pool", name}},
             static_cast<double>(pool.near_limit()));
  page.gauge("rondo_pool_remaining_tokens", "Tokens left of all quotas, each account counted once.", {{"pool", name}},
             static_cast<double>(pool.total_remaining()));
  for (auto const& key : pool) {
    page.counter("rondo_key_requests_total", "Requests that were given the key.", {{"pool", name}, {"key", key.name}},
                 static_cast<double>(key.requests));
    page.counter("rondo_key_failures_total", "Requests that failed through the key, its account or the path.",
                 {{"pool", name}, {"key", key.name}}, static_cast<double>(key.failures));
    page.gauge("rondo_key_available", "1 while the key is offered.", {{"pool", name}, {"key", key.name}},
               key.status == key_status::active ? 1 : 0);
    page.gauge("rondo_key_in_flight", "Leases out, of the key's account.", {{"pool", name}, {"key", key.name}},
               key.in_flight);
    page.gauge("rondo_key_used_tokens", "Tokens spent of the quota, or ever when there is none.",
               {{"pool", name}, {"key", key.name}}, static_cast<double>(key.character_count));
    if (key.remaining) {
      page.gauge("rondo_key_remaining_tokens", "Tokens left of the quota of the key's account.",
                 {{"pool", name}, {"key", key.name}}, static_cast<double>(*key.remaining));
    }
  }
}

} // namespace rondo::monitor
