// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/http/detail/config.hpp>
#include <rondo/http/proxy.hpp>
#include <rondo/http/url.hpp>

#include <boost/system/result.hpp>

#include <memory>

namespace rondo::http {

/// The proxy that the environment names for an origin, by the rules of curl; null = none, go direct. Nothing else in
/// the library reads these variables.
///
/// For `https` origins `https_proxy`, `HTTPS_PROXY`, for `http` origins `http_proxy` and never `HTTP_PROXY`, which the
/// caller of a CGI program can set; for both then `all_proxy`, `ALL_PROXY`. The first that is not empty counts, unless
/// `no_proxy`, `NO_PROXY` names the host, see `no_proxy`. The value is as for `parse_proxy`; without a scheme it is an
/// `http` proxy.
///
/// Errors: those of `parse_proxy`: a proxy that is misspelt is never taken for none. Thread safety: as `getenv`, not
/// while another thread changes the environment.
/// ```
/// auto const found = rondo::http::proxy_from_environment(to);
/// if (!found) { return found.error(); }
/// options.via = *found;
/// ```
[[nodiscard]] boost::system::result<std::shared_ptr<proxy const>> proxy_from_environment(url const& to);

} // namespace rondo::http

#ifndef RONDO_SEPARATE_COMPILATION
#include <rondo/http/impl/proxy_environment.hpp>
#endif
