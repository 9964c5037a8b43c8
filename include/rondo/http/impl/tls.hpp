// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/error.hpp>
#include <rondo/http/detail/session_store.hpp>
#include <rondo/http/tls.hpp>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

namespace rondo::http {

namespace detail {

using key_digest = std::array<unsigned char, 32>;
using pin_list = std::vector<key_digest>;

[[nodiscard]] inline std::optional<key_digest> parse_pin(std::string_view text) {
  constexpr std::string_view prefix = "sha256//";
  if (text.starts_with(prefix)) {
    text.remove_prefix(prefix.size());
  }
  std::array<unsigned char, 33> decoded{};
  // 32 bytes are 43 characters and a filler, which decodes to a byte of zero
  if (text.size() != 44 || !text.ends_with('=') ||
      EVP_DecodeBlock(decoded.data(), reinterpret_cast<unsigned char const*>(text.data()), 44) != 33) {
    return std::nullopt;
  }
  key_digest digest{};
  std::copy_n(decoded.begin(), digest.size(), digest.begin());
  return digest;
}

/// Whether the public key of a certificate is pinned.
[[nodiscard]] inline bool is_pinned(X509* certificate, pin_list const& pins) {
  unsigned char* der = nullptr;
  auto const size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
  if (size <= 0) {
    return false;
  }
  key_digest digest{};
  auto const ok = EVP_Digest(der, static_cast<std::size_t>(size), digest.data(), nullptr, EVP_sha256(), nullptr) == 1;
  OPENSSL_free(der);
  return ok && std::find(pins.begin(), pins.end(), digest) != pins.end();
}

/// Verifies as ever, and then looks for a pinned key in the chain.
inline int verify_pinned(X509_STORE_CTX* store, void* pins) {
  if (X509_verify_cert(store) != 1) {
    return 0;
  }
  auto* const chain = X509_STORE_CTX_get0_chain(store);
  for (int i = 0; i < sk_X509_num(chain); ++i) {
    if (is_pinned(sk_X509_value(chain, i), *static_cast<pin_list const*>(pins))) {
      return 1;
    }
  }
  X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
  return 0;
}

/// Gives a context pins, which live as long as it does.
[[nodiscard]] inline bool set_pins(SSL_CTX* context, std::unique_ptr<pin_list> pins) {
  static int const index =
      SSL_CTX_get_ex_new_index(0, nullptr, nullptr, nullptr, [](void*, void* owned, CRYPTO_EX_DATA*, int, long, void*) {
        delete static_cast<pin_list*>(owned);
      });
  if (SSL_CTX_set_ex_data(context, index, pins.get()) != 1) {
    return false;
  }
  SSL_CTX_set_cert_verify_callback(context, &verify_pinned, pins.release());
  return true;
}

[[nodiscard]] inline bool load_revocations(SSL_CTX* context, std::string const& file) {
  auto* const store = SSL_CTX_get_cert_store(context);
  auto* const lookup = X509_STORE_add_lookup(store, X509_LOOKUP_file());
  return lookup != nullptr && X509_load_crl_file(lookup, file.c_str(), X509_FILETYPE_PEM) > 0 &&
         X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK) == 1;
}

/// What holds for every connection, whatever its context says.
inline void harden(SSL* ssl) {
  constexpr int least = 2; // 112 bits: RSA of 2048, no SHA-1
  if (SSL_get_security_level(ssl) < least) {
    SSL_set_security_level(ssl, least);
  }
  if (auto* const context = SSL_get_SSL_CTX(ssl); SSL_CTX_get_keylog_callback(context) != nullptr) {
    SSL_CTX_set_keylog_callback(context, nullptr);
  }
}

/// Whether a server chose the protocol that we speak, or none.
[[nodiscard]] inline bool speaks_http11(SSL const* ssl) noexcept {
  unsigned char const* name = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(ssl, &name, &size);
  return size == 0 || std::string_view{reinterpret_cast<char const*>(name), size} == "http/1.1";
}

/// What the certificate had to do with a handshake that failed.
[[nodiscard]] inline error handshake_error(SSL const* ssl) noexcept {
  switch (SSL_get_verify_result(ssl)) {
  case X509_V_OK: return error::tls_handshake_failed;
  case X509_V_ERR_APPLICATION_VERIFICATION: return error::certificate_not_pinned;
  default: return error::certificate_rejected;
  }
}
/// The same for the TLS with a proxy.
[[nodiscard]] inline error proxy_handshake_error(SSL const* ssl) noexcept {
  return SSL_get_verify_result(ssl) == X509_V_OK ? error::proxy_tls_failed : error::proxy_certificate_rejected;
}

} // namespace detail

RONDO_DECL boost::system::result<std::shared_ptr<boost::asio::ssl::context>>
make_tls_context(tls_options const& options) {
  auto context = std::make_shared<boost::asio::ssl::context>(boost::asio::ssl::context::tls_client);
  auto* const native = context->native_handle();
  boost::system::error_code ec;
  if (options.ca_file.empty()) {
    context->set_default_verify_paths(ec);
  } else {
    context->load_verify_file(options.ca_file, ec);
  }
  if (!ec && !options.certificate_file.empty()) {
    auto const& key = options.key_file.empty() ? options.certificate_file : options.key_file;
    // an encrypted key must not make OpenSSL ask at the terminal
    context->set_password_callback(
        [](std::size_t, boost::asio::ssl::context::password_purpose) { return std::string{}; }, ec);
    if (SSL_CTX_use_certificate_chain_file(native, options.certificate_file.c_str()) != 1 ||
        SSL_CTX_use_PrivateKey_file(native, key.c_str(), SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(native) != 1) {
      ec = error::invalid_trust;
    }
  }
  auto const bad_list = !ec && !options.crl_file.empty() && !detail::load_revocations(native, options.crl_file);
  auto bad_pin = false;
  if (!options.pins.empty()) {
    auto pins = std::make_unique<detail::pin_list>();
    for (auto const& text : options.pins) {
      auto const pin = detail::parse_pin(text);
      bad_pin = bad_pin || !pin;
      pins->push_back(pin.value_or(detail::key_digest{}));
    }
    bad_pin = bad_pin || !detail::set_pins(native, std::move(pins));
  }
  if (ec || bad_list || bad_pin) {
    return make_error_code(error::invalid_trust);
  }
  detail::session_store::prepare(native);
  return context;
}

} // namespace rondo::http
