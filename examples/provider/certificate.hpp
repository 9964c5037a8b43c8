// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <string>

namespace sim {

/// Makes sure that `directory` holds ca.pem, certificate.pem and private_key.pem: a certification authority of its own
/// and a certificate of it for localhost, 127.0.0.1 and ::1. Files that are all there already and still valid for a day
/// are kept. The authority's key is thrown away, so that nobody can make more certificates that a trusting client
/// would believe.
///
/// Throws std::runtime_error, std::filesystem::filesystem_error.
void ensure_certificate(std::string const& directory);

} // namespace sim
