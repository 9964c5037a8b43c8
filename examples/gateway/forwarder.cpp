// SPDX-License-Identifier: BSL-1.0
#include "forwarder.hpp"

#include <rondo/error.hpp>
#include <rondo/http/url.hpp>

#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/beast/http/field.hpp>
#include <boost/beast/http/status.hpp>
#include <boost/beast/http/verb.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <boost/system/system_error.hpp>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace gateway {

namespace {

namespace http = boost::beast::http;
using steady_clock = std::chrono::steady_clock;

// One piece of an answer on its way through.
constexpr std::size_t piece_size = 32U << 10U;

/// An answer of the gateway's own.
struct refusal {
  http::status status;
  std::string body;
  std::optional<std::chrono::seconds> retry_after;
};

refusal refuse(http::status status, std::string_view type, std::string_view message) {
  return {status, error_body(type, message), {}};
}

/// `GET http://host/path` is as good as `GET /path` (RFC 9112 3.2.2).
std::string_view origin_form(std::string_view target) {
  if (!target.empty() && target.front() != '/') {
    auto const scheme = target.find("://");
    auto const path = scheme == target.npos ? target.npos : target.find('/', scheme + 3);
    return path == target.npos ? std::string_view{} : target.substr(path);
  }
  return target;
}

/// Who may pass, and with which key: finds the caller's token among his credentials and takes it off.
///
/// \param own set when the request carries a provider's key that is the caller's own
std::optional<refusal> admit(rondo::http::request_head& head, route const& to, std::vector<rondo::secret> const& tokens,
                             bool& own) {
  auto known = tokens.empty();
  for (auto const& credential : to.provider->credentials(head)) {
    auto is_token = false;
    for (auto const& token : tokens) { // all of them: the time taken must not tell which one was close
      is_token |= token == credential.value;
    }
    known |= is_token;
    own |= !is_token;
    if (is_token || to.own == own_keys::replace) {
      to.provider->remove(head, credential.place);
    }
  }
  if (!known) {
    return refuse(http::status::unauthorized, "unauthorized", "a caller token is needed");
  }
  if (own && to.own == own_keys::refuse) {
    return refuse(http::status::unauthorized, "own_key_refused", "provider keys of the caller's own are not accepted");
  }
  own = own && to.own == own_keys::pass;
  return std::nullopt;
}

refusal explain(rondo::client_failure const& failure) {
  using rondo::error;
  using std::chrono::ceil;
  auto const ec = failure.ec;
  auto const message = ec.message();
  if (ec == error::would_miss_deadline || ec == error::exhausted || ec == error::no_keys) {
    refusal out{http::status::service_unavailable, {}, {}};
    boost::json::object error{{"type", "keys_unavailable"}, {"message", message}, {"retry_after_ms", nullptr}};
    if (failure.retry_after) {
      auto const wait = std::max(*failure.retry_after, steady_clock::duration::zero());
      error["retry_after_ms"] = ceil<std::chrono::milliseconds>(wait).count();
      out.retry_after = ceil<std::chrono::seconds>(wait);
    }
    out.body = boost::json::serialize(boost::json::object{{"error", std::move(error)}});
    return out;
  }
  if (ec == error::too_large) {
    return refuse(http::status::payload_too_large, "request_too_large", message);
  }
  if (failure.who == rondo::blame::caller) {
    return refuse(http::status::bad_request, "bad_request", message);
  }
  if (failure.who == rondo::blame::proxy) {
    return refuse(http::status::bad_gateway, "proxy_unreachable", message);
  }
  auto const protocol = ec == error::bad_response || ec == error::response_head_too_large ||
                        ec == error::truncated_response || ec == error::response_too_large;
  return refuse(http::status::bad_gateway, protocol ? "upstream_protocol" : "upstream_unreachable", message);
}

asio::awaitable<void> answer(caller_connection& caller, refusal const& what, unsigned attempts) {
  rondo::http::response_head head;
  head.result(what.status);
  head.set(http::field::content_type, "application/json");
  if (what.retry_after) {
    head.set(http::field::retry_after, std::to_string(what.retry_after->count()));
  }
  if (what.status == http::status::unauthorized) {
    head.set(http::field::www_authenticate, "Bearer");
  }
  co_await caller.answer(std::move(head), what.body, std::to_string(attempts));
}

/// As nearly all callers name it, for which no URL needs to be parsed: `localhost:8787`.
bool is_loopback_as_usual(std::string_view host) {
  auto const colon = host.find(':');
  auto const name = host.substr(0, colon);
  if (name != "localhost" && name != "127.0.0.1") {
    return false;
  }
  std::uint16_t port = 0;
  auto const* const end = host.data() + host.size();
  return colon == host.npos || (std::from_chars(host.data() + colon + 1, end, port).ptr == end && port != 0);
}

} // namespace

route const* route_table::find(std::string_view path) const {
  for (auto const& each : routes) {
    if (each.prefix == "/") {
      return &each;
    }
    if (path.substr(0, each.prefix.size()) == each.prefix) {
      auto const rest = path.substr(each.prefix.size());
      if (rest.empty() || rest.front() == '/' || rest.front() == '?') {
        return &each;
      }
    }
  }
  return nullptr;
}

