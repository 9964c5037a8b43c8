// SPDX-License-Identifier: BSL-1.0
#include "plan.hpp"

#include <rondo/http/tls.hpp>
#include <rondo/store/file_error.hpp>
#include <rondo/store/files.hpp>

#include <string>
#include <utility>

namespace gateway {

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
    if (settings.base_url.is_tls()) {
      rondo::http::tls_options trust;
      trust.ca_file = settings.ca_file ? settings.ca_file->string() : "";
      auto context = rondo::http::make_tls_context(trust);
      if (context) {
        pool.tls = *std::move(context);
      } else {
        faults.add(settings.path + ".ca_file", context.error().message());
      }
    }
    pool.settings = std::move(settings);
    out.pools.push_back(std::move(pool));
  }
  return faults.empty() ? std::optional{std::move(out)} : std::nullopt;
}

} // namespace gateway
