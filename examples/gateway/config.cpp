// SPDX-License-Identifier: BSL-1.0
#include "config.hpp"

#include <rondo/error.hpp>
#include <rondo/http/proxy.hpp>
#include <rondo/outcome.hpp>
#include <rondo/time_zone.hpp>

#include <boost/asio/ip/address.hpp>
#include <boost/json/stream_parser.hpp>
#include <boost/json/value.hpp>
#include <boost/system/system_error.hpp>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <chrono>
#include <limits>
#include <set>
#include <thread>
#include <utility>

namespace gateway {

namespace {

namespace asio = boost::asio;
namespace json = boost::json;

constexpr std::int64_t day_ms = 24LL * 3600 * 1000;
constexpr std::size_t most_lanes = 1024; // that a pool of the library tells apart

std::string at(std::string_view list, std::size_t index) {
  return std::string{list} + "[" + std::to_string(index) + "]";
}

bool is_visible(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < '\x7f'; });
}

/// A secret goes into a header field, where anything but visible characters is a fault or an attack.
rondo::secret take_secret(json_fields& in, std::string_view name) {
  auto const text = in.required_text(name);
  if (!is_visible(text)) {
    in.fault(name, "holds a character that may not be sent in a header");
  }
  return rondo::secret{text};
}

milliseconds take_time(json_fields& in, std::string_view name, milliseconds fallback, std::int64_t least,
                       std::int64_t greatest) {
  return milliseconds{in.integer(name, fallback.count(), least, greatest)};
}

/// `127.0.0.1:8787`, `[::1]:8787`, `localhost:8787`.
std::optional<asio::ip::tcp::endpoint> take_address(json_fields& in, std::string_view name, std::string_view fallback) {
  auto const text = in.text(name).value_or(std::string{fallback});
  auto const colon = text.rfind(':');
  auto host = text.substr(0, colon);
  auto const bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  host = bracketed ? host.substr(1, host.size() - 2) : host == "localhost" ? "127.0.0.1" : host;
  boost::system::error_code ec;
  auto const address = asio::ip::make_address(host, ec);
  std::uint16_t port = 0;
  auto const digits = colon == text.npos ? std::string_view{} : std::string_view{text}.substr(colon + 1);
  auto const parsed = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (ec || address.is_v6() != bracketed || digits.empty() || parsed.ec != std::errc{} ||
      parsed.ptr != digits.data() + digits.size()) {
    in.fault(name, "must be an address and a port, such as 127.0.0.1:8787 or [::1]:8787");
    return std::nullopt;
  }
  return asio::ip::tcp::endpoint{address, port};
}

bool is_loopback(asio::ip::address const& address) {
  return address.is_loopback() || (address.is_v6() && address.to_v6().is_v4_mapped() &&
                                   asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6()).is_loopback());
}

/// One of a list of enumerators that have names.
template <class List>
typename List::value_type take_one_of(json_fields& in, std::string_view name, List const& list,
                                      typename List::value_type fallback) {
  std::vector<std::string_view> words;
  std::size_t otherwise = 0;
  for (auto const one : list) {
    otherwise = one == fallback ? words.size() : otherwise;
    words.push_back(to_string(one));
  }
  return list.at(in.word(name, otherwise, words));
}

/// `2026-12-01T00:00:00Z`; the C++ library does not parse dates yet.
std::optional<rondo::wall_time> parse_instant(std::string_view text) {
  static constexpr std::string_view form = "0000-00-00T00:00:00Z";
  std::array<int, 6> parts{};
  std::size_t part = 0;
  if (text.size() != form.size()) {
    return std::nullopt;
  }
  for (std::size_t i = 0; i != form.size(); ++i) {
    if (form[i] != '0') {
      part += 1;
      if (text[i] != form[i]) {
        return std::nullopt;
      }
    } else if (text[i] < '0' || text[i] > '9') {
      return std::nullopt;
    } else {
      parts[part] = parts[part] * 10 + (text[i] - '0');
    }
  }
  using namespace std::chrono;
  year_month_day const date{year{parts[0]}, month{static_cast<unsigned>(parts[1])},
                            day{static_cast<unsigned>(parts[2])}};
  if (!date.ok() || parts[3] > 23 || parts[4] > 59 || parts[5] > 59) {
    return std::nullopt;
  }
  return sys_days{date} + hours{parts[3]} + minutes{parts[4]} + seconds{parts[5]};
}

