// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/clock.hpp>
#include <rondo/error.hpp>
#include <rondo/http/detail/client_core.hpp>
#include <rondo/http/detail/connection.hpp>
#include <rondo/http/exchange.hpp>
#include <rondo/http/message.hpp>

#include <boost/asio/ssl/error.hpp>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/field.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string_view>
#include <utility>

namespace rondo::http::detail {

/// What Beast lets through in the lines of a head, or in one that comes in pieces sees only at its end: fields that are
/// folded, of which one reads as a value what another may read as the next field, and lines that end with LF.
class line_rules {
public:
  void look_at(std::string_view piece) noexcept {
    for (std::size_t at = 0; at < piece.size();) {
      broken_ = broken_ || (last_ == '\n' && (piece[at] == ' ' || piece[at] == '\t'));
      auto const end = std::min(piece.find('\n', at), piece.size() - 1);
      auto const before = end > at ? piece[end - 1] : last_;
      last_ = piece[end];
      broken_ = broken_ || (last_ == '\n' && before != '\r');
      at = end + 1;
    }
  }
  [[nodiscard]] bool broken() const noexcept { return broken_; }

private:
  char last_ = 0;
  bool broken_ = false;
};

/// What Beast lets through although it is no answer, or none that we can read to its end.
[[nodiscard]] inline bool acceptable(response_head const& head) {
  auto const status = head.result_int();
  if (status < 100 || status == 101 || status > 599) {
    return false;
  }
  if (find_field(head, beast_http::field::transfer_encoding) == nullptr) {
    return true;
  }
  auto const [first, last] = head.equal_range(beast_http::field::transfer_encoding);
  // a coding that nobody asked for, or framing that a server of that version cannot mean
  return head.version() == 11 && std::next(first) == last && boost::beast::iequals(first->value(), "chunked");
}

/// Reads the head of a final answer, without waiting itself: whoever drives it calls `step` until it is over, and
/// awaits in between what it says.
class head_reader {
public:
  enum class next : std::uint8_t {
    over,  ///< the connection has a parser with a whole head, or none, or there is an error
    bytes, ///< once `connection::ready` says so
    turn,  ///< after those of others, `connection::yield`
  };

  /// \param leave_by if there is one, a 100 is enough, too; when it passes before anything came, the connection has no
  ///     parser
  head_reader(connection& c, bool head_only, exchange_options const& options, std::optional<steady_time> leave_by = {})
      : c_{c}, options_{options}, leave_by_{leave_by}, head_only_{head_only} {
    start();
  }

  /// \param ec what became of the wait; then the outcome
  [[nodiscard]] next step(error_code& ec) {
    for (;;) {
      if (state_ == state::receiving) {
        if (!ec && !c_.expired && !c_.fill_step(most() + 1 - c_.head_bytes, ec)) {
          return next::bytes;
        }
        state_ = state::received;
        if (!ec && c_.must_yield()) {
          return next::turn;
        }
      }
      if (state_ == state::received && take_stock(ec)) {
        return next::over;
      }
      state_ = state::receiving;
      if (parse(ec)) {
        return next::over;
      }
    }
  }

private:
  enum class state : std::uint8_t { begun, receiving, received };

  static constexpr unsigned most_heads = 16; ///< informational ones come before it; nobody sends many

  [[nodiscard]] std::size_t most() const noexcept { return c_.core.options().max_head; }

  void start() {
    auto& parser = c_.parser.emplace();
    parser.limit_head(most());
    parser.body_limit(boost::none);
    parser.skip(head_only_);
    started_ = !c_.input.empty();
    bounded_ = false;
    c_.gentle = leave_by_ && *leave_by_ < options_.deadline;
    c_.core.set_limit(c_, c_.gentle ? *leave_by_ : options_.deadline, error::deadline_exceeded);
    lines_ = {};
    looked_at_ = 0;
  }

  /// Parses what is there. False: more is needed.
  [[nodiscard]] bool parse(error_code& ec) {
    for (;;) {
      auto& parser = *c_.parser;
      ec = beast_http::error::need_more;
      std::size_t parsed = 0;
      if (!c_.input.empty()) {
        auto const bytes = c_.input.data();
        parsed = parser.put(bytes, ec);
        auto const end = ec == beast_http::error::need_more ? bytes.size() : std::max(parsed, looked_at_);
        lines_.look_at(std::string_view{static_cast<char const*>(bytes.data()), end}.substr(looked_at_));
        looked_at_ = end - parsed;
        c_.head_bytes += parsed;
        c_.input.consume(parsed);
      }
      if (c_.head_bytes > most() || ec == beast_http::error::header_limit) {
        ec = error::response_head_too_large;
        return true;
      }
      if (parser.is_header_done() && !ec) {
        ++c_.heads;
        if (judge(ec)) {
          return true;
        }
        start();
        continue;
      }
      if (ec != beast_http::error::need_more || lines_.broken()) {
        ec = error::bad_response;
        return true;
      }
      if (started_ && !bounded_) {
        bounded_ = true;
        c_.gentle = false;
        c_.core.limit_idle(c_, options_.idle_timeout, options_.complete_by);
      }
      ec = {};
      return false;
    }
  }

  /// A head is there. False: another one follows it.
  [[nodiscard]] bool judge(error_code& ec) {
    c_.gentle = false;
    auto const& head = c_.parser->head;
    ec = acceptable(head) && !lines_.broken() ? c_.core.check_field_count(head) : make_error_code(error::bad_response);
    if (ec) {
      return true;
    }
    auto const status = head.result_int();
    if (status >= 200) {
      c_.core.clear_limit(c_);
      return true;
    }
    if (status == 100 && leave_by_) {
      return true;
    }
    if (c_.heads == most_heads) {
      ec = error::bad_response;
    }
    return static_cast<bool>(ec);
  }

  /// Something was received, or there is an error, or time is over. True: that ends it.
  [[nodiscard]] bool take_stock(error_code& ec) {
    ec = c_.verdict(ec);
    if (c_.expired && c_.gentle) {
      c_.expired = c_.gentle = false;
      c_.answered = c_.answered || !c_.input.empty();
      c_.parser.reset();
      ec = {};
      return true;
    }
    if (ec == boost::system::errc::no_buffer_space) {
      ec = error::response_head_too_large;
    } else if (ec && !c_.expired && !c_.answered && c_.served == 0 &&
               ec.category() == asio::error::get_ssl_category()) {
      ec = error::tls_handshake_failed; // TLS 1.3 tells only now that it wants a certificate
    } else if (ec && !c_.expired && !is_cancelled(ec)) {
      ec = c_.answered ? error::truncated_response : error::connection_lost;
    }
    if (ec) {
      return true;
    }
    started_ = c_.answered = true;
    return false;
  }

  connection& c_;
  exchange_options const& options_;
  std::optional<steady_time> leave_by_;
  line_rules lines_;
  std::size_t looked_at_ = 0; ///< by the rules, of what waits to be parsed
  state state_ = state::begun;
  bool head_only_;
  bool started_ = false; ///< something of this head is there
  bool bounded_ = false; ///< and the rest must come soon
};

} // namespace rondo::http::detail
