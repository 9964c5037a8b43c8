// SPDX-License-Identifier: BSL-1.0
#include <rondo/secret.hpp>

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <string>
#include <type_traits>

BOOST_AUTO_TEST_SUITE(secret)

BOOST_AUTO_TEST_CASE(a_long_key_shows_its_first_twelve_and_last_eight_characters) {
  rondo::secret const key{"sk_6c036526aabbccddeeff00112233445566778899a7a4d452b"};
  BOOST_TEST(key.masked() == "sk_6c036526a...7a4d452b");
}

BOOST_AUTO_TEST_CASE(a_short_key_never_shows_more_than_a_third) {
  for (std::size_t length = 0; length < 40; ++length) {
    std::string const text(length, 'x');
    auto const shown = rondo::masked(text);
    auto const visible = std::count(shown.begin(), shown.end(), 'x');
    BOOST_TEST(static_cast<std::size_t>(visible) * 3 <= length, "length " << length << ": " << shown);
  }
}

BOOST_AUTO_TEST_CASE(cannot_be_streamed_by_accident) {
  static_assert(!std::is_convertible_v<rondo::secret, std::string>);
  static_assert(!std::is_convertible_v<rondo::secret, std::string_view>);
  static_assert(!std::is_convertible_v<std::string, rondo::secret>);
}

BOOST_AUTO_TEST_CASE(moving_and_wiping_leave_nothing_behind) {
  rondo::secret a{"correct horse"};
  rondo::secret b = std::move(a);
  BOOST_TEST(a.empty()); // NOLINT(bugprone-use-after-move): that is what is tested
  BOOST_TEST(b.equals("correct horse"));
  b = rondo::secret{"battery"};
  BOOST_TEST(b.reveal() == "battery");
  b.wipe();
  BOOST_TEST(b.empty());
  BOOST_TEST(b.reveal().empty());
}

BOOST_AUTO_TEST_SUITE_END()