/// `{"daily": "Europe/Berlin"}`, `{"monthly": "2026-12-01T00:00:00Z"}`, `"none"`.
std::optional<rondo::renewal> take_renewal(json_fields& in, std::string_view name, fault_list& faults) {
  auto const* const value = in.any(name);
  if (value == nullptr) {
    return std::nullopt;
  }
  if (*value == "none") {
    return rondo::renewal::none();
  }
  std::optional<rondo::renewal> out;
  json_fields fields{*value, in.path(name), faults};
  auto const zone = fields.text("daily");
  auto const time = fields.text("monthly");
  if (value->is_object() && fields.has("daily") == fields.has("monthly")) {
    in.fault(name, "must name either daily or monthly");
  } else if (zone) {
    try {
      out = rondo::renewal::daily(rondo::time_zone::named(*zone));
    } catch (boost::system::system_error const&) {
      fields.fault("daily", "must be a time zone that this system knows, such as Europe/Berlin");
    }
  } else if (time) {
    if (auto const instant = parse_instant(*time)) {
      out = rondo::renewal::monthly(*instant);
    } else {
      fields.fault("monthly", "must be a time such as 2026-12-01T00:00:00Z");
    }
  }
  fields.finish();
  return out;
}

limit_settings take_limits(json_fields& in, std::string_view name, fault_list& faults) {
  limit_settings out;
  auto const* const value = in.any(name);
  if (value == nullptr) {
    return out;
  }
  json_fields fields{*value, in.path(name), faults};
  auto const count = [&fields](std::string_view field, std::optional<std::uint32_t>& to) {
    if (fields.has(field)) {
      to = static_cast<std::uint32_t>(fields.integer(field, 0, 0, std::numeric_limits<std::uint32_t>::max()));
    }
  };
  count("requests_per_second", out.requests_per_second);
  count("requests_per_minute", out.requests_per_minute);
  count("tokens_per_minute", out.tokens_per_minute);
  count("requests_per_day", out.requests_per_day);
  count("tokens_per_day", out.tokens_per_day);
  count("concurrency", out.concurrency);
  if (fields.has("quota")) {
    out.quota = fields.integer("quota", 0, 0, std::numeric_limits<std::int64_t>::max());
  }
  if (auto const text = fields.text("quota_reset")) {
    out.quota_reset = parse_instant(*text);
    if (!out.quota_reset) {
      fields.fault("quota_reset", "must be a time such as 2026-12-01T00:00:00Z");
    }
  }
  out.quota_renewal = take_renewal(fields, "quota_renewal", faults);
  out.day_renewal = take_renewal(fields, "day_renewal", faults);
  fields.finish();
  return out;
}

/// `{"tts": {"concurrency": 2}}`
lane_settings take_lanes(json_fields& in, fault_list& faults) {
  lane_settings out;
  auto const* const value = in.any("lanes");
  if (value == nullptr) {
    return out;
  }
  json_fields fields{*value, in.path("lanes"), faults};
  for (auto const& member : value->is_object() ? value->get_object() : json::object{}) {
    if (member.key().empty()) {
      in.fault("lanes", "must not hold one without a name");
    } else {
      out.emplace(member.key(), take_limits(fields, member.key(), faults));
    }
  }
  return out;
}

std::filesystem::path take_file(json_fields& in, std::string_view name, std::filesystem::path const& folder) {
  auto const file = in.text(name);
  return file ? folder / *file : std::filesystem::path{};
}

rondo::http::tls_options take_trust(json_fields& in, std::filesystem::path const& folder) {
  rondo::http::tls_options out;
  out.ca_file = take_file(in, "ca_file", folder).string();
  out.certificate_file = take_file(in, "certificate_file", folder).string();
  out.key_file = take_file(in, "key_file", folder).string();
  if (in.has("key_file") && !in.has("certificate_file")) {
    in.fault("key_file", "needs a certificate_file");
  }
  out.crl_file = take_file(in, "crl_file", folder).string();
  auto const* const pins = in.list("pins");
  if (pins != nullptr && pins->empty()) {
    in.fault("pins", "must name at least one"); // a list that lost its pins must not mean any key
  }
  for (std::size_t i = 0; pins != nullptr && i != pins->size(); ++i) {
    if (auto const* const pin = (*pins)[i].if_string()) {
      out.pins.emplace_back(std::string_view{*pin});
    } else {
      in.fault(at("pins", i), "must be a string");
    }
  }
  return out;
}

