// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sim {

/// A response, before it is sent: its body in the pieces in which it goes out.
struct answer {
  unsigned status = 200;
  std::vector<std::pair<std::string, std::string>> headers;
  std::vector<std::string> pieces;
  bool is_chunked = false; ///< by chunked coding, each piece a chunk; else with a Content-Length

  void header(std::string_view name, std::string value) { headers.emplace_back(name, std::move(value)); }
  void header(std::string_view name, std::int64_t value) { headers.emplace_back(name, std::to_string(value)); }
};

[[nodiscard]] inline answer json_answer(unsigned status, boost::json::value const& body) {
  answer a;
  a.status = status;
  a.header("Content-Type", "application/json");
  a.pieces.push_back(boost::json::serialize(body));
  return a;
}

} // namespace sim
