// SPDX-License-Identifier: BSL-1.0
// A host in the first line, and a list in the form of NO_PROXY.
#include "fuzz/input.hpp"
#include "fuzz/property.hpp"
#include "fuzz/targets.hpp"
#include <rondo/http/no_proxy.hpp>

#include <algorithm>
#include <string>
#include <string_view>

namespace rondo::test::fuzz {

namespace {

bool matches(std::string_view list, std::string_view host) {
  return http::no_proxy{list}.matches(host);
}

std::string upper(std::string_view text) {
  std::string out{text};
  std::transform(out.begin(), out.end(), out.begin(),
                 [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; });
  return out;
}

} // namespace

void no_proxy(std::string_view input) {
  fuzz_input in{input};
  auto const host = in.line();
  auto const list = in.rest();
  auto const direct = matches(list, host);
  expect(!matches(list, ""), "no host is not talked to directly");
  expect(matches("*", host) != host.empty(), "* is every host");
  expect(matches(upper(list), upper(host)) == direct, "upper and lower case are the same");
  if (list == "*") {
    return;
  }
  auto name = upper(host);
  if (name.ends_with('.')) {
    name.pop_back();
  }
  if (!name.ends_with("X.INVALID")) {
    expect(matches(std::string{list} + " x.invalid", host) == direct, "an element says nothing of other hosts");
  }
  bool one = false;
  std::string backwards;
  for (auto rest = list; !rest.empty();) {
    auto const element = rest.substr(0, rest.find_first_of(", \t"));
    rest.remove_prefix(std::min(element.size() + 1, rest.size()));
    if (element != "*") { // alone it is every host, in a list a name that none has
      one = one || matches(element, host);
    }
    backwards = std::string{element}.append(",").append(backwards);
  }
  expect(matches(backwards, host) == direct, "the order does not matter");
  expect(one == direct || host.find('*') != host.npos, "a list is what its elements are");
}

} // namespace rondo::test::fuzz
