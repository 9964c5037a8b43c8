// SPDX-License-Identifier: BSL-1.0
// Certificates for tests, made at run time: nothing in the repository expires.
#pragma once

#include <boost/asio/buffer.hpp>
#include <boost/asio/ssl/context.hpp>

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace rondo::test {

namespace detail {

struct openssl_free {
  void operator()(EVP_PKEY* p) const { EVP_PKEY_free(p); }
  void operator()(X509* p) const { X509_free(p); }
  void operator()(X509_EXTENSION* p) const { X509_EXTENSION_free(p); }
  void operator()(BIO* p) const { BIO_free(p); }
  void operator()(X509_CRL* p) const { X509_CRL_free(p); }
  void operator()(ASN1_TIME* p) const { ASN1_TIME_free(p); }
  void operator()(GENERAL_NAMES* p) const { GENERAL_NAMES_free(p); }
};
template <class T> using openssl_ptr = std::unique_ptr<T, openssl_free>;

inline void check(bool ok) {
  if (!ok) {
    throw std::runtime_error{"OpenSSL failed to make a test certificate"};
  }
}

inline std::string text_of(BIO* bio) {
  char* data = nullptr;
  auto const size = BIO_get_mem_data(bio, &data);
  return {data, static_cast<std::size_t>(size)};
}

inline std::string to_pem(X509* certificate) {
  openssl_ptr<BIO> const bio{BIO_new(BIO_s_mem())};
  check(PEM_write_bio_X509(bio.get(), certificate) == 1);
  return text_of(bio.get());
}

inline std::string to_pem(EVP_PKEY* key) {
  openssl_ptr<BIO> const bio{BIO_new(BIO_s_mem())};
  check(PEM_write_bio_PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) == 1);
  return text_of(bio.get());
}

inline openssl_ptr<X509> read_certificate(std::string const& pem) {
  openssl_ptr<BIO> const bio{BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()))};
  openssl_ptr<X509> certificate{PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)};
  check(certificate != nullptr);
  return certificate;
}

/// Adds one DNS name as it is, whatever its bytes.
inline void add_raw_name(X509* certificate, std::string const& name) {
  openssl_ptr<GENERAL_NAMES> const names{sk_GENERAL_NAME_new_null()};
  auto* const entry = GENERAL_NAME_new();
  auto* const text = ASN1_IA5STRING_new();
  check(ASN1_STRING_set(text, name.data(), static_cast<int>(name.size())) == 1);
  GENERAL_NAME_set0_value(entry, GEN_DNS, text);
  check(sk_GENERAL_NAME_push(names.get(), entry) > 0 &&
        X509_add1_ext_i2d(certificate, NID_subject_alt_name, names.get(), 0, X509V3_ADD_DEFAULT) == 1);
}

inline void add_extension(X509* certificate, X509* issuer, int nid, std::string const& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  openssl_ptr<X509_EXTENSION> const extension{X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str())};
  check(extension && X509_add_ext(certificate, extension.get(), -1) == 1);
}

} // namespace detail

/// A server's certificate (its own first, then the chain) and private key, both PEM.
struct identity {
  std::string certificate;
  std::string key;
};

/// What a leaf certificate says.
struct leaf_params {
  std::vector<std::string> alternative_names = {"DNS:localhost", "IP:127.0.0.1", "IP:::1"}; ///< may be empty
  std::string common_name = "rondo test server";
  std::chrono::seconds not_before = -std::chrono::hours{1}; ///< counted from now
  std::chrono::seconds not_after = std::chrono::hours{24};  ///< counted from now
  std::string extended_usage = "serverAuth";
  std::string raw_name{}; ///< a DNS name instead of the alternative names, taken byte by byte
  bool weak = false;      ///< an RSA key of 1024 bits
  bool with_chain = true; ///< whether the certificate of an intermediate authority comes along
};

/// What a pin of the first certificate's key looks like.
inline std::string pin_of(std::string const& pem) {
  auto const certificate = detail::read_certificate(pem);
  unsigned char* der = nullptr;
  auto const size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate.get()), &der);
  detail::check(size > 0);
  unsigned char digest[32];
  unsigned char text[45];
  EVP_Digest(der, static_cast<std::size_t>(size), digest, nullptr, EVP_sha256(), nullptr);
  OPENSSL_free(der);
  EVP_EncodeBlock(text, digest, sizeof(digest));
  return reinterpret_cast<char const*>(text);
}

/// A certificate authority that lives as long as a test.
class authority {
public:
  explicit authority(std::string const& name = "rondo test authority") : key_{EVP_EC_gen("P-256")} {
    detail::check(key_ != nullptr);
    certificate_ = start(name, std::chrono::hours{-24}, std::chrono::hours{48}, key_.get());
    X509_set_issuer_name(certificate_.get(), X509_get_subject_name(certificate_.get()));
    detail::add_extension(certificate_.get(), certificate_.get(), NID_basic_constraints, "critical,CA:TRUE");
    detail::add_extension(certificate_.get(), certificate_.get(), NID_key_usage, "critical,keyCertSign,cRLSign");
    detail::check(X509_sign(certificate_.get(), key_.get(), EVP_sha256()) > 0);
  }

  /// An intermediate one.
  authority(std::string const& name, authority const& above) : key_{EVP_EC_gen("P-256")} {
    detail::check(key_ != nullptr);
    certificate_ = start(name, std::chrono::hours{-24}, std::chrono::hours{48}, key_.get());
    X509_set_issuer_name(certificate_.get(), X509_get_subject_name(above.certificate_.get()));
    detail::add_extension(certificate_.get(), above.certificate_.get(), NID_basic_constraints, "critical,CA:TRUE");
    detail::add_extension(certificate_.get(), above.certificate_.get(), NID_key_usage, "critical,keyCertSign,cRLSign");
    detail::check(X509_sign(certificate_.get(), above.key_.get(), EVP_sha256()) > 0);
    chain_ = certificate() + above.chain_;
  }

