// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/balance.hpp>
#include <rondo/capability.hpp>
#include <rondo/clock.hpp>
#include <rondo/error.hpp>
#include <rondo/key_pool.hpp>
#include <rondo/limits.hpp>
#include <rondo/pool_snapshot.hpp>
#include <rondo/store/csv_keys.hpp>
#include <rondo/store/file_error.hpp>
#include <rondo/store/files.hpp>
#include <rondo/store/stored_key.hpp>
#include <rondo/subscription.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>

#include <sys/file.h>
#include <sys/stat.h>

#include <fcntl.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <unordered_map>
#include <utility>
#include <vector>

namespace rondo::store {

struct csv_store_options {
  rondo::limits limits{}; ///< of every key; each is an account of its own. A quota of 0: the first balance is the quota
  std::string name_prefix{}; ///< before the names of the keys, to tell files of the same name apart
  /// Told of every failure to save in the background, on the pool's executor; the store keeps trying. A failure that
  /// nobody is told of shows in `close` at the latest.
  std::function<void(file_error const&)> on_error{};
  clock_source const* clock = nullptr;          ///< must outlive the store; null = the system's
  std::map<std::string, rondo::limits> lanes{}; ///< of every key, see `key_params::lanes`
  rondo::limits lane_limits{};                  ///< of every key, see `key_params::lane_limits`
  std::uint32_t weight = 1;                     ///< of every key, see `key_params::weight`
};

namespace detail {

/// A file that one store works on: opened, locked, and recognised when somebody else has replaced or changed it.
///
/// The lock is on the file itself (flock) and moves to its replacement before that takes the name, so that no lock file
/// is left behind and a killed process locks nobody out.
class locked_file {
public:
  explicit locked_file(std::filesystem::path const& path) : path_{followed(path)} {
    for (int attempt = 0;; ++attempt) {
      descriptor fd{::open(path_.c_str(), O_RDONLY | O_CLOEXEC)};
      if (!fd) {
        fail_reading(path_);
      }
      if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
        throw file_error{error::file_in_use, path_.string(), "is in use by another store"};
      }
      fd_ = std::move(fd);
      seen_ = identity::of(fd_.get());
      auto const named = identity::of(path_);
      if (seen_.inode == named.inode && seen_.device == named.device) {
        break;
      }
      if (attempt == 10) { // replaced between open and flock, again and again
        throw file_error{error::file_in_use, path_.string(), "is being replaced by somebody else"};
      }
    }
    remove_leftovers();
  }

  [[nodiscard]] std::filesystem::path const& path() const noexcept { return path_; }
  /// The contents as they were when the file was opened.
  [[nodiscard]] std::string read() const { return read_all(fd_.get(), path_); }

  /// The contents if they are not what was read or written last; empty also when the file is gone.
  [[nodiscard]] std::optional<std::string> read_if_changed() {
    descriptor const fd{::open(path_.c_str(), O_RDONLY | O_CLOEXEC)};
    if (!fd) {
      if (errno == ENOENT) {
        return std::nullopt;
      }
      fail_reading(path_);
    }
    auto const now = identity::of(fd.get());
    if (now == seen_) {
      return std::nullopt;
    }
    auto text = read_all(fd.get(), path_);
    pending_ = now;
    return text;
  }
  /// What `read_if_changed` gave was understood.
  void accept() noexcept { seen_ = pending_; }

  void write(std::string_view text) {
    replacement next{path_};
    next.create();
    next.write(text);
    next.sync();
    if (::flock(next.file().get(), LOCK_EX | LOCK_NB) != 0) {
      fail_writing(path_);
    }
    next.rename();
    fd_ = std::move(next.file());
    seen_ = identity::of(fd_.get());
    next.sync_folder();
  }

private:
  struct identity {
    dev_t device = 0;
    ino_t inode = 0;
    off_t size = 0;
    timespec modified{};

    [[nodiscard]] static identity from(struct stat const& s) noexcept {
      return {s.st_dev, s.st_ino, s.st_size, s.st_mtim};
    }
    [[nodiscard]] static identity of(int fd) noexcept {
      struct stat s{};
      return ::fstat(fd, &s) == 0 ? from(s) : identity{};
    }
    [[nodiscard]] static identity of(std::filesystem::path const& path) noexcept {
      struct stat s{};
      return ::stat(path.c_str(), &s) == 0 ? from(s) : identity{};
    }
    [[nodiscard]] friend bool operator==(identity const& a, identity const& b) noexcept {
      return a.device == b.device && a.inode == b.inode && a.size == b.size && a.modified.tv_sec == b.modified.tv_sec &&
             a.modified.tv_nsec == b.modified.tv_nsec;
    }
  };

