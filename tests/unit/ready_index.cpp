// SPDX-License-Identifier: BSL-1.0
#include <rondo/detail/ready_index.hpp>

#include <boost/test/unit_test.hpp>

#include <cstdint>
#include <random>
#include <set>
#include <vector>

using index_type = rondo::detail::ready_index<>;

BOOST_AUTO_TEST_SUITE(ready_index)

BOOST_AUTO_TEST_CASE(finds_the_next_member_across_all_levels) {
  index_type index;
  std::vector<std::uint32_t> const members{0, 1, 63, 64, 4095, 4096, 262'143, 262'144, 1'000'000, 16'777'215};
  for (auto const m : members) {
    index.grow_to(m);
    index.set(m);
  }
  std::vector<std::uint32_t> found;
  for (auto i = index.next(0); i != index_type::npos; i = index.next(i + 1)) {
    found.push_back(i);
  }
  BOOST_TEST(found == members, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(an_empty_index_has_no_member) {
  index_type index;
  BOOST_TEST(index.empty());
  BOOST_TEST(index.next(0) == index_type::npos);
  index.grow_to(70);
  BOOST_TEST(index.next(0) == index_type::npos);
  index.set(70);
  BOOST_TEST(!index.empty());
  BOOST_TEST(index.next(71) == index_type::npos);
  index.clear(70);
  BOOST_TEST(index.empty());
}

BOOST_AUTO_TEST_CASE(agrees_with_a_set_through_a_random_history) {
  std::mt19937 random{7};
  index_type index;
  std::set<std::uint32_t> model;
  constexpr std::uint32_t size = 20'000;
  for (std::uint32_t i = 0; i < size; ++i) {
    index.grow_to(i);
  }
  for (int step = 0; step < 200'000; ++step) {
    auto const i = static_cast<std::uint32_t>(random() % size);
    if (random() % 2 == 0) {
      index.set(i);
      model.insert(i);
    } else {
      index.clear(i);
      model.erase(i);
    }
    auto const from = static_cast<std::uint32_t>(random() % size);
    auto const expected = model.lower_bound(from);
    BOOST_REQUIRE(index.next(from) == (expected == model.end() ? index_type::npos : *expected));
    BOOST_REQUIRE(index.test(i) == model.contains(i));
    BOOST_REQUIRE(index.empty() == model.empty());
  }
}

BOOST_AUTO_TEST_CASE(knows_the_first_member_when_all_are_in_one_word) {
  std::mt19937 random{11};
  index_type index;
  constexpr std::uint32_t size = 1'048'576;
  for (std::uint32_t i = 0; i < size; i += 4096) {
    index.grow_to(i);
  }
  std::set<std::uint32_t> model;
  int single = 0;
  int several = 0;
  for (int step = 0; step < 100'000; ++step) {
    if (model.size() < 1 + random() % 4) {
      // near another member in one of two cases
      auto const i = static_cast<std::uint32_t>(!model.empty() && random() % 2 == 0 ? *model.begin() ^ (random() % 256)
                                                                                    : random() % size);
      index.set(i);
      model.insert(i);
    } else {
      index.clear(*model.begin());
      model.erase(model.begin());
    }
    auto const together = !model.empty() && *model.begin() / 64 == *model.rbegin() / 64;
    (together ? single : several) += static_cast<int>(model.size() > 1);
    BOOST_REQUIRE(index.first_of_only_word() == (together ? *model.begin() : index_type::npos));
  }
  BOOST_TEST(single > 1'000);
  BOOST_TEST(several > 1'000);
}

BOOST_AUTO_TEST_SUITE_END()
