// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "plan.hpp"
#include "traffic.hpp"
#include <rondo/client.hpp>
#include <rondo/key_pool.hpp>
#include <rondo/monitor/client_metrics.hpp>
#include <rondo/provider/adapter.hpp>
#include <rondo/proxy_checker.hpp>
#include <rondo/proxy_params.hpp>
#include <rondo/proxy_rotator.hpp>
#include <rondo/store/csv_store.hpp>
#include <rondo/subscription.hpp>

#include <boost/asio/any_io_executor.hpp>

#include <list>
#include <memory>
#include <string>
#include <vector>

namespace gateway {

/// The keys of a pool, from the first configuration that names it to the last: what they have spent and how long they
/// rest outlives every change of the rest. Files of keys are kept up to date, and saved when this is destroyed.
///
/// Called by one thread at a time; requests go on meanwhile.
class live_keys {
public:
  /// Timers and log lines of the pool run on `executor`.
  live_keys(boost::asio::any_io_executor const& executor, pool_settings const& settings);

  [[nodiscard]] rondo::key_pool& pool() { return pool_; }
  [[nodiscard]] rondo::key_pool const& pool() const { return pool_; }

  /// Adds, removes and changes keys so that the pool holds `wanted`. A key is recognised by its secret, so that one
  /// that moved to another place of its list keeps its name and its state; only a name given in the configuration
  /// counts more. New keys are added in the order of the configuration.
  /// \throws rondo::store::file_error when another process works on one of the files; the changes are incomplete then
  void update(pool_settings const& settings, loaded_keys wanted);

private:
  struct open_file {
    key_file what;
    account_terms first_terms; ///< when the store was opened
    rondo::store::csv_store store;
  };

  [[nodiscard]] open_file* find(key_file const& file);
  void drop_files(std::vector<key_file> const& wanted);
  void follow_files(std::vector<key_file> const& wanted);
  void drop_and_change_keys(std::vector<loaded_key> const& wanted);
  void change(std::string const& key, account_terms const& from, account_terms const& to);
  void add_file(key_file const& file);

  rondo::pool_options options_;
  rondo::key_pool pool_;
  rondo::subscription events_;
  std::vector<loaded_key> current_; // those that are in no file
  std::list<open_file> files_;      // after the pool, which they watch
};

/// The proxies of a pool, for as long as configurations differ in nothing but which they are: those that stay keep
/// their state.
///
/// Called by one thread at a time, but for `rotator`; requests go on meanwhile.
class live_proxies {
public:
  live_proxies(pool_settings const& settings, std::vector<rondo::proxy_params> proxies);

  [[nodiscard]] rondo::proxy_rotator& rotator() { return rotator_; }
  [[nodiscard]] rondo::proxy_rotator const& rotator() const { return rotator_; }

  /// Adds and removes proxies so that these are there. False, and nothing has changed, when that cannot be: the
  /// settings are others, no proxy is left, or one is to be another under the same name.
  [[nodiscard]] bool update(pool_settings const& settings, std::vector<rondo::proxy_params> const& wanted);

private:
  [[nodiscard]] static rondo::rotator_options options_of(pool_settings const& settings);

  rondo::rotator_options options_;
  rondo::proxy_rotator rotator_;
  std::vector<rondo::proxy_params> current_;
};

/// One pool as a configuration describes it, shared by all threads. Nothing in it changes after it was made but what
/// is safe to share.
struct served_pool {
  pool_settings settings;
  std::shared_ptr<live_keys> keys;
  std::shared_ptr<traffic> counts;
  std::shared_ptr<rondo::monitor::client_metrics> attempts;
  std::shared_ptr<live_proxies> proxies;       ///< null: direct
  std::shared_ptr<rondo::proxy_checker> check; ///< null: proxies that have rested are tried by requests
  std::shared_ptr<rondo::provider::adapter const> provider;
  rondo::client_options client;
};

/// A pool for a new configuration, which takes over what lives on from `previous` (may be null).
[[nodiscard]] std::shared_ptr<served_pool const> make_served_pool(boost::asio::any_io_executor const& executor,
                                                                  pool_plan plan, served_pool const* previous);

/// A client of its own for one thread; it keeps all it needs alive.
[[nodiscard]] std::shared_ptr<rondo::client> make_client(boost::asio::any_io_executor const& executor,
                                                         std::shared_ptr<served_pool const> pool);

} // namespace gateway
