// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/http/detail/config.hpp>

#include <boost/asio/ip/address.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace rondo::http {

/// The hosts that are talked to without a proxy, in the form of the variable NO_PROXY and by the rules of curl.
///
/// A list of elements with commas or blanks between them; `*` alone means every host. Upper and lower case are the
/// same.
///
/// | element | hosts |
/// |---|---|
/// | `example.com`, `.example.com` | that one and all below it, not `notexample.com`; a dot at the end does not count |
/// | `10.1.2.3`, `::1` | that address, in any spelling |
/// | `10.0.0.0/8`, `fd00::/8` | the addresses of that network; 1 to 32 or 128 bits |
///
/// Names are not resolved: an address in the list says nothing of a name. What is none of these - a port, brackets, an
/// IPv6 zone, `*` within a name, a network of no bits or too many - matches nothing, so that a mistake never sends
/// anything past the proxy.
///
/// Distinct objects: safe. Shared objects: safe, nothing changes after construction.
class no_proxy {
public:
  no_proxy() = default;
  explicit no_proxy(std::string_view list);

  /// Whether the host, as `url::host` has it, is talked to directly.
  [[nodiscard]] bool matches(std::string_view host) const;

private:
  struct network {
    boost::asio::ip::address base;
    unsigned bits;
  };

  void add(std::string_view element);

  bool everything_ = false;
  std::vector<std::string> names_; ///< lower case, without dots at either end
  std::vector<network> networks_;  ///< single addresses, too
};

} // namespace rondo::http

#ifndef RONDO_SEPARATE_COMPILATION
#include <rondo/http/impl/no_proxy.hpp>
#endif
