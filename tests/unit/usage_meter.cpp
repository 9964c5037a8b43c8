// SPDX-License-Identifier: BSL-1.0
#include "unit/provider_support.hpp"
#include <rondo/provider/gemini.hpp>
#include <rondo/provider/openai.hpp>
#include <rondo/provider/usage_meter.hpp>

#include <boost/test/unit_test.hpp>

#include <cstdint>
#include <optional>
#include <string>

using namespace provider_test;

namespace {

rondo::provider::openai const openai_;
rondo::provider::gemini const gemini_;

/// What a body teaches, fed in pieces of every size; -1 = nothing.
std::int64_t learn(rondo::provider::adapter const& from, std::string const& type, std::string_view body,
                   fields extra = {}) {
  if (!type.empty()) {
    extra.emplace_back("content-type", type);
  }
  auto whole = from.meter(answer(200, extra));
  whole.feed(body);
  auto const result = whole.cost().value_or(-1);
  for (std::size_t size = 1; size <= 7; ++size) {
    auto meter = from.meter(answer(200, extra));
    for (std::size_t at = 0; at < body.size(); at += size) {
      meter.feed(body.substr(at, size));
    }
    BOOST_TEST(meter.cost().value_or(-1) == result, "pieces of " << size);
  }
  return result;
}

} // namespace

BOOST_AUTO_TEST_SUITE(usage_meter)

BOOST_AUTO_TEST_CASE(a_whole_document_is_read) {
  std::string const body =
      R"({"id":"x","choices":[{"message":{"content":"{\"usage\":{\"total_tokens\":1}}"}}],"usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21,"details":{"total_tokens":5}}})";
  BOOST_TEST(learn(openai_, "application/json", body) == 21);
  BOOST_TEST(learn(openai_, "application/json; charset=utf-8", " " + body + "\n") == 21);
  BOOST_TEST(learn(openai_, "", body) == 21);
  BOOST_TEST(learn(openai_, "audio/mpeg", body) == -1);
  BOOST_TEST(learn(openai_, "application/json", body, {{"content-encoding", "gzip"}}) == -1);
  BOOST_TEST(learn(openai_, "application/json", body, {{"content-encoding", "identity"}}) == 21);
  BOOST_TEST(learn(openai_, "application/json", R"({"usage":null})") == -1);
  BOOST_TEST(learn(openai_, "application/json", R"({"usage":{"total_tokens":-3}})") == -1);
  BOOST_TEST(learn(openai_, "application/json", R"({"usage":{"total_tokens":"3"}})") == -1);
  BOOST_TEST(learn(openai_, "application/json", R"({"tool":{"usage":{"total_tokens":3}}})") == -1);
  BOOST_TEST(learn(openai_, "application/json", "") == -1);
  BOOST_TEST(learn(openai_, "application/json", std::string(10'000, '[')) == -1);
}

BOOST_AUTO_TEST_CASE(an_event_stream_is_read_line_by_line) {
  for (std::string const end : {"\n", "\r\n", "\r"}) {
    auto const event = [&](std::string const& data) { return "data: " + data + end + end; };
    auto const begin = event(R"({"choices":[{"delta":{"content":"hi"}}],"usage":null})");
    auto const total = event(R"({"choices":[],"usage":{"total_tokens":33}})");
    BOOST_TEST(learn(openai_, "text/event-stream", begin + total + event("[DONE]")) == 33);
    BOOST_TEST(learn(openai_, "text/event-stream; charset=utf-8", ": comment" + end + end + event("[broken") + total) ==
               33);
    BOOST_TEST(learn(openai_, "text/event-stream",
                     "event: response.completed" + end + "id: 7" + end +
                         event(R"({"type":"response.completed","response":{"usage":{"total_tokens":8}}})")) == 8);
    BOOST_TEST(
        learn(openai_, "text/event-stream", "data:{\"usage\":" + end + "data:{\"total_tokens\":5}}" + end + end) == 5);
    BOOST_TEST(learn(openai_, "text/event-stream", begin) == -1);
    BOOST_TEST(learn(openai_, "text/event-stream", "xdata: " + total + "dat" + end + "a:" + end) == -1);
  }
}

BOOST_AUTO_TEST_CASE(gemini_repeats_its_total_and_the_last_one_counts) {
  BOOST_TEST(learn(gemini_, "application/json",
                   R"({"candidates":[],"usageMetadata":{"promptTokenCount":4,"totalTokenCount":12}})") == 12);
  BOOST_TEST(learn(gemini_, "application/json", R"([{"usageMetadata":{"totalTokenCount":5}},
,{"usageMetadata":{"totalTokenCount":9}}])") == 5);
  BOOST_TEST(learn(gemini_, "application/json",
                   R"([{"usageMetadata":{"totalTokenCount":5}},{"usageMetadata":{"totalTokenCount":9}}])") == 9);
  BOOST_TEST(learn(gemini_, "text/event-stream",
                   "data: {\"usageMetadata\":{\"totalTokenCount\":5}}\r\n\r\ndata: "
                   "{\"usageMetadata\":{\"totalTokenCount\":9}}\r\n\r\n") == 9);
}

BOOST_AUTO_TEST_SUITE_END()
