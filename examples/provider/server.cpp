// SPDX-License-Identifier: BSL-1.0
#include "server.hpp"

#include "certificate.hpp"
#include "connection.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/status.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>
#include <stdexcept>
#include <utility>
#include <vector>

namespace sim {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using tcp = asio::ip::tcp;
using boost::system::error_code;

namespace {

using parser = http::request_parser<http::string_body>;

constexpr std::uint64_t greatest_body = 64 << 20;
constexpr std::chrono::milliseconds slow_step{50};

enum class reading : std::uint8_t { complete, ended, malformed, too_large };

asio::awaitable<reading> read_request(connection& c, boost::beast::flat_buffer& buffer, parser& p) {
  bool continued = false;
  while (true) {
    // the parser may assert that the last chunk is whole if it is the first; no chunked body is shorter
    bool const too_little = p.is_header_done() && p.chunked() && p.get().body().empty() && buffer.size() < 5;
    if (buffer.size() > 0 && !too_little) {
      error_code ec;
      p.eager(p.is_header_done());
      auto const used = p.put(buffer.data(), ec);
      buffer.consume(used);
      if (p.is_done()) {
        co_return reading::complete;
      }
      if (ec && ec != http::error::need_more) {
        bool const large = ec == http::error::body_limit || ec == http::error::header_limit;
        co_return large ? reading::too_large : reading::malformed;
      }
      if (!ec && used > 0 && buffer.size() > 0) {
        continue;
      }
    }
    if (p.is_header_done() && !continued && !p.get()[http::field::expect].empty()) {
      continued = true;
      if (!co_await c.write("HTTP/1.1 100 Continue\r\n\r\n")) {
        co_return reading::ended;
      }
    }
    auto const n = co_await c.read_some(buffer.prepare(16'384));
    buffer.commit(n);
    if (n == 0) {
      co_return reading::ended;
    }
  }
}

std::string chunk(std::string_view data) {
  std::array<char, 24> size{};
  auto const n = std::snprintf(size.data(), size.size(), "%zx\r\n", data.size());
  return std::string{size.data(), static_cast<std::size_t>(n)}.append(data).append("\r\n");
}

/// An answer as it goes over the wire: the head, and the body in the parts in which it is written.
struct wire_form {
  std::string head;
  std::vector<std::string> parts;

  [[nodiscard]] std::string body() const {
    std::string out;
    for (auto const& p : parts) {
      out += p;
    }
    return out;
  }
};

wire_form encode(answer const& a, request const& r, bool keep_alive) {
  bool const has_body = r.method() != http::verb::head && a.status != 204 && a.status != 304;
  bool const chunked = a.is_chunked && r.version() >= 11;
  std::size_t size = 0;
  for (auto const& p : a.pieces) {
    size += p.size();
  }

  wire_form out;
  auto const reason = http::obsolete_reason(http::int_to_status(a.status));
  out.head = "HTTP/1.1 " + std::to_string(a.status) + " " + std::string{reason.data(), reason.size()} + "\r\n";
  out.head += "Date: " + http_date(std::chrono::system_clock::now()) + "\r\n";
  for (auto const& [name, value] : a.headers) {
    out.head.append(name).append(": ").append(value).append("\r\n");
  }
  if (chunked) {
    out.head += "Transfer-Encoding: chunked\r\n";
  } else if (a.status != 204 && a.status != 304) {
    out.head += "Content-Length: " + std::to_string(size) + "\r\n";
  }
  out.head += keep_alive ? "\r\n" : "Connection: close\r\n\r\n";

  if (has_body) {
    for (auto const& p : a.pieces) {
      out.parts.push_back(chunked ? chunk(p) : p);
    }
    if (chunked) {
      // with the last piece: whoever has all the data has its end, too
      if (out.parts.empty()) {
        out.parts.emplace_back();
      }
      out.parts.back() += "0\r\n\r\n";
    }
  }
  return out;
}

asio::awaitable<bool> send_whole(connection& c, wire_form form, plan& p) {
  // the head travels with the first part
  if (form.parts.empty()) {
    form.parts.emplace_back();
  }
  form.parts.front().insert(0, form.head);
  for (std::size_t i = 0; i < form.parts.size(); ++i) {
    if (i + 1 == form.parts.size()) {
      p.place.finish(p.reply.status);
    }
    if (!co_await c.write(form.parts[i])) {
      co_return false;
    }
  }
  co_return true;
}

asio::awaitable<bool> send_slowly(connection& c, wire_form form, plan& p) {
  auto const body = form.body();
  std::string_view rest{body};
  if (rest.empty()) {
    p.place.finish(p.reply.status);
  }
  bool alive = co_await c.write(form.head);
  auto const rate = p.fault->bytes_per_second;
  std::size_t const step = std::max<std::uint32_t>(rate / (1000 / slow_step.count()), 1);
  while (alive && !rest.empty()) {
    auto const part = rest.substr(0, step);
    rest.remove_prefix(part.size());
    alive = co_await c.pause(std::chrono::nanoseconds{std::chrono::seconds{1}} * part.size() / rate);
    if (alive) {
      if (rest.empty()) {
        p.place.finish(p.reply.status);
      }
      alive = co_await c.write(part);
    }
  }
  co_return alive;
}

/// Carries out the plan; false when the connection is to be cut afterwards.
asio::awaitable<bool> deliver(connection& c, request const& r, plan& p, bool keep_alive) {
  if (p.delay.count() > 0) {
    if (!co_await c.pause(p.delay)) {
      co_return false;
    }
  }
  auto form = encode(p.reply, r, keep_alive);
  if (!p.fault) {
    co_return co_await send_whole(c, std::move(form), p);
  }
  switch (p.fault->action) {
  case fault_action::status:
  case fault_action::refuse: co_return co_await send_whole(c, std::move(form), p);
  case fault_action::drop: co_return false;
  case fault_action::hang: {
    std::array<char, 1024> ignored;
    while (co_await c.read_some(asio::buffer(ignored)) > 0) {
    }
    co_return false;
  }
  case fault_action::garbage: {
    p.place.finish(0);
    std::string const noise = p.fault->body.empty() ? "\x16\x03 this is no HTTP\r\n\r\n" : p.fault->body;
    co_await c.write(noise);
    co_return false;
  }
  case fault_action::drop_after_head:
    p.place.finish(p.reply.status);
    co_await c.write(form.head);
    co_return false;
  case fault_action::truncate: {
    p.place.finish(p.reply.status);
    auto const body = form.body();
    auto const shown = std::min<std::uint64_t>(p.fault->after_bytes.value_or(body.size() / 2), body.size());
    auto const part = form.head + body.substr(0, shown);
    co_await c.write(part);
    co_return false;
  }
  case fault_action::slow: co_return co_await send_slowly(c, std::move(form), p);
  case fault_action::close: co_await send_whole(c, std::move(form), p); co_return false;
  }
  co_return false;
}

asio::awaitable<void> refuse(connection& c, reading why) {
  answer a;
  a.status = why == reading::too_large ? 413 : 400;
  auto form = encode(a, request{}, false);
  if (co_await c.write(form.head)) {
    co_await c.shutdown();
  }
}

asio::awaitable<void> converse(std::shared_ptr<connection> c, simulator& sim) {
  auto const address = c->peer().address().to_string();
  sim.connected(address);
  if (!co_await c->handshake()) {
    c->close();
    co_return;
  }
  boost::beast::flat_buffer buffer;
  while (true) {
    parser p;
    p.header_limit(64 << 10);
    p.body_limit(greatest_body);
    auto const state = co_await read_request(*c, buffer, p);
    if (state != reading::complete) {
      if (state != reading::ended) {
        co_await refuse(*c, state);
      }
      break;
    }
    auto const r = p.release();
    auto planned = sim.handle(r, address, c->peer().port());
    bool const keep_alive = r.keep_alive() && r.version() >= 11;
    if (!co_await deliver(*c, r, planned, keep_alive)) {
      break;
    }
    if (!keep_alive) {
      co_await c->shutdown();
      break;
    }
  }
  c->close();
}

asio::awaitable<void> accept_all(tcp::acceptor& acceptor, asio::io_context& context, simulator& sim,
                                 asio::ssl::context* tls) {
  asio::steady_timer breath{context};
  while (true) {
    auto const executor = asio::make_strand(context);
    auto [ec, socket] = co_await acceptor.async_accept(executor, asio::as_tuple(asio::use_awaitable));
    if (ec) {
      // out of descriptors, most likely: connections in flight will free some
      breath.expires_after(std::chrono::milliseconds{50});
      co_await breath.async_wait(asio::as_tuple(asio::use_awaitable));
      continue;
    }
    auto c = std::make_shared<connection>(std::move(socket), tls);
    asio::co_spawn(executor, converse(std::move(c), sim), asio::detached);
  }
}

asio::ssl::context make_tls(provider_options const& o) {
  auto certificate = o.certificate;
  auto key = o.private_key;
  if (!o.certificate_dir.empty()) {
    ensure_certificate(o.certificate_dir);
    certificate = (std::filesystem::path{o.certificate_dir} / "certificate.pem").string();
    key = (std::filesystem::path{o.certificate_dir} / "private_key.pem").string();
  }
  asio::ssl::context tls{asio::ssl::context::tls_server};
  tls.set_options(asio::ssl::context::default_workarounds | asio::ssl::context::no_tlsv1 |
                  asio::ssl::context::no_tlsv1_1);
  error_code ec;
  if (tls.use_certificate_chain_file(certificate, ec)) {
    throw std::runtime_error{"cannot use the certificate " + certificate + ": " + ec.message()};
  }
  if (tls.use_private_key_file(key, asio::ssl::context::pem, ec)) {
    throw std::runtime_error{"cannot use the private key " + key + ": " + ec.message()};
  }
  return tls;
}

} // namespace

server::server(asio::io_context& context, provider_options const& o, simulator& sim)
    : context_{context}, simulator_{sim}, acceptor_{context} {
  if (o.tls) {
    tls_.emplace(make_tls(o));
  }
  tcp::endpoint const endpoint{asio::ip::make_address(o.host), o.port};
  acceptor_.open(endpoint.protocol());
  acceptor_.set_option(tcp::acceptor::reuse_address{true});
  acceptor_.bind(endpoint);
  acceptor_.listen(4096);
}

std::string server::url() const {
  auto const local = acceptor_.local_endpoint();
  auto const host = local.address().to_string();
  return (tls_ ? "https://" : "http://") + (local.address().is_v6() ? "[" + host + "]" : host) + ":" +
         std::to_string(local.port());
}

void server::start() {
  asio::co_spawn(context_, accept_all(acceptor_, context_, simulator_, tls_ ? &*tls_ : nullptr), asio::detached);
}

} // namespace sim
