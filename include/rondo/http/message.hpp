// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <boost/beast/http/fields.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/string_body.hpp>

namespace rondo::http {

namespace beast_http = boost::beast::http;

using fields = beast_http::fields;
using request_head = beast_http::request_header<fields>;
using response_head = beast_http::response_header<fields>;
/// A request with its whole body in memory.
using request = beast_http::request<beast_http::string_body>;
/// A response with its whole body in memory.
using response = beast_http::response<beast_http::string_body>;

} // namespace rondo::http
