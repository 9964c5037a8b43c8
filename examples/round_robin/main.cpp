// SPDX-License-Identifier: BSL-1.0
// Asks a language model again and again with the keys of a `.env` file in turn, ten requests a minute with each, and
// shows at the end what each key did.
#include <rondo.hpp>
#include <rondo/http/tls.hpp>
#include <rondo/provider/provider.hpp>
#include <rondo/store/file_error.hpp>
#include <rondo/store/key_sources.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/beast/http/field.hpp>
#include <boost/beast/http/verb.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <iomanip>
#include <iostream>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace {

namespace asio = boost::asio;
namespace json = boost::json;

constexpr std::string_view usage = R"(usage: round_robin [options]

Asks a language model --requests times, each time with the next key. The keys are GEMINI_API_KEY, GEMINI_API_KEY_1,
GEMINI_API_KEY_2 and so on (or OPENAI_API_KEY...), from the file and from the environment. A request that finds every
key at its limit waits for the first that may be used again.

  --env FILE            (.env)
  --service NAME        gemini or openai (gemini)
  --per-minute N        requests a minute with each key (10)
  --requests N          (20)
  --deadline SECONDS    longest time for a request, waiting for a key included (90)
  --prompt TEXT         (Say hello.)
  --model NAME          (gemini-2.0-flash, gpt-4o-mini)
  --base-url URL        of the provider
  --ca FILE             trust these certificates (PEM) instead of the system's
  --help                this text

Exit code: 0 all requests were served, 1 some were not, 2 wrong arguments or files.
)";

/// What differs between the services: where a question goes, and how it is put.
struct service {
  std::string_view name;
  std::string_view base_url;
  std::string_view model;
  std::string (*target)(std::string const& model);
  json::value (*body)(std::string const& model, std::string const& prompt);
};

constexpr std::array services{
    service{"gemini", "https://generativelanguage.googleapis.com", "gemini-2.0-flash",
            [](std::string const& model) { return "/v1beta/models/" + model + ":generateContent"; },
            [](std::string const&, std::string const& prompt) {
              return json::value{{"contents", json::array{{{"parts", json::array{{{"text", prompt}}}}}}}};
            }},
    service{"openai", "https://api.openai.com", "gpt-4o-mini",
            [](std::string const&) { return std::string{"/v1/chat/completions"}; },
            [](std::string const& model, std::string const& prompt) {
              return json::value{{"model", model}, {"messages", json::array{{{"role", "user"}, {"content", prompt}}}}};
            }},
};

struct options {
  std::string env = ".env";
  service const* to = services.data();
  std::uint32_t per_minute = 10;
  std::uint32_t requests = 20;
  std::chrono::seconds deadline{90};
  std::string prompt = "Say hello.";
  std::string model{};
  rondo::http::url base_url{};
  std::string ca_file{};
  bool help = false;
};

struct usage_error : std::runtime_error {
  using runtime_error::runtime_error;
};

std::uint32_t to_number(std::string const& name, std::string const& value) {
  std::uint32_t out = 0;
  auto const* const end = value.data() + value.size();
  auto const [stop, ec] = std::from_chars(value.data(), end, out);
  if (ec != std::errc{} || stop != end || out == 0 || out > 1'000'000) {
    throw usage_error{name + ": must be a number from 1 to 1000000"};
  }
  return out;
}

options parse(std::vector<std::string> const& arguments) {
  options out;
  std::string base_url;
  using setter = std::function<void(std::string const& name, std::string const& value)>;
  std::map<std::string_view, setter> const with_value{
      {"--env", [&](auto&, auto& value) { out.env = value; }},
      {"--service",
       [&](auto& name, auto& value) {
         auto const* const found =
             std::find_if(services.begin(), services.end(), [&](service const& s) { return s.name == value; });
         if (found == services.end()) {
           throw usage_error{name + ": must be gemini or openai"};
         }
         out.to = found;
       }},
      {"--per-minute", [&](auto& name, auto& value) { out.per_minute = to_number(name, value); }},
      {"--requests", [&](auto& name, auto& value) { out.requests = to_number(name, value); }},
      {"--deadline", [&](auto& name, auto& value) { out.deadline = std::chrono::seconds{to_number(name, value)}; }},
      {"--prompt", [&](auto&, auto& value) { out.prompt = value; }},
      {"--model", [&](auto&, auto& value) { out.model = value; }},
      {"--base-url", [&](auto&, auto& value) { base_url = value; }},
      {"--ca", [&](auto&, auto& value) { out.ca_file = value; }},
  };
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    auto const& name = arguments[i];
    if (name == "--help") {
      out.help = true;
    } else if (auto const found = with_value.find(name); found == with_value.end()) {
      throw usage_error{"there is no option " + name};
    } else if (++i == arguments.size() || arguments[i].empty()) {
      throw usage_error{name + ": needs a value"};
    } else {
      found->second(name, arguments[i]);
    }
  }
  auto const url = rondo::http::parse_url(base_url.empty() ? out.to->base_url : std::string_view{base_url});
  if (!url) {
    throw usage_error{"--base-url: " + url.error().message()};
  }
  out.base_url = *url;
  if (out.model.empty()) {
    out.model = out.to->model;
  }
  return out;
}