key_entry take_key(json::value const& value, std::string path, std::filesystem::path const& folder,
                   fault_list& faults) {
  key_entry out;
  json_fields in{value, path, faults};
  out.path = path;
  static constexpr std::array<std::string_view, 4> kinds{"secret", "env", "csv", "dotenv"};
  auto const named = std::count_if(kinds.begin(), kinds.end(), [&in](std::string_view kind) { return in.has(kind); });
  if (named != 1 && value.is_object()) {
    faults.add(path, "must name exactly one of secret, env, csv and dotenv");
    for (auto const kind : kinds) {
      static_cast<void>(in.any(kind));
    }
    static_cast<void>(in.any("service"));
    static_cast<void>(in.any("name"));
  } else if (in.has("env")) {
    out.from = key_entry::kind::env;
    out.variable = in.required_text("env");
  } else if (in.has("csv")) {
    out.from = key_entry::kind::csv;
    out.file = take_file(in, "csv", folder);
  } else if (in.has("dotenv")) {
    out.from = key_entry::kind::dotenv;
    out.file = take_file(in, "dotenv", folder);
    out.service = in.required_text("service");
  } else if (value.is_object()) {
    out.secret = take_secret(in, "secret");
    out.name = in.text("name").value_or("");
    if (!std::all_of(out.name.begin(), out.name.end(), [](unsigned char c) { return c >= ' ' && c != 0x7f; })) {
      in.fault("name", "holds a control character");
    }
  }
  out.limits = take_limits(in, "limits", faults);
  out.lanes = take_lanes(in, faults);
  out.lane_limits = take_limits(in, "lane_limits", faults);
  if (in.has("weight")) {
    out.weight = static_cast<std::uint32_t>(in.integer("weight", 1, 1, 1'000'000));
  }
  if (out.from != key_entry::kind::csv) { // whose rows are accounts of their own
    out.account = in.text("account").value_or("");
    out.disabled = in.flag("disabled", false);
  }
  in.finish();
  return out;
}

std::vector<rondo::provider::status_meaning> take_statuses(json_fields& in, fault_list& faults) {
  using rondo::outcome;
  static constexpr std::array meanings{
      outcome::rate_limited(), outcome::exhausted(),      outcome::concurrency_limited(),
      outcome::invalid_key(),  outcome::overloaded(),     outcome::too_large(),
      outcome::rejected(),     outcome::transport_error()};
  std::vector<std::string_view> words;
  for (auto const& each : meanings) {
    words.push_back(to_string(each.what()));
  }
  std::vector<rondo::provider::status_meaning> out;
  auto const* const value = in.any("statuses");
  if (value == nullptr) {
    return out;
  }
  json_fields fields{*value, in.path("statuses"), faults};
  for (unsigned status = 300; status != 600; ++status) {
    auto const name = std::to_string(status);
    if (fields.has(name)) {
      out.push_back({status, meanings.at(fields.word(name, 0, words))});
    }
  }
  fields.finish();
  return out;
}

