// SPDX-License-Identifier: BSL-1.0
// rondo-gateway: a local HTTP server that calls a provider through rotating keys and proxies.
#include "plan.hpp"
#include "server.hpp"

#include <csignal>
#include <exception>
#include <filesystem>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr int usage_fault = 2;

struct arguments {
  std::filesystem::path config;
  bool check = false;
  bool help = false;
  bool valid = true;
};

arguments parse(std::vector<std::string_view> const& words) {
  arguments out;
  for (std::size_t i = 0; i != words.size(); ++i) {
    if (words[i] == "--check") {
      out.check = true;
    } else if (words[i] == "--help") {
      out.help = true;
    } else if (words[i] == "--config" && i + 1 != words.size()) {
      out.config = words[++i];
    } else {
      out.valid = false;
    }
  }
  out.valid = out.valid && (out.help || !out.config.empty());
  return out;
}

int run(arguments const& how) {
  gateway::fault_list faults;
  auto plan = gateway::read_plan(how.config, faults);
  if (!plan) {
    for (auto const& line : faults.lines()) {
      std::cerr << line << '\n';
    }
    return usage_fault;
  }
  if (how.check) {
    return 0;
  }
  std::signal(SIGPIPE, SIG_IGN);
  gateway::server server{*std::move(plan), how.config};
  std::cout << server.ready_line() << std::endl; // whoever waits for it may then connect
  server.run();
  return 0;
}

} // namespace

int main(int argc, char** argv) {
  auto const how = parse({argv + 1, argv + argc});
  if (!how.valid || how.help) {
    (how.help ? std::cout : std::cerr)
        << "rondo-gateway --config FILE          serve until SIGTERM or SIGINT; SIGHUP reads FILE again\n"
           "rondo-gateway --config FILE --check  only say what is wrong with FILE\n";
    return how.help && how.valid ? 0 : usage_fault;
  }
  try {
    return run(how);
  } catch (std::exception const& e) {
    std::cerr << "rondo-gateway: " << e.what() << '\n';
    return 1;
  }
}