rondo::http::request question(options const& how) {
  namespace http = boost::beast::http;
  rondo::http::request out{http::verb::post, how.to->target(how.model), 11};
  out.set(http::field::content_type, "application/json");
  out.body() = json::serialize(how.to->body(how.model, how.prompt));
  return out;
}

/// Asks once; the number of the answer's status.
asio::awaitable<unsigned> ask(options const& how, rondo::client& client, std::uint32_t number) {
  auto message = question(how);
  auto answer = co_await client.open(std::move(message));
  std::cout << std::setw(4) << number << "  ";
  if (!answer) {
    auto const& why = answer.error();
    std::cout << "failed: " << why.ec.message();
    if (why.retry_after) {
      std::cout << "; the next key is back in " << std::chrono::ceil<std::chrono::seconds>(*why.retry_after).count()
                << " s";
    }
    std::cout << std::endl;
    co_return 0U;
  }
  std::cout << answer->key_name() << "  " << answer->status() << std::flush;
  // the answer costs what its end says: it has to be read
  std::array<char, 4096> piece;
  std::size_t bytes = 0;
  for (;;) {
    auto const space = asio::buffer(piece);
    auto const got = co_await answer->read(space);
    bytes += got.n;
    if (got.ec) {
      std::cout << "  failed: " << got.ec.message() << std::endl;
      co_return 0U;
    }
    if (got.n == 0) {
      break;
    }
  }
  std::cout << "  " << bytes << " bytes" << std::endl;
  co_return answer->status();
}

asio::awaitable<void> ask_all(options const& how, rondo::client& client, std::uint32_t& served) {
  for (std::uint32_t i = 1; i <= how.requests; ++i) {
    auto const status = co_await ask(how, client, i);
    served += status == 200 ? 1 : 0;
  }
}

std::string rest_of(rondo::key_state const& key) {
  if (!key.cooldown_until) {
    return "-";
  }
  auto const left = *key.cooldown_until - std::chrono::system_clock::now();
  return std::to_string(std::max<std::int64_t>(std::chrono::ceil<std::chrono::seconds>(left).count(), 0)) + " s";
}

void print_table(rondo::pool_snapshot const& keys) {
  std::size_t width = 3;
  for (auto const& key : keys) {
    width = std::max(width, key.name.size());
  }
  auto const row = [&](std::string_view name, auto requests, auto failures, auto tokens, std::string_view status,
                       std::string_view rest) {
    std::cout << std::left << std::setw(static_cast<int>(width)) << name << std::right << std::setw(10) << requests
              << std::setw(10) << failures << std::setw(10) << tokens << "  " << std::left << std::setw(13) << status
              << std::right << std::setw(7) << rest << '\n';
  };
  std::uint64_t requests = 0;
  std::uint64_t failures = 0;
  std::int64_t tokens = 0;
  std::cout << '\n';
  row("key", "requests", "failures", "tokens", "status", "rests");
  for (auto const& key : keys) {
    row(key.name, key.requests, key.failures, key.character_count, to_string(key.status), rest_of(key));
    requests += key.requests;
    failures += key.failures;
    tokens += key.character_count;
  }
  row("all", requests, failures, tokens, "", "");
  std::cout << std::flush;
}

int run(options const& how) {
  asio::io_context context{1};
  rondo::key_pool keys{context.get_executor(), {.strategy = rondo::strategy::round_robin}};
  for (auto& key : rondo::store::dotenv_keys(how.env, how.to->name)) {
    keys.add({.name = key.name, .secret = key.secret, .limits = {.requests_per_minute = how.per_minute}});
  }

  auto const trust = rondo::http::make_tls_context({how.ca_file});
  if (!trust) {
    throw usage_error{"--ca: " + trust.error().message()};
  }
  rondo::client_options client_options;
  client_options.base_url = how.base_url;
  client_options.http.tls = *trust;
  client_options.retry.deadline = how.deadline;
  rondo::client client{context.get_executor(), keys, rondo::provider::make(how.to->name), client_options};

  std::uint32_t served = 0;
  asio::co_spawn(context, ask_all(how, client, served), [](std::exception_ptr e) {
    if (e) {
      std::rethrow_exception(e);
    }
  });
  context.run();
  print_table(keys.snapshot());
  return served == how.requests ? 0 : 1;
}

} // namespace

int main(int argc, char** argv) {
  constexpr int usage_fault = 2;
  try {
    auto const how = parse({argv + 1, argv + argc});
    if (how.help) {
      std::cout << usage;
      return 0;
    }
    return run(how);
  } catch (usage_error const& e) {
    std::cerr << "round_robin: " << e.what() << "; see --help\n";
    return usage_fault;
  } catch (rondo::store::file_error const& e) {
    std::cerr << "round_robin: " << e.what() << '\n';
    return usage_fault;
  } catch (std::exception const& e) {
    std::cerr << "round_robin: " << e.what() << '\n';
    return 1;
  }
}
