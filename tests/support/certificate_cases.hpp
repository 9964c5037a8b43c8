// SPDX-License-Identifier: BSL-1.0
// Every kind of certificate that a server may show, and whether a client may believe it.
#pragma once

#include <rondo/http/tls.hpp>

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include <support/certificates.hpp>
#include <support/temporary_directory.hpp>

namespace rondo::test {

struct certificate_case {
  std::string what;
  std::string host; ///< what the client asks for; it must reach the server by any name
  identity shown;
  http::tls_options trust;
  bool good = false;
};

inline std::vector<certificate_case> certificate_cases(temporary_directory& files) {
  using namespace std::chrono_literals;
  std::string const name = "api.rondo.test";
  authority const root;
  http::tls_options const trust{.ca_file = files.write("root.pem", root.certificate())};
  std::vector<certificate_case> cases;
  auto const add = [&](std::string what, std::string host, identity shown, bool good) {
    cases.push_back({std::move(what), std::move(host), std::move(shown), trust, good});
  };
  auto const named = [](std::vector<std::string> names, std::string common_name = "server") {
    leaf_params p;
    p.alternative_names = std::move(names);
    p.common_name = std::move(common_name);
    return p;
  };
  auto const fitting = named({"DNS:" + name});
  auto const with = [&](auto change) {
    auto p = fitting;
    change(p);
    return p;
  };

  add("good", name, root.issue(fitting), true);
  add("good, one of several names", name, root.issue(named({"DNS:a.test", "IP:10.0.0.1", "DNS:" + name})), true);
  add("good, for an address", "127.0.0.1", root.issue(named({"IP:127.0.0.1"})), true);
  add("another case of letters", name, root.issue(named({"DNS:API.Rondo.TEST"})), true);
  authority const middle{"rondo intermediate", root};
  authority const lower{"rondo lower intermediate", middle};
  add("chain", name, lower.issue(fitting), true);
  add("incomplete", name, lower.issue(with([](auto& p) { p.with_chain = false; })), false);
  add("expired", name, root.issue(with([](auto& p) {
    p.not_before = -48h;
    p.not_after = -1h;
  })),
      false);
  add("future", name, root.issue(with([](auto& p) { p.not_before = 1h; })), false);
  add("wrong host", name, root.issue(named({"DNS:other.rondo.test"})), false);
  add("a host above", name, root.issue(named({"DNS:rondo.test"})), false);
  add("common name only", name, root.issue(named({}, name)), false);
  add("common name beside another name", name, root.issue(named({"DNS:other.rondo.test"}, name)), false);
  add("common name and e-mail", name, root.issue(named({"email:a@" + name}, name)), false);
  authority const stranger{"somebody else"};
  add("untrusted", name, stranger.issue(fitting), false);
  authority const impostor; // of the same name
  add("untrusted, an authority of the same name", name, impostor.issue(fitting), false);
  add("wildcard", name, root.issue(named({"DNS:*.rondo.test"})), true);
  add("bad wildcard, two labels", name, root.issue(named({"DNS:*.test"})), false);
  add("bad wildcard, partial", name, root.issue(named({"DNS:a*.rondo.test"})), false);
  add("bad wildcard, in the middle", name, root.issue(named({"DNS:api.*.test"})), false);
  add("bad wildcard, alone", name, root.issue(named({"DNS:*"})), false);
  add("bad wildcard, for an address", "127.0.0.1", root.issue(named({"DNS:*.0.0.1"})), false);
  add("IP in a DNS name", "127.0.0.1", root.issue(named({"DNS:127.0.0.1"})), false);
  add("IP in the common name", "127.0.0.1", root.issue(named({"DNS:" + name}, "127.0.0.1")), false);
  add("another IP", "127.0.0.1", root.issue(named({"IP:127.0.0.2"})), false);
  add("client-only", name, root.issue(with([](auto& p) { p.extended_usage = "clientAuth"; })), false);
  add("self-signed", name, authority::self_signed(fitting), false);
  add("NUL", name, root.issue(with([&](auto& p) { p.raw_name = name + std::string{"\0.evil.test", 11}; })), false);
  add("weak", name, root.issue(with([](auto& p) { p.weak = true; })), false);

  auto const revoked = root.issue(fitting);
  auto const other = root.issue(fitting);
  auto const list = files.write("revoked.pem", root.revocation_list({revoked, root.issue(fitting)}));
  add("revoked, and nobody looks", name, revoked, true);
  add("revoked", name, revoked, false);
  cases.back().trust.crl_file = list;
  add("not on the list", name, other, true);
  cases.back().trust.crl_file = list;
  add("an issuer without a list", name, lower.issue(fitting), false);
  cases.back().trust.crl_file = list;
  return cases;
}

} // namespace rondo::test
