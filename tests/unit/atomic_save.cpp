// SPDX-License-Identifier: BSL-1.0
#include "support/temporary_directory.hpp"
#include <rondo/store/csv_store.hpp>
#include <rondo/store/files.hpp>

#include <boost/test/unit_test.hpp>

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <signal.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>

using rondo::store::file_error;
using rondo::store::read_file;
using rondo::store::save_atomically;
using rondo::store::detail::locked_file;
using rondo::store::detail::replacement;

namespace {

/// Runs `f` in a child process that ends without any clean-up, as a crash would. \return its exit status
int in_child(std::function<void()> const& f) {
  auto const child = ::fork();
  if (child == 0) {
    f();
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return status;
}

std::size_t files_in(std::filesystem::path const& folder) {
  std::size_t n = 0;
  for ([[maybe_unused]] auto const& entry : std::filesystem::directory_iterator{folder}) {
    ++n;
  }
  return n;
}

unsigned mode_of(std::filesystem::path const& path) {
  struct stat s{};
  BOOST_TEST_REQUIRE(::stat(path.c_str(), &s) == 0);
  return s.st_mode & 0777U;
}

std::string const before(100'000, 'a');
std::string const after(200'000, 'b');

} // namespace

BOOST_AUTO_TEST_SUITE(atomic_save)

BOOST_AUTO_TEST_CASE(a_save_replaces_the_file_and_leaves_nothing_else) {
  rondo::test::temporary_directory const folder;
  auto const file = folder.path() / "keys.csv";
  save_atomically(file, before);
  BOOST_TEST((read_file(file) == before));
  std::filesystem::permissions(file, std::filesystem::perms::all);
  save_atomically(file, after);
  BOOST_TEST((read_file(file) == after));
  BOOST_TEST(mode_of(file) == 0600U);
  save_atomically(file, "");
  BOOST_TEST(read_file(file).empty());
  BOOST_TEST(files_in(folder.path()) == 1U);
}

BOOST_AUTO_TEST_CASE(a_crash_after_any_step_leaves_the_old_file_or_the_new_one) {
  for (int steps = 0; steps <= 5; ++steps) {
    rondo::test::temporary_directory const folder;
    auto const file = folder.path() / "keys.csv";
    save_atomically(file, before);
    in_child([&] {
      auto* const next = new replacement{file}; // never destroyed: a crash runs no destructors
      int done = 0;
      auto const step = [&](auto const& f) {
        if (done++ == steps) {
          ::_exit(0);
        }
        f();
      };
      step([&] { next->create(); });
      step([&] { next->write(after); });
      step([&] { next->sync(); });
      step([&] { next->rename(); });
      step([&] { next->sync_folder(); });
      ::_exit(0);
    });
    BOOST_TEST((read_file(file) == (steps < 4 ? before : after)), "after " << steps << " steps");
    // whoever opens the file next removes what was left beside it
    locked_file const next{file};
    BOOST_TEST(files_in(folder.path()) == 1U, "after " << steps << " steps");
  }
}

BOOST_AUTO_TEST_CASE(a_process_killed_while_saving_leaves_a_whole_file) {
  rondo::test::temporary_directory const folder;
  auto const file = folder.path() / "keys.csv";
  save_atomically(file, before);
  for (int round = 0; round < 20; ++round) {
    int ready[2];
    BOOST_TEST_REQUIRE(::pipe(ready) == 0);
    auto const child = ::fork();
    if (child == 0) {
      for (;;) {
        save_atomically(file, before);
        save_atomically(file, after);
        (void)!::write(ready[1], "x", 1);
      }
    }
    ::close(ready[1]);
    char c = 0;
    (void)!::read(ready[0], &c, 1); // it is in the middle of something by now
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    ::close(ready[0]);
    auto const found = read_file(file);
    BOOST_TEST((found == before || found == after));
  }
}

BOOST_AUTO_TEST_CASE(a_full_disk_leaves_the_old_file_and_says_so) {
  rondo::test::temporary_directory const folder;
  auto const file = folder.path() / "keys.csv";
  save_atomically(file, before);
  auto const status = in_child([&] {
    ::signal(SIGXFSZ, SIG_IGN);
    rlimit const most{150'000, 150'000};
    ::setrlimit(RLIMIT_FSIZE, &most);
    try {
      save_atomically(file, after);
    } catch (file_error const& e) {
      ::_exit(e.code() == rondo::error::file_unwritable ? 7 : 8);
    }
  });
  BOOST_TEST(WEXITSTATUS(status) == 7);
  BOOST_TEST((read_file(file) == before));
  BOOST_TEST(files_in(folder.path()) == 1U);
}

BOOST_AUTO_TEST_CASE(a_folder_that_is_not_there_is_an_error) {
  rondo::test::temporary_directory const folder;
  try {
    save_atomically(folder.path() / "no" / "keys.csv", after);
    BOOST_ERROR("saved into nowhere");
  } catch (file_error const& e) {
    BOOST_TEST((e.code() == rondo::error::file_unwritable));
    BOOST_TEST(std::string{e.what()}.find("keys.csv") != std::string::npos);
  }
  BOOST_CHECK_THROW((void)read_file(folder.path() / "none"), file_error);
  BOOST_CHECK_THROW((void)read_file(folder.path()), file_error);
}

BOOST_AUTO_TEST_CASE(links_stay_links) {
  rondo::test::temporary_directory const folder;
  auto const target = folder.path() / "real.csv";
  auto const link = folder.path() / "link.csv";
  auto const outer = folder.path() / "outer.csv";
  save_atomically(target, before);
  std::filesystem::create_symlink("real.csv", link); // relative to the link
  std::filesystem::create_symlink(link, outer);
  save_atomically(outer, after);
  BOOST_TEST(std::filesystem::is_symlink(link));
  BOOST_TEST(std::filesystem::is_symlink(outer));
  BOOST_TEST((read_file(target) == after));
  auto const dangling = folder.path() / "dangling.csv";
  std::filesystem::create_symlink("new.csv", dangling);
  save_atomically(dangling, "x");
  BOOST_TEST(read_file(folder.path() / "new.csv") == "x");
}

BOOST_AUTO_TEST_CASE(one_file_has_one_store) {
  rondo::test::temporary_directory const folder;
  auto const file = folder.path() / "keys.csv";
  auto const link = folder.path() / "link.csv";
  save_atomically(file, before);
  std::filesystem::create_symlink(file, link);
  auto const refused = [](std::filesystem::path const& path) {
    try {
      locked_file const second{path};
      return false;
    } catch (file_error const& e) {
      return e.code() == rondo::error::file_in_use;
    }
  };
  {
    locked_file first{file};
    BOOST_TEST(refused(file));
    BOOST_TEST(refused(link));
    BOOST_TEST(WEXITSTATUS(in_child([&] { ::_exit(refused(file) ? 7 : 8); })) == 7);
    first.write(after); // the lock goes along with the new file
    BOOST_TEST(refused(file));
    first.write(before);
    BOOST_TEST(refused(link));
  }
  BOOST_TEST(!refused(file));
  // a killed process locks nobody out
  in_child([&] {
    new locked_file{file};
    ::_exit(0);
  });
  BOOST_TEST(!refused(file));
}

BOOST_AUTO_TEST_CASE(what_others_write_is_noticed) {
  rondo::test::temporary_directory const folder;
  auto const file = folder.path() / "keys.csv";
  save_atomically(file, before);
  locked_file mine{file};
  BOOST_TEST((mine.read() == before));
  BOOST_TEST(!mine.read_if_changed());
  save_atomically(file, after);
  BOOST_TEST((mine.read_if_changed() == after));
  BOOST_TEST((mine.read_if_changed() == after)); // until it is accepted
  mine.accept();
  BOOST_TEST(!mine.read_if_changed());
  mine.write("x");
  BOOST_TEST(!mine.read_if_changed());
  std::filesystem::remove(file);
  BOOST_TEST(!mine.read_if_changed());
}

BOOST_AUTO_TEST_SUITE_END()
