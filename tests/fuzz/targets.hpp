// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <string_view>

/// What is fuzzed: one function a parser, or a family of them. Each takes any bytes, and throws when a property of the
/// parser does not hold for them. Independent of earlier calls.
namespace rondo::test::fuzz {

void connect_reply(std::string_view input);
void csv(std::string_view input);
void dotenv(std::string_view input);
void gateway_config(std::string_view input);
void http_answer(std::string_view input);
void no_proxy(std::string_view input);
void provider_answers(std::string_view input);
void proxy_list(std::string_view input);
void reset_formats(std::string_view input);
void socks_reply(std::string_view input);
void time_zones(std::string_view input);
void url(std::string_view input);

} // namespace rondo::test::fuzz
