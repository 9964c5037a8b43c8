// SPDX-License-Identifier: BSL-1.0
// Which hosts a NO_PROXY list sends past the proxy: what the library must say, and what curl does.
#pragma once

#include <string_view>

namespace rondo::test {

struct no_proxy_case {
  std::string_view list;
  std::string_view host; ///< an IPv6 address without brackets
  bool direct;
};

inline constexpr no_proxy_case no_proxy_cases[] = {
    {"", "example.com", false},
    {"*", "example.com", true},
    {"*", "10.1.2.3", true},
    {"*", "::1", true},
    {"a.test,*", "example.com", false}, // alone or not at all
    {"*.com", "example.com", false},
    {"*.com", "x.example.com", false},

    {"example.com", "example.com", true},
    {"example.com", "EXAMPLE.com", true},
    {"Example.COM", "example.com", true},
    {"example.com", "www.example.com", true},
    {"example.com", "a.b.example.com", true},
    {"example.com", "notexample.com", false},
    {"example.com", "example.com.evil.test", false},
    {"example.com", "example.co", false},
    {"example.com", "com", false},
    {"www.example.com", "example.com", false},
    {".example.com", "example.com", true},
    {".example.com", "www.example.com", true},
    {".example.com", "notexample.com", false},
    {"..example.com", "www.example.com", false},
    {"example.com.", "example.com", true},
    {"example.com.", "www.example.com", true},
    {".example.com.", "www.example.com", true},
    {"example.com", "example.com.", true},
    {"example.com.", "example.com.", true},
    {"com", "example.com", true},
    {".", "example.com", false},
    {"localhost", "localhost", true},
    {"localhost", "x.localhost", true},
    {"localhost", "127.0.0.1", false}, // nothing is resolved
    {"127.0.0.1", "localhost", false},
    {"example.com:80", "example.com", false}, // no ports
    {"example.com:8080", "example.com", false},
    {"10.1.2.3:80", "10.1.2.3", false},

    {"a.test,example.com", "example.com", true},
    {"a.test, example.com ,b.test", "example.com", true},
    {"a.test,,,example.com", "example.com", true},
    {",example.com,", "example.com", true},
    {"a.test\texample.com", "example.com", true},
    {"a.test example.com", "example.com", true},
    {"a.test;example.com", "example.com", false},

    {"10.1.2.3", "10.1.2.3", true},
    {"10.1.2.3", "10.1.2.30", false},
    {"10.1.2.30", "10.1.2.3", false},
    {".1.2.3", "10.1.2.3", false},
    {"2.3", "10.1.2.3", false},
    {"10.1.2.3.", "10.1.2.3", false},
    {"10.0.0.0/8", "10.255.0.1", true},
    {"10.0.0.0/8", "11.0.0.1", false},
    {"10.9.9.9/8", "10.1.2.3", true}, // the rest of the bits do not count
    {"192.168.0.0/16", "192.168.255.255", true},
    {"192.168.0.0/16", "192.169.0.0", false},
    {"192.168.4.0/22", "192.168.7.255", true},
    {"192.168.4.0/22", "192.168.8.0", false},
    {"128.0.0.0/1", "200.1.1.1", true},
    {"128.0.0.0/1", "100.1.1.1", false},
    {"10.1.2.3/32", "10.1.2.3", true},
    {"10.1.2.3/32", "10.1.2.2", false},
    {"10.1.2.3/31", "10.1.2.2", true},
    {"10.1.2.3/33", "10.1.2.3", false},
    {"10.0.0.0/8", "name.test", false},
    {"10.0.0.0/8", "::1", false},
    {"10.0/8", "10.1.2.3", false},
    {"10.0.0.0/255.0.0.0", "10.1.2.3", false},

    {"::1", "::1", true},
    {"::1", "::2", false},
    {"[::1]", "::1", false}, // without brackets
    {"fd00::/8", "fe80::1", false},
    {"2001:db8::/33", "2001:db8:8000::1", false},
    {"2001:db8::1/128", "2001:db8::2", false},
    {"2001:db8::1/129", "2001:db8::1", false},
    {"fd00::/8", "10.1.2.3", false},
    {"::ffff:10.0.0.0/104", "10.1.2.3", false},
    {"fe80::1%lo", "fe80::1", false},
    {"fe80::1%1", "fe80::1", false},
};

} // namespace rondo::test
