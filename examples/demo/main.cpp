// SPDX-License-Identifier: BSL-1.0
// Drives the demonstration: several callers send requests to a gateway, while the terminal shows how keys and proxies
// rotate underneath; at the end the provider's own counts are the judge. Started by `./dev demo`.
#include "connection.hpp"
#include "load.hpp"
#include "verdict.hpp"
#include "view.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <unistd.h>

#include <chrono>
#include <exception>
#include <iostream>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

namespace asio = boost::asio;

constexpr std::string_view usage =
    "usage: rondo-demo --gateway URL --admin URL --provider URL [--ca FILE] [--token TOKEN]\n"
    "                  [--requests N] [--clients N] [--proxy ADDRESS=NAME]...\n"
    "       rondo-demo --free-ports N     print N loopback ports that nobody listens on\n";

struct options {
  std::string gateway;
  std::string admin;
  std::string provider;
  std::string ca_file;
  std::string token;
  int requests = 300;
  int clients = 8;
  int free_ports = 0;
  demo::proxy_names proxies;
};

int positive(std::string const& text) {
  std::size_t end = 0;
  auto const n = std::stoi(text, &end);
  if (n <= 0 || end != text.size()) {
    throw std::invalid_argument{"not a positive number: " + text};
  }
  return n;
}

options parse(std::vector<std::string> const& args) {
  options o;
  std::map<std::string, std::string*> const texts{{"--gateway", &o.gateway},
                                                  {"--admin", &o.admin},
                                                  {"--provider", &o.provider},
                                                  {"--ca", &o.ca_file},
                                                  {"--token", &o.token}};
  std::map<std::string, int*> const numbers{
      {"--requests", &o.requests}, {"--clients", &o.clients}, {"--free-ports", &o.free_ports}};
  for (std::size_t i = 0; i < args.size(); i += 2) {
    if (i + 1 == args.size()) {
      throw std::invalid_argument{args[i] + " needs a value"};
    }
    auto const& value = args[i + 1];
    if (auto const t = texts.find(args[i]); t != texts.end()) {
      *t->second = value;
    } else if (auto const n = numbers.find(args[i]); n != numbers.end()) {
      *n->second = positive(value);
    } else if (args[i] == "--proxy" && value.find('=') != std::string::npos) {
      o.proxies[value.substr(0, value.find('='))] = value.substr(value.find('=') + 1);
    } else {
      throw std::invalid_argument{"unknown option: " + args[i]};
    }
  }
  if (o.free_ports == 0 && (o.gateway.empty() || o.admin.empty() || o.provider.empty())) {
    throw std::invalid_argument{"--gateway, --admin and --provider are needed"};
  }
  return o;
}

void print_free_ports(int count) {
  asio::io_context context;
  std::vector<asio::ip::tcp::acceptor> held; // all at once, or the same port may come again
  for (int i = 0; i < count; ++i) {
    asio::ip::tcp::endpoint const any{asio::ip::address_v4::loopback(), 0};
    std::cout << held.emplace_back(context, any).local_endpoint().port() << '\n';
  }
}

/// Shows the state until all is answered; leaves the provider's last report.
asio::awaitable<void> watch(options const& o, asio::ssl::context& tls, demo::tally const& counts,
                            boost::json::value& report) {
  auto const executor = co_await asio::this_coro::executor;
  demo::connection admin{executor, o.admin, nullptr};
  demo::connection provider{executor, o.provider, &tls};
  demo::view view{::isatty(STDOUT_FILENO) == 1, o.proxies};
  asio::steady_timer timer{executor};
  while (counts.answered() < counts.total) {
    auto const status = co_await admin.get_json("/status");
    report = co_await provider.get_json("/_sim/report");
    view.update(counts, status, report);
    timer.expires_after(std::chrono::milliseconds{200});
    co_await timer.async_wait(asio::use_awaitable);
  }
  auto const status = co_await admin.get_json("/status");
  report = co_await provider.get_json("/_sim/report");
  view.finish(counts, status, report);
}

int run(options const& o) {
  asio::io_context context{1};
  asio::ssl::context tls{asio::ssl::context::tls_client};
  tls.set_verify_mode(asio::ssl::verify_peer);
  if (!o.ca_file.empty()) {
    tls.load_verify_file(o.ca_file);
  }
  demo::tally counts;
  counts.total = o.requests;
  auto const prefix = "demo-" + std::to_string(::getpid()) + "-";
  for (int i = 0; i < o.clients; ++i) {
    demo::connection to{context.get_executor(), o.gateway, nullptr};
    asio::co_spawn(context, demo::call(std::move(to), o.token, prefix, counts), asio::detached);
  }
  boost::json::value report;
  std::exception_ptr failure;
  asio::co_spawn(context, watch(o, tls, counts, report), [&](std::exception_ptr e) {
    failure = e;
    context.stop();
  });
  context.run();
  if (failure) {
    std::rethrow_exception(failure);
  }
  return demo::judge(counts, report, o.proxies) ? 0 : 1;
}

} // namespace

int main(int argc, char** argv) {
  options o;
  try {
    o = parse({argv + 1, argv + argc});
  } catch (std::exception const& e) {
    std::cerr << "rondo-demo: " << e.what() << '\n' << usage;
    return 2;
  }
  try {
    if (o.free_ports > 0) {
      print_free_ports(o.free_ports);
      return 0;
    }
    return run(o);
  } catch (std::exception const& e) {
    std::cerr << "rondo-demo: " << e.what() << '\n';
    return 1;
  }
}
