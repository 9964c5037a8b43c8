// SPDX-License-Identifier: BSL-1.0
#include <rondo/store/proxy_file.hpp>

#include <boost/test/unit_test.hpp>

#include <sys/stat.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <support/temporary_directory.hpp>

namespace {

struct proxy_file_fixture {
  rondo::test::temporary_directory files;
  rondo::store::proxy_file list{files.path() / "proxies.txt"};

  void write(std::string_view text) const { files.write("proxies.txt", text); }

  /// The hosts of a changed list, `same`, or the error without the folder.
  std::string polled() {
    try {
      auto const got = list.poll();
      if (!got) {
        return "same";
      }
      std::string out;
      for (auto const& p : *got) {
        out += (out.empty() ? "" : " ") + p.host;
      }
      return out;
    } catch (rondo::store::file_error const& e) {
      auto const text = std::string{e.what()}.substr(files.path().string().size() + 1);
      return text.substr(0, text.find(": the file ")); // the text of the code follows
    }
  }
};

std::string const bad = "malformed or unsupported proxy URL";

} // namespace

BOOST_FIXTURE_TEST_SUITE(proxy_file, proxy_file_fixture)

BOOST_AUTO_TEST_CASE(a_list_is_given_when_it_has_changed) {
  write("http://a:1\n");
  BOOST_TEST(polled() == "a");
  BOOST_TEST(polled() == "same");
  // at once, and of the same size: its times may be the same
  write("http://b:1\n");
  BOOST_TEST(polled() == "b");
  write("http://b:1\nhttp://c:1\n");
  BOOST_TEST(polled() == "b c");
  write("# the same proxies in other words\nhttp://B:1\nhttp://c:1/\n");
  BOOST_TEST(polled() == "same");
}

BOOST_AUTO_TEST_CASE(an_old_file_is_not_read_again) {
  write("http://a:1\n");
  timespec const long_ago[] = {{1'000'000'000, 0}, {1'000'000'000, 0}};
  BOOST_REQUIRE(::utimensat(AT_FDCWD, list.path().c_str(), long_ago, 0) == 0);
  BOOST_TEST(polled() == "a");
  // a file put back with its old time is noticed all the same
  write("http://b:1\n");
  BOOST_REQUIRE(::utimensat(AT_FDCWD, list.path().c_str(), long_ago, 0) == 0);
  BOOST_TEST(polled() == "b");
}

BOOST_AUTO_TEST_CASE(a_file_that_is_renamed_over_it_counts) {
  write("http://a:1\n");
  BOOST_TEST(polled() == "a");
  files.write("next", "http://b:1\n");
  std::filesystem::rename(files.path() / "next", list.path());
  BOOST_TEST(polled() == "b");
}

BOOST_AUTO_TEST_CASE(a_bad_file_is_told_once_and_changes_nothing) {
  write("http://a:1\n");
  BOOST_TEST(polled() == "a");
  write("http://b:1\nhttp://us:er:hunter22@c:\n:3128");
  BOOST_TEST(polled() == "proxies.txt:3: " + bad);
  BOOST_TEST(polled() == "same");
  write("http");
  BOOST_TEST(polled() == "proxies.txt:1: " + bad);
  write("");
  BOOST_TEST(polled() == "proxies.txt: holds no proxy");
  BOOST_TEST(polled() == "same");
  write("http://a:1\n"); // what it was before: nothing to do
  BOOST_TEST(polled() == "same");
  write(""); // a new fault, after it had been good
  BOOST_TEST(polled() == "proxies.txt: holds no proxy");
  write("http://b:1\n");
  BOOST_TEST(polled() == "b");
}

BOOST_AUTO_TEST_CASE(a_file_that_goes_and_comes_back) {
  BOOST_TEST(polled() == "proxies.txt: No such file or directory");
  BOOST_TEST(polled() == "same");
  write("http://a:1\n");
  BOOST_TEST(polled() == "a");
  std::filesystem::remove(list.path());
  BOOST_TEST(polled() == "proxies.txt: No such file or directory");
  BOOST_TEST(polled() == "same");
  write("http://a:1\nhttp://b:1\n");
  BOOST_TEST(polled() == "a b");
  std::filesystem::remove(list.path());
  std::filesystem::create_directory(list.path());
  BOOST_TEST(polled() == "proxies.txt: Is a directory");
}

BOOST_AUTO_TEST_SUITE_END()