  /// Removes what a process that was killed while saving left beside the file; nobody else can be saving it now.
  void remove_leftovers() const noexcept {
    std::error_code ec;
    auto const folder = path_.parent_path();
    auto const begin = "." + path_.filename().string() + ".";
    for (std::filesystem::directory_iterator at{folder.empty() ? "." : folder, ec}, end; !ec && at != end;
         at.increment(ec)) {
      auto const name = at->path().filename().string();
      if (name.size() == begin.size() + 10 && name.starts_with(begin) && name.ends_with(".tmp")) {
        std::error_code ignored;
        std::filesystem::remove(at->path(), ignored);
      }
    }
  }

  std::filesystem::path path_;
  descriptor fd_;
  identity seen_;
  identity pending_;
};

class csv_store_impl : public std::enable_shared_from_this<csv_store_impl> {
public:
  csv_store_impl(key_pool& pool, std::filesystem::path const& path, csv_store_options options)
      : pool_{&pool}, options_{std::move(options)}, file_{std::in_place, path}, table_{file_->read(), path.string()},
        display_{path.string()}, strand_{boost::asio::make_strand(pool.get_executor())}, timer_{strand_} {}

  /// Adds the keys to the pool and begins to watch it.
  void start() {
    rows_.resize(table_.keys().size());
    std::size_t row = 0;
    try {
      for (; row < rows_.size(); ++row) {
        rows_[row].name = options_.name_prefix + table_.keys()[row].name;
        add(row);
      }
    } catch (...) {
      while (row-- > 0) {
        pool_->remove(rows_[row].name);
      }
      throw;
    }
    changes_ = pool_->on_change([weak = weak_from_this()] {
      if (auto const self = weak.lock()) {
        self->changed();
      }
    });
    auto const snapshot = pool_->snapshot(); // from now on the pool says when something changes
    auto const index = by_name(snapshot);
    for (auto& r : rows_) {
      r.last = state_of(*index.at(r.name));
    }
  }

  void save() {
    std::lock_guard const lock{mutex_};
    if (pool_ != nullptr) {
      save_now();
    }
  }

  void reload() {
    std::lock_guard const lock{mutex_};
    if (pool_ == nullptr) {
      return;
    }
    merge();
    follow();
    save_now();
  }

  void close() {
    std::lock_guard const lock{mutex_};
    if (pool_ == nullptr) {
      return;
    }
    save_now(); // on failure the store stays open, so that the caller may try again
    abandon();
  }

  /// Ends without saving.
  void abandon() {
    pool_ = nullptr;
    changes_ = {};
    file_.reset();
    boost::asio::post(strand_, [weak = weak_from_this()] {
      if (auto const self = weak.lock()) {
        self->timer_.cancel();
      }
    });
  }

  [[nodiscard]] std::vector<std::string> key_names() const {
    std::lock_guard const lock{mutex_};
    std::vector<std::string> out;
    for (auto const& row : rows_) {
      if (!row.name.empty()) {
        out.push_back(row.name);
      }
    }
    return out;
  }

  void report(file_error const& e) const {
    if (options_.on_error) {
      options_.on_error(e);
    }
  }

private:
  struct row_state {
    std::string name; ///< in the pool; empty: this row's key is not in the pool
    csv_state last;   ///< of the pool when it was loaded or saved last
  };

  [[nodiscard]] wall_time now() const noexcept {
    return (options_.clock ? *options_.clock : system_clocks()).wall_now();
  }

  // --- watching

  void changed() {
    if (!scheduled_.exchange(true)) {
      boost::asio::post(strand_, [weak = weak_from_this()] {
        if (auto const self = weak.lock()) {
          self->schedule(delay);
        }
      });
    }
  }

  void schedule(std::chrono::steady_clock::duration after) {
    timer_.expires_after(after);
    timer_.async_wait([weak = weak_from_this()](error_code const& ec) {
      auto const self = weak.lock();
      if (self && !ec) {
        self->save_in_background();
      }
    });
  }

