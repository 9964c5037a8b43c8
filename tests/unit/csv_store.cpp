// SPDX-License-Identifier: BSL-1.0
#include "support/pool_fixture.hpp"
#include "support/temporary_directory.hpp"
#include <rondo/store/csv_store.hpp>

#include <boost/test/unit_test.hpp>

#include <sys/stat.h>
#include <sys/wait.h>

#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using rondo::store::file_error;

namespace {

std::string const header = "API,Date,available_tokens,last_checked,is_exhausted,voice_limit_reached,note\n";

struct fixture : rondo::test::pool_fixture {
  /// Opens a store on a file with these rows.
  void open(std::string const& rows, rondo::store::csv_store_options options = {}) {
    directory.write("BASE.csv", header + rows);
    reopen(std::move(options));
  }
  void reopen(rondo::store::csv_store_options options = {}) {
    options.clock = &clock;
    options.on_error = [this](file_error const& e) { errors.emplace_back(e.what()); };
    store.emplace(*pool, file(), std::move(options));
  }
  /// As after a restart: a new pool, the state from the file.
  void restart(rondo::store::csv_store_options options = {}) {
    store.reset();
    reset({});
    reopen(std::move(options));
  }
  [[nodiscard]] std::filesystem::path file() const { return directory.path() / "BASE.csv"; }
  [[nodiscard]] std::string text() const { return directory.read("BASE.csv"); }
  [[nodiscard]] std::string rows() const {
    auto const all = text();
    BOOST_TEST_REQUIRE(all.starts_with(header));
    return all.substr(header.size());
  }
  /// Runs what there is to do, timers included, until there is nothing.
  void run_dry() {
    ctx.restart();
    ctx.run();
  }
  void spend(std::int64_t tokens, rondo::capability_set barred = {}) {
    auto lease = pool->try_acquire(tokens);
    BOOST_TEST_REQUIRE(lease.has_value());
    if (!barred.empty()) {
      lease->bar(barred);
    }
    lease->settle(tokens);
  }
  ~fixture() { store.reset(); }

  rondo::test::temporary_directory directory;
  std::vector<std::string> errors;
  std::optional<rondo::store::csv_store> store;
};

std::string const now_text = "2026-11-21T00:00:00.000Z"; // of the manual clock

} // namespace

BOOST_FIXTURE_TEST_SUITE(csv_store, fixture)

BOOST_AUTO_TEST_CASE(keys_come_with_the_state_they_had) {
  open("sk_one,d,5000,,False,False,n\nsk_two,d,,,0,true,\n", {.limits = {.quota = 900}});
  BOOST_TEST(state("BASE-1").remaining.value() == 5000);
  BOOST_TEST(state("BASE-2").remaining.value() == 900);
  BOOST_TEST(state("BASE-2").barred.contains(rondo::capability::voice_creation));
  BOOST_TEST((store->key_names() == std::vector<std::string>{"BASE-1", "BASE-2"}));
}

BOOST_AUTO_TEST_CASE(the_first_balance_is_the_limit_when_nothing_else_is_known) {
  open("sk_one,d,5000,,False,False,\n");
  BOOST_TEST(state("BASE-1").character_limit == 5000);
  spend(1000);
  BOOST_TEST(state("BASE-1").remaining.value() == 4000);
  BOOST_TEST(!pool->try_acquire(4001));
}

BOOST_AUTO_TEST_CASE(a_balance_of_nothing_serves_nothing) {
  open("sk_one,d,0,,True,False,\n");
  clock.advance(24h);
  BOOST_TEST(!pool->try_acquire(1));
}

BOOST_AUTO_TEST_CASE(an_exhausted_key_rests_until_an_hour_after_it_was_checked) {
  open("sk_one,d,5000,2026-11-20T23:30:00Z,True,False,\n");
  BOOST_TEST(!pool->try_acquire(1));
  BOOST_TEST((state("BASE-1").status == rondo::key_status::exhausted));
  advance(31min);
  BOOST_TEST(pool->try_acquire(1).has_value());
  // or until its balance is known
  restart();
  directory.write("BASE.csv", header + "sk_one,d,5000," + now_text + ",True,False,\n");
  clock.advance(-31min);
  restart();
  BOOST_TEST(!pool->try_acquire(1));
  pool->set_balance("BASE-1", {.limit = 5000, .remaining = 5000, .reset = {}});
  BOOST_TEST(pool->try_acquire(1).has_value());
  // a check from the future is as good as one of now
  store.reset();
  directory.write("BASE.csv", header + "sk_one,d,5000,2030-01-01,True,False,\n");
  restart();
  advance(59min);
  BOOST_TEST(!pool->try_acquire(1));
  advance(2min);
  BOOST_TEST(pool->try_acquire(1).has_value());
}

