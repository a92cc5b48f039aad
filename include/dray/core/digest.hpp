// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include <dray/core/result.hpp>

namespace dray {

/// "sha256:<64 hex>" or "sha512:<128 hex>": checked text (image-spec v1.1, descriptor.md §digests). That the bytes
/// match is shown by a Hasher over them.
class Digest {
 public:
  Digest() = default;  ///< empty; only as "not yet known"
  static Result<Digest> parse(std::string_view text);
  /// sha256 of `bytes`.
  static Digest of(std::string_view bytes);

  bool empty() const { return text_.empty(); }
  const std::string& to_string() const { return text_; }
  std::string algorithm() const;  ///< "sha256"
  std::string hex() const;
  std::string short_hex() const;  ///< first 12 characters, as in `docker images`
  auto operator<=>(const Digest&) const = default;

 private:
  explicit Digest(std::string text) : text_(std::move(text)) {}
  friend class Hasher;
  std::string text_;
};

/// Digest of an uncompressed layer tar (config.md §rootfs.diff_ids). Distinct from Digest so that the two cannot be
/// mixed up.
struct DiffId {
  Digest digest;
  auto operator<=>(const DiffId&) const = default;
};

/// Streaming hash; not thread-safe. finish() may be called once.
class Hasher {
 public:
  explicit Hasher(std::string_view algorithm = "sha256");  ///< "sha256" or "sha512"
  Hasher(Hasher&&) noexcept;
  Hasher& operator=(Hasher&&) noexcept;
  ~Hasher();
  void update(std::span<const std::byte> bytes);
  void update(std::string_view bytes);
  Digest finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// `bytes` random bytes from getrandom(2) as lower-case hex: container IDs are random_hex(32).
std::string random_hex(std::size_t bytes);

}  // namespace dray
