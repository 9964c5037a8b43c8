// SPDX-License-Identifier: BSL-1.0
// The configuration of the gateway. Values that contain `s3cr3t` stand for secrets, wherever they are.
#include "../../examples/gateway/config.hpp"
#include "fuzz/property.hpp"
#include "fuzz/targets.hpp"
#include <rondo/secret.hpp>

#include <boost/asio/ip/address.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>

#include <algorithm>
#include <chrono>
#include <string>
#include <string_view>

namespace rondo::test::fuzz {

namespace {

using namespace std::chrono_literals;

constexpr std::string_view marker = "s3cr3t";

/// Whether a member is called like a secret: names of fields may be shown.
bool names_one(boost::json::value const& value) {
  if (auto const* const list = value.if_array()) {
    return std::any_of(list->begin(), list->end(), names_one);
  }
  auto const* const object = value.if_object();
  return object != nullptr && std::any_of(object->begin(), object->end(), [](auto const& member) {
           return std::string_view{member.key()}.find(marker) != std::string_view::npos || names_one(member.value());
         });
}

bool is_time(std::chrono::steady_clock::duration time, std::chrono::steady_clock::duration least = 1ms) {
  return time >= least && time <= 24h;
}

bool is_local(boost::asio::ip::address const& address) {
  auto const text = address.to_string();
  return text == "::1" || text.starts_with("127.") || text.starts_with("::ffff:127.");
}

void check_pool(gateway::pool_settings const& pool) {
  expect(!pool.name.empty() && pool.name.size() <= 64, "a pool has a name");
  expect(pool.prefix.starts_with('/') && (pool.prefix == "/" || !pool.prefix.ends_with('/')), "a prefix is a path");
  expect(pool.base_url.is_tls() || pool.base_url.is_loopback() || pool.allow_plaintext,
         "no key crosses a network in clear");
  expect(!pool.base_url.host.empty() && pool.base_url.port != 0, "there is a place to send requests to");
  expect(is_time(pool.cooldown) && is_time(pool.refresh, 0ms) && is_time(pool.connect) && is_time(pool.idle) &&
             is_time(pool.retry.deadline),
         "times are within a day");
  expect(pool.retry.max_attempts >= 1 && pool.retry.max_attempts <= 1000, "something is tried");
  for (auto const& key : pool.keys) {
    auto const text = key.secret.reveal();
    expect((key.from == gateway::key_entry::kind::single) == !text.empty(), "a single key has a secret");
    expect(std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < '\x7f'; }), "a key can be sent");
  }
  for (auto const& proxy : pool.proxies) {
    expect((proxy.from == gateway::proxy_entry::kind::single) == !proxy.url.empty(), "a single proxy has a URL");
  }
}

} // namespace

void gateway_config(std::string_view input) {
  gateway::fault_list faults;
  auto const settings = gateway::parse_settings(input, "/folder", faults);
  boost::system::error_code ec;
  auto const document = boost::json::parse({input.data(), input.size()}, ec);
  auto const may_show = !ec && names_one(document);
  for (auto const& line : faults.lines()) {
    expect(!line.empty() && line.size() < 1000, "a fault is a line");
    expect(std::none_of(line.begin(), line.end(), [](unsigned char c) { return c < ' ' || c == 0x7f; }),
           "a fault is one line");
    expect(may_show || line.find(marker) == line.npos, "no fault quotes a value");
  }
  expect(!ec || !faults.empty(), "what is not JSON is a fault");
  if (!faults.empty()) {
    return;
  }
  expect(settings.threads >= 1 && settings.threads <= 256, "there is a thread");
  expect(!settings.caller_tokens.empty() || (is_local(settings.listen.address()) && is_local(settings.admin.address())),
         "without tokens only this machine is listened to");
  expect(!settings.pools.empty(), "there is a pool");
  for (auto const& pool : settings.pools) {
    check_pool(pool);
  }
}

} // namespace rondo::test::fuzz
