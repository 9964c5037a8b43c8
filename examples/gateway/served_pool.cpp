// SPDX-License-Identifier: BSL-1.0
#include "served_pool.hpp"

#include "log.hpp"
#include <rondo/event.hpp>
#include <rondo/provider/provider.hpp>
#include <rondo/store/file_error.hpp>

#include <algorithm>
#include <map>
#include <set>
#include <string_view>
#include <utility>

namespace gateway {

namespace {

rondo::pool_options options_of(pool_settings const& settings) {
  rondo::pool_options out;
  out.name = settings.name;
  out.most_failures = settings.most_failures;
  out.failure_period = settings.failure_period;
  return out;
}

void log_event(std::string_view pool, rondo::event const& what) {
  std::string line{pool};
  line.append(": ").append(to_string(what.kind));
  if (!what.account.empty()) {
    line.append(", account ").append(what.account);
  }
  if (!what.key.empty()) {
    line.append(", key ").append(what.key);
  }
  log_line(line);
}

/// The key of `in` that is the same as `key`, or null.
loaded_key const* find_key(std::vector<loaded_key> const& in, rondo::key_params const& key) {
  auto const at = std::find_if(in.begin(), in.end(), [&](loaded_key const& each) {
    return each.params.name == key.name && each.params.account == key.account && each.params.secret == key.secret;
  });
  return at == in.end() ? nullptr : &*at;
}

account_terms terms_of(rondo::key_params const& key) {
  return {key.limits, key.lanes, key.lane_limits, key.weight};
}

bool same_file(key_file const& a, key_file const& b) {
  return a.path == b.path && a.name_prefix == b.name_prefix;
}

/// Keys that are there already keep the name they have, unless they were given another; new ones do not take it from
/// them.
void settle_names(std::vector<loaded_key>& wanted, std::vector<loaded_key> const& current) {
  std::set<std::string> taken;
  std::vector<rondo::key_params*> fresh;
  for (auto& each : wanted) {
    auto const known = std::find_if(current.begin(), current.end(),
                                    [&](loaded_key const& old) { return old.params.secret == each.params.secret; });
    if (!each.named && known != current.end() && !known->named) {
      each.params.name = known->params.name;
    } else if (!each.named) {
      fresh.push_back(&each.params);
      continue;
    }
    taken.insert(each.params.name);
  }
  for (auto* const each : fresh) {
    auto const wish = each->name;
    for (auto n = 2; !taken.insert(each->name).second; ++n) {
      each->name = wish + "#" + std::to_string(n);
    }
  }
}

std::shared_ptr<rondo::provider::adapter const> make_adapter(provider_settings const& settings) {
  using namespace rondo::provider;
  auto const& options = settings.options;
  if (settings.name == "openai") {
    return std::make_shared<openai const>(openai_options{options.default_output_tokens, options.characters_per_token});
  }
  if (settings.name == "gemini") {
    return std::make_shared<gemini const>(gemini_options{options.default_output_tokens, options.characters_per_token});
  }
  if (settings.name == "generic") {
    return std::make_shared<generic const>(options);
  }
  return make(settings.name);
}

std::shared_ptr<rondo::proxy_checker> make_checker(boost::asio::any_io_executor const& executor,
                                                   served_pool const& pool) {
  if (!pool.proxies || !pool.settings.proxy_check) {
    return nullptr;
  }
  rondo::proxy_check_options options;
  options.target = pool.settings.proxy_check->target;
  options.http = pool.client.http;
  options.interval = pool.settings.proxy_check->interval;
  options.timeout = pool.settings.proxy_check->timeout;
  std::shared_ptr<rondo::proxy_rotator> const rotator{pool.proxies, &pool.proxies->rotator()};
  return std::make_shared<rondo::proxy_checker>(executor, rotator, std::move(options));
}

} // namespace

live_keys::live_keys(boost::asio::any_io_executor const& executor, pool_settings const& settings)
    : options_{options_of(settings)}, pool_{executor, options_},
      events_{
          pool_.on_event({rondo::event_kind::near_limit, rondo::event_kind::rate_limited, rondo::event_kind::exhausted,
                          rondo::event_kind::invalid, rondo::event_kind::recovered, rondo::event_kind::all_unavailable},
                         [name = settings.name](rondo::event const& what) { log_event(name, what); })} {}

void live_keys::update(pool_settings const& settings, loaded_keys wanted) {
  settle_names(wanted.keys, current_);
  drop_files(wanted.files);
  drop_and_change_keys(wanted.keys);
  follow_files(wanted.files);
  auto file = wanted.files.begin();
  auto const add_files_before = [&](std::size_t position) {
    for (; file != wanted.files.end() && file->position < position; ++file) {
      if (find(*file) == nullptr) {
        add_file(*file);
      }
    }
  };
  for (auto const& each : wanted.keys) {
    add_files_before(each.position);
    if (find_key(current_, each.params) == nullptr) {
      pool_.add(each.params);
    }
  }
  add_files_before(settings.keys.size());
  current_ = std::move(wanted.keys);
  pool_.set_strategy(settings.strategy);
  pool_.set_cooldown(settings.cooldown);
  if (settings.most_failures != options_.most_failures || settings.failure_period != options_.failure_period) {
    log_line(settings.name + ": most_failures and failure_period_ms change only with a new start");
  }
}

live_keys::open_file* live_keys::find(key_file const& file) {
  auto const at =
      std::find_if(files_.begin(), files_.end(), [&](open_file const& f) { return same_file(f.what, file); });
  return at == files_.end() ? nullptr : &*at;
}

void live_keys::drop_files(std::vector<key_file> const& wanted) {
  files_.remove_if([&](open_file& old) {
    if (std::any_of(wanted.begin(), wanted.end(), [&](key_file const& f) { return same_file(f, old.what); })) {
      return false;
    }
    auto const names = old.store.key_names();
    old.store.close();
    for (auto const& name : names) {
      pool_.remove(name);
    }
    return true;
  });
}

void live_keys::follow_files(std::vector<key_file> const& wanted) {
  for (auto const& each : wanted) {
    auto* const open = find(each);
    if (open == nullptr) {
      continue;
    }
    auto const names = open->store.key_names();
    std::set<std::string_view> const before{names.begin(), names.end()};
    for (auto const& name : names) {
      change(name, open->what.terms, each.terms);
    }
    open->store.reload();
    for (auto const& name : open->store.key_names()) {
      if (!before.contains(name)) {
        change(name, open->first_terms, each.terms); // the store adds keys as it was told when it was opened
      }
    }
    open->what.terms = each.terms;
  }
}

void live_keys::change(std::string const& key, account_terms const& from, account_terms const& to) {
  if (from.limits != to.limits) {
    pool_.set_limits(key, to.limits);
  }
  if (from.lanes != to.lanes || from.lane_limits != to.lane_limits) {
    pool_.set_lane_limits(key, to.lanes, to.lane_limits);
  }
  if (from.weight != to.weight) {
    pool_.set_weight(key, to.weight);
  }
}

void live_keys::drop_and_change_keys(std::vector<loaded_key> const& wanted) {
  for (auto const& old : current_) {
    if (find_key(wanted, old.params) == nullptr) {
      pool_.remove(old.params.name);
    }
  }
  for (auto const& each : wanted) {
    auto const& key = each.params;
    if (auto const* const old = find_key(current_, key)) {
      change(key.name, terms_of(old->params), terms_of(key));
      if (old->params.disabled != key.disabled) {
        pool_.set_disabled(key.name, key.disabled);
      }
    }
  }
}

void live_keys::add_file(key_file const& file) {
  rondo::store::csv_store_options options;
  options.limits = file.terms.limits;
  options.lanes = file.terms.lanes;
  options.lane_limits = file.terms.lane_limits;
  options.weight = file.terms.weight;
  options.name_prefix = file.name_prefix;
  options.on_error = [](rondo::store::file_error const& e) { log_line(e.what()); };
  files_.push_back({file, file.terms, rondo::store::csv_store{pool_, file.path, std::move(options)}});
}

live_proxies::live_proxies(pool_settings const& settings, std::vector<rondo::proxy_params> proxies)
    : options_{options_of(settings)}, rotator_{options_}, current_{std::move(proxies)} {
  for (auto const& each : current_) {
    rotator_.add(each);
  }
}

rondo::rotator_options live_proxies::options_of(pool_settings const& settings) {
  rondo::rotator_options out;
  out.strategy = settings.proxy_strategy;
  out.cooldown = settings.proxy_cooldown;
  out.most_cooldown = settings.proxy_most_cooldown;
  return out;
}

bool live_proxies::update(pool_settings const& settings, std::vector<rondo::proxy_params> const& wanted) {
  auto const now = options_of(settings);
  std::map<std::string_view, rondo::proxy_params const*> known;
  for (auto const& each : current_) {
    known.emplace(each.name, &each);
  }
  auto const is_another = [&](rondo::proxy_params const& each) {
    auto const at = known.find(each.name);
    return at != known.end() && *at->second != each;
  };
  if (wanted.empty() || now.strategy != options_.strategy || now.cooldown != options_.cooldown ||
      now.most_cooldown != options_.most_cooldown || std::any_of(wanted.begin(), wanted.end(), is_another)) {
    return false;
  }
  for (auto const& each : wanted) { // first, so that there is a proxy at every moment
    if (known.erase(each.name) == 0) {
      rotator_.add(each);
    }
  }
  for (auto const& [name, gone] : known) {
    rotator_.remove(name);
  }
  current_ = wanted;
  return true;
}

std::shared_ptr<served_pool const> make_served_pool(boost::asio::any_io_executor const& executor, pool_plan plan,
                                                    served_pool const* previous) {
  auto out = std::make_shared<served_pool>();
  auto const& settings = plan.settings;
  out->keys = previous != nullptr ? previous->keys : std::make_shared<live_keys>(executor, settings);
  out->counts = previous != nullptr ? previous->counts : std::make_shared<traffic>();
  out->attempts = previous != nullptr ? previous->attempts : std::make_shared<rondo::monitor::client_metrics>();
  out->keys->update(settings, std::move(plan.keys));
  if (previous != nullptr && previous->proxies && previous->proxies->update(settings, plan.proxies)) {
    out->proxies = previous->proxies;
  } else if (!plan.proxies.empty()) {
    out->proxies = std::make_shared<live_proxies>(settings, std::move(plan.proxies));
  }
  out->provider = make_adapter(settings.provider);
  out->client.base_url = settings.base_url;
  out->client.http.tls = plan.tls;
  out->client.http.proxy_tls = plan.proxy_tls;
  out->client.http.allow_plaintext = settings.allow_plaintext;
  out->client.http.max_idle = settings.max_idle_connections;
  out->client.http.max_per_origin = settings.max_per_origin;
  out->client.http.max_per_proxy = settings.max_per_proxy;
  out->client.http.idle_limit = settings.idle_connection_limit;
  out->client.http.max_age = settings.connection_max_age;
  out->client.retry = settings.retry;
  out->client.proxies = rondo::proxy_filter{settings.proxy_tags};
  out->client.when_no_proxy = settings.when_no_proxy;
  out->client.address_refusals = settings.address_refusals;
  out->client.observer = out->attempts;
  out->client.budget = std::make_shared<rondo::retry_budget>(settings.retry.budget); // of all threads together
  out->client.connect_timeout = settings.connect;
  out->client.idle_timeout = settings.idle;
  out->settings = std::move(plan.settings);
  out->check = make_checker(executor, *out);
  return out;
}

std::shared_ptr<rondo::client> make_client(boost::asio::any_io_executor const& executor,
                                           std::shared_ptr<served_pool const> pool) {
  struct bound {
    bound(boost::asio::any_io_executor const& executor, std::shared_ptr<served_pool const> p)
        : pool{std::move(p)}, client{executor, pool->keys->pool(), pool->provider, pool->client,
                                     pool->proxies ? &pool->proxies->rotator() : nullptr} {}

    std::shared_ptr<served_pool const> pool;
    rondo::client client;
  };
  auto const out = std::make_shared<bound>(executor, std::move(pool));
  return {out, &out->client};
}

} // namespace gateway
