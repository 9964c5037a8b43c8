// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/http/detail/tunnel.hpp>
#include <rondo/http/proxy.hpp>
#include <rondo/version.hpp>

#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/beast/core/string.hpp>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace rondo::http::detail {

/// The error that a status of a CONNECT reply stands for (not 1xx, not 2xx).
///
/// squid answers 503 and tinyproxy 500 when the *origin* is dead, so these four blame the path and not the proxy.
[[nodiscard]] constexpr error connect_status_error(unsigned status) noexcept {
  switch (status) {
  case 401: // tinyproxy, for a wrong password
  case 407: return error::proxy_auth_failed;
  case 403:
  case 451: return error::proxy_denied;
  case 500:
  case 502:
  case 503:
  case 504: return error::origin_unreachable_via_proxy;
  default: return error::proxy_failed;
  }
}

/// The authentication schemes that a Proxy-Authenticate field offers (RFC 9110 11.6.1), as far as they matter.
struct offered_schemes {
  bool any = false;
  bool basic = false;

  /// Reads the value of one such field. `realm="a, Basic"` is a parameter; a scheme is a word that no `=` follows.
  void add(std::string_view value) noexcept {
    while (!value.empty()) {
      value.remove_prefix(std::min(value.find_first_not_of(" \t,"), value.size()));
      auto const word = value.substr(0, std::min(value.find_first_of(" \t,="), value.size()));
      auto const after = value.find_first_not_of(" \t", word.size());
      if (!word.empty() && (after == value.npos || value[after] != '=')) {
        any = true;
        basic = basic || boost::beast::iequals({word.data(), word.size()}, "basic");
      }
      auto quoted = false;
      std::size_t end = 0;
      for (; end < value.size() && (quoted || value[end] != ','); ++end) {
        if (value[end] == '"') {
          quoted = !quoted;
        } else if (quoted && value[end] == '\\') {
          ++end; // the next one stands for itself
        }
      }
      value.remove_prefix(std::min(end, value.size()));
    }
  }
};

/// HTTP CONNECT (RFC 9110 9.3.6). Reads replies that real proxies send and general parsers refuse: a bare LF, no
/// reason, body lengths that mean nothing here. Of a reply the status is looked at, and with a 407 what it offers.
class connect_fsm {
public:
  static constexpr std::size_t max_reply = 16 * 1024;

  /// `authority` is `host:port` of the origin. The credentials are sent when `show_login` says so.
  connect_fsm(std::string_view authority, proxy const& via, bool show_login = true) {
    output_.append("CONNECT ").append(authority).append(" HTTP/1.1\r\nHost: ").append(authority).append("\r\n");
    output_ += "User-Agent: rondo/" + std::to_string(RONDO_VERSION_MAJOR) + "." + std::to_string(RONDO_VERSION_MINOR) +
               "." + std::to_string(RONDO_VERSION_PATCH) + "\r\n";
    if (via.has_credentials && show_login) {
      append_credentials(via);
    }
    output_ += "\r\n";
  }
  connect_fsm(connect_fsm const&) = delete;
  connect_fsm& operator=(connect_fsm const&) = delete;
  ~connect_fsm() { OPENSSL_cleanse(output_.data(), output_.size()); }

  [[nodiscard]] tunnel_action resume(error_code ec, std::size_t n) {
    if (ec) {
      // once the refusal has been read, its details may be missing
      return tunnel_action::fail(state_ == state::challenge && ec != boost::asio::error::operation_aborted
                                     ? make_error_code(error::proxy_auth_failed)
                                     : tunnel_error(ec));
    }
    if (state_ == state::start) {
      state_ = state::writing;
      return tunnel_action::write(boost::asio::buffer(output_));
    }
    if (state_ == state::writing) {
      state_ = state::status_line;
      return tunnel_action::read(boost::asio::buffer(input_));
    }
    for (std::size_t i = 0; i < n; ++i) {
      if (auto const failed = take(input_[i])) {
        return tunnel_action::fail(failed);
      }
      if (state_ == state::established) {
        // a TLS server never speaks first: what follows the head would be injected by the proxy
        return i + 1 == n ? tunnel_action::done() : tunnel_action::fail(make_error_code(error::proxy_protocol));
      }
    }
    return tunnel_action::read(boost::asio::buffer(input_));
  }

