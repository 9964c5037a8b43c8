// SPDX-License-Identifier: BSL-1.0
// Speaks every line of a text file with rotating ElevenLabs keys, through rotating proxies.
#include "options.hpp"
#include "progress.hpp"
#include <rondo.hpp>
#include <rondo/account/balances.hpp>
#include <rondo/http/tls.hpp>
#include <rondo/provider/elevenlabs.hpp>
#include <rondo/store/csv_store.hpp>
#include <rondo/store/file_error.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/beast/http/field.hpp>
#include <boost/beast/http/verb.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;

/// Writes a file that is whole under its name from the first moment.
void write_whole(fs::path const& file, std::string const& content) {
  auto const temporary = file.string() + ".part";
  std::ofstream out{temporary, std::ios::binary | std::ios::trunc};
  out << content;
  out.close();
  if (!out) {
    throw std::system_error{std::make_error_code(std::errc::io_error), "cannot write " + temporary};
  }
  fs::rename(temporary, file);
}

/// Where a text's audio goes.
fs::path file_of(fs::path const& folder, tts::text const& text) {
  auto number = std::to_string(text.line);
  number.insert(0, 4 - std::min<std::size_t>(number.size(), 4), '0');
  return folder / (number + ".mp3");
}

/// The beginning of an error's body, fit for one line of a log.
std::string excerpt(std::string text) {
  constexpr std::size_t most = 200;
  std::replace_if(text.begin(), text.end(), [](unsigned char c) { return c < ' ' || c == 0x7f; }, ' ');
  return text.size() <= most ? text : text.substr(0, most) + "...";
}

/// The texts, and the workers that take one after the other.
class batch {
public:
  batch(tts::options const& how, std::vector<tts::text> const& texts, rondo::client& client, rondo::key_pool& keys)
      : how_{how}, texts_{texts}, client_{client}, keys_{keys}, signals_{client.get_executor(), SIGINT, SIGTERM},
        progress_{texts.size()} {}

  /// Asks what the keys have left, and begins to work.
  asio::awaitable<void> start(rondo::provider::adapter const& provider) {
    auto const asked = co_await rondo::account::refresh_balances(client_, keys_, provider);
    if (asked.answered == 0 && asked.last_failure) {
      throw boost::system::system_error{asked.last_failure, "asking " + how_.provider.origin() + " for balances"};
    }
    auto const snapshot = keys_.snapshot();
    std::cout << asked.answered << " of " << snapshot.size() << " keys told their balance, "
              << snapshot.total_remaining() << " characters in all" << std::endl;
    progress_.show(snapshot);
    signals_.async_wait([this](boost::system::error_code const& ec, int) {
      if (!ec) {
        stopping_ = true;
        signals_.clear(); // the next one kills
      }
    });
    working_ = how_.parallel; // before the first one starts, as it may end at once
    for (auto i = how_.parallel; i != 0; --i) {
      asio::co_spawn(client_.get_executor(), work(), rethrow);
    }
  }

  static void rethrow(std::exception_ptr e) {
    if (e) {
      std::rethrow_exception(e);
    }
  }

  [[nodiscard]] tts::progress& progress() noexcept { return progress_; }

private:
  asio::awaitable<void> work() {
    while (!stopping_ && next_ != texts_.size()) {
      auto const& text = texts_[next_++];
      auto const problem = co_await speak(text);
      if (problem.empty()) {
        progress_.done(file_of(how_.out, text).string(), keys_.snapshot());
      } else {
        progress_.failed("line " + std::to_string(text.line) + ": " + problem, keys_.snapshot());
      }
    }
    if (--working_ == 0) {
      signals_.cancel(); // nothing is left to wait for
    }
  }

