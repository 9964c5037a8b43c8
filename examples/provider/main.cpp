// SPDX-License-Identifier: BSL-1.0
// A simulated provider: ElevenLabs, OpenAI and Gemini as they look from outside, with limits, scripted faults and
// counts of its own. For demonstrations and tests.
#include "options.hpp"
#include "server.hpp"
#include "simulator.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/json/parse.hpp>

#include <sys/resource.h>

#include <csignal>
#include <exception>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

constexpr int bad_usage = 2;

/// A thousand connections are common, the usual limit of 1024 descriptors would be reached.
void raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
}

int run(sim::provider_options const& options) {
  sim::simulator simulator{options}; // first: requests in flight end, and are noted there, when the context goes
  boost::asio::io_context context{static_cast<int>(options.threads)};
  sim::server server{context, options, simulator};

  boost::asio::signal_set signals{context, SIGTERM, SIGINT};
  signals.async_wait([&](boost::system::error_code ec, int) {
    if (!ec) {
      context.stop();
    }
  });
  server.start();
  std::cout << "listening on " << server.url() << std::endl;

  {
    std::vector<std::jthread> others;
    for (std::uint32_t i = 1; i < options.threads; ++i) {
      others.emplace_back([&] { context.run(); });
    }
    context.run();
  }
  return 0;
}

} // namespace

int main(int argc, char** argv) {
  std::vector<std::string_view> const args{argv + 1, argv + argc};
  if (args.size() != 2 || args[0] != "--config") {
    std::cerr << "usage: rondo-provider --config provider.json\n";
    return bad_usage;
  }
  std::string const path{args[1]};
  std::ifstream file{path};
  std::ostringstream text;
  if (!file || !(text << file.rdbuf())) {
    std::cerr << path << ": cannot be read\n";
    return bad_usage;
  }
  boost::json::error_code ec;
  auto const document = boost::json::parse(text.str(), ec);
  if (ec) {
    std::cerr << path << ": is no JSON: " << ec.message() << '\n';
    return bad_usage;
  }
  std::vector<std::string> faults;
  auto const options = sim::parse_options(document, faults);
  if (!faults.empty()) {
    for (auto const& fault : faults) {
      std::cerr << path << ": " << fault << '\n';
    }
    return bad_usage;
  }
  raise_descriptor_limit();
  try {
    return run(options);
  } catch (std::exception const& e) {
    std::cerr << "rondo-provider: " << e.what() << '\n';
    return 1;
  }
}