provider_settings take_provider(json_fields& in, fault_list& faults) {
  static std::vector<std::string_view> const names{"elevenlabs", "openai", "gemini", "generic"};
  provider_settings out;
  if (auto const name = in.required_text("provider"); !name.empty()) {
    out.name = names.at(in.word("provider", 0, names));
  }
  if (out.name == "openai" || out.name == "gemini") {
    out.options.default_output_tokens = 256;
  }
  auto const* const value = in.any("provider_options");
  if (value == nullptr) {
    return out;
  }
  json_fields fields{*value, in.path("provider_options"), faults};
  if (out.name == "generic") {
    out.options.header = fields.text("header").value_or(out.options.header);
    if (auto const* const prefix = fields.any("header_prefix"); prefix != nullptr && prefix->is_string()) {
      out.options.prefix = std::string_view{prefix->get_string()};
    } else if (prefix != nullptr) {
      fields.fault("header_prefix", "must be a string, which may be empty");
    }
    out.options.statuses = take_statuses(fields, faults);
  }
  if (out.name != "elevenlabs") {
    auto& options = out.options;
    options.default_output_tokens =
        fields.integer("default_output_tokens", options.default_output_tokens, 0, 1'000'000'000);
    options.characters_per_token = fields.integer("characters_per_token", options.characters_per_token, 1, 1000);
  }
  fields.finish();
  return out;
}

std::string take_prefix(json_fields& in) {
  auto prefix = in.text("prefix").value_or("/");
  auto const well_formed = prefix.front() == '/' && prefix.find_first_of("?#") == prefix.npos &&
                           prefix.find("//") == prefix.npos && is_visible(prefix);
  if (!well_formed) {
    in.fault("prefix", "must be a path that begins with / and has neither // nor ? nor #");
  }
  if (prefix.size() > 1 && prefix.back() == '/') {
    prefix.pop_back();
  }
  return prefix;
}

rondo::http::url take_base_url(json_fields& in, bool allow_plaintext) {
  auto const text = in.required_text("base_url");
  if (text.empty()) {
    return {};
  }
  auto parsed = rondo::http::parse_url(text);
  if (!parsed) {
    in.fault("base_url", "must be an http or https URL without user, password and fragment");
    return {};
  }
  if (parsed->target.find('?') != std::string::npos) {
    in.fault("base_url", "must not have a query");
  }
  if (!parsed->is_tls() && !parsed->is_loopback() && !allow_plaintext) {
    in.fault("base_url", "may be http:// for loopback hosts only, or with \"allow_plaintext\": true");
  }
  return *std::move(parsed);
}

/// `{"country": "de", "kind": "home"}`
std::vector<rondo::proxy_tag> take_tags(json_fields& in, std::string_view name) {
  std::vector<rondo::proxy_tag> out;
  auto const* const value = in.any(name);
  if (value == nullptr) {
    return out;
  }
  auto const* const object = value->if_object();
  if (object == nullptr) {
    in.fault(name, "must be an object");
    return out;
  }
  for (auto const& [tag, content] : *object) {
    if (auto const* const text = content.if_string()) {
      out.push_back({std::string{tag}, std::string{*text}});
    } else {
      in.fault(name, "must hold nothing but strings");
      break;
    }
  }
  return out;
}

std::vector<rondo::address_refusal> take_refusals(json_fields& in, fault_list& faults) {
  std::vector<rondo::address_refusal> out;
  auto const* const list = in.list("address_refusals");
  for (std::size_t i = 0; list != nullptr && i != list->size(); ++i) {
    json_fields fields{(*list)[i], at(in.path("address_refusals"), i), faults};
    rondo::address_refusal next;
    next.status = static_cast<unsigned>(fields.integer("status", next.status, 400, 599));
    next.marker = fields.text("marker").value_or("");
    fields.finish();
    out.push_back(std::move(next));
  }
  return out;
}

std::optional<proxy_check_settings> take_check(json_fields& in, fault_list& faults) {
  auto const* const value = in.any("proxy_check");
  if (value == nullptr) {
    return std::nullopt;
  }
  proxy_check_settings out;
  json_fields fields{*value, in.path("proxy_check"), faults};
  auto target = rondo::http::parse_url(fields.required_text("target"));
  if (target) {
    out.target = *std::move(target);
  } else if (value->is_object()) {
    fields.fault("target", "must be an http or https URL without user, password and fragment");
  }
  out.interval = take_time(fields, "interval_ms", out.interval, 1, day_ms);
  out.timeout = take_time(fields, "timeout_ms", out.timeout, 1, day_ms);
  fields.finish();
  return out;
}

void take_retry(json_fields& in, rondo::retry_policy& out, fault_list& faults) {
  auto const* const value = in.any("retry");
  if (value == nullptr) {
    return;
  }
  json_fields fields{*value, in.path("retry"), faults};
  auto const time = [&](std::string_view name, std::chrono::steady_clock::duration fallback, std::int64_t least) {
    return take_time(fields, name, std::chrono::duration_cast<milliseconds>(fallback), least, day_ms);
  };
  out.max_attempts = static_cast<unsigned>(fields.integer("max_attempts", out.max_attempts, 1, 1000));
  out.deadline = time("deadline_ms", out.deadline, 1);
  out.unsafe = fields.flag("unsafe", out.unsafe);
  out.hedge_after = time("hedge_ms", out.hedge_after, 0);
  auto const percent = fields.integer("budget_percent", static_cast<std::int64_t>(out.budget.share * 100), 0, 100'000);
  out.budget.share = static_cast<double>(percent) / 100;
  out.budget.floor = static_cast<std::uint32_t>(fields.integer("budget_floor", out.budget.floor, 0, 1'000'000'000));
  out.budget.window = time("budget_window_ms", out.budget.window, 1);
  fields.finish();
}

proxy_entry take_proxy(json::value const& value, std::string path, std::filesystem::path const& folder,
                       fault_list& faults) {
  proxy_entry out;
  json_fields in{value, path, faults};
  out.path = path;
  static constexpr std::array<std::string_view, 3> kinds{"url", "file", "environment"};
  auto const named = std::count_if(kinds.begin(), kinds.end(), [&in](std::string_view kind) { return in.has(kind); });
  if (named != 1 && value.is_object()) {
    faults.add(path, "must name exactly one of url, file and environment");
    for (auto const kind : kinds) {
      static_cast<void>(in.any(kind));
    }
  } else if (in.has("file")) {
    out.from = proxy_entry::kind::file;
    out.file = take_file(in, "file", folder);
  } else if (in.has("environment")) {
    out.from = proxy_entry::kind::environment;
    if (!in.flag("environment", true)) {
      in.fault("environment", "must be true");
    }
  } else {
    out.url = rondo::secret{in.required_text("url")};
  }
  auto const count = [&in](std::string_view name, std::int64_t greatest) {
    return static_cast<std::uint32_t>(in.integer(name, 0, 0, greatest));
  };
  out.concurrency = count("concurrency", std::numeric_limits<std::uint32_t>::max());
  out.tags = take_tags(in, "tags");
  out.tier = count("tier", 15);
  out.requests_per_tunnel = count("requests_per_tunnel", std::numeric_limits<std::uint32_t>::max());
  out.tunnel_age = take_time(in, "tunnel_age_ms", out.tunnel_age, 0, day_ms);
  out.login_when_asked = in.word("login", 0, {"at_once", "when_asked"}) == 1;
  in.finish();
  return out;
}

std::vector<proxy_entry> take_proxies(json_fields& in, std::filesystem::path const& folder, fault_list& faults) {
  std::vector<proxy_entry> out;
  std::vector<rondo::http::proxy> known;
  auto const* const list = in.list("proxies");
  for (std::size_t i = 0; list != nullptr && i != list->size(); ++i) {
    auto const path = at(in.path("proxies"), i);
    auto const& entry = (*list)[i];
    json::value const as_object = entry.is_string() ? json::object{{"url", entry}} : entry;
    auto next = take_proxy(as_object, path, folder, faults);
    if (next.from != proxy_entry::kind::single) {
      out.push_back(std::move(next));
      continue;
    }
    if (next.url.empty()) {
      continue;
    }
    auto parsed = rondo::http::parse_proxy(next.url.reveal());
    if (!parsed) {
      faults.add(
          path,
          parsed.error() == rondo::error::invalid_credentials
              ? "the proxy's protocol cannot carry this user or password"
              : "must be a proxy URL: http://, https://, socks4a://, socks5:// or socks5h://[user:password@]host:port, "
                "or a SOCKS proxy and one of the first two with | between them");
      continue;
    }
    if (std::find(known.begin(), known.end(), *parsed) != known.end()) {
      faults.add(path, "is the same proxy as one before");
      continue;
    }
    known.push_back(*std::move(parsed));
    out.push_back(std::move(next));
  }
  return out;
}

/// What the provider's own days are, for limits that do not say it.
void let_days_begin(pool_settings& pool, rondo::renewal const& day) {
  pool.limits.day_renewal = pool.limits.day_renewal.value_or(day);
  auto const set = [&day](limit_settings& lane) {
    if (lane.requests_per_day || lane.tokens_per_day) {
      lane.day_renewal = lane.day_renewal.value_or(day);
    }
  };
  auto const set_all = [&set](lane_settings& lanes, limit_settings& others) {
    for (auto& [name, lane] : lanes) {
      set(lane);
    }
    set(others);
  };
  set_all(pool.lanes, pool.lane_limits);
  for (auto& key : pool.keys) {
    set_all(key.lanes, key.lane_limits);
  }
}

std::size_t count_lanes(pool_settings const& pool) {
  std::set<std::string_view> names;
  auto const add = [&names](lane_settings const& lanes) {
    for (auto const& [name, limits] : lanes) {
      names.insert(name);
    }
  };
  add(pool.lanes);
  for (auto const& key : pool.keys) {
    add(key.lanes);
  }
  return names.size();
}

pool_settings take_pool(json::value const& value, std::string path, std::filesystem::path const& folder,
                        fault_list& faults) {
  pool_settings out;
  json_fields in{value, path, faults};
  out.path = path;
  out.name = in.required_text("name");
  if (out.name.size() > 64 || !std::all_of(out.name.begin(), out.name.end(), [](unsigned char c) {
        return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
      })) {
    in.fault("name", "must be at most 64 letters, digits, '-', '_' and '.'"); // it stands in URLs and metrics
  }
  out.prefix = take_prefix(in);
  out.provider = take_provider(in, faults);
  out.allow_plaintext = in.flag("allow_plaintext", false);
  out.base_url = take_base_url(in, out.allow_plaintext);
  out.trust = take_trust(in, folder);
  out.proxy_trust.ca_file = take_file(in, "proxy_ca_file", folder).string();
  out.strategy = take_one_of(in, "strategy", rondo::strategies, out.strategy);
  out.limits = take_limits(in, "limits", faults);
  out.lanes = take_lanes(in, faults);
  out.lane_limits = take_limits(in, "lane_limits", faults);
  out.most_failures = static_cast<std::uint32_t>(in.integer("most_failures", 0, 0, 262'143));
  out.failure_period = take_time(in, "failure_period_ms", out.failure_period, 1, day_ms);
  auto const* const keys = in.list("keys");
  if (value.is_object() && !in.has("keys")) {
    in.fault("keys", "is missing");
  }
  for (std::size_t i = 0; keys != nullptr && i != keys->size(); ++i) {
    out.keys.push_back(take_key((*keys)[i], at(in.path("keys"), i), folder, faults));
  }
  if (out.provider.name == "gemini") {
    let_days_begin(out, rondo::renewal::daily(rondo::time_zone::pacific()));
  }
  if (count_lanes(out) > most_lanes) {
    in.fault("lanes", "must be at most 1024, with those of the keys");
  }
  out.cooldown = take_time(in, "cooldown_ms", out.cooldown, 1, day_ms);
  out.refresh = take_time(in, "refresh_ms", out.refresh, 0, day_ms);
  out.own = static_cast<own_keys>(in.word("own_keys", 0, {"pass", "replace", "refuse"}));
  out.proxies = take_proxies(in, folder, faults);
  out.proxy_strategy = take_one_of(in, "proxy_strategy", rondo::proxy_strategies, out.proxy_strategy);
  out.proxy_tags = take_tags(in, "proxy_tags");
  out.when_no_proxy = static_cast<rondo::when_no_proxy>(in.word("when_no_proxy", 0, {"fail", "wait", "direct"}));
  out.proxy_check = take_check(in, faults);
  out.address_refusals = take_refusals(in, faults);
  out.proxy_cooldown = take_time(in, "proxy_cooldown_ms", out.proxy_cooldown, 1, day_ms);
  out.proxy_most_cooldown = take_time(in, "proxy_most_cooldown_ms", out.proxy_most_cooldown, 1, day_ms);
  out.connect = take_time(in, "connect_ms", out.connect, 1, day_ms);
  out.idle = take_time(in, "idle_ms", out.idle, 1, day_ms);
  take_retry(in, out.retry, faults);
  if (auto const* const connections = in.any("connections")) {
    json_fields fields{*connections, in.path("connections"), faults};
    auto const most = [&fields](std::string_view name, std::size_t& limit) {
      limit = static_cast<std::size_t>(fields.integer(name, static_cast<std::int64_t>(limit), 0, 100'000));
    };
    most("max_idle", out.max_idle_connections);
    most("max_per_origin", out.max_per_origin);
    most("max_per_proxy", out.max_per_proxy);
    out.idle_connection_limit = take_time(fields, "idle_ms", out.idle_connection_limit, 1, day_ms);
    out.connection_max_age = take_time(fields, "max_age_ms", out.connection_max_age, 1, day_ms);
    fields.finish();
  }
  out.max_body_bytes = static_cast<std::size_t>(
      in.integer("max_body_bytes", static_cast<std::int64_t>(out.max_body_bytes), 0, 4LL << 30));
  in.finish();
  return out;
}

void check_pools(std::vector<pool_settings> const& pools, fault_list& faults) {
  std::set<std::string_view> names;
  std::set<std::string_view> prefixes;
  for (auto const& pool : pools) {
    if (!pool.name.empty() && !names.insert(pool.name).second) {
      faults.add(pool.path + ".name", "is the name of another pool too");
    }
    if (!prefixes.insert(pool.prefix).second) {
      faults.add(pool.path + ".prefix", "is the prefix of another pool too");
    }
  }
}

/// Where in `text` a byte stands, as people count.
std::string place(std::string_view text, std::size_t offset) {
  auto const before = text.substr(0, offset);
  auto const line = std::count(before.begin(), before.end(), '\n') + 1;
  auto const start = before.rfind('\n');
  auto const column = start == before.npos ? before.size() + 1 : before.size() - start;
  return "line " + std::to_string(line) + ", column " + std::to_string(column);
}

std::optional<json::value> parse_json(std::string_view text, fault_list& faults) {
  json::stream_parser parser;
  boost::system::error_code ec;
  auto const read = parser.write_some(text.data(), text.size(), ec);
  if (!ec) {
    auto const rest = text.find_first_not_of(" \t\r\n", read);
    if (rest != text.npos) {
      ec = json::error::extra_data;
    } else {
      parser.finish(ec);
    }
  }
  if (ec) {
    faults.add(place(text, std::min(read, text.size())), "not valid JSON: " + ec.message());
    return std::nullopt;
  }
  return parser.release();
}

} // namespace

rondo::limits limit_settings::over(rondo::limits out) const {
  out.requests_per_second = requests_per_second.value_or(out.requests_per_second);
  out.requests_per_minute = requests_per_minute.value_or(out.requests_per_minute);
  out.tokens_per_minute = tokens_per_minute.value_or(out.tokens_per_minute);
  out.requests_per_day = requests_per_day.value_or(out.requests_per_day);
  out.tokens_per_day = tokens_per_day.value_or(out.tokens_per_day);
  out.concurrency = concurrency.value_or(out.concurrency);
  out.quota = quota.value_or(out.quota);
  out.quota_reset = quota_reset ? quota_reset : out.quota_reset;
  out.quota_renewal = quota_renewal.value_or(out.quota_renewal);
  out.day_renewal = day_renewal.value_or(out.day_renewal);
  return out;
}

settings parse_settings(std::string_view text, std::filesystem::path const& folder, fault_list& faults) {
  settings out;
  auto const document = parse_json(text, faults);
  if (!document) {
    return out;
  }
  json_fields in{*document, "", faults};
  auto const listen = take_address(in, "listen", "127.0.0.1:8787");
  auto const admin = take_address(in, "admin", "127.0.0.1:8788");
  if (listen && listen == admin && listen->port() != 0) {
    in.fault("admin", "is the same address as listen");
  }
  out.listen = listen.value_or(out.listen);
  out.admin = admin.value_or(out.admin);
  auto const processors = std::max(1U, std::thread::hardware_concurrency());
  out.threads = static_cast<unsigned>(in.integer("threads", processors, 1, 256));
  auto const* const tokens = in.list("caller_tokens");
  for (std::size_t i = 0; tokens != nullptr && i != tokens->size(); ++i) {
    json::value const as_object = json::object{{"token", (*tokens)[i]}};
    fault_list found;
    json_fields token{as_object, "", found};
    out.caller_tokens.push_back(take_secret(token, "token"));
    if (!found.empty()) {
      faults.add(at("caller_tokens", i), "must be a string of visible characters");
    }
  }
  if (tokens == nullptr || tokens->empty()) {
    for (auto const& [name, address] : {std::pair{"listen", listen}, std::pair{"admin", admin}}) {
      if (address && !is_loopback(address->address())) {
        in.fault(name, "must be a loopback address unless there are caller_tokens");
      }
    }
  }
  out.head_timeout = take_time(in, "head_ms", out.head_timeout, 1, day_ms);
  out.keep_alive_timeout = take_time(in, "keep_alive_ms", out.keep_alive_timeout, 1, day_ms);
  out.stall_timeout = take_time(in, "stall_ms", out.stall_timeout, 1, day_ms);
  out.drain_timeout = take_time(in, "drain_ms", out.drain_timeout, 0, day_ms);
  auto const* const pools = in.list("pools");
  if (document->is_object() && (!in.has("pools") || (pools != nullptr && pools->empty()))) {
    in.fault("pools", "must name at least one pool");
  }
  for (std::size_t i = 0; pools != nullptr && i != pools->size(); ++i) {
    out.pools.push_back(take_pool((*pools)[i], at("pools", i), folder, faults));
  }
  check_pools(out.pools, faults);
  in.finish();
  return out;
}

} // namespace gateway
