// SPDX-License-Identifier: BSL-1.0
// What a provider answers: a first line with the status and how the body falls into pieces, `429 7`; the fields of the
// head, one a line; an empty line; the body. The body is taken for that of a request, too.
#include "fuzz/input.hpp"
#include "fuzz/property.hpp"
#include "fuzz/targets.hpp"
#include <rondo/clock.hpp>
#include <rondo/http/message.hpp>
#include <rondo/outcome.hpp>
#include <rondo/provider/adapter.hpp>
#include <rondo/provider/provider.hpp>
#include <rondo/provider/redact.hpp>
#include <rondo/provider/reset_formats.hpp>
#include <rondo/secret.hpp>

#include <boost/beast/http/verb.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace rondo::test::fuzz {

namespace {

using namespace std::chrono_literals;
using provider::adapter;

constexpr wall_time now = std::chrono::sys_days{std::chrono::year{2026} / 11 / 21} + 12h;

struct answer {
  http::response_head head;
  std::string_view body;
  std::uint8_t pieces;
};

answer read(std::string_view input) {
  fuzz_input in{input};
  fuzz_input first{in.line()};
  auto status = 0U;
  for (auto i = 0; i < 3; ++i) {
    status = status * 10 + (first.byte() - '0') % 10U;
  }
  first.byte();
  answer out{{}, {}, first.byte()};
  out.head.result(status % 1000);
  while (!in.empty()) {
    auto const line = in.line();
    if (line.empty()) {
      break;
    }
    auto const colon = std::min(line.find(':'), line.size());
    auto value = line.substr(std::min(colon + 1, line.size()));
    value.remove_prefix(value.starts_with(' ') ? 1 : 0);
    if (colon > 0 && line.size() < 4096) {
      // ended: Beast 1.81 looks at one character more when it compares
      out.head.insert(std::string{line.substr(0, colon)}, value);
    }
  }
  out.body = in.rest();
  return out;
}

std::optional<std::int64_t> metered(adapter const& a, http::response_head const& head, std::string_view body,
                                    piece_sizes pieces) {
  auto meter = a.meter(head);
  while (!body.empty()) {
    auto const n = pieces.next(body.size());
    meter.feed(body.substr(0, n));
    body.remove_prefix(n);
  }
  return meter.cost();
}

bool same(provider::verdict const& a, provider::verdict const& b) {
  return a.failure == b.failure && a.lane_only == b.lane_only && a.cost == b.cost && a.remaining == b.remaining &&
         a.concurrency == b.concurrency && a.barred == b.barred;
}

void check_verdict(provider::verdict const& v, unsigned status) {
  using kind = outcome::kind;
  expect(v.failure.has_value() == (status < 200 || status > 299), "a 2xx is a success, and nothing else is");
  expect(v.cost.value_or(0) >= 0 && v.remaining.value_or(0) >= 0, "no count is negative");
  expect(v.concurrency.value_or(1) > 0, "a concurrency of nothing is none");
  if (!v.failure) {
    return;
  }
  auto const what = v.failure->what();
  expect(!v.lane_only || what == kind::rate_limited || what == kind::exhausted, "only what rests rests in a lane");
  expect(what != kind::invalid_key || status == 400 || status == 401 || status == 403,
         "only three statuses can condemn a key");
  if (auto const rest = v.failure->rest()) {
    expect(*rest > 0ns && *rest <= provider::longest_rest, "a rest is longer than nothing and not absurd");
  }
  if (auto const until = v.failure->until()) {
    expect(*until > now && *until <= now + 32 * 24h, "a rest ends later, within a month");
  }
}

void check(adapter const& a, answer const& got) {
  http::request_head sent;
  sent.method(boost::beast::http::verb::post);
  sent.target("/v1beta/models/m:generateContent?key=other");
  a.attach(sent, "sk_attached");
  auto const v = a.judge(sent, got.head, got.body, now);
  expect(same(v, a.judge(sent, got.head, got.body, now)), "a verdict depends on nothing else");
  check_verdict(v, got.head.result_int());

  auto const whole = metered(a, got.head, got.body, piece_sizes{0});
  expect(whole.value_or(0) >= 0, "no cost is negative");
  expect(metered(a, got.head, got.body, piece_sizes{'1'}) == whole, "a cost does not depend on the pieces");
  expect(metered(a, got.head, got.body, piece_sizes{got.pieces}) == whole, "a cost does not depend on the pieces");

  if (auto const known = a.parse_balance(got.head.result_int(), got.body)) {
    expect(known->remaining >= 0 && known->limit >= 0, "no balance is negative");
    expect(!known->reset || *known->reset > wall_time{}, "a reset is a time");
  }
  auto const asked = a.describe(sent, got.body);
  expect(asked.tokens >= 0, "no request costs less than nothing");

  auto const found = a.detach(sent);
  expect(found && found->equals("sk_attached") && a.credentials(sent).empty(), "detach takes off what attach put on");
}

void check_redaction(std::string_view text) {
  for (std::string const key : {"sk_0123456789abcdefghijklmnopqrstuvwxyzABCDEF", "key123", "abcdabcdabcdabcd"}) {
    expect(provider::redacted(text, key).find(key) == std::string::npos, "no key is left in a text");
    expect(provider::redacted("x" + key + std::string{text}, key).find(key) == std::string::npos,
           "no key is left in a text");
  }
}

} // namespace

void provider_answers(std::string_view input) {
  auto const got = read(input);
  for (auto const name : {"generic", "openai", "gemini", "elevenlabs"}) {
    check(*provider::make(name), got);
  }
  check_redaction(got.body);
}

} // namespace rondo::test::fuzz
