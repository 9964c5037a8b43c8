// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/clock.hpp>

#include <openssl/ssl.h>

#include <chrono>
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

namespace rondo::http::detail {

/// TLS session tickets of one (origin, proxy) of one client. Each is used once: a ticket seen twice on the wire tells
/// an observer that both connections are ours (RFC 8446 C.4).
class session_store {
public:
  /// Makes the context hand new tickets to the store of their connection.
  static void prepare(SSL_CTX* context) {
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, [](SSL* ssl, SSL_SESSION* session) {
      auto* const store = static_cast<session_store*>(SSL_get_ex_data(ssl, index()));
      if (store == nullptr) {
        return 0; // not taken over
      }
      store->keep(session);
      return 1;
    });
  }

  /// Uses a kept ticket, if there is one, for a handshake that is about to begin, and collects the new ones.
  void attach(SSL* ssl, steady_time now) {
    last_used_ = now;
    SSL_set_ex_data(ssl, index(), this);
    if (!sessions_.empty()) {
      SSL_set_session(ssl, sessions_.back().get());
      sessions_.pop_back();
    }
  }

  /// Whether nothing worth keeping is left.
  [[nodiscard]] bool stale(steady_time now) const noexcept {
    return sessions_.empty() || now - last_used_ > std::chrono::minutes{10};
  }

private:
  struct session_free {
    void operator()(SSL_SESSION* s) const { SSL_SESSION_free(s); }
  };
  static constexpr std::size_t most = 4;

  static int index() {
    static int const value = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
    return value;
  }

  void keep(SSL_SESSION* session) {
    std::unique_ptr<SSL_SESSION, session_free> owned{session};
    if (sessions_.size() == most) {
      sessions_.erase(sessions_.begin());
    }
    sessions_.push_back(std::move(owned));
  }

  std::vector<std::unique_ptr<SSL_SESSION, session_free>> sessions_;
  steady_time last_used_;
};

} // namespace rondo::http::detail
