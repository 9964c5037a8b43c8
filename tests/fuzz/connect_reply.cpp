// SPDX-License-Identifier: BSL-1.0
// The first byte says how the reply falls into reads, see piece_sizes; the rest is the reply of a proxy to CONNECT.
#include "fuzz/input.hpp"
#include "fuzz/property.hpp"
#include "fuzz/targets.hpp"
#include <rondo/error.hpp>
#include <rondo/http/detail/connect_fsm.hpp>
#include <rondo/http/detail/tunnel.hpp>
#include <rondo/http/proxy.hpp>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string_view>

namespace rondo::test::fuzz {

namespace {

using http::detail::connect_fsm;
using http::detail::tunnel_action;
using kind = tunnel_action::kind;

struct outcome {
  tunnel_action last;
  std::size_t taken; ///< bytes of the reply that were handed over
};

outcome feed(std::string_view reply, piece_sizes pieces) {
  connect_fsm machine{"origin:443", http::proxy{}};
  auto action = machine.resume({}, 0);
  expect(action.what == kind::write, "the request is written first");
  action = machine.resume({}, action.output.size());
  std::size_t taken = 0;
  while (action.what == kind::read && taken < reply.size()) {
    expect(action.input.size() > 0, "there is room to read into");
    auto const n = pieces.next(std::min(action.input.size(), reply.size() - taken));
    std::memcpy(action.input.data(), reply.data() + taken, n);
    taken += n;
    action = machine.resume({}, n);
    expect(action.what != kind::write, "there is nothing more to write");
  }
  return {action, taken};
}

} // namespace

void connect_reply(std::string_view input) {
  fuzz_input in{input};
  piece_sizes const pieces{in.byte()};
  auto const reply = in.rest();
  auto const slow = feed(reply, piece_sizes{'1'});
  auto const fast = feed(reply, pieces);

  if (slow.last.what == kind::done) {
    auto const head = reply.substr(0, slow.taken);
    expect(head.starts_with("HTTP/1."), "a tunnel begins with an answer in HTTP/1");
    expect(head.ends_with("\n\n") || head.ends_with("\n\r\n"), "a tunnel begins behind an empty line");
    // the status line of the last head: behind the last empty line but one
    auto const before = head.substr(0, head.size() - (head.ends_with("\r\n") ? 2 : 1));
    auto const lf = before.rfind("\n\n");
    auto const crlf = before.rfind("\n\r\n");
    auto const last = before.substr(std::max(lf == before.npos ? 0 : lf + 2, crlf == before.npos ? 0 : crlf + 3));
    expect(last.size() > 12 && last.substr(8, 2) == " 2", "only a 2xx opens a tunnel");
    // bytes behind the head in the same read were injected
    auto const injected = fast.taken > slow.taken;
    expect(fast.last.what == (injected ? kind::fail : kind::done), "done means that nothing was read beyond the head");
    expect(!injected || fast.last.ec == error::proxy_protocol, "bytes behind the head are an error of the proxy");
  } else {
    expect(fast.last.what == slow.last.what && fast.last.ec == slow.last.ec, "the reads do not change the outcome");
  }
  expect(slow.last.what != kind::fail || blame_of(slow.last.ec) == blame::proxy ||
             blame_of(slow.last.ec) == blame::path,
         "a reply blames the proxy or the path");
  expect(slow.last.what != kind::read || slow.taken <= connect_fsm::max_reply, "a reply that is too large ends");
}

} // namespace rondo::test::fuzz
