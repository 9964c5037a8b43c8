// SPDX-License-Identifier: BSL-1.0
#include "certificate.hpp"

#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <fcntl.h>

#include <cstdint>
#include <ctime>
#include <filesystem>
#include <memory>
#include <stdexcept>

namespace sim {

namespace {

template <auto Free> struct freed_by {
  template <class T> void operator()(T* p) const noexcept { Free(p); }
};
using key_ptr = std::unique_ptr<EVP_PKEY, freed_by<EVP_PKEY_free>>;
using cert_ptr = std::unique_ptr<X509, freed_by<X509_free>>;
using bio_ptr = std::unique_ptr<BIO, freed_by<BIO_free>>;
using extension_ptr = std::unique_ptr<X509_EXTENSION, freed_by<X509_EXTENSION_free>>;

void require(bool ok, char const* what) {
  if (!ok) {
    throw std::runtime_error{std::string{"certificate: "} + what};
  }
}

constexpr long day = 86'400;

cert_ptr blank(EVP_PKEY* key, char const* common_name) {
  cert_ptr cert{X509_new()};
  require(cert != nullptr, "out of memory");
  std::uint32_t serial = 0;
  require(RAND_bytes(reinterpret_cast<unsigned char*>(&serial), sizeof serial) == 1, "no random numbers");
  X509_set_version(cert.get(), X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(cert.get()), static_cast<long>(serial) + 1);
  X509_gmtime_adj(X509_getm_notBefore(cert.get()), -day); // clocks of containers differ
  X509_gmtime_adj(X509_getm_notAfter(cert.get()), 365 * day);
  X509_set_pubkey(cert.get(), key);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(cert.get()), "CN", MBSTRING_ASC,
                             reinterpret_cast<unsigned char const*>(common_name), -1, -1, 0);
  return cert;
}

void extend(X509* cert, X509* issuer, int nid, char const* value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, cert, nullptr, nullptr, 0);
  extension_ptr const extension{X509V3_EXT_conf_nid(nullptr, &context, nid, value)};
  require(extension && X509_add_ext(cert, extension.get(), -1) == 1, "an extension is not accepted");
}

bio_ptr open_for_writing(std::filesystem::path const& path, unsigned mode) {
  int const fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
  require(fd >= 0, ("cannot write " + path.string()).c_str());
  return bio_ptr{BIO_new_fd(fd, BIO_CLOSE)};
}

void write(std::filesystem::path const& path, X509* cert) {
  auto const file = open_for_writing(path, 0644);
  require(file && PEM_write_bio_X509(file.get(), cert) == 1, "cannot write a certificate");
}

bool is_usable(std::filesystem::path const& path) {
  bio_ptr const file{BIO_new_file(path.c_str(), "r")};
  cert_ptr const cert{file ? PEM_read_bio_X509(file.get(), nullptr, nullptr, nullptr) : nullptr};
  if (!cert) {
    return false;
  }
  std::time_t tomorrow = std::time(nullptr) + day;
  return X509_cmp_time(X509_get0_notAfter(cert.get()), &tomorrow) > 0;
}

} // namespace

void ensure_certificate(std::string const& directory) {
  std::filesystem::path const dir{directory};
  if (std::filesystem::exists(dir / "private_key.pem") && is_usable(dir / "certificate.pem") &&
      is_usable(dir / "ca.pem")) {
    return;
  }
  std::filesystem::create_directories(dir);

  key_ptr const ca_key{EVP_EC_gen("P-256")};
  key_ptr const key{EVP_EC_gen("P-256")};
  require(ca_key && key, "no key could be made");

  auto const ca = blank(ca_key.get(), "rondo-provider authority");
  X509_set_issuer_name(ca.get(), X509_get_subject_name(ca.get()));
  extend(ca.get(), ca.get(), NID_basic_constraints, "critical,CA:TRUE,pathlen:0");
  extend(ca.get(), ca.get(), NID_key_usage, "critical,keyCertSign,cRLSign");
  extend(ca.get(), ca.get(), NID_subject_key_identifier, "hash");
  require(X509_sign(ca.get(), ca_key.get(), EVP_sha256()) > 0, "cannot sign");

  auto const leaf = blank(key.get(), "localhost");
  X509_set_issuer_name(leaf.get(), X509_get_subject_name(ca.get()));
  extend(leaf.get(), ca.get(), NID_basic_constraints, "critical,CA:FALSE");
  extend(leaf.get(), ca.get(), NID_key_usage, "critical,digitalSignature");
  extend(leaf.get(), ca.get(), NID_ext_key_usage, "serverAuth");
  extend(leaf.get(), ca.get(), NID_subject_key_identifier, "hash");
  extend(leaf.get(), ca.get(), NID_authority_key_identifier, "keyid:always");
  extend(leaf.get(), ca.get(), NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1,IP:::1");
  require(X509_sign(leaf.get(), ca_key.get(), EVP_sha256()) > 0, "cannot sign");

  auto const file = open_for_writing(dir / "private_key.pem", 0600);
  require(file && PEM_write_bio_PrivateKey(file.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) == 1,
          "cannot write a private key");
  write(dir / "certificate.pem", leaf.get());
  write(dir / "ca.pem", ca.get());
}

} // namespace sim
