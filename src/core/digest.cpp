// SPDX-License-Identifier: Apache-2.0
// Digests through OpenSSL (SHA-NI where the processor has it). Its low-level functions, deprecated in favour of EVP:
// EVP fetches providers, and linking it would make the program half as large again and each start of a container a
// millisecond slower.
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>
#include <sys/random.h>

#include <array>
#include <cstdlib>
#include <variant>

#include <dray/core/digest.hpp>

namespace dray {
namespace {

constexpr std::string_view kHexDigits = "0123456789abcdef";

std::string to_hex(std::span<const unsigned char> bytes) {
  std::string text;
  text.reserve(bytes.size() * 2);
  for (unsigned char byte : bytes) {
    text += kHexDigits[byte >> 4];
    text += kHexDigits[byte & 15];
  }
  return text;
}

}  // namespace

Result<Digest> Digest::parse(std::string_view text) {
  auto colon = text.find(':');
  std::string_view algorithm = text.substr(0, colon);
  std::size_t length = algorithm == "sha256" ? 64 : algorithm == "sha512" ? 128 : 0;
  bool good = colon != std::string_view::npos && length != 0 && text.size() == colon + 1 + length;
  for (std::size_t i = colon + 1; good && i < text.size(); ++i)
    good = kHexDigits.find(text[i]) != std::string_view::npos;
  if (!good) return fail(ErrorCode::invalid_argument, "invalid digest \"" + std::string(text.substr(0, 160)) + "\"");
  return Digest(std::string(text));
}

Digest Digest::of(std::string_view bytes) {
  Hasher hasher;
  hasher.update(bytes);
  return hasher.finish();
}

std::string Digest::algorithm() const { return text_.substr(0, text_.find(':')); }
std::string Digest::hex() const { return empty() ? "" : text_.substr(text_.find(':') + 1); }
std::string Digest::short_hex() const { return hex().substr(0, 12); }

struct Hasher::State {
  std::variant<SHA256_CTX, SHA512_CTX> context;
};

Hasher::Hasher(std::string_view algorithm) : state_(std::make_unique<State>()) {
  if (algorithm == "sha512") {
    SHA512_Init(&state_->context.emplace<SHA512_CTX>());
  } else {
    SHA256_Init(&state_->context.emplace<SHA256_CTX>());
  }
}
Hasher::Hasher(Hasher&&) noexcept = default;
Hasher& Hasher::operator=(Hasher&&) noexcept = default;
Hasher::~Hasher() = default;

void Hasher::update(std::span<const std::byte> bytes) {
  if (auto* sha512 = std::get_if<SHA512_CTX>(&state_->context)) {
    SHA512_Update(sha512, bytes.data(), bytes.size());
  } else {
    SHA256_Update(&std::get<SHA256_CTX>(state_->context), bytes.data(), bytes.size());
  }
}
void Hasher::update(std::string_view bytes) { update(std::as_bytes(std::span(bytes))); }

Digest Hasher::finish() {
  std::array<unsigned char, SHA512_DIGEST_LENGTH> raw;
  if (auto* sha512 = std::get_if<SHA512_CTX>(&state_->context)) {
    SHA512_Final(raw.data(), sha512);
    return Digest("sha512:" + to_hex(raw));
  }
  SHA256_Final(raw.data(), &std::get<SHA256_CTX>(state_->context));
  return Digest("sha256:" + to_hex(std::span(raw).first(SHA256_DIGEST_LENGTH)));
}

std::string random_hex(std::size_t bytes) {
  std::vector<unsigned char> raw(bytes);
  for (std::size_t done = 0; done < bytes;) {
    ssize_t count = ::getrandom(raw.data() + done, bytes - done, 0);
    if (count < 0 && errno != EINTR) std::abort();  // cannot fail for good descriptors of the kernel's pool
    if (count > 0) done += static_cast<std::size_t>(count);
  }
  return to_hex(raw);
}

}  // namespace dray
