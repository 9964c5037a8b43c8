// SPDX-License-Identifier: BSL-1.0
#include "proxy_loading.hpp"

#include <rondo/http/proxy.hpp>
#include <rondo/http/proxy_environment.hpp>
#include <rondo/store/file_error.hpp>
#include <rondo/store/files.hpp>
#include <rondo/store/proxy_list.hpp>

#include <algorithm>
#include <iterator>
#include <string>
#include <unordered_map>
#include <utility>

namespace gateway {

namespace {

using rondo::http::proxy;

std::vector<proxy> read(proxy_entry const& entry, rondo::http::url const& provider, fault_list& faults) {
  std::vector<proxy> out;
  if (entry.from == proxy_entry::kind::file) {
    try {
      return rondo::store::parse_proxy_list(rondo::store::read_file(entry.file), entry.file.string());
    } catch (rondo::store::file_error const& e) {
      faults.add(entry.path + ".file", e.what());
    }
  } else if (entry.from == proxy_entry::kind::environment) {
    auto const found = rondo::http::proxy_from_environment(provider);
    if (!found) {
      faults.add(entry.path + ".environment", found.error().message());
    } else if (*found != nullptr) {
      out.push_back(**found);
    }
  } else if (auto parsed = rondo::http::parse_proxy(entry.url.reveal())) { // which was looked at before
    out.push_back(*std::move(parsed));
  }
  return out;
}

} // namespace

std::vector<rondo::proxy_params> load_proxies(pool_settings const& pool, fault_list& faults) {
  std::vector<rondo::proxy_params> out;
  std::unordered_multimap<std::string, proxy> known; // by masked form: other users of one gateway look alike
  for (auto const& entry : pool.proxies) {
    for (auto& found : read(entry, pool.base_url, faults)) {
      rondo::proxy_params next;
      next.name = masked(found);
      auto const [begin, end] = known.equal_range(next.name);
      if (std::any_of(begin, end, [&](auto const& each) { return each.second == found; })) {
        continue;
      }
      auto const alike = std::distance(begin, end);
      next.url = to_url(found);
      next.concurrency = entry.concurrency;
      next.tags = entry.tags;
      next.tier = entry.tier;
      next.requests_per_tunnel = entry.requests_per_tunnel;
      next.tunnel_age = entry.tunnel_age;
      next.login_when_asked = entry.login_when_asked;
      known.emplace(next.name, std::move(found));
      next.name += alike == 0 ? "" : "#" + std::to_string(alike + 1);
      out.push_back(std::move(next));
    }
  }
  return out;
}

} // namespace gateway
