// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/http/detail/config.hpp>

#include <boost/asio/ssl/context.hpp>
#include <boost/system/result.hpp>

#include <memory>
#include <string>
#include <vector>

namespace rondo::http {

/// Whom a client trusts, and who it is. All files are PEM.
struct tls_options {
  std::string ca_file{};          ///< trusted authorities; empty = those of the system
  std::string certificate_file{}; ///< the client's own certificate and its chain, for servers that ask; empty = none
  std::string key_file{};         ///< the key of `certificate_file`; empty = in the same file
  /// Revocation lists. With them a certificate is accepted only if its issuer's list is there, in date, and does not
  /// name it. Empty = nothing is looked up.
  std::string crl_file{};
  /// Pinned public keys, as base64 of the SHA-256 of the SubjectPublicKeyInfo, with or without `sha256//` before it:
  /// the key of the server or of an authority in its verified chain must be one of them. Empty = any.
  std::vector<std::string> pins{};
};

/// Makes the TLS settings of a client; `error::invalid_trust` when a file cannot be read or does not hold what it
/// should, when key and certificate do not belong together, or when a pin is malformed.
///
/// One context can serve the clients of any number of threads. Loading the system's authorities costs some 20 ms.
/// Whatever a context says, clients verify certificate and host name, speak TLS 1.2 at least, refuse what gives less
/// than 112 bits of security, and log no keys.
[[nodiscard]] boost::system::result<std::shared_ptr<boost::asio::ssl::context>>
make_tls_context(tls_options const& options = {});

} // namespace rondo::http

#ifndef RONDO_SEPARATE_COMPILATION
#include <rondo/http/impl/tls.hpp>
#endif