BOOST_AUTO_TEST_CASE(a_change_is_saved_within_a_second_and_then_nothing_runs) {
  open("sk_one,d,5000,,False,False,n\nsk_two,,7,,,,\n");
  run_dry();
  BOOST_TEST(rows() == "sk_one,d,5000,,False,False,n\nsk_two,,7,,,,\n"); // to the byte
  spend(1200);
  auto const begin = std::chrono::steady_clock::now();
  run_dry();                                                       // ends, so no timer is left
  BOOST_TEST((std::chrono::steady_clock::now() - begin >= 100ms)); // gathered, not written at once
  BOOST_TEST(rows() == "sk_one,d,3800," + now_text + ",False,False,n\nsk_two,,7,,,,\n");
  run_dry();
  spend(1);
  run_dry();
  BOOST_TEST(rows() == "sk_one,d,3800," + now_text + ",False,False,n\nsk_two,,6," + now_text + ",,,\n");
  BOOST_TEST(errors.empty());
}

BOOST_AUTO_TEST_CASE(every_kind_of_change_is_saved_and_survives_a_restart) {
  open("sk_one,d,5000,,False,False,\nsk_two,,7,,,,\n");
  spend(0, rondo::capability::voice_creation);
  {
    auto lease = pool->try_acquire(6);
    BOOST_TEST_REQUIRE(lease.has_value());
    BOOST_TEST(lease->key_name() == "BASE-2");
    lease->report(rondo::outcome::exhausted());
  }
  run_dry();
  BOOST_TEST(rows() == "sk_one,d,5000," + now_text + ",False,True,\nsk_two,,7," + now_text + ",True,,\n");
  restart();
  BOOST_TEST(state("BASE-1").barred.contains(rondo::capability::voice_creation));
  BOOST_TEST(state("BASE-1").remaining.value() == 5000);
  BOOST_TEST((state("BASE-2").status == rondo::key_status::exhausted));
  // what the provider says goes in as well, with the time of its answer
  clock.advance(10s);
  pool->set_balance("BASE-2", {.limit = 100, .remaining = 60, .reset = {}});
  run_dry();
  BOOST_TEST(rows() == "sk_one,d,5000," + now_text + ",False,True,\nsk_two,,60,2026-11-21T00:00:10.000Z,False,,\n");
  // the same balance again: only the time is new
  clock.advance(10s);
  pool->set_balance("BASE-2", {.limit = 100, .remaining = 60, .reset = {}});
  run_dry();
  BOOST_TEST(rows() == "sk_one,d,5000," + now_text + ",False,True,\nsk_two,,60,2026-11-21T00:00:20.000Z,False,,\n");
}

BOOST_AUTO_TEST_CASE(closing_saves_at_once) {
  open("sk_one,d,5000,,False,False,\n");
  spend(10);
  store->close();
  BOOST_TEST(rows() == "sk_one,d,4990," + now_text + ",False,False,\n");
  spend(10); // nobody keeps this
  store->close();
  store->save();
  run_dry();
  BOOST_TEST(rows() == "sk_one,d,4990," + now_text + ",False,False,\n");
  reset({});
  reopen(); // the file is free again
  spend(20);
  store.reset(); // so does the destructor
  BOOST_TEST(rows() == "sk_one,d,4970," + now_text + ",False,False,\n");
  struct stat s{};
  BOOST_TEST_REQUIRE(::stat(file().c_str(), &s) == 0);
  BOOST_TEST((s.st_mode & 0777U) == 0600U);
}

BOOST_AUTO_TEST_CASE(a_killed_process_leaves_what_was_saved) {
  directory.write("BASE.csv", header + "sk_one,d,5000,,False,False,\n");
  auto const child = ::fork();
  if (child == 0) {
    reopen();
    spend(10);
    ctx.run();
    spend(20); // less than a second old
    ::_exit(0);
  }
  ::waitpid(child, nullptr, 0);
  BOOST_TEST(rows() == "sk_one,d,4990," + now_text + ",False,False,\n");
  reopen();
  BOOST_TEST(state("BASE-1").remaining.value() == 4990);
}

BOOST_AUTO_TEST_CASE(a_second_store_on_the_file_is_refused) {
  open("sk_one,d,5000,,False,False,\n");
  spend(10);
  run_dry();
  rondo::key_pool other{ctx.get_executor()};
  try {
    rondo::store::csv_store const second{other, file()};
    BOOST_ERROR("opened twice");
  } catch (file_error const& e) {
    BOOST_TEST((e.code() == rondo::error::file_in_use));
  }
  BOOST_TEST(other.snapshot().empty());
}

