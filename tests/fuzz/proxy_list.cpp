// SPDX-License-Identifier: BSL-1.0
// A list of proxies, one a line.
#include "fuzz/property.hpp"
#include "fuzz/targets.hpp"
#include <rondo/error.hpp>
#include <rondo/http/proxy.hpp>
#include <rondo/store/file_error.hpp>
#include <rondo/store/proxy_list.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace rondo::test::fuzz {

namespace {

using store::file_error;

void check_fault(std::string_view text, file_error const& e) {
  auto const lines = static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n')) + 1;
  expect(e.code() == error::file_malformed && e.line() <= lines, "the fault is in a line that is there");
  // what is said of it is one of these, so that no password is quoted
  constexpr std::array known{error::invalid_proxy, error::invalid_credentials, error::name_too_long};
  std::string_view const said = e.what();
  expect(e.line() == 0
             ? said == file_error{error::file_malformed, "list", "holds no proxy"}.what()
             : std::any_of(known.begin(), known.end(),
                           [&](error why) {
                             auto const problem = make_error_code(why).message();
                             return said == file_error{error::file_malformed, "list", e.line(), {}, problem}.what();
                           }),
         "the text of a fault depends on nothing but the line and its kind");
}

} // namespace

void proxy_list(std::string_view input) {
  std::vector<http::proxy> proxies;
  try {
    proxies = store::parse_proxy_list(input, "list");
  } catch (file_error const& e) {
    check_fault(input, e);
    return;
  }
  expect(!proxies.empty(), "a list is never empty");
  std::string written = "# written again\n";
  for (auto at = proxies.begin(); at != proxies.end(); ++at) {
    expect(std::find(proxies.begin(), at, *at) == at, "no proxy is there twice");
    auto const text = to_url(*at);
    written.append(" ").append(text.reveal()).append("\t\r\n").append(text.reveal()).append("\n\n");
  }
  expect(store::parse_proxy_list(written, "list") == proxies, "written twice over and read again the list is the same");
}

} // namespace rondo::test::fuzz
