// SPDX-License-Identifier: BSL-1.0
#include "options.hpp"

#include "json_fields.hpp"

#include <boost/asio/ip/address.hpp>
#include <boost/system/error_code.hpp>

#include <algorithm>
#include <charconv>
#include <limits>
#include <set>

namespace sim {

namespace json = boost::json;

namespace {

void parse_listen(json_fields& f, provider_options& out) {
  std::string listen = "127.0.0.1:0";
  f.read("listen", listen);
  auto const colon = listen.rfind(':');
  auto const* const end = listen.data() + listen.size();
  auto const* const digits = colon == std::string::npos ? end : listen.data() + colon + 1;
  auto const [stop, ec] = std::from_chars(digits, end, out.port);
  if (digits == end || ec != std::errc{} || stop != end) {
    f.complain("listen", "must be HOST:PORT");
    return;
  }
  out.host = listen.substr(0, colon);
  if (out.host.size() > 2 && out.host.front() == '[' && out.host.back() == ']') {
    out.host = out.host.substr(1, out.host.size() - 2);
  } else if (out.host == "localhost") {
    out.host = "127.0.0.1";
  }
  boost::system::error_code no_address;
  boost::asio::ip::make_address(out.host, no_address);
  if (no_address) {
    f.complain("listen", "must begin with an IP address or localhost");
  }
}

void parse_latency(json_fields& f, provider_options& out) {
  auto const* const v = f.find("latency_ms");
  if (v && v->is_array()) {
    auto const& range = v->get_array();
    if (range.size() == 2 && range[0].is_int64() && range[1].is_int64() && range[0].get_int64() >= 0 &&
        range[0].get_int64() <= range[1].get_int64() && range[1].get_int64() <= 3'600'000) {
      out.latency = std::chrono::milliseconds{range[0].get_int64()};
      out.latency_max = std::chrono::milliseconds{range[1].get_int64()};
    } else {
      f.complain("latency_ms", "must be a number or [least, greatest]");
    }
  } else {
    f.read("latency_ms", out.latency);
    out.latency_max = out.latency;
  }
}

account_options parse_account(json::value const& v, std::string const& where, std::vector<std::string>& faults) {
  constexpr auto most = std::numeric_limits<std::int64_t>::max();
  account_options a;
  json_fields f{v, where, faults};
  f.read("name", a.name);
  if (a.name.empty()) {
    f.complain("name", "must not be empty");
  }
  f.read("requests_per_second", a.limits.requests_per_second);
  f.read("requests_per_minute", a.limits.requests_per_minute);
  f.read("tokens_per_minute", a.limits.tokens_per_minute);
  f.read("requests_per_day", a.limits.requests_per_day);
  f.read("tokens_per_day", a.limits.tokens_per_day);
  f.read("concurrency", a.limits.concurrency);
  f.read("quota", a.limits.quota, 0, most);
  f.read("used", a.used, 0, most);
  f.read("quota_reset_ms", a.quota_reset);
  f.read("voice_limit", a.voice_limit);
  std::string text = "quota_exceeded";
  f.read("exhausted", text);
  if (text == "payment_required") {
    a.exhausted = refusal::payment_required;
  } else if (text != "quota_exceeded") {
    f.complain("exhausted", "must be quota_exceeded or payment_required");
  }
  text = "seconds";
  f.read("retry_after", text);
  if (text == "date") {
    a.retry_after = hint::date;
  } else if (text == "none") {
    a.retry_after = hint::none;
  } else if (text != "seconds") {
    f.complain("retry_after", "must be seconds, date or none");
  }
  return a;
}

key_options parse_key(json::value const& v, std::string const& where, std::vector<std::string>& faults) {
  key_options k;
  json_fields f{v, where, faults};
  std::string text;
  f.read("name", k.name);
  f.read("secret", text);
  f.read("account", k.account);
  f.read("invalid", k.invalid);
  if (k.name.empty()) {
    f.complain("name", "must not be empty");
  }
  if (text.empty()) {
    f.complain("secret", "must not be empty");
  }
  k.secret = rondo::secret{text};
  if (k.account.empty()) {
    k.account = k.name;
  }
  return k;
}

void check_names(provider_options const& o, std::vector<std::string>& faults) {
  std::set<std::string_view> seen;
  for (std::size_t i = 0; i < o.accounts.size(); ++i) {
    if (!seen.insert(o.accounts[i].name).second) {
      faults.push_back("accounts[" + std::to_string(i) + "].name: used twice");
    }
  }
  std::set<std::string_view> keys;
  std::set<std::string_view> secrets;
  for (std::size_t i = 0; i < o.keys.size(); ++i) {
    auto const where = "keys[" + std::to_string(i) + "].";
    auto const& k = o.keys[i];
    if (!keys.insert(k.name).second) {
      faults.push_back(where + "name: used twice");
    }
    if (!secrets.insert(k.secret.reveal()).second) {
      faults.push_back(where + "secret: used twice");
    }
    if (k.account != k.name && !seen.contains(k.account)) {
      faults.push_back(where + "account: no such account");
    }
  }
}

} // namespace

provider_options parse_options(json::value const& value, std::vector<std::string>& faults) {
  provider_options o;
  json_fields f{value, "", faults};
  parse_listen(f, o);
  f.read("tls", o.tls);
  f.read("certificate", o.certificate);
  f.read("private_key", o.private_key);
  f.read("certificate_dir", o.certificate_dir);
  if (o.tls && o.certificate_dir.empty() && (o.certificate.empty() || o.private_key.empty())) {
    f.complain("certificate_dir", "must be given, or certificate and private_key, unless tls is false");
  }
  f.read("threads", o.threads, 1, 256);
  f.read("seed", o.seed, 0, std::numeric_limits<std::int64_t>::max());
  parse_latency(f, o);
  f.read("response_bytes", o.response_bytes, 0, 1 << 30);
  f.read("completion_tokens", o.completion_tokens, 0, 1 << 20);
  f.read_array("accounts", [&](auto& v, auto const& where) { o.accounts.push_back(parse_account(v, where, faults)); });
  f.read_array("keys", [&](auto& v, auto const& where) { o.keys.push_back(parse_key(v, where, faults)); });
  f.read_array("faults", [&](auto& v, auto const& where) { o.faults.push_back(parse_fault(v, where, faults)); });
  f.read_array("canaries", [&](auto& v, auto const& where) {
    if (auto const* const s = v.if_string(); s && !s->empty()) {
      o.canaries.emplace_back(std::string_view{*s});
    } else {
      faults.push_back(where + ": must be a text that is not empty");
    }
  });
  check_names(o, faults);
  return o;
}

} // namespace sim
