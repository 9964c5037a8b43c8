// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/error.hpp>
#include <rondo/http/detail/session_store.hpp>
#include <rondo/http/tls.hpp>

namespace rondo::http {

RONDO_DECL boost::system::result<std::shared_ptr<boost::asio::ssl::context>>
make_tls_context(tls_options const& options) {
  auto context = std::make_shared<boost::asio::ssl::context>(boost::asio::ssl::context::tls_client);
  boost::system::error_code ec;
  if (options.ca_file.empty()) {
    context->set_default_verify_paths(ec);
  } else {
    context->load_verify_file(options.ca_file, ec);
  }
  if (ec) {
    return make_error_code(error::invalid_trust);
  }
  detail::session_store::prepare(context->native_handle());
  return context;
}

} // namespace rondo::http
