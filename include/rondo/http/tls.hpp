// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/http/detail/config.hpp>

#include <boost/asio/ssl/context.hpp>
#include <boost/system/result.hpp>

#include <memory>
#include <string>

namespace rondo::http {

/// Whom a client trusts.
struct tls_options {
  std::string ca_file; ///< PEM file of trusted authorities; empty = those of the system
};

/// Makes the TLS settings of a client; `error::invalid_trust` when the file cannot be read or holds no certificate.
///
/// One context can serve the clients of any number of threads. Loading the system's authorities costs some 20 ms.
/// Whatever a context says, clients verify certificate and host name, speak TLS 1.2 at least, and log no keys.
[[nodiscard]] boost::system::result<std::shared_ptr<boost::asio::ssl::context>>
make_tls_context(tls_options const& options = {});

} // namespace rondo::http

#ifndef RONDO_SEPARATE_COMPILATION
#include <rondo/http/impl/tls.hpp>
#endif
