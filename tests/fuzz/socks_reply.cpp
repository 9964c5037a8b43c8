// SPDX-License-Identifier: BSL-1.0
// The first byte picks the protocol, `4` or `5`, capital letters `D` and `E` for the same with user and password. The
// second says how the reply falls into reads, see piece_sizes; the rest is what the proxy sends.
#include "fuzz/input.hpp"
#include "fuzz/property.hpp"
#include "fuzz/targets.hpp"
#include <rondo/error.hpp>
#include <rondo/http/detail/socks_fsm.hpp>
#include <rondo/http/detail/tunnel.hpp>
#include <rondo/http/proxy.hpp>
#include <rondo/secret.hpp>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>
#include <string_view>

namespace rondo::test::fuzz {

namespace {

using http::detail::socks4_fsm;
using http::detail::socks5_fsm;
using http::detail::tunnel_action;
using kind = tunnel_action::kind;

struct outcome {
  tunnel_action last;
  std::size_t taken = 0; ///< bytes of the reply that were asked for and handed over
  std::string written;
};

template <class Machine> outcome feed(http::proxy const& via, std::string_view reply, piece_sizes pieces) {
  Machine machine{{.name = "origin", .address = {}, .port = 443}, via};
  outcome out{machine.resume({}, 0), 0, {}};
  for (auto steps = 0; out.last.what == kind::write || out.last.what == kind::read; ++steps) {
    expect(steps < 1000, "a handshake is short");
    std::size_t n = out.last.output.size();
    if (out.last.what == kind::write) {
      expect(n > 0, "there is something to write");
      out.written.append(static_cast<char const*>(out.last.output.data()), n);
    } else {
      expect(out.last.input.size() > 0, "there is room to read into");
      if (out.taken == reply.size()) {
        break;
      }
      n = pieces.next(std::min(out.last.input.size(), reply.size() - out.taken));
      std::memcpy(out.last.input.data(), reply.data() + out.taken, n);
      out.taken += n;
    }
    out.last = machine.resume({}, n);
  }
  return out;
}

/// The length of the replies of SOCKS 5 that open a tunnel; 0 = they do not.
std::size_t length_of_success(std::string_view reply, bool has_login) {
  fuzz_input in{reply};
  auto const version = in.byte();
  auto const method = in.byte();
  if (version != 5 || (method != 0 && !(method == 2 && has_login))) {
    return 0;
  }
  if (method == 2 && (in.byte() != 1 || in.byte() != 0)) {
    return 0;
  }
  if (in.byte() != 5 || in.byte() != 0) {
    return 0;
  }
  in.byte(); // reserved
  auto const type = in.byte();
  auto const address = type == 1   ? std::size_t{4}
                       : type == 4 ? std::size_t{16}
                       : type == 3 ? std::size_t{in.byte()}
                                   : 0;
  if ((type != 1 && type != 4 && type != 3) || in.rest().size() < address + 2) {
    return 0;
  }
  return reply.size() - in.rest().size() + address + 2;
}

} // namespace

void socks_reply(std::string_view input) {
  fuzz_input in{input};
  auto const protocol = in.byte();
  piece_sizes const pieces{in.byte()};
  auto const reply = in.rest();
  auto const is_v4 = protocol == '4' || protocol == 'D';
  http::proxy via;
  via.kind = is_v4 ? http::proxy_kind::socks4a : http::proxy_kind::socks5h;
  if (protocol >= 'A') {
    via.has_credentials = true;
    via.user = "aladdin";
    via.password = secret{is_v4 ? "" : "opensesame"};
  }
  auto const run = [&](piece_sizes sizes) {
    return is_v4 ? feed<socks4_fsm>(via, reply, sizes) : feed<socks5_fsm>(via, reply, sizes);
  };
  auto const slow = run(piece_sizes{'1'});
  auto const fast = run(pieces);
  auto const refused = slow.last.what == kind::fail;
  expect(fast.last.what == slow.last.what && fast.last.ec == slow.last.ec, "the reads do not change the outcome");
  expect(fast.written == slow.written || refused, "the reads do not change what is written");
  expect(fast.taken == slow.taken || refused, "the reads do not change how much is taken");

  if (is_v4) {
    auto const granted = reply.size() >= 8 && reply.substr(0, 2) == std::string_view{"\0\x5a", 2};
    expect((slow.last.what == kind::done) == granted, "a tunnel stands when 0, 90 and six more bytes came");
    expect(!granted || fast.taken == 8, "what follows the reply belongs to the origin");
  } else {
    auto const length = length_of_success(reply, via.has_credentials);
    expect((slow.last.what == kind::done) == (length != 0), "a tunnel stands exactly when every step was granted");
    expect(length == 0 || fast.taken == length, "what follows the reply belongs to the origin");
    auto const asked = reply.size() >= 2 && reply[0] == 5 && reply[1] == 2;
    expect(asked || fast.written.find("opensesame") == std::string::npos, "who did not ask is told no password");
  }
  expect(!refused || blame_of(slow.last.ec) == blame::proxy || blame_of(slow.last.ec) == blame::path,
         "a reply blames the proxy or the path");
}

} // namespace rondo::test::fuzz
