// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/http/detail/tunnel.hpp>
#include <rondo/http/proxy.hpp>

#include <boost/asio/ip/address.hpp>

#include <openssl/crypto.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace rondo::http::detail {

/// Where a SOCKS proxy shall connect to: an address, or a name that the proxy resolves.
struct socks_destination {
  std::string_view name; ///< used when there is no address; must outlive the machine's constructor only
  std::optional<boost::asio::ip::address> address;
  std::uint16_t port = 0;
};

namespace socks {

inline void append_port(std::string& out, std::uint16_t port) {
  out += static_cast<char>(port >> 8);
  out += static_cast<char>(port & 0xff);
}

template <class Bytes> void append_bytes(std::string& out, Bytes const& bytes) {
  for (auto const byte : bytes) {
    out += static_cast<char>(byte);
  }
}

} // namespace socks

/// The error that a reply code of SOCKS 5 stands for (RFC 1928 6); not for 0.
[[nodiscard]] constexpr error socks5_reply_error(std::uint8_t reply) noexcept {
  switch (reply) {
  case 1: return error::proxy_failed; // general failure; microsocks says it for a name it cannot resolve, too
  case 2: return error::proxy_denied;
  case 3:                                             // network unreachable
  case 4:                                             // host unreachable
  case 5:                                             // connection refused
  case 6: return error::origin_unreachable_via_proxy; // TTL expired
  case 7:                                             // command not supported
  case 8: return error::proxy_failed;                 // address type not supported
  default: return error::proxy_protocol;
  }
}

/// SOCKS 5 (RFC 1928) with or without user and password (RFC 1929).
class socks5_fsm {
public:
  socks5_fsm(socks_destination const& to, proxy const& via) : has_credentials_{via.has_credentials} {
    if (has_credentials_) {
      auto const password = via.password.reveal();
      if (via.user.empty() || via.user.size() > 255 || password.empty() || password.size() > 255) {
        refused_ = make_error_code(error::invalid_credentials);
        return;
      }
      login_.reserve(3 + via.user.size() + password.size()); // growing would leave unwiped copies behind
      login_ += '\x01';
      login_ += static_cast<char>(via.user.size());
      login_ += via.user;
      login_ += static_cast<char>(password.size());
      login_.append(password);
    }
    request_.assign("\x05\x01\x00", 3);
    if (to.address && to.address->is_v4()) {
      request_ += '\x01';
      socks::append_bytes(request_, to.address->to_v4().to_bytes());
    } else if (to.address) {
      request_ += '\x04';
      socks::append_bytes(request_, to.address->to_v6().to_bytes());
    } else if (to.name.empty() || to.name.size() > 255) {
      refused_ = make_error_code(error::name_too_long);
      return;
    } else {
      request_ += '\x03';
      request_ += static_cast<char>(to.name.size());
      request_.append(to.name);
    }
    socks::append_port(request_, to.port);
  }
  socks5_fsm(socks5_fsm const&) = delete;
  socks5_fsm& operator=(socks5_fsm const&) = delete;
  ~socks5_fsm() { OPENSSL_cleanse(login_.data(), login_.size()); }

  [[nodiscard]] tunnel_action resume(error_code ec, std::size_t n) {
    if (refused_ || ec) {
      return tunnel_action::fail(refused_ ? refused_ : tunnel_error(ec));
    }
    switch (state_) {
    case state::start:
      state_ = state::greeting;
      return tunnel_action::write(has_credentials_ ? boost::asio::buffer("\x05\x02\x00\x02", 4)
                                                   : boost::asio::buffer("\x05\x01\x00", 3));
    case state::greeting: return expect(state::method, 2);
    case state::login: return expect(state::login_reply, 2);
    case state::request: return expect(state::reply, 4);
    default: break;
    }
    have_ += n;
    if (input_[0] != (state_ == state::login_reply ? 1 : 5)) {
      return fail(error::proxy_protocol);
    }
    if (have_ >= 2) {
      if (state_ == state::method) {
        return take_method();
      }
      if (input_[1] != 0) { // a refusal may end here, whatever length it should have
        return fail(state_ == state::login_reply ? error::proxy_auth_failed : socks5_reply_error(input_[1]));
      }
      if (state_ == state::login_reply) {
        return send(state::request, request_);
      }
    }
    // the reply has the length of its own address, which no one needs but everyone must read
    if (state_ == state::reply && have_ == 4) {
      switch (input_[3]) {
      case 1: need_ = 4 + 4 + 2; break;
      case 4: need_ = 4 + 16 + 2; break;
      case 3: need_ = 4 + 1; break;
      default: return fail(error::proxy_protocol);
      }
    } else if (state_ == state::reply && have_ == 5 && input_[3] == 3) {
      need_ = 4 + 1 + std::size_t{input_[4]} + 2;
    }
    return have_ == need_ ? tunnel_action::done() : more();
  }

private:
  enum class state : std::uint8_t { start, greeting, method, login, login_reply, request, reply };

