// SPDX-License-Identifier: BSL-1.0
#include <rondo/error.hpp>

#include <boost/test/unit_test.hpp>

BOOST_AUTO_TEST_SUITE(error)

BOOST_AUTO_TEST_CASE(codes_belong_to_one_category_and_have_texts) {
  boost::system::error_code const ec = rondo::error::would_miss_deadline;
  BOOST_TEST(ec.category().name() == "rondo");
  BOOST_TEST(ec.message() == "no key can serve the request before its deadline");
  BOOST_TEST((ec == rondo::error::would_miss_deadline));
  BOOST_TEST((ec != rondo::error::exhausted));
}

BOOST_AUTO_TEST_CASE(conditions_group_codes_for_callers) {
  using rondo::condition;
  auto const code = [](rondo::error e) { return make_error_code(e); };
  BOOST_TEST((code(rondo::error::exhausted) == condition::exhausted));
  BOOST_TEST((code(rondo::error::would_miss_deadline) == condition::exhausted));
  BOOST_TEST((code(rondo::error::no_keys) != condition::exhausted));
  BOOST_TEST((code(rondo::error::proxy_timeout) == condition::retryable));
  BOOST_TEST((code(rondo::error::invalid_url) != condition::retryable));
  BOOST_TEST((code(rondo::error::too_large) != condition::retryable));
}

BOOST_AUTO_TEST_CASE(every_code_names_who_is_to_blame) {
  using rondo::blame;
  BOOST_TEST((rondo::blame_of(rondo::error::exhausted) == blame::pool));
  BOOST_TEST((rondo::blame_of(rondo::error::name_too_long) == blame::caller));
  BOOST_TEST((rondo::blame_of(rondo::error::proxy_denied) == blame::proxy));
  BOOST_TEST((rondo::blame_of(rondo::error::proxy_tls_failed) == blame::proxy));
  BOOST_TEST((rondo::blame_of(rondo::error::proxy_certificate_rejected) == blame::proxy));
  BOOST_TEST((rondo::blame_of(rondo::error::connection_lost) == blame::path));
  BOOST_TEST((rondo::blame_of(rondo::error::certificate_rejected) == blame::origin));
  BOOST_TEST((rondo::blame_of(boost::system::error_code{}) == blame::nobody));
  BOOST_TEST((rondo::blame_of(make_error_code(boost::system::errc::timed_out)) == blame::nobody));
}

BOOST_AUTO_TEST_SUITE_END()
