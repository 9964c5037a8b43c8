// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <openssl/crypto.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace rondo {

/// The form of a secret that may appear in logs, status documents and errors: `sk_6c036526...7a4d452b`.
///
/// From 40 characters up the first 12 and the last 8 are shown; below that a third at most, below 6 nothing.
[[nodiscard]] inline std::string masked(std::string_view text) {
  std::size_t head = 12;
  std::size_t tail = 8;
  if (text.size() < 40) {
    auto const shown = text.size() < 6 ? 0 : text.size() / 3;
    tail = shown / 3;
    head = shown - tail;
  }
  std::string out;
  out.reserve(head + 3 + tail);
  out.append(text.substr(0, head)).append("...").append(text.substr(text.size() - tail));
  return out;
}

/// A secret text: an API key, a password. It has no stream operator, its storage is wiped when it is destroyed or
/// assigned to, and it appears masked everywhere.
///
/// Distinct objects: safe. Shared objects: unsafe.
class secret {
public:
  secret() noexcept = default;
  /// Copies `text`; wiping the source is the caller's business.
  explicit secret(std::string_view text)
      : text_{text.empty() ? nullptr : std::make_unique_for_overwrite<char[]>(text.size())}, size_{text.size()} {
    std::copy(text.begin(), text.end(), text_.get());
  }

  secret(secret&& other) noexcept : text_{std::move(other.text_)}, size_{std::exchange(other.size_, 0)} {}
  secret(secret const& other) : secret{other.reveal()} {}
  secret& operator=(secret other) noexcept {
    std::swap(text_, other.text_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~secret() { wipe(); }

  /// The text itself; the view is valid as long as the secret lives and is not assigned to.
  [[nodiscard]] std::string_view reveal() const noexcept { return {text_.get(), size_}; }
  [[nodiscard]] std::string masked() const { return rondo::masked(reveal()); }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }

  /// Overwrites the storage and leaves an empty secret.
  void wipe() noexcept {
    if (text_) {
      OPENSSL_cleanse(text_.get(), size_); // a plain memset before a free may be optimised away
      text_.reset();
      size_ = 0;
    }
  }

  /// Compares in a time that depends on the lengths only.
  [[nodiscard]] friend bool operator==(secret const& a, secret const& b) noexcept { return a.equals(b.reveal()); }
  [[nodiscard]] bool equals(std::string_view other) const noexcept {
    return size_ == other.size() && (size_ == 0 || CRYPTO_memcmp(text_.get(), other.data(), size_) == 0);
  }

private:
  std::unique_ptr<char[]> text_;
  std::size_t size_ = 0;
};

} // namespace rondo
