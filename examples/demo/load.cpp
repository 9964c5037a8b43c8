// SPDX-License-Identifier: BSL-1.0
#include "load.hpp"

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include <algorithm>
#include <charconv>
#include <exception>
#include <string_view>
#include <utility>

namespace demo {

namespace http = boost::beast::http;

namespace {

struct speech {
  std::string text;
  std::int64_t characters;
};

/// Texts of different lengths, each its own; one character takes two bytes, but costs one.
speech text_of(int n) {
  auto text = "Request " + std::to_string(n) + " sings \xC3\xA0 la ronde";
  auto const filler = static_cast<std::size_t>(n * 7 % 60);
  auto const characters = static_cast<std::int64_t>(text.size() - 1 + filler);
  return {text + std::string(filler, '.'), characters};
}

std::int64_t number(response const& answer, std::string_view header) {
  auto const text = answer[boost::beast::string_view{header.data(), header.size()}];
  std::int64_t out = 0;
  std::from_chars(text.data(), text.data() + text.size(), out);
  return out;
}

} // namespace

int tally::answered() const {
  int out = served + mixed_up;
  for (auto const& f : failures) {
    out += f.second;
  }
  return out;
}

boost::asio::awaitable<void> call(connection to, std::string caller_token, std::string id_prefix, tally& counts) {
  while (counts.started < counts.total) {
    auto const n = ++counts.started;
    auto const spoken = text_of(n);
    auto const id = id_prefix + std::to_string(n);
    auto const* const target = n % 3 == 0 ? "/v1/text-to-speech/demo/stream" : "/v1/text-to-speech/demo";
    request r{http::verb::post, target, 11};
    r.set("xi-api-key", caller_token);
    r.set("x-request-id", id);
    r.set("idempotency-key", id); // allows the gateway to send it again after a dropped connection
    r.set(http::field::content_type, "application/json");
    r.body() = boost::json::serialize(boost::json::object{{"text", spoken.text}});

    auto const start = std::chrono::steady_clock::now();
    std::string failure;
    try {
      auto const answer = co_await to.send(std::move(r));
      if (answer.result() != http::status::ok) {
        failure = std::to_string(answer.result_int()) + " " + answer.body().substr(0, 160);
      } else if (!answer.body().starts_with("ID3" + spoken.text)) {
        ++counts.mixed_up;
      } else {
        ++counts.served;
        counts.characters += spoken.characters;
        counts.charged += number(answer, "character-cost");
        counts.attempts += number(answer, "x-rondo-attempts");
        counts.latencies.push_back(std::chrono::steady_clock::now() - start);
      }
    } catch (std::exception const& e) {
      failure = e.what();
    }
    if (!failure.empty()) {
      ++counts.failures[failure];
    }
  }
}

} // namespace demo
