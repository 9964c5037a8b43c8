// SPDX-License-Identifier: BSL-1.0
#include "key_loading.hpp"

#include "log.hpp"
#include <rondo/secret.hpp>
#include <rondo/store/csv_keys.hpp>
#include <rondo/store/file_error.hpp>
#include <rondo/store/key_sources.hpp>
#include <rondo/store/stored_key.hpp>

#include <algorithm>
#include <map>
#include <string>
#include <string_view>
#include <utility>

namespace gateway {

namespace {

using rondo::store::stored_key;

std::vector<stored_key> read(key_entry const& entry, std::string const& fallback_name) {
  switch (entry.from) {
  case key_entry::kind::env: return rondo::store::environment_keys(entry.variable);
  case key_entry::kind::dotenv: return rondo::store::dotenv_keys(entry.file, entry.service);
  case key_entry::kind::csv: return rondo::store::csv_keys::load(entry.file).keys();
  case key_entry::kind::single: break;
  }
  stored_key key;
  key.name = entry.name.empty() ? fallback_name : entry.name;
  key.secret = entry.secret;
  return {key};
}

std::string_view field_of(key_entry::kind from) {
  switch (from) {
  case key_entry::kind::env: return ".env";
  case key_entry::kind::csv: return ".csv";
  case key_entry::kind::dotenv: return ".dotenv";
  case key_entry::kind::single: break;
  }
  return ".secret";
}

account_terms terms_of(key_entry const& entry, pool_settings const& pool) {
  account_terms out;
  out.limits = entry.limits.over(pool.limits.over({}));
  out.lane_limits = entry.lane_limits.over(pool.lane_limits.over({}));
  for (auto const* const lanes : {&pool.lanes, &entry.lanes}) {
    for (auto const& [name, limits] : *lanes) {
      out.lanes[name] = limits.over(out.lanes[name]);
    }
  }
  out.weight = entry.weight.value_or(out.weight);
  return out;
}

bool names_terms(key_entry const& entry) {
  return !entry.limits.empty() || !entry.lanes.empty() || !entry.lane_limits.empty() || entry.weight;
}

/// The field by which two accounts that differ do.
std::string_view difference(account_terms const& a, account_terms const& b) {
  return a.limits != b.limits   ? ".limits"
         : a.lanes != b.lanes   ? ".lanes"
         : a.weight != b.weight ? ".weight"
                                : ".lane_limits";
}

/// The terms of each account for which some entry names any.
std::map<std::string_view, account_terms> named_terms(pool_settings const& pool, fault_list& faults) {
  std::map<std::string_view, account_terms> out;
  std::map<std::string_view, std::string_view> paths;
  for (auto const& entry : pool.keys) {
    if (entry.account.empty() || !names_terms(entry)) {
      continue;
    }
    auto const terms = terms_of(entry, pool);
    auto const [first, fresh] = out.try_emplace(entry.account, terms);
    auto const path = paths.try_emplace(entry.account, entry.path).first->second;
    if (!fresh && first->second != terms) {
      faults.add(entry.path + std::string{difference(first->second, terms)},
                 "not the same as for " + std::string{path} + ", which names the same account");
    }
  }
  return out;
}

/// Goes through the entries, files first, and notes what is taken.
class loader {
public:
  loader(pool_settings const& pool, fault_list& faults)
      : pool_{pool}, faults_{faults}, terms_{named_terms(pool, faults)} {}

  loaded_keys load() {
    for (auto const& entry : pool_.keys) {
      if (entry.from == key_entry::kind::csv) {
        take_file(entry);
      }
    }
    for (auto const& entry : pool_.keys) {
      if (entry.from != key_entry::kind::csv) {
        take_keys(entry);
      }
    }
    if (pool_.keys.empty() && pool_.own != own_keys::pass) {
      faults_.add(pool_.path + ".keys", "must name at least one, unless callers bring their own");
    } else if (known_.empty() && !pool_.keys.empty() && !broken_) {
      faults_.add(pool_.path + ".keys", "hold no key");
    }
    return std::move(out_);
  }

private:
  struct known_key {
    stored_key key;
    std::string_view path; ///< of its entry
  };

  [[nodiscard]] std::size_t position(key_entry const& entry) const {
    return static_cast<std::size_t>(&entry - pool_.keys.data());
  }

  std::vector<stored_key> read_entry(key_entry const& entry) {
    try {
      return read(entry, pool_.name + "-" + std::to_string(position(entry) + 1));
    } catch (rondo::store::file_error const& e) {
      broken_ = true;
      faults_.add(entry.path + std::string{field_of(entry.from)}, e.what());
      return {};
    }
  }

  [[nodiscard]] known_key const* find_secret(rondo::secret const& secret) const {
    auto const at =
        std::find_if(known_.begin(), known_.end(), [&](known_key const& k) { return k.key.secret == secret; });
    return at == known_.end() ? nullptr : &*at;
  }
  [[nodiscard]] known_key const* find_name(std::string_view name) const {
    auto const at = std::find_if(known_.begin(), known_.end(), [&](known_key const& k) { return k.key.name == name; });
    return at == known_.end() ? nullptr : &*at;
  }

  [[nodiscard]] account_terms terms_for(key_entry const& entry) const {
    auto const shared = terms_.find(entry.account);
    return shared != terms_.end() ? shared->second : terms_of(entry, pool_);
  }

  void take_file(key_entry const& entry) {
    auto const same_stem = std::count_if(out_.files.begin(), out_.files.end(),
                                         [&](key_file const& f) { return f.path.stem() == entry.file.stem(); });
    key_file file{entry.file, same_stem == 0 ? "" : std::to_string(same_stem + 1) + "/", terms_for(entry),
                  position(entry)};
    for (auto& key : read_entry(entry)) {
      key.name = file.name_prefix + key.name;
      if (auto const* const twin = find_secret(key.secret)) {
        faults_.add(entry.path + ".csv", key.name + " is the same key as " + twin->key.name);
      }
      known_.push_back({std::move(key), entry.path});
    }
    out_.files.push_back(std::move(file));
  }

  void take_keys(key_entry const& entry) {
    for (auto& key : read_entry(entry)) {
      if (key.secret.empty()) {
        broken_ = true; // a fault already
        continue;
      }
      if (auto const* const twin = find_secret(key.secret)) {
        log_line(entry.path + ": " + key.name + " is the same key as " + twin->key.name + " and is left out");
        continue;
      }
      auto const given = !entry.name.empty();
      auto const wish = key.name;
      for (auto n = 2; !given && find_name(key.name) != nullptr; ++n) {
        key.name = wish + "#" + std::to_string(n);
      }
      if (auto const* const twin = find_name(key.name)) {
        faults_.add(entry.path + ".name", "is the name of a key of " + std::string{twin->path} + " too");
        continue;
      }
      known_.push_back({key, entry.path});
      rondo::key_params params;
      params.name = std::move(key.name);
      params.secret = std::move(key.secret);
      params.account = entry.account;
      auto terms = terms_for(entry);
      params.limits = terms.limits;
      params.lanes = std::move(terms.lanes);
      params.lane_limits = terms.lane_limits;
      params.weight = terms.weight;
      params.disabled = entry.disabled;
      out_.keys.push_back({std::move(params), given, position(entry)});
    }
  }

  pool_settings const& pool_;
  fault_list& faults_;
  std::map<std::string_view, account_terms> terms_;
  std::vector<known_key> known_;
  loaded_keys out_;
  bool broken_ = false;
};

} // namespace

loaded_keys load_keys(pool_settings const& pool, fault_list& faults) {
  return loader{pool, faults}.load();
}

} // namespace gateway