std::optional<unsigned> host_fault(rondo::http::request_head const& head) {
  auto const range = head.equal_range(http::field::host);
  auto const named = std::distance(range.first, range.second);
  if (named == 0 && head.version() == 10) {
    return std::nullopt; // a browser, which alone can be led astray, always names one
  }
  if (named != 1) {
    return 400;
  }
  std::string const host{range.first->value()};
  if (is_loopback_as_usual(host)) {
    return std::nullopt;
  }
  if (host.find_first_of("/?#@") != std::string::npos) {
    return 400;
  }
  auto const url = rondo::http::parse_url("http://" + host);
  if (!url) {
    return 400;
  }
  return url->is_loopback() ? std::optional<unsigned>{} : 403;
}

namespace {

/// There is no answer of the provider: tells the caller so.
asio::awaitable<void> tell(caller_connection& caller, route const& to, rondo::client_failure const& failure,
                           steady_clock::duration took) {
  if (failure.ec == asio::error::operation_aborted) {
    throw boost::system::system_error{failure.ec};
  }
  to.counts->failed(failure.who);
  auto const refused = explain(failure);
  to.counts->answered(static_cast<unsigned>(refused.status), failure.attempts, took);
  co_await answer(caller, refused, failure.attempts);
}

/// Sends the request on and the answer back; the caller's part is done but for the body that is to come.
asio::awaitable<void> forward(caller_connection& caller, route const& to, bool own) {
  auto const started = steady_clock::now();
  caller.watch();
  auto opening = own ? to.client->pass(std::move(caller.request())) : to.client->open(std::move(caller.request()));
  auto opened = co_await std::move(opening);
  auto const took = steady_clock::now() - started;
  if (!opened) {
    co_await tell(caller, to, opened.error(), took);
    co_return;
  }

  auto reply = *std::move(opened);
  auto const attempts = std::to_string(reply.attempts());
  caller.begin_answer(reply.head(), attempts, reply.masked_key());
  // The head of a stream goes at once, as an event may be long in coming. Any other waits for its body: they go
  // together, and a body that does not come can still be answered for.
  auto const sized = reply.head().find(http::field::content_length) != reply.head().end();
  auto begun = !sized && !reply.complete();
  if (begun) {
    co_await caller.send(asio::const_buffer{}, false);
  }
  auto const buffer = std::make_unique_for_overwrite<char[]>(piece_size);
  for (auto last = false; !last; begun = true) {
    auto const [ec, n] = co_await reply.read(asio::mutable_buffer{buffer.get(), piece_size});
    if (ec && !begun) {
      rondo::client_failure const failure{ec, rondo::blame_of(ec), {}, reply.attempts(), {}};
      co_await tell(caller, to, failure, took);
      co_return;
    }
    if (ec == asio::error::operation_aborted) {
      throw boost::system::system_error{ec};
    }
    if (ec) {
      to.counts->answered(reply.status(), reply.attempts(), took);
      to.counts->failed(rondo::blame_of(ec));
      caller.break_off();
      co_return;
    }
    last = n == 0 || reply.complete();
    if (last) { // before the caller has it all and looks at the metrics
      to.counts->answered(reply.status(), reply.attempts(), took);
    }
    co_await caller.send(asio::const_buffer{buffer.get(), n}, last);
  }
}

} // namespace

asio::awaitable<void> forwarder::handle(caller_connection& caller) {
  auto const table = table_;
  auto& request = caller.request();
  std::optional<refusal> refused;
  route const* to = nullptr;
  auto own = false;

  auto const target = origin_form(std::string_view{request.target()});
  if (auto const fault = host_fault(request); fault == 400) {
    refused = refuse(http::status::bad_request, "bad_request", "the Host field is missing or malformed");
  } else if (fault && table->caller_tokens.empty()) {
    refused = refuse(http::status::forbidden, "forbidden_host", "the Host field does not name this machine");
  } else if (target.empty() || request.method() == http::verb::connect) {
    refused = refuse(http::status::bad_request, "bad_request", "the target of the request is not a path");
  } else if (to = table->find(target); to == nullptr) {
    refused = refuse(http::status::not_found, "not_found", "no pool has a prefix of this path");
  } else {
    refused = admit(request, *to, table->caller_tokens, own);
  }
  if (refused) {
    co_await answer(caller, *refused, 0);
    co_return;
  }
  if (!co_await caller.read_body(to->max_body_bytes)) {
    co_return;
  }
  if (!own) {
    static_cast<void>(to->provider->detach(request)); // trailers of a chunked body have become fields
  }
  // to be read again: with the caller's credential something may have gone from the query
  std::string path{origin_form(std::string_view{request.target()})};
  if (to->prefix != "/") {
    path.erase(0, to->prefix.size());
    if (path.empty() || path.front() != '/') {
      path.insert(0, 1, '/');
    }
  }
  request.target(path);
  if (own) {
    to->counts->passed();
  }
  auto aborted = false;
  try {
    co_await forward(caller, *to, own);
  } catch (boost::system::system_error const&) {
    aborted = true;
  }
  if (aborted) { // the connection is closed already, or about to be
    to->counts->abandoned();
    caller.break_off();
  }
}

} // namespace gateway