  tunnel_action take_method() {
    switch (input_[1]) {
    case 0: return send(state::request, request_);
    case 2: return has_credentials_ ? send(state::login, login_) : fail(error::proxy_protocol); // was not offered
    case 0xff: return fail(has_credentials_ ? error::proxy_auth_unsupported : error::proxy_auth_failed);
    default: return fail(error::proxy_protocol);
    }
  }

  tunnel_action send(state next, std::string const& bytes) {
    state_ = next;
    return tunnel_action::write(boost::asio::buffer(bytes));
  }
  tunnel_action expect(state next, std::size_t bytes) {
    state_ = next;
    have_ = 0;
    need_ = bytes;
    return more();
  }
  // never asks for more than the reply holds: what follows belongs to the origin
  tunnel_action more() { return tunnel_action::read(boost::asio::buffer(input_.data() + have_, need_ - have_)); }
  static tunnel_action fail(error e) { return tunnel_action::fail(make_error_code(e)); }

  bool has_credentials_;
  state state_ = state::start;
  error_code refused_;
  std::string login_;
  std::string request_;
  std::array<std::uint8_t, 4 + 1 + 255 + 2> input_;
  std::size_t have_ = 0;
  std::size_t need_ = 0;
};

/// SOCKS 4 (with an address) and 4A (with a name).
class socks4_fsm {
public:
  socks4_fsm(socks_destination const& to, proxy const& via) {
    if (to.address && !to.address->is_v4()) {
      refused_ = make_error_code(error::origin_unreachable_via_proxy); // the protocol knows IPv4 only
      return;
    }
    if (!to.address && (to.name.empty() || to.name.size() > 255)) {
      refused_ = make_error_code(error::name_too_long);
      return;
    }
    request_.assign("\x04\x01", 2);
    socks::append_port(request_, to.port);
    if (to.address) {
      socks::append_bytes(request_, to.address->to_v4().to_bytes());
    } else {
      request_.append("\0\0\0\x01", 4); // no address: a name follows the user
    }
    request_.append(via.user).append(1, '\0');
    if (!to.address) {
      request_.append(to.name).append(1, '\0');
    }
  }
  socks4_fsm(socks4_fsm const&) = delete;
  socks4_fsm& operator=(socks4_fsm const&) = delete;

  [[nodiscard]] tunnel_action resume(error_code ec, std::size_t n) {
    if (refused_ || ec) {
      return tunnel_action::fail(refused_ ? refused_ : tunnel_error(ec));
    }
    if (state_ == state::start) {
      state_ = state::request;
      return tunnel_action::write(boost::asio::buffer(request_));
    }
    if (state_ == state::request) {
      state_ = state::reply;
      return tunnel_action::read(boost::asio::buffer(input_));
    }
    have_ += n;
    if (have_ >= 1 && input_[0] != 0) {
      return tunnel_action::fail(make_error_code(error::proxy_protocol));
    }
    if (have_ >= 2 && input_[1] != 0x5a) {
      return tunnel_action::fail(make_error_code(reply_error(input_[1])));
    }
    return have_ == input_.size()
               ? tunnel_action::done()
               : tunnel_action::read(boost::asio::buffer(input_.data() + have_, input_.size() - have_));
  }

private:
  enum class state : std::uint8_t { start, request, reply };

  static constexpr error reply_error(std::uint8_t reply) noexcept {
    switch (reply) {
    case 0x5b: return error::origin_unreachable_via_proxy; // rejected or failed: the one code for a dead origin, too
    case 0x5c:
    case 0x5d: return error::proxy_auth_failed;
    default: return error::proxy_protocol;
    }
  }

  error_code refused_;
  std::string request_;
  std::array<std::uint8_t, 8> input_;
  std::size_t have_ = 0;
  state state_ = state::start;
};

} // namespace rondo::http::detail
