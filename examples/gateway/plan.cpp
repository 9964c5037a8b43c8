// SPDX-License-Identifier: BSL-1.0
#include "plan.hpp"

#include "proxy_loading.hpp"
#include <rondo/http/tls.hpp>
#include <rondo/store/file_error.hpp>
#include <rondo/store/files.hpp>

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

namespace gateway {

namespace {

using rondo::http::tls_options;

/// The first field that is wrong by itself.
std::string faulty_field(tls_options const& trust) {
  auto const wrong = [](tls_options const& part) { return !rondo::http::make_tls_context(part); };
  if (wrong({.ca_file = trust.ca_file})) {
    return "ca_file";
  }
  if (wrong({.certificate_file = trust.certificate_file, .key_file = trust.key_file})) {
    auto const no_certificate = wrong({.ca_file = trust.certificate_file});
    return no_certificate || trust.key_file.empty() ? "certificate_file" : "key_file";
  }
  for (std::size_t i = 0; i != trust.pins.size(); ++i) {
    if (wrong({.pins = {trust.pins[i]}})) {
      return "pins[" + std::to_string(i) + "]";
    }
  }
  return "crl_file";
}

std::shared_ptr<boost::asio::ssl::context> make_context(tls_options const& trust, std::string const& path,
                                                        std::string_view prefix, fault_list& faults) {
  auto context = rondo::http::make_tls_context(trust);
  if (!context) {
    faults.add(path + "." + std::string{prefix} + faulty_field(trust), context.error().message());
    return nullptr;
  }
  return *std::move(context);
}

} // namespace

std::optional<plan> read_plan(std::filesystem::path const& file, fault_list& faults) {
  std::string text;
  try {
    text = rondo::store::read_file(file);
  } catch (rondo::store::file_error const& e) {
    faults.add("", e.what());
    return std::nullopt;
  }
  plan out;
  out.general = parse_settings(text, std::filesystem::absolute(file).parent_path(), faults);
  for (auto& settings : std::exchange(out.general.pools, {})) {
    pool_plan pool;
    pool.keys = load_keys(settings, faults);
    pool.proxies = load_proxies(settings, faults);
    if (settings.base_url.is_tls()) {
      pool.tls = make_context(settings.trust, settings.path, "", faults);
    }
    if (!settings.proxy_trust.ca_file.empty()) {
      pool.proxy_tls = make_context(settings.proxy_trust, settings.path, "proxy_", faults);
    }
    pool.settings = std::move(settings);
    out.pools.push_back(std::move(pool));
  }
  return faults.empty() ? std::optional{std::move(out)} : std::nullopt;
}

} // namespace gateway
