// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/error.hpp>

#include <boost/assert/source_location.hpp>
#include <boost/system/system_error.hpp>

#include <chrono>
#include <optional>
#include <string>
#include <utility>

namespace rondo {

/// Why a request got no answer.
struct client_failure {
  error_code ec;
  blame who = blame::nobody;
  /// When a key is expected to serve the request, if keys were the trouble and it is known.
  std::optional<std::chrono::steady_clock::duration> retry_after{};
  unsigned attempts = 0;    ///< requests written to the provider
  std::string masked_key{}; ///< of the last one
};

/// What `client::send` throws.
class client_error : public boost::system::system_error {
public:
  explicit client_error(client_failure failure) : system_error{failure.ec}, failure_{std::move(failure)} {}
  [[nodiscard]] client_failure const& failure() const noexcept { return failure_; }

private:
  client_failure failure_;
};

[[noreturn]] inline void throw_exception_from_error(client_failure const& f, boost::source_location const&) {
  throw client_error{f};
}

} // namespace rondo
