// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <rondo/clock.hpp>
#include <rondo/error.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace rondo::http::detail {

namespace asio = boost::asio;
using asio::ip::tcp;

/// The order in which addresses are tried (RFC 8305 4): the families take turns, beginning with that of the first;
/// within a family the order of the resolver stays.
[[nodiscard]] inline std::vector<tcp::endpoint> alternate_families(std::vector<tcp::endpoint> const& found) {
  auto const first_is_v6 = !found.empty() && found.front().address().is_v6();
  auto const of_first = [&](tcp::endpoint const& e) { return e.address().is_v6() == first_is_v6; };
  std::vector<tcp::endpoint> order;
  order.reserve(found.size());
  auto same = found.begin();
  auto other = found.begin();
  while (order.size() < found.size()) {
    same = std::find_if(same, found.end(), of_first);
    if (same != found.end()) {
      order.push_back(*same++);
    }
    other = std::find_if_not(other, found.end(), of_first);
    if (other != found.end()) {
      order.push_back(*other++);
    }
  }
  return order;
}

/// Opens a TCP socket towards an address, without delay for small segments.
inline void open_socket(tcp::socket& socket, tcp::endpoint const& to, error_code& ec) {
  socket.open(to.protocol(), ec);
  if (!ec) {
    error_code ignored;
    socket.set_option(tcp::no_delay{true}, ignored);
  }
}

/// Attempts to connect to several addresses, begun one after the other; the first that succeeds wins. Shared with the
/// attempts under way, which may end after whoever waits for them has gone.
class connect_race : public std::enable_shared_from_this<connect_race> {
public:
  connect_race(asio::any_io_executor const& executor, std::vector<tcp::endpoint> order)
      : wake{executor}, order_{std::move(order)} {
    sockets_.reserve(order_.size());
  }

  /// Begins the next attempt, if an address is left.
  void start_next() {
    while (left() > 0) {
      auto const i = sockets_.size();
      auto& socket = sockets_.emplace_back(wake.get_executor());
      error_code ec;
      open_socket(socket, order_[i], ec);
      if (ec) {
        last_error_ = ec;
        continue;
      }
      ++under_way_;
      socket.async_connect(order_[i], [self = shared_from_this(), i](error_code failed) { self->on_end(i, failed); });
      return;
    }
  }

  [[nodiscard]] bool won() const noexcept { return winner_.has_value(); }
  [[nodiscard]] bool over() const noexcept { return won() || (left() == 0 && under_way_ == 0); }
  /// Addresses that were not tried yet.
  [[nodiscard]] std::size_t left() const noexcept { return order_.size() - sockets_.size(); }
  /// Whether an attempt has ended since the last call.
  [[nodiscard]] bool stirred() noexcept { return std::exchange(stirred_, false); }
  [[nodiscard]] tcp::socket& winner() noexcept { return sockets_[*winner_]; }
  [[nodiscard]] error_code last_error() const noexcept { return last_error_; }

  void close() noexcept {
    for (auto& socket : sockets_) {
      error_code ignored;
      socket.close(ignored);
    }
  }

  asio::steady_timer wake; ///< cancelled when an attempt ends

private:
  void on_end(std::size_t i, error_code ec) {
    --under_way_;
    if (ec) {
      last_error_ = ec;
    } else if (!winner_) {
      winner_ = i;
    }
    stirred_ = true;
    wake.cancel();
  }

  std::vector<tcp::endpoint> order_;
  std::vector<tcp::socket> sockets_;
  std::optional<std::size_t> winner_;
  std::size_t under_way_ = 0;
  error_code last_error_ = asio::error::host_not_found;
  bool stirred_ = false;
};

/// Closes the losers of a race, whatever ends it.
struct race_end {
  explicit race_end(connect_race& r) noexcept : race{r} {}
  race_end(race_end const&) = delete;
  race_end& operator=(race_end const&) = delete;
  ~race_end() { race.close(); }
  connect_race& race;
};

} // namespace rondo::http::detail
