// SPDX-License-Identifier: BSL-1.0
// One client, one thread, keep-alive connections with TLS to one server, direct or through a proxy: what a request
// costs in CPU, and a connection in memory. client_vs_others.py and client_through_proxies.py start the servers, run
// the contenders in turn and compare; see there.
#include "heap.hpp"
#include <rondo/client.hpp>
#include <rondo/http/client.hpp>
#include <rondo/http/proxy.hpp>
#include <rondo/monitor/client_metrics.hpp>
#include <rondo/monitor/prometheus.hpp>
#include <rondo/provider/generic.hpp>
#include <rondo/proxy_rotator.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <sys/epoll.h>
#include <sys/resource.h>

#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <curl/curl.h>

namespace {

namespace asio = boost::asio;
using std::chrono::steady_clock;

struct setup {
  std::string url; ///< `https://localhost:port/`
  std::string ca_file;
  std::size_t connections = 64;
  std::chrono::duration<double> warm_up{0.5};
  std::chrono::duration<double> measured{2};
  std::string proxy{};                               ///< its URL; empty = direct
  std::chrono::duration<double, std::milli> think{}; ///< each connection waits this long on average before it asks
};

double cpu_seconds() {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  auto const seconds = [](timeval t) { return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6; };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

/// Counts the requests between the end of the warm-up and the end, and the CPU that they took.
class meter {
public:
  explicit meter(setup const& s)
      : begin_{steady_clock::now() + to_ticks(s.warm_up)}, end_{begin_ + to_ticks(s.measured)} {}

  /// One request was answered; false when the time is over.
  bool count(std::size_t body) {
    if (body != 200) {
      throw std::runtime_error{"a wrong answer"};
    }
    auto const now = steady_clock::now();
    if (now < begin_) {
      return true;
    }
    if (requests_++ == 0) {
      cpu_ = cpu_seconds();
      allocations_ = bench::allocations();
    }
    if (now < end_) {
      return true;
    }
    if (total_ == 0) {
      total_ = requests_;
      cpu_ = cpu_seconds() - cpu_;
      allocations_ = bench::allocations() - allocations_;
    }
    return false;
  }

  void print() const {
    std::printf("%.0f %.3f %.2f\n", static_cast<double>(total_), cpu_ / static_cast<double>(total_) * 1e6,
                static_cast<double>(allocations_) / static_cast<double>(total_));
  }

private:
  static steady_clock::duration to_ticks(std::chrono::duration<double> d) {
    return std::chrono::duration_cast<steady_clock::duration>(d);
  }
  steady_clock::time_point begin_;
  steady_clock::time_point end_;
  std::uint64_t requests_ = 0;
  std::uint64_t total_ = 0;
  double cpu_ = 0;
  std::uint64_t allocations_ = 0;
};

rondo::http::client_options trusting(setup const& s) {
  rondo::http::client_options options;
  options.tls = rondo::http::make_tls_context({s.ca_file}).value();
  return options;
}

rondo::http::request make_request() {
  rondo::http::request r{rondo::http::beast_http::verb::get, "/", 11};
  r.set("user-agent", "rondo benchmark");
  return r;
}

void rethrow(std::exception_ptr const& e) {
  if (e) {
    std::rethrow_exception(e);
  }
}

/// Keeps a connection from asking again at once, so that few of them are under way together.
class thinking {
public:
  explicit thinking(setup const& s) : milliseconds_{0.5 * s.think.count(), 1.5 * s.think.count()} {}

  asio::awaitable<void> operator()() {
    if (milliseconds_.b() > 0) {
      std::chrono::duration<double, std::milli> const time{milliseconds_(random_)};
      asio::steady_timer timer{co_await asio::this_coro::executor};
      timer.expires_after(std::chrono::duration_cast<steady_clock::duration>(time));
      co_await timer.async_wait(asio::use_awaitable);
    }
  }

private:
  std::minstd_rand random_;
  std::uniform_real_distribution<double> milliseconds_;
};

// --- rondo::http::client

asio::awaitable<void> ask_http(rondo::http::client& client, rondo::http::url const& to,
                               rondo::http::exchange_options const& options, thinking& think, meter& m) {
  auto const request = make_request();
  for (auto go_on = true; go_on;) {
    co_await think();
    auto const answer = co_await client.send(to, request, options);
    go_on = m.count(answer.value().body().size());
  }
}

void run_http_client(setup const& s) {
  asio::io_context context{1};
  rondo::http::client client{context.get_executor(), trusting(s)};
  auto const to = rondo::http::parse_url(s.url).value();
  rondo::http::exchange_options options;
  if (!s.proxy.empty()) {
    options.via = std::make_shared<rondo::http::proxy const>(rondo::http::parse_proxy(s.proxy).value());
  }
  thinking think{s};
  meter m{s};
  for (std::size_t i = 0; i < s.connections; ++i) {
    asio::co_spawn(context, ask_http(client, to, options, think, m), rethrow);
  }
  context.run();
  m.print();
}

// --- rondo::client: pool, lease, classifier, and a rotator if there is a proxy; every attempt is observed, and a page
// of metrics is made each tenth of a second

asio::awaitable<void> ask_rondo(rondo::client& client, thinking& think, meter& m) {
  for (auto go_on = true; go_on;) {
    co_await think();
    auto const answer = co_await client.send(make_request());
    go_on = m.count(answer.body().size());
  }
}

asio::awaitable<void> scrape(rondo::key_pool& keys, rondo::monitor::client_metrics const& attempts, bool const& done) {
  asio::steady_timer pause{co_await asio::this_coro::executor};
  while (!done) {
    pause.expires_after(std::chrono::milliseconds{100});
    co_await pause.async_wait(asio::use_awaitable);
    rondo::monitor::prometheus_page page;
    for (auto const& key : keys.snapshot()) {
      page.counter("rondo_requests_total", "Requests.", {{"key", key.name}}, static_cast<double>(key.requests));
    }
    attempts.describe(page, "benchmark");
    static_cast<void>(page.text());
  }
}

void run_rondo_client(setup const& s) {
  asio::io_context context{1};
  rondo::key_pool keys{context.get_executor(), {}};
  for (auto const* const name : {"a", "b", "c", "d"}) {
    keys.add({.name = name,
              .secret = rondo::secret{std::string{"sk_benchmark_"} + name},
              .limits = {.requests_per_minute = 1'000'000'000, .concurrency = 1000}});
  }
  rondo::client_options options;
  options.base_url = rondo::http::parse_url(s.url).value();
  options.http = trusting(s);
  auto const attempts = std::make_shared<rondo::monitor::client_metrics>();
  options.observer = attempts;
  rondo::proxy_rotator proxies;
  if (!s.proxy.empty()) {
    proxies.add({.name = "proxy", .url = rondo::secret{s.proxy}});
  }
  rondo::client client{context.get_executor(), keys, std::make_shared<rondo::provider::generic const>(), options,
                       s.proxy.empty() ? nullptr : &proxies};
  thinking think{s};
  meter m{s};
  auto done = false;
  auto left = s.connections;
  asio::co_spawn(context, scrape(keys, *attempts, done), rethrow);
  for (std::size_t i = 0; i < s.connections; ++i) {
    asio::co_spawn(context, ask_rondo(client, think, m), [&](std::exception_ptr const& e) {
      done = --left == 0;
      rethrow(e);
    });
  }
  context.run();
  m.print();
}

// --- libcurl

struct transfer {
  CURL* easy = nullptr;
  std::size_t body = 0;
};

std::size_t take_body(char*, std::size_t size, std::size_t count, void* to) {
  static_cast<transfer*>(to)->body += size * count;
  return size * count;
}

int watch_socket(CURL*, curl_socket_t socket, int what, void* epoll, void*) {
  auto const poller = *static_cast<int*>(epoll);
  epoll_event event{};
  event.data.fd = socket;
  event.events = (what & CURL_POLL_IN ? EPOLLIN : 0U) | (what & CURL_POLL_OUT ? EPOLLOUT : 0U);
  if (what == CURL_POLL_REMOVE) {
    ::epoll_ctl(poller, EPOLL_CTL_DEL, socket, nullptr);
  } else if (::epoll_ctl(poller, EPOLL_CTL_MOD, socket, &event) != 0) {
    ::epoll_ctl(poller, EPOLL_CTL_ADD, socket, &event);
  }
  return 0;
}

int keep_timer(CURLM*, long milliseconds, void* at) {
  *static_cast<long*>(at) = milliseconds;
  return 0;
}

/// A multi handle with one transfer for each connection.
class curl_transfers {
public:
  explicit curl_transfers(setup const& s) : transfers_(s.connections), left_{s.connections}, meter_{s} {
    curl_multi_setopt(multi_, CURLMOPT_MAXCONNECTS, static_cast<long>(s.connections));
    for (auto& t : transfers_) {
      t.easy = curl_easy_init();
      curl_easy_setopt(t.easy, CURLOPT_URL, s.url.c_str());
      curl_easy_setopt(t.easy, CURLOPT_CAINFO, s.ca_file.c_str());
      curl_easy_setopt(t.easy, CURLOPT_PROXY, s.proxy.c_str()); // empty: none, whatever the environment says
      curl_easy_setopt(t.easy, CURLOPT_NOPROXY, "");
      curl_easy_setopt(t.easy, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
      curl_easy_setopt(t.easy, CURLOPT_WRITEFUNCTION, take_body);
      curl_easy_setopt(t.easy, CURLOPT_WRITEDATA, &t);
      curl_easy_setopt(t.easy, CURLOPT_PRIVATE, &t);
      curl_easy_setopt(t.easy, CURLOPT_NOSIGNAL, 1L);
    }
  }
  curl_transfers(curl_transfers const&) = delete;
  curl_transfers& operator=(curl_transfers const&) = delete;
  ~curl_transfers() {
    for (auto& t : transfers_) {
      curl_easy_cleanup(t.easy);
    }
    curl_multi_cleanup(multi_);
  }

  [[nodiscard]] CURLM* multi() const noexcept { return multi_; }
  [[nodiscard]] bool over() const noexcept { return left_ == 0; }

  void start() {
    for (auto& t : transfers_) {
      curl_multi_add_handle(multi_, t.easy);
    }
  }

  /// Starts those anew that have ended, until the time is over.
  void renew() {
    int queued = 0;
    while (auto* const message = curl_multi_info_read(multi_, &queued)) {
      auto* const easy = message->easy_handle;
      transfer* t = nullptr;
      curl_easy_getinfo(easy, CURLINFO_PRIVATE, &t);
      if (message->data.result != CURLE_OK) {
        throw std::runtime_error{curl_easy_strerror(message->data.result)};
      }
      curl_multi_remove_handle(multi_, easy);
      if (meter_.count(t->body)) {
        t->body = 0;
        curl_multi_add_handle(multi_, easy);
      } else {
        --left_;
      }
    }
  }

  void print() const { meter_.print(); }

private:
  CURLM* multi_ = curl_multi_init();
  std::vector<transfer> transfers_;
  std::size_t left_;
  meter meter_;
};

struct descriptor {
  explicit descriptor(int n) : number{n} {}
  descriptor(descriptor const&) = delete;
  descriptor& operator=(descriptor const&) = delete;
  ~descriptor() { ::close(number); }
  int number;
};

/// As libcurl's examples do it: it looks itself for what is ready.
void run_curl(setup const& s) {
  curl_global_init(CURL_GLOBAL_DEFAULT);
  curl_transfers all{s};
  all.start();
  for (int running = 1; !all.over();) {
    curl_multi_perform(all.multi(), &running);
    all.renew();
    if (running > 0) {
      curl_multi_poll(all.multi(), nullptr, 0, 1000, nullptr);
    }
  }
  all.print();
}

/// As those do it whom that is too slow: it is told by epoll what is ready.
void run_curl_epoll(setup const& s) {
  curl_global_init(CURL_GLOBAL_DEFAULT);
  descriptor poller{::epoll_create1(EPOLL_CLOEXEC)};
  long timeout = -1;
  curl_transfers all{s};
  auto* const multi = all.multi();
  curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, watch_socket);
  curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, &poller.number);
  curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, keep_timer);
  curl_multi_setopt(multi, CURLMOPT_TIMERDATA, &timeout);
  all.start();
  std::array<epoll_event, 64> events{};
  for (int running = 1; !all.over();) {
    auto const n =
        ::epoll_wait(poller.number, events.data(), static_cast<int>(events.size()), static_cast<int>(timeout));
    if (n == 0) {
      timeout = -1;
      curl_multi_socket_action(multi, CURL_SOCKET_TIMEOUT, 0, &running);
    }
    for (auto i = 0; i < n; ++i) {
      auto const& e = events[static_cast<std::size_t>(i)];
      auto const what = (e.events & EPOLLIN ? CURL_CSELECT_IN : 0) | (e.events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
                        (e.events & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0);
      curl_multi_socket_action(multi, e.data.fd, what, &running);
    }
    all.renew();
  }
  all.print();
}

// --- memory

asio::awaitable<void> open_one(rondo::http::client& client, rondo::http::url const& to,
                               std::optional<rondo::http::incoming>& out) {
  auto const request = make_request();
  auto answer = co_await client.open(to, request);
  out = std::move(answer.value());
}

asio::awaitable<void> read_one(std::optional<rondo::http::incoming>& from) {
  std::array<char, 256> piece{};
  while (!from->done()) {
    auto const space = asio::buffer(piece);
    co_await from->read(space);
  }
  from.reset();
}

asio::awaitable<void> send_one(rondo::http::client& client, rondo::http::url const& to) {
  auto const request = make_request();
  auto const answer = co_await client.send(to, request);
  static_cast<void>(answer.value());
}

/// Bytes for each idle connection, and how many more at most for each while all have a request under way.
void measure_memory(setup const& s) {
  asio::io_context context{1};
  rondo::http::client client{context.get_executor(), trusting(s)};
  auto const to = rondo::http::parse_url(s.url).value();
  auto const count = static_cast<double>(s.connections);
  asio::co_spawn(context, send_one(client, to), rethrow); // what there is only once
  context.run();
  context.restart();
  client.close_idle();
  auto const before = bench::heap_in_use();
  {
    std::vector<std::optional<rondo::http::incoming>> answers(s.connections);
    for (auto& a : answers) {
      asio::co_spawn(context, open_one(client, to, a), rethrow);
    }
    context.run();
    context.restart();
    for (auto& a : answers) {
      asio::co_spawn(context, read_one(a), rethrow);
    }
    context.run();
    context.restart();
  }
  auto const idle = static_cast<double>(bench::heap_in_use() - before) / count;
  for (std::size_t i = 0; i < s.connections; ++i) {
    asio::co_spawn(context, send_one(client, to), rethrow);
  }
  auto most = bench::heap_in_use();
  while (context.run_one() > 0) {
    most = std::max(most, bench::heap_in_use());
  }
  auto const busy = static_cast<double>(most - before) / count;
  if (client.idle_connections() != s.connections) {
    throw std::runtime_error{"a connection was lost"};
  }
  std::printf("%.0f %.0f\n", idle, busy - idle);
}

} // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr,
                 "usage: client_vs_others rondo_client|http_client|curl|curl_epoll|memory URL CA [connections [seconds "
                 "[proxy [think_ms]]]]\n");
    return 2;
  }
  try {
    setup s{argv[2], argv[3]};
    s.connections = argc > 4 ? std::strtoul(argv[4], nullptr, 10) : s.connections;
    s.measured = std::chrono::duration<double>{argc > 5 ? std::strtod(argv[5], nullptr) : s.measured.count()};
    s.proxy = argc > 6 ? argv[6] : "";
    s.think = decltype(s.think){argc > 7 ? std::strtod(argv[7], nullptr) : 0};
    std::string_view const what = argv[1];
    if (what == "rondo_client") {
      run_rondo_client(s);
    } else if (what == "http_client") {
      run_http_client(s);
    } else if (what == "curl") {
      run_curl(s);
    } else if (what == "curl_epoll") {
      run_curl_epoll(s);
    } else {
      measure_memory(s);
    }
  } catch (std::exception const& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
