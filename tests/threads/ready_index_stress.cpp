// SPDX-License-Identifier: BSL-1.0
#include "support/duel.hpp"
#include <rondo/detail/ready_index.hpp>

#include <boost/test/unit_test.hpp>

#include <cstdint>

BOOST_AUTO_TEST_SUITE(ready_index_stress)

// The last member of a word leaves while another one joins: whatever happens to the summaries above, the one that
// joined must be found, and the one that left must not.
BOOST_AUTO_TEST_CASE(no_member_is_hidden_by_a_stale_summary) {
  constexpr std::uint32_t leaves = 64 * 64 * 5 + 3;
  constexpr std::uint32_t joins = 64 * 64 * 5 + 7;
  constexpr std::uint32_t far = 64 * 64 * 5 + 640; // another word below the same summary
  rondo::detail::ready_index<> index;
  index.grow_to(0);
  index.grow_to(far);
  int lost = 0;
  for (auto const newcomer : {joins, far}) {
    rondo::test::duel(
        60'000, [&](int) { index.set(leaves); }, [&](int) { index.clear(leaves); }, [&](int) { index.set(newcomer); },
        [&](int) {
          lost += index.next(0) != newcomer || index.test(leaves) ? 1 : 0;
          index.clear(newcomer);
          lost += index.empty() ? 0 : 1;
        });
  }
  BOOST_TEST(lost == 0);
}

BOOST_AUTO_TEST_SUITE_END()
