// SPDX-License-Identifier: BSL-1.0
#include "admin_pages.hpp"

#include <rondo/monitor/prometheus.hpp>
#include <rondo/status_json.hpp>

#include <boost/beast/http/field.hpp>
#include <boost/beast/http/verb.hpp>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include <algorithm>
#include <chrono>

namespace gateway {

namespace {

namespace http = beast::http;
namespace json = boost::json;

constexpr std::size_t greatest_body = 64U << 10U; // nobody needs to send one

std::string status_of(served_pool const& pool) {
  return json::serialize(rondo::to_json(pool.keys->pool().snapshot()));
}

json::object proxies_of(served_pool const& pool) {
  json::array list;
  if (pool.proxies) {
    for (auto const& each : pool.proxies->rotator().snapshot()) {
      list.push_back(json::object{{"name", each.name},
                                  {"resting", each.resting},
                                  {"tier", each.tier},
                                  {"latencyMs", std::chrono::duration<double, std::milli>{each.latency}.count()},
                                  {"inFlight", each.in_flight},
                                  {"requests", each.requests},
                                  {"failures", each.failures}});
    }
  }
  return {{"name", pool.settings.name}, {"proxies", std::move(list)}};
}

bool carries_token(rondo::http::request const& request, std::vector<rondo::secret> const& tokens) {
  constexpr std::string_view scheme = "Bearer ";
  std::string_view const field{request[http::field::authorization]};
  auto known = false;
  for (auto const& token : tokens) {
    known |= field.substr(0, scheme.size()) == scheme && token.equals(field.substr(scheme.size()));
  }
  return known;
}

} // namespace

asio::awaitable<void> admin_pages::handle(caller_connection& caller) {
  if (!co_await caller.read_body(greatest_body)) {
    co_return;
  }
  auto const found = find(caller.request());
  rondo::http::response_head head;
  head.result(found.status);
  head.set(http::field::content_type, found.type);
  head.set(http::field::cache_control, "no-store");
  if (found.status == http::status::method_not_allowed) {
    head.set(http::field::allow, "GET, HEAD");
  }
  if (found.status == http::status::unauthorized) {
    head.set(http::field::www_authenticate, "Bearer");
  }
  co_await caller.answer(std::move(head), found.body);
}

admin_pages::page admin_pages::find(rondo::http::request const& request) const {
  auto const refuse = [](http::status status, std::string_view type, std::string_view message) {
    return page{status, "application/json", error_body(type, message)};
  };
  auto const fault = host_fault(request);
  if (fault == 400) {
    return refuse(http::status::bad_request, "bad_request", "the Host field is missing or malformed");
  }
  if (fault && loopback_) {
    return refuse(http::status::forbidden, "forbidden_host", "the Host field does not name this machine");
  }
  std::string_view path{request.target()};
  path = path.substr(0, path.find('?'));
  auto const serving = serving_();
  if (path != "/healthz" && !loopback_ && !carries_token(request, serving->caller_tokens)) {
    return refuse(http::status::unauthorized, "unauthorized", "a caller token is needed");
  }
  auto const known = path == "/healthz" || path == "/status" || path == "/metrics" || path == "/proxies";
  served_pool const* pool = nullptr;
  for (auto const& each : serving->pools) {
    pool = path == "/api/" + each->settings.name + "-status" ? each.get() : pool;
  }
  if (!known && pool == nullptr) {
    return refuse(http::status::not_found, "not_found", "there is no such page");
  }
  if (request.method() != http::verb::get && request.method() != http::verb::head) {
    return refuse(http::status::method_not_allowed, "method_not_allowed", "this page can only be read");
  }
  if (path == "/healthz") {
    return {http::status::ok, "text/plain", "ok"};
  }
  if (path == "/metrics") {
    return {http::status::ok, rondo::monitor::prometheus_page::content_type, metrics(*serving)};
  }
  if (pool != nullptr) {
    return {http::status::ok, "application/json", status_of(*pool)};
  }
  json::array pools;
  for (auto const& each : serving->pools) {
    pools.push_back(path == "/status" ? rondo::to_json(each->keys->pool().snapshot()) : json::value(proxies_of(*each)));
  }
  return {http::status::ok, "application/json", json::serialize(json::object{{"pools", std::move(pools)}})};
}

std::string admin_pages::metrics(service const& serving) const {
  rondo::monitor::prometheus_page out;
  auto const now = count_();
  out.gauge("rondo_gateway_connections", "Open connections of callers.", {}, static_cast<double>(now.connections));
  out.counter("rondo_gateway_reloads_total", "Configurations taken over since the start.", {},
              static_cast<double>(now.reloads));
  for (auto const& pool : serving.pools) {
    std::string_view const name = pool->settings.name;
    pool->counts->describe(out, name);
    pool->attempts->describe(out, name);
    rondo::monitor::describe(out, pool->keys->pool().snapshot());
    for (auto const& proxy : pool->proxies ? pool->proxies->rotator().snapshot() : std::vector<rondo::proxy_state>{}) {
      out.counter("rondo_proxy_requests_total", "Requests sent through the proxy.",
                  {{"pool", name}, {"proxy", proxy.name}}, static_cast<double>(proxy.requests));
      out.counter("rondo_proxy_failures_total", "Times the proxy was to blame.",
                  {{"pool", name}, {"proxy", proxy.name}}, static_cast<double>(proxy.failures));
      out.gauge("rondo_proxy_available", "1 while the proxy is offered.", {{"pool", name}, {"proxy", proxy.name}},
                proxy.resting ? 0 : 1);
      out.gauge("rondo_proxy_in_flight", "Requests under way through the proxy.",
                {{"pool", name}, {"proxy", proxy.name}}, proxy.in_flight);
      out.gauge("rondo_proxy_latency_seconds", "How long requests through the proxy waited for answers lately.",
                {{"pool", name}, {"proxy", proxy.name}}, std::chrono::duration<double>{proxy.latency}.count());
    }
  }
  return out.text();
}

} // namespace gateway
