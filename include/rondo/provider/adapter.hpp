// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/balance.hpp>
#include <rondo/capability.hpp>
#include <rondo/clock.hpp>
#include <rondo/http/message.hpp>
#include <rondo/outcome.hpp>
#include <rondo/provider/usage_meter.hpp>
#include <rondo/secret.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// What is particular to each provider, as pure functions over messages. No sockets, no clock, no state.
namespace rondo::provider {

/// What a request asks of a key.
struct work {
  std::int64_t tokens = 0; ///< estimated cost, to be settled with what the provider says; 0 = free
  std::string lane;        ///< model or endpoint class with limits of its own; empty = the default lane
  capability_set needs;    ///< kinds of work that a key may be barred from
};

/// What a response means.
struct verdict {
  /// Empty: the request was served.
  std::optional<outcome> failure;
  /// The rest that `failure` asks for concerns the lane of the request, not the whole account.
  bool lane_only = false;
  /// Tokens that the request cost, when the head says so; see also `adapter::meter`.
  std::optional<std::int64_t> cost;
  /// Balance that an error reveals. With an `exhausted` failure and a value above 0 only requests larger than it fail:
  /// set the balance instead of resting the account.
  std::optional<std::int64_t> remaining;
  /// How many requests the provider allows at once, when the head says so.
  std::optional<std::uint32_t> concurrency;
  /// Kinds of work that this key can no longer do. The failure is then `rejected`, but the request deserves another
  /// key, and this key goes on with everything else.
  capability_set barred;
};

/// Where in a request a credential stands.
enum class credential_place : std::uint8_t {
  own_header, ///< the provider's own header, such as `xi-api-key`
  query,      ///< a parameter of the target, such as Gemini's `?key=`
  bearer,     ///< `Authorization`, in whichever scheme
};

struct credential {
  credential_place place;
  secret value; ///< without the scheme
};

/// One provider. Stateless: every function may be called from any thread at any time, and none throws but for want
/// of memory, whatever the texts hold.
class adapter {
public:
  virtual ~adapter() = default;

  /// The name under which `make` finds it.
  [[nodiscard]] virtual std::string_view name() const noexcept = 0;
  /// The header that carries the key, lower case.
  [[nodiscard]] virtual std::string_view key_header() const noexcept = 0;

  /// Puts the key where the provider wants it, replacing what stood there. Other credentials are left alone: call
  /// `detach` first.
  virtual void attach(http::request_head& head, std::string_view key) const = 0;
  /// Every credential of a request, the one that counts first. Empty ones are not listed.
  [[nodiscard]] virtual std::vector<credential> credentials(http::request_head const& head) const = 0;
  /// Takes off whatever stands in one place.
  virtual void remove(http::request_head& head, credential_place place) const = 0;
  /// Takes off every credential and returns the one that counts.
  std::optional<secret> detach(http::request_head& head) const {
    auto found = credentials(head);
    for (auto const place : {credential_place::own_header, credential_place::query, credential_place::bearer}) {
      remove(head, place);
    }
    return found.empty() ? std::nullopt : std::optional<secret>{std::move(found.front().value)};
  }

  /// What a request asks of a key. Linear in the size of the body, which may be anything.
  [[nodiscard]] virtual work describe(http::request_head const& head, std::string_view body) const = 0;

  /// What a response means, from its status, its head and, when it is an error, its body.
  ///
  /// \param sent the request's head
  /// \param body of an error, not compressed (send `accept-encoding: identity`); its first 64 KiB are enough. Ignored
  ///   for a success, whose cost `meter` learns.
  /// \param now our clock, for limits that end at a date
  [[nodiscard]] virtual verdict judge(http::request_head const& sent, http::response_head const& head,
                                      std::string_view body, wall_time now) const = 0;
  /// Learns the cost of a served request from its head and body.
  [[nodiscard]] virtual usage_meter meter(http::response_head const& head) const = 0;

  /// The request that asks for the balance, still without host and key; empty when the provider has none.
  [[nodiscard]] virtual std::optional<http::request_head> balance_request() const { return std::nullopt; }
  /// The answer to it; empty when it is not a success or not understood.
  [[nodiscard]] virtual std::optional<balance> parse_balance(unsigned /*status*/, std::string_view /*body*/) const {
    return std::nullopt;
  }
};

} // namespace rondo::provider