  void save_in_background() {
    scheduled_ = false; // before the snapshot: what changes after it counts again
    try {
      save();
      pause_ = first_pause;
    } catch (file_error const& e) {
      report(e);
      if (!scheduled_.exchange(true)) {
        schedule(pause_);
        pause_ = std::min(pause_ * 2, longest_pause);
      }
    }
  }

  // --- saving; all below under the mutex

  void save_now() {
    auto const snapshot = pool_->snapshot();
    merge();
    auto const index = by_name(snapshot);
    auto next = table_;
    auto changed = false;
    std::vector<csv_state> states(rows_.size());
    for (std::size_t row = 0; row < rows_.size(); ++row) {
      states[row] = rows_[row].last;
      auto const found = index.find(rows_[row].name);
      if (found == index.end()) {
        continue;
      }
      states[row] = state_of(*found->second);
      if (states[row] != rows_[row].last) {
        changed = next.update(row, states[row], now()) || changed;
        edited_.erase(rows_[row].name); // what somebody wrote there is outdated now
      }
    }
    if (changed) {
      auto text = next.text();
      file_->write(text);
      table_ = csv_keys{std::move(text), display_};
    }
    for (std::size_t row = 0; row < rows_.size(); ++row) {
      rows_[row].last = states[row];
    }
  }

  /// Takes over what somebody else has written into the file since we read or wrote it.
  void merge() {
    auto text = file_->read_if_changed();
    if (!text) {
      return;
    }
    csv_keys theirs{std::move(*text), display_};
    std::vector<row_state> rows(theirs.keys().size());
    std::unordered_map<std::string_view, std::size_t> ours;
    for (std::size_t row = 0; row < rows_.size(); ++row) {
      ours.emplace(table_.keys()[row].secret.reveal(), row);
    }
    std::vector<bool> kept(rows_.size());
    for (std::size_t row = 0; row < rows.size(); ++row) {
      if (auto const found = ours.find(theirs.keys()[row].secret.reveal()); found != ours.end()) {
        rows[row] = rows_[found->second];
        kept[found->second] = true;
        auto const before = table_.keys()[found->second].remaining;
        auto const after = theirs.keys()[row].remaining;
        if (after && after != before && !rows[row].name.empty()) {
          edited_.insert_or_assign(rows[row].name, *after);
        }
      }
    }
    for (std::size_t row = 0; row < rows_.size(); ++row) {
      if (!kept[row] && !rows_[row].name.empty()) {
        vanished_.push_back(rows_[row].name);
      }
    }
    file_->accept();
    table_ = std::move(theirs);
    rows_ = std::move(rows);
  }

  /// Makes the pool follow what was found by `merge`.
  void follow() {
    for (auto const& name : vanished_) {
      pool_->remove(name);
    }
    vanished_.clear();
    auto snapshot = pool_->snapshot();
    for (auto const& [name, remaining] : edited_) {
      if (auto const* key = snapshot.find(name)) {
        pool_->set_balance(name, balance{key->character_limit, remaining, key->next_reset});
      }
    }
    edited_.clear();
    for (std::size_t row = 0; row < rows_.size(); ++row) {
      if (rows_[row].name.empty()) {
        // the number of the row may be the name of a key that stood there before
        auto const wanted = options_.name_prefix + table_.keys()[row].name;
        auto name = wanted;
        for (std::size_t again = 2; snapshot.find(name) != nullptr || is_known(name); ++again) {
          name = wanted + '.' + std::to_string(again);
        }
        rows_[row].name = std::move(name);
        try {
          add(row);
        } catch (...) {
          rows_[row].name.clear();
          throw;
        }
        rows_[row].last = state_of(*pool_->snapshot().find(rows_[row].name));
      }
    }
  }

  [[nodiscard]] bool is_known(std::string_view name) const noexcept {
    return std::any_of(rows_.begin(), rows_.end(), [&](row_state const& r) { return r.name == name; });
  }

  void add(std::size_t row) {
    auto const& key = table_.keys()[row];
    key_params params;
    params.name = rows_[row].name;
    params.secret = key.secret;
    params.limits = options_.limits;
    params.lanes = options_.lanes;
    params.lane_limits = options_.lane_limits;
    params.weight = options_.weight;
    params.remaining = key.remaining;
    params.barred = key.barred;
    if (key.exhausted) {
      // the table does not say until when; an hour is the rest of a key whose reset nobody knows
      params.exhausted_until = std::min(key.checked.value_or(now()), now()) + std::chrono::hours{1};
    }
    pool_->add(std::move(params));
  }