  /// Says what went wrong; empty when the file is there.
  asio::awaitable<std::string> speak(tts::text const& text) {
    try {
      auto request = request_for(text);
      auto const answer = co_await client_.send(std::move(request));
      if (answer.result_int() != 200) {
        co_return "the provider answered " + std::to_string(answer.result_int()) + ": " + excerpt(answer.body());
      }
      write_whole(file_of(how_.out, text), answer.body());
      co_return std::string{};
    } catch (rondo::client_error const& e) {
      auto problem = e.code().message();
      if (auto const wait = e.failure().retry_after) {
        auto const seconds = std::chrono::ceil<std::chrono::seconds>(*wait).count();
        problem += "; the next key is back in " + std::to_string(seconds) + " s";
      }
      co_return problem;
    } catch (std::system_error const& e) {
      co_return e.what();
    }
  }

  [[nodiscard]] rondo::http::request request_for(tts::text const& text) const {
    namespace http = boost::beast::http;
    rondo::http::request out{http::verb::post, "/v1/text-to-speech/" + how_.voice, 11};
    out.set(http::field::content_type, "application/json");
    out.body() = boost::json::serialize(boost::json::value{{"text", text.words}, {"model_id", how_.model}});
    return out;
  }

  tts::options const& how_;
  std::vector<tts::text> const& texts_;
  rondo::client& client_;
  rondo::key_pool& keys_;
  asio::signal_set signals_;
  tts::progress progress_;
  std::size_t next_ = 0;
  unsigned working_ = 0;
  bool stopping_ = false;
};

int run(tts::options const& how) {
  auto texts = tts::read_texts(how.texts);
  fs::create_directories(how.out);
  auto const is_spoken = [&](tts::text const& text) { return fs::exists(file_of(how.out, text)); };
  if (auto const there = std::erase_if(texts, is_spoken); there != 0) {
    std::cout << there << " files are there already" << std::endl;
  }
  if (texts.empty()) {
    return 0;
  }

  asio::io_context context{1};
  rondo::key_pool keys{context.get_executor()};
  rondo::store::csv_store_options store_options;
  store_options.on_error = [](rondo::store::file_error const& e) { std::cerr << e.what() << std::endl; };
  rondo::store::csv_store store{keys, how.keys, store_options};

  std::optional<rondo::proxy_rotator> proxies;
  if (!how.proxies.empty()) {
    proxies.emplace();
    for (auto const& url : tts::read_proxies(how.proxies)) {
      proxies->add({.name = "proxy-" + std::to_string(proxies->size() + 1), .url = rondo::secret{url}});
    }
  }

  auto const trust = rondo::http::make_tls_context({how.ca_file});
  if (!trust) {
    throw tts::usage_error{"--ca: " + trust.error().message()};
  }
  rondo::client_options client_options;
  client_options.base_url = how.provider;
  client_options.http.tls = *trust;
  client_options.retry.deadline = how.deadline;
  client_options.retry.unsafe = how.resend;
  auto const provider = std::make_shared<rondo::provider::elevenlabs const>();
  rondo::client client{context.get_executor(), keys, provider, client_options, proxies ? &*proxies : nullptr};

  batch work{how, texts, client, keys};
  asio::co_spawn(context, work.start(*provider), batch::rethrow);
  context.run();
  store.close();

  auto& progress = work.progress();
  progress.finish();
  auto const snapshot = keys.snapshot();
  std::cout << progress.successes() << " texts spoken, " << progress.failures() << " failed, "
            << texts.size() - progress.successes() - progress.failures() << " not tried; " << snapshot.total_remaining()
            << " characters left, " << snapshot.active() << " of " << snapshot.size() << " keys usable" << std::endl;
  return progress.successes() == texts.size() ? 0 : 1;
}

} // namespace

int main(int argc, char** argv) {
  constexpr int usage_fault = 2;
  try {
    auto const how = tts::parse({argv + 1, argv + argc});
    if (how.help) {
      std::cout << tts::usage;
      return 0;
    }
    return run(how);
  } catch (tts::usage_error const& e) {
    std::cerr << "tts_batch: " << e.what() << "; see --help\n";
    return usage_fault;
  } catch (rondo::store::file_error const& e) {
    std::cerr << "tts_batch: " << e.what() << '\n';
    return e.code() == rondo::error::file_unwritable ? 1 : usage_fault;
  } catch (std::exception const& e) {
    std::cerr << "tts_batch: " << e.what() << '\n';
    return 1;
  }
}
