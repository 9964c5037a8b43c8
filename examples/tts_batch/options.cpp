// SPDX-License-Identifier: BSL-1.0
#include "options.hpp"

#include <rondo/http/proxy.hpp>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <functional>
#include <map>
#include <system_error>
#include <utility>

namespace tts {

std::string_view const usage =
    R"(usage: tts_batch --keys KEYS.csv --texts TEXTS.txt [options]

Speaks every line of TEXTS.txt with ElevenLabs and writes DIR/0001.mp3 and so on, named after the line's number. The keys
of KEYS.csv take turns; their balances are asked first and written back. A file that is there already is not made again,
so that a batch that was interrupted goes on where it stopped.

  --keys FILE        CSV with a column API, and balances in available_tokens
  --texts FILE       UTF-8, one text a line; blank lines are skipped
  --out DIR          where the audio goes; made if need be (audio)
  --proxies FILE     go through these proxies in turn, one URL a line: socks5h://user:password@host:1080, http://host:3128
  --parallel N       requests at a time, 1 to 256 (4)
  --voice ID         (21m00Tcm4TlvDq8ikWAM)
  --model ID         (eleven_multilingual_v2)
  --deadline SECONDS longest time for a text, waiting for a key included (120)
  --resend           send a text again when its answer was lost on the way, although it may be charged twice
  --base-url URL     of the provider (https://api.elevenlabs.io)
  --ca FILE          trust these certificates (PEM) instead of the system's
  --help             this text

Ctrl-C lets the requests under way finish. Exit code: 0 all texts are spoken, 1 some are not, 2 wrong arguments or files.
)";

namespace {

constexpr std::string_view blanks = " \t\r";

unsigned to_number(std::string const& name, std::string const& value, unsigned most) {
  unsigned out = 0;
  auto const* const end = value.data() + value.size();
  auto const [stop, ec] = std::from_chars(value.data(), end, out);
  if (ec != std::errc{} || stop != end || out == 0 || out > most) {
    throw usage_error{name + ": must be a number from 1 to " + std::to_string(most)};
  }
  return out;
}

rondo::http::url to_url(std::string const& name, std::string const& value) {
  auto const out = rondo::http::parse_url(value);
  if (!out) {
    throw usage_error{name + ": " + out.error().message()};
  }
  return *out;
}

/// A part of a request's path.
std::string to_id(std::string const& name, std::string const& value) {
  auto const fits = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' || c == '_' ||
           c == '.';
  };
  if (value.empty() || !std::all_of(value.begin(), value.end(), fits)) {
    throw usage_error{name + ": must be letters, digits, '-', '_' and '.'"};
  }
  return value;
}

/// Calls `take(number, line)` for every line that is not blank, without the blanks around it.
void each_line(std::filesystem::path const& file, std::function<void(std::size_t, std::string)> const& take) {
  std::ifstream in{file};
  std::string line;
  std::size_t number = 0;
  while (std::getline(in, line)) {
    if (++number == 1 && line.starts_with("\xef\xbb\xbf")) {
      line.erase(0, 3);
    }
    auto const first = line.find_first_not_of(blanks);
    if (first != std::string::npos) {
      take(number, line.substr(first, line.find_last_not_of(blanks) + 1 - first));
    }
  }
  if (number == 0 && (!in.is_open() || in.bad())) {
    throw usage_error{file.string() + ": cannot be read"};
  }
}

} // namespace

options parse(std::vector<std::string> const& arguments) {
  options out;
  std::string base_url = "https://api.elevenlabs.io";
  using setter = std::function<void(std::string const& name, std::string const& value)>;
  std::map<std::string_view, setter> const with_value{
      {"--keys", [&](auto&, auto& value) { out.keys = value; }},
      {"--texts", [&](auto&, auto& value) { out.texts = value; }},
      {"--out", [&](auto&, auto& value) { out.out = value; }},
      {"--proxies", [&](auto&, auto& value) { out.proxies = value; }},
      {"--parallel", [&](auto& name, auto& value) { out.parallel = to_number(name, value, 256); }},
      {"--voice", [&](auto& name, auto& value) { out.voice = to_id(name, value); }},
      {"--model", [&](auto& name, auto& value) { out.model = to_id(name, value); }},
      {"--deadline",
       [&](auto& name, auto& value) { out.deadline = std::chrono::seconds{to_number(name, value, 86'400)}; }},
      {"--base-url", [&](auto&, auto& value) { base_url = value; }},
      {"--ca", [&](auto&, auto& value) { out.ca_file = value; }},
  };
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    auto const& name = arguments[i];
    if (name == "--help") {
      out.help = true;
    } else if (name == "--resend") {
      out.resend = true;
    } else if (auto const found = with_value.find(name); found == with_value.end()) {
      throw usage_error{"there is no option " + name};
    } else if (++i == arguments.size() || arguments[i].empty()) {
      throw usage_error{name + ": needs a value"};
    } else {
      found->second(name, arguments[i]);
    }
  }
  out.provider = to_url("--base-url", base_url);
  if (!out.help && (out.keys.empty() || out.texts.empty())) {
    throw usage_error{"--keys and --texts are needed"};
  }
  return out;
}

std::vector<text> read_texts(std::filesystem::path const& file) {
  std::vector<text> out;
  each_line(file, [&](std::size_t number, std::string line) { out.push_back({number, std::move(line)}); });
  if (out.empty()) {
    throw usage_error{file.string() + ": holds no text"};
  }
  return out;
}

std::vector<std::string> read_proxies(std::filesystem::path const& file) {
  std::vector<std::string> out;
  each_line(file, [&](std::size_t number, std::string line) {
    if (line.front() == '#') {
      return;
    }
    if (auto const parsed = rondo::http::parse_proxy(line); !parsed) {
      throw usage_error{file.string() + ":" + std::to_string(number) + ": " + parsed.error().message()};
    }
    out.push_back(std::move(line));
  });
  if (out.empty()) {
    throw usage_error{file.string() + ": holds no proxy"};
  }
  return out;
}

} // namespace tts
