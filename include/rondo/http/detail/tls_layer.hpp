// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/error.hpp>

#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/system/error_code.hpp>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <memory>
#include <new>

namespace rondo::http::detail {

namespace asio = boost::asio;

/// What a step of TLS has come to.
struct tls_step {
  enum class kind { done, wants_read, wants_write, failed };
  kind what = kind::done;
  std::size_t n = 0; ///< bytes of a finished step
  error_code ec;     ///< of a failed one
};

/// TLS over a socket that does not block, or over another layer, with nothing between: OpenSSL reads from it and writes
/// to it, and keeps no buffers while nothing is under way. It never waits; whoever drives it does.
///
/// `asio::ssl::stream` would keep two buffers of 17 KB for each connection, beside the two of its BIO pair.
class tls_layer {
public:
  tls_layer(asio::ip::tcp::socket& socket, asio::ssl::context& context) : tls_layer{&socket, nullptr, context} {}
  /// Inside another one, which must outlive it.
  tls_layer(tls_layer& below, asio::ssl::context& context) : tls_layer{nullptr, &below, context} {}
  tls_layer(tls_layer const&) = delete;
  tls_layer& operator=(tls_layer const&) = delete;

  [[nodiscard]] SSL* native_handle() noexcept { return ssl_.get(); }

  /// Whether something was received that nobody has read.
  [[nodiscard]] bool pending() const noexcept { return SSL_has_pending(ssl_.get()) == 1; }

  [[nodiscard]] tls_step handshake() noexcept {
    forget_errors();
    return judge(SSL_do_handshake(ssl_.get()), 0);
  }

  [[nodiscard]] tls_step read(asio::mutable_buffer space) noexcept {
    forget_errors();
    std::size_t n = 0;
    auto const result = SSL_read_ex(ssl_.get(), space.data(), space.size(), &n);
    return judge(result, n);
  }

  [[nodiscard]] tls_step write(asio::const_buffer bytes) noexcept {
    forget_errors();
    std::size_t n = 0;
    auto const result = SSL_write_ex(ssl_.get(), bytes.data(), bytes.size(), &n);
    return judge(result, n);
  }

private:
  /// What others of this thread have left behind would be taken for ours.
  static void forget_errors() noexcept {
    if (ERR_peek_error() != 0) { // most often there is nothing, and to clear costs more than to look
      ERR_clear_error();
    }
    errno = 0;
  }

  tls_layer(asio::ip::tcp::socket* socket, tls_layer* below, asio::ssl::context& context)
      : socket_{socket}, below_{below}, ssl_{SSL_new(context.native_handle())} {
    auto* const bio = ssl_ ? BIO_new(method()) : nullptr;
    if (bio == nullptr) {
      throw std::bad_alloc{};
    }
    BIO_set_data(bio, this);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl_.get(), bio, bio);
    SSL_set_mode(ssl_.get(),
                 SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_set_read_ahead(ssl_.get(), 1); // a record with one system call instead of two
    SSL_set_connect_state(ssl_.get());
  }

  struct ssl_free {
    void operator()(SSL* s) const noexcept { SSL_free(s); }
  };

  [[nodiscard]] tls_step judge(int result, std::size_t n) noexcept {
    using kind = tls_step::kind;
    auto const system_error = errno;
    if (result == 1) {
      return {kind::done, n, {}};
    }
    switch (SSL_get_error(ssl_.get(), result)) {
    case SSL_ERROR_WANT_READ: return {wanted_ = below_ ? below_->wanted_ : kind::wants_read, 0, {}};
    case SSL_ERROR_WANT_WRITE: return {wanted_ = below_ ? below_->wanted_ : kind::wants_write, 0, {}};
    case SSL_ERROR_ZERO_RETURN: return {kind::failed, 0, asio::error::eof};
    case SSL_ERROR_SYSCALL:
      return {kind::failed, 0,
              system_error != 0 ? error_code{system_error, boost::system::system_category()}
                                : error_code{asio::ssl::error::stream_truncated}};
    default: break;
    }
    auto const why = ERR_get_error();
    if (ERR_GET_LIB(why) == ERR_LIB_SSL && ERR_GET_REASON(why) == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
      return {kind::failed, 0, asio::ssl::error::stream_truncated};
    }
    return {kind::failed, 0, error_code{static_cast<int>(why), asio::error::get_ssl_category()}};
  }

  // OpenSSL's own BIO for sockets would raise SIGPIPE, and would go on with the number of a socket that was closed.

  static tls_layer& owner_of(BIO* bio) noexcept { return *static_cast<tls_layer*>(BIO_get_data(bio)); }

  static int receive(BIO* bio, char* to, std::size_t size, std::size_t* n) noexcept {
    auto& self = owner_of(bio);
    BIO_clear_retry_flags(bio);
    BIO_clear_flags(bio, BIO_FLAGS_IN_EOF);
    auto const got =
        self.below_ ? pass(self.below_->read({to, size})) : ::recv(self.socket_->native_handle(), to, size, 0);
    *n = got > 0 ? static_cast<std::size_t>(got) : 0;
    if (got == 0) {
      errno = 0; // of an earlier call
      BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
    } else if (got < 0 && is_retry(errno)) {
      BIO_set_retry_read(bio);
    }
    return got > 0 ? 1 : 0;
  }

  static int send(BIO* bio, char const* from, std::size_t size, std::size_t* n) noexcept {
    auto& self = owner_of(bio);
    BIO_clear_retry_flags(bio);
    auto const sent = self.below_ ? pass(self.below_->write({from, size}))
                                  : ::send(self.socket_->native_handle(), from, size, MSG_NOSIGNAL);
    *n = sent > 0 ? static_cast<std::size_t>(sent) : 0;
    if (sent < 0 && is_retry(errno)) {
      BIO_set_retry_write(bio);
    }
    return sent > 0 ? 1 : 0;
  }

  /// A step as the system would tell it to the layer above.
  [[nodiscard]] static ssize_t pass(tls_step const& step) noexcept {
    using kind = tls_step::kind;
    switch (step.what) {
    case kind::done: return static_cast<ssize_t>(step.n);
    case kind::wants_read:
    case kind::wants_write: errno = EAGAIN; return -1;
    case kind::failed: break;
    }
    if (step.ec == asio::error::eof) {
      return 0;
    }
    errno = step.ec.category() == boost::system::system_category() ? step.ec.value() : ECONNRESET;
    return -1;
  }

  static bool is_retry(int system_error) noexcept {
    return system_error == EAGAIN || system_error == EWOULDBLOCK || system_error == EINTR;
  }

  static long control(BIO* bio, int command, long, void*) noexcept {
    switch (command) {
    case BIO_CTRL_FLUSH: return 1;
    case BIO_CTRL_EOF: return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0 ? 1 : 0;
    default: return 0;
    }
  }

  static BIO_METHOD const* method() {
    static BIO_METHOD const* const value = [] {
      auto* const m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK | BIO_TYPE_DESCRIPTOR, "rondo socket");
      if (m == nullptr) {
        throw std::bad_alloc{};
      }
      BIO_meth_set_read_ex(m, &receive);
      BIO_meth_set_write_ex(m, &send);
      BIO_meth_set_ctrl(m, &control);
      return m;
    }();
    return value;
  }

  asio::ip::tcp::socket* socket_; ///< or another layer
  tls_layer* below_;
  tls_step::kind wanted_ = tls_step::kind::wants_read; ///< what it waited for last
  std::unique_ptr<SSL, ssl_free> ssl_;
};

} // namespace rondo::http::detail