  /// The authority's own certificate, PEM: what a client is told to trust.
  [[nodiscard]] std::string certificate() const { return detail::to_pem(certificate_.get()); }

  [[nodiscard]] identity issue(leaf_params const& p = {}) const {
    detail::openssl_ptr<EVP_PKEY> const key{p.weak ? EVP_RSA_gen(1024) : EVP_EC_gen("P-256")};
    detail::check(key != nullptr);
    auto const leaf = unsigned_leaf(p, key.get());
    X509_set_issuer_name(leaf.get(), X509_get_subject_name(certificate_.get()));
    detail::check(X509_sign(leaf.get(), key_.get(), EVP_sha256()) > 0);
    return {detail::to_pem(leaf.get()) + (p.with_chain ? chain_ : ""), detail::to_pem(key.get())};
  }

  /// A certificate that nobody but its own key vouches for.
  [[nodiscard]] static identity self_signed(leaf_params const& p = {}) {
    detail::openssl_ptr<EVP_PKEY> const key{EVP_EC_gen("P-256")};
    detail::check(key != nullptr);
    auto const leaf = unsigned_leaf(p, key.get());
    X509_set_issuer_name(leaf.get(), X509_get_subject_name(leaf.get()));
    detail::check(X509_sign(leaf.get(), key.get(), EVP_sha256()) > 0);
    return {detail::to_pem(leaf.get()), detail::to_pem(key.get())};
  }

  /// The list of what was revoked, PEM.
  [[nodiscard]] std::string revocation_list(std::vector<identity> const& revoked) const {
    detail::openssl_ptr<X509_CRL> const list{X509_CRL_new()};
    detail::openssl_ptr<ASN1_TIME> const before{X509_gmtime_adj(nullptr, -3600)};
    detail::openssl_ptr<ASN1_TIME> const after{X509_gmtime_adj(nullptr, 24 * 3600)};
    X509_CRL_set_version(list.get(), X509_CRL_VERSION_2);
    X509_CRL_set_issuer_name(list.get(), X509_get_subject_name(certificate_.get()));
    X509_CRL_set1_lastUpdate(list.get(), before.get());
    X509_CRL_set1_nextUpdate(list.get(), after.get());
    for (auto const& who : revoked) {
      auto const certificate = detail::read_certificate(who.certificate);
      auto* const entry = X509_REVOKED_new();
      X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(certificate.get()));
      X509_REVOKED_set_revocationDate(entry, before.get());
      detail::check(X509_CRL_add0_revoked(list.get(), entry) == 1);
    }
    X509_CRL_sort(list.get());
    detail::check(X509_CRL_sign(list.get(), key_.get(), EVP_sha256()) > 0);
    detail::openssl_ptr<BIO> const bio{BIO_new(BIO_s_mem())};
    detail::check(PEM_write_bio_X509_CRL(bio.get(), list.get()) == 1);
    return detail::text_of(bio.get());
  }

private:
  static detail::openssl_ptr<X509> unsigned_leaf(leaf_params const& p, EVP_PKEY* key) {
    auto leaf = start(p.common_name, p.not_before, p.not_after, key);
    detail::add_extension(leaf.get(), leaf.get(), NID_basic_constraints, "critical,CA:FALSE");
    if (!p.extended_usage.empty()) {
      detail::add_extension(leaf.get(), leaf.get(), NID_ext_key_usage, p.extended_usage);
    }
    std::string names;
    for (auto const& name : p.alternative_names) {
      names += (names.empty() ? "" : ",") + name;
    }
    if (!p.raw_name.empty()) {
      detail::add_raw_name(leaf.get(), p.raw_name);
    } else if (!names.empty()) {
      detail::add_extension(leaf.get(), leaf.get(), NID_subject_alt_name, names);
    }
    return leaf;
  }

  static detail::openssl_ptr<X509> start(std::string const& name, std::chrono::seconds from, std::chrono::seconds to,
                                         EVP_PKEY* key) {
    static long serial = 1000;
    detail::openssl_ptr<X509> certificate{X509_new()};
    detail::check(certificate != nullptr);
    X509_set_version(certificate.get(), X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(certificate.get()), static_cast<long>(from.count()));
    X509_gmtime_adj(X509_getm_notAfter(certificate.get()), static_cast<long>(to.count()));
    X509_set_pubkey(certificate.get(), key);
    detail::check(X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate.get()), "CN", MBSTRING_UTF8,
                                             reinterpret_cast<unsigned char const*>(name.c_str()), -1, -1, 0) == 1);
    return certificate;
  }

  detail::openssl_ptr<EVP_PKEY> key_;
  detail::openssl_ptr<X509> certificate_;
  std::string chain_; ///< what a server sends beside its own certificate: nothing of a root
};

/// A TLS context for a server that shows `who`.
[[nodiscard]] inline boost::asio::ssl::context server_context(identity const& who) {
  boost::asio::ssl::context context{boost::asio::ssl::context::tls_server};
  SSL_CTX_set_security_level(context.native_handle(), 0); // it shows what it has, weak or not
  context.use_certificate_chain(boost::asio::buffer(who.certificate));
  context.use_private_key(boost::asio::buffer(who.key), boost::asio::ssl::context::pem);
  return context;
}

} // namespace rondo::test