BOOST_AUTO_TEST_CASE(a_file_that_cannot_be_loaded_leaves_the_pool_alone) {
  pool->add(rondo::test::key("BASE-2"));
  directory.write("BASE.csv", header + "sk_one,,,,,,\nsk_two,,,,,,\n");
  BOOST_CHECK_THROW(reopen(), boost::system::system_error);
  BOOST_TEST(pool->snapshot().size() == 1U);
  reopen({.name_prefix = "file/"});
  BOOST_TEST(pool->snapshot().size() == 3U);
  BOOST_TEST(state("file/BASE-2").short_key == rondo::masked("sk_two"));
}

BOOST_AUTO_TEST_CASE(what_others_write_meanwhile_is_kept) {
  open("sk_one,d,5000,,False,False,\nsk_two,,7,,,,\n");
  directory.write("BASE.csv", header + "sk_new,,1,,,,\nsk_two,,9,,,,edited\nsk_one,d,5000,,False,False,note\n");
  spend(10);
  run_dry();
  BOOST_TEST(rows() == "sk_new,,1,,,,\nsk_two,,9,,,,edited\nsk_one,d,4990," + now_text + ",False,False,note\n");
  BOOST_TEST(pool->snapshot().size() == 2U);
  BOOST_TEST(state("BASE-2").remaining.value() == 7);
  store->reload();
  BOOST_TEST(pool->snapshot().size() == 3U);
  BOOST_TEST(state("BASE-2").remaining.value() == 9);
  BOOST_TEST(state("BASE-1").remaining.value() == 4990);
  auto const names = store->key_names();
  BOOST_TEST_REQUIRE(names.size() == 3U);
  BOOST_TEST(state(names[0]).short_key == rondo::masked("sk_new"));
}

BOOST_AUTO_TEST_CASE(reloading_follows_the_file_and_forgets_nothing) {
  open("sk_one,d,5000,,False,False,\nsk_two,,7,,,,\n");
  spend(10);
  directory.write("BASE.csv", header + "sk_three,,3,,,,\nsk_one,d,5000,,False,False,\n");
  store->reload();
  BOOST_TEST(rows() == "sk_three,,3,,,,\nsk_one,d,4990," + now_text + ",False,False,\n");
  BOOST_TEST(pool->snapshot().size() == 2U);
  BOOST_TEST(!pool->snapshot().find("BASE-2"));
  // broken: nothing changes, neither here nor there
  directory.write("BASE.csv", header + "sk_three,,x,,,,\n");
  BOOST_CHECK_THROW(store->reload(), file_error);
  BOOST_TEST(pool->snapshot().size() == 2U);
  BOOST_TEST(rows() == "sk_three,,x,,,,\n");
  directory.write("BASE.csv", header + "sk_one,d,80,,False,False,\n");
  store->reload();
  BOOST_TEST(pool->snapshot().size() == 1U);
  BOOST_TEST(state("BASE-1").remaining.value() == 80);
}

BOOST_AUTO_TEST_CASE(a_file_that_others_broke_is_not_overwritten_and_saved_once_it_is_whole) {
  open("sk_one,d,5000,,False,False,\n");
  spend(10);
  directory.write("BASE.csv", header + "broken\n");
  while (errors.empty()) {
    ctx.restart();
    ctx.run_one();
  }
  BOOST_TEST(rows() == "broken\n");
  directory.write("BASE.csv", header + "sk_one,d,5000,,False,False,mended\n");
  run_dry();
  BOOST_TEST(rows() == "sk_one,d,4990," + now_text + ",False,False,mended\n");
  // a file that was deleted comes back with the next change
  std::filesystem::remove(file());
  spend(10);
  run_dry();
  BOOST_TEST(rows() == "sk_one,d,4980," + now_text + ",False,False,mended\n");
}

BOOST_AUTO_TEST_CASE(nothing_of_a_key_is_in_an_error) {
  directory.write("BASE.csv", header + "x,sk_secret_in_the_wrong_place,sk_secret_in_the_wrong_place,,,,\n");
  try {
    reopen();
    BOOST_ERROR("accepted");
  } catch (file_error const& e) {
    BOOST_TEST(std::string{e.what()}.find("sk_") == std::string::npos);
    BOOST_TEST(e.line() == 2U);
    BOOST_TEST(e.column() == "available_tokens");
  }
}

BOOST_AUTO_TEST_SUITE_END()