  using name_index = std::unordered_map<std::string_view, key_state const*>;

  [[nodiscard]] static name_index by_name(pool_snapshot const& snapshot) {
    name_index out;
    for (auto const& key : snapshot) {
      out.emplace(key.name, &key);
    }
    return out;
  }

  /// What the table keeps of a key. Only what differs from the state that a row came from is worth a save.
  [[nodiscard]] static csv_state state_of(key_state const& key) {
    csv_state out;
    out.remaining = key.remaining;
    out.checked = key.balance_set;
    if (key.status != key_status::invalid && key.status != key_status::disabled) { // which hide whether it is exhausted
      out.exhausted = key.status == key_status::exhausted;
    }
    out.voice_limit = key.barred.contains(capability::voice_creation);
    return out;
  }

  /// Half of the second that a killed process may lose; the other half is for the disk.
  static constexpr std::chrono::steady_clock::duration delay = std::chrono::milliseconds{500};
  static constexpr std::chrono::steady_clock::duration first_pause = std::chrono::seconds{1};
  static constexpr std::chrono::steady_clock::duration longest_pause = std::chrono::seconds{60};

  mutable std::mutex mutex_;
  key_pool* pool_; ///< null once closed
  csv_store_options options_;
  std::optional<locked_file> file_;
  csv_keys table_;
  std::string display_; ///< the path as it was given
  std::vector<row_state> rows_;
  std::unordered_map<std::string, std::int64_t> edited_; ///< balances that somebody else wrote, until `reload`
  std::vector<std::string> vanished_;                    ///< keys whose rows are gone, until `reload`
  subscription changes_;

  boost::asio::strand<boost::asio::any_io_executor> strand_;
  boost::asio::steady_timer timer_;
  std::atomic<bool> scheduled_{false};
  std::chrono::steady_clock::duration pause_ = first_pause;
};

} // namespace detail

/// Keeps the keys of a pool in a CSV (see `csv_keys`): loads them, and writes their state back within a second of a
/// change and when it is closed. A killed process loses the last second at most; the file is whole at every moment.
///
/// Writing happens on the pool's executor and blocks it for as long as the disk takes. Nothing runs while nothing
/// changes. What others write into the file meanwhile is kept, except for state cells of rows that changed here too;
/// `reload` makes the pool follow it. A file that others broke is not overwritten.
///
/// Distinct objects: safe. Shared objects: safe, except for destruction. Must be closed or destroyed before its pool.
class csv_store {
public:
  /// Adds the keys of the file to the pool; on failure the pool is as before.
  ///
  /// A key that was exhausted rests until an hour after `last_checked`, or until its balance is set.
  ///
  /// \throws file_error with `file_unreadable`, `file_malformed` (names line and column) or `file_in_use` (another
  /// store,
  ///   in this process or another one); system_error from `key_pool::add`
  csv_store(key_pool& pool, std::filesystem::path const& path, csv_store_options options = {})
      : impl_{std::make_shared<detail::csv_store_impl>(pool, path, std::move(options))} {
    impl_->start();
  }
  csv_store(csv_store&&) noexcept = default;
  csv_store& operator=(csv_store&&) = delete;
  /// Closes; a failure goes to `on_error`.
  ~csv_store() {
    if (!impl_) {
      return;
    }
    try {
      impl_->close();
    } catch (file_error const& e) {
      impl_->report(e);
      impl_->abandon();
    }
  }

  /// The names under which the keys are in the pool.
  [[nodiscard]] std::vector<std::string> key_names() const { return impl_->key_names(); }

  /// Saves now what has changed. \throws file_error with `file_unwritable`, or `file_malformed` when somebody else
  /// broke the file
  void save() { impl_->save(); }

  /// Follows what others wrote: adds new keys, removes those that are gone, sets edited balances. Then saves.
  /// \throws as `save`, and system_error from `key_pool::add`; a broken file changes nothing
  void reload() { impl_->reload(); }

  /// Saves for the last time and lets go of file and pool; the keys stay in the pool. Does nothing when closed.
  /// \throws as `save`; then nothing was closed
  void close() { impl_->close(); }

private:
  std::shared_ptr<detail::csv_store_impl> impl_;
};

} // namespace rondo::store
