// SPDX-License-Identifier: BSL-1.0
#include "traffic.hpp"

#include <algorithm>

namespace gateway {

namespace {

constexpr std::array<std::string_view, 6> classes{"0xx", "1xx", "2xx", "3xx", "4xx", "5xx"};
constexpr std::array<std::string_view, 6> parties{"nobody", "caller", "pool", "proxy", "path", "origin"};

} // namespace

void traffic::answered(unsigned status, unsigned attempts, std::chrono::steady_clock::duration until_head) noexcept {
  count(answers_[std::min<std::size_t>(status / 100, answers_.size() - 1)]);
  count(attempts_, attempts);
  auto const took = std::chrono::duration<double>{until_head}.count();
  count(latency_[static_cast<std::size_t>(std::lower_bound(bounds.begin(), bounds.end(), took) - bounds.begin())]);
  count(latency_us_, static_cast<std::uint64_t>(took * 1e6));
}

void traffic::describe(rondo::monitor::prometheus_page& page, std::string_view pool) const {
  auto const load = [](counter const& c) { return c.load(std::memory_order_relaxed); };
  for (std::size_t i = 2; i != classes.size(); ++i) {
    page.counter("rondo_gateway_answers_total", "Answers sent to callers, by class of status.",
                 {{"pool", pool}, {"code", classes[i]}}, static_cast<double>(load(answers_[i])));
  }
  page.counter("rondo_gateway_attempts_total", "Requests sent to the provider, failing over included.",
               {{"pool", pool}}, static_cast<double>(load(attempts_)));
  for (std::size_t i = 0; i != parties.size(); ++i) {
    page.counter("rondo_gateway_failures_total", "Requests without a whole answer of the provider, by who is to blame.",
                 {{"pool", pool}, {"blame", parties[i]}}, static_cast<double>(load(failures_[i])));
  }
  page.counter("rondo_gateway_abandoned_total", "Callers who went away before their answer was complete.",
               {{"pool", pool}}, static_cast<double>(load(abandoned_)));
  page.counter("rondo_gateway_passed_total", "Requests passed on with a caller's own key.", {{"pool", pool}},
               static_cast<double>(load(passed_)));
  std::array<std::uint64_t, bounds.size() + 1> counts{};
  std::transform(latency_.begin(), latency_.end(), counts.begin(), load);
  page.histogram("rondo_gateway_answer_seconds", "Time until the head of the answer was ready.", {{"pool", pool}},
                 bounds, counts, static_cast<double>(load(latency_us_)) / 1e6);
}

} // namespace gateway