  /// Whether the failure was a 407 that offers Basic.
  [[nodiscard]] bool asked_for_basic() const noexcept { return offered_.basic; }

private:
  enum class state : std::uint8_t { start, writing, status_line, fields, challenge, established };

  void append_credentials(proxy const& via) {
    auto plain = via.user + ":";
    plain.append(via.password.reveal());
    std::string encoded((plain.size() + 2) / 3 * 4 + 1, '\0'); // OpenSSL writes a zero at the end
    EVP_EncodeBlock(reinterpret_cast<unsigned char*>(encoded.data()),
                    reinterpret_cast<unsigned char const*>(plain.data()), static_cast<int>(plain.size()));
    encoded.pop_back();
    output_.reserve(output_.size() + encoded.size() + 40); // growing would leave unwiped copies behind
    output_.append("Proxy-Authorization: Basic ").append(encoded).append("\r\n");
    OPENSSL_cleanse(plain.data(), plain.size());
    OPENSSL_cleanse(encoded.data(), encoded.size());
  }

  error_code take(char c) {
    if (++received_ > max_reply) {
      return make_error_code(state_ == state::challenge ? error::proxy_auth_failed : error::proxy_reply_too_large);
    }
    if (state_ == state::challenge) {
      return take_challenge(c);
    }
    if (state_ == state::status_line) {
      if (c != '\n') {
        line_ += c;
        // what does not speak HTTP may never send a line end: do not wait for one
        constexpr std::string_view version = "HTTP/1.";
        auto const seen = std::min(line_.size(), version.size());
        return line_.compare(0, seen, version, 0, seen) == 0 ? error_code{} : make_error_code(error::proxy_protocol);
      }
      return take_status_line();
    }
    if (c == '\n') {
      if (line_.empty() || line_ == "\r") {
        state_ = informational_ ? state::status_line : state::established;
      }
      line_.clear();
    } else if (line_.size() < 2) {
      line_ += c; // only whether the line is empty matters
    }
    return {};
  }

  error_code take_status_line() {
    if (line_.ends_with('\r')) {
      line_.pop_back();
    }
    // "HTTP/1.x NNN", then nothing or a space and a reason
    auto const digit = [this](std::size_t at) { return line_[at] >= '0' && line_[at] <= '9'; };
    if (line_.size() < 12 || !digit(7) || line_[8] != ' ' || !digit(9) || !digit(10) || !digit(11) ||
        (line_.size() > 12 && line_[12] != ' ')) {
      return make_error_code(error::proxy_protocol);
    }
    auto const status = static_cast<unsigned>((line_[9] - '0') * 100 + (line_[10] - '0') * 10 + (line_[11] - '0'));
    line_.clear();
    if (status < 100 || status > 599 || status == 101) { // nobody asked for another protocol
      return make_error_code(error::proxy_protocol);
    }
    if (status == 407) {
      state_ = state::challenge;
      return {};
    }
    if (status >= 300) {
      return make_error_code(connect_status_error(status));
    }
    informational_ = status < 200;
    state_ = state::fields;
    return {};
  }

  /// The head of a 407, which is a failure in any case: it only has to be found out which.
  error_code take_challenge(char c) {
    if (c != '\n') {
      line_ += c;
      return {};
    }
    if (line_.ends_with('\r')) {
      line_.pop_back();
    }
    if (line_.empty()) {
      return make_error_code(offered_.any && !offered_.basic ? error::proxy_auth_unsupported
                                                             : error::proxy_auth_failed);
    }
    auto const line = std::string_view{line_};
    auto const colon = line.find(':');
    if (colon != line.npos && boost::beast::iequals(line.substr(0, colon), "proxy-authenticate")) {
      offered_.add(line.substr(colon + 1));
    }
    line_.clear();
    return {};
  }

  std::string output_;
  std::string line_;
  offered_schemes offered_;
  std::array<char, 1024> input_;
  std::size_t received_ = 0;
  bool informational_ = false;
  state state_ = state::start;
};

} // namespace rondo::http::detail
