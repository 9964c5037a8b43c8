// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/http/client.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/test/unit_test.hpp>

#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <support/certificates.hpp>
#include <support/scripted_server.hpp>
#include <support/temporary_directory.hpp>

namespace rondo::test {

inline constexpr std::string_view ok = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// Certificates for the whole program: making them anew for each case would be most of its time.
struct test_trust {
  temporary_directory files;
  authority root;
  std::string ca_file = files.write("ca.pem", root.certificate());

  static test_trust& instance() {
    static test_trust trust;
    return trust;
  }
};

/// An io_context with an http client that trusts the test authority. At the end the context must run dry.
struct http_fixture {
  asio::io_context context;
  std::optional<http::client> client;

  http_fixture() { use_client({}); }
  ~http_fixture() {
    client.reset();
    context.restart();
    context.run(); // a forgotten timer or operation would show as a test that does not end
  }

  void use_client(http::client_options options) {
    if (!options.tls) {
      options.tls = http::make_tls_context({test_trust::instance().ca_file}).value();
    }
    client.emplace(context.get_executor(), std::move(options));
  }

  /// Runs a coroutine to its end and gives its result.
  template <class T> T run(asio::awaitable<T> work) {
    std::optional<T> out;
    std::exception_ptr thrown;
    asio::co_spawn(context, std::move(work), [&](std::exception_ptr e, T value) {
      thrown = e;
      out.emplace(std::move(value));
    });
    context.restart();
    while (!out && context.run_one() > 0) {
    }
    if (thrown) {
      std::rethrow_exception(thrown);
    }
    BOOST_REQUIRE(out);
    return std::move(*out);
  }

  /// Runs whatever is ready, without waiting.
  void settle() {
    context.restart();
    context.poll();
  }

  static http::url url_of(std::string_view scheme, std::string_view host, std::uint16_t port,
                          std::string_view target = "/") {
    return http::parse_url(std::string{scheme} + "://" + std::string{host} + ":" + std::to_string(port) +
                           std::string{target})
        .value();
  }

  static http::request request_of(http::beast_http::verb method, std::string_view target = "/",
                                  std::string_view body = "") {
    http::request r{method, {target.data(), target.size()}, 11};
    r.body() = body;
    return r;
  }
};

} // namespace rondo::test
