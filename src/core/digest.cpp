// SPDX-License-Identifier: Apache-2.0
// Digests through OpenSSL's EVP (SHA-NI where the processor has it). The library is initialised without reading its
// configuration file: that costs more than hashing a manifest.
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <sys/random.h>

#include <array>
#include <cstdlib>

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

const EVP_MD* evp_algorithm(std::string_view name) {
  static const int initialised = OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, nullptr);
  (void)initialised;
  return name == "sha512" ? EVP_sha512() : EVP_sha256();
}

}  // namespace

Result<Digest> Digest::parse(std::string_view text) {
  auto colon = text.find(':');
  std::string_view algorithm = text.substr(0, colon);
  std::size_t length = algorithm == "sha256" ? 64 : algorithm == "sha512" ? 128 : 0;
  bool good = colon != std::string_view::npos && length != 0 && text.size() == colon + 1 + length;
  for (std::size_t i = colon + 1; good && i < text.size(); ++i) good = kHexDigits.find(text[i]) != std::string_view::npos;
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
  EVP_MD_CTX* context = nullptr;
  std::string algorithm;
  ~State() { EVP_MD_CTX_free(context); }
};

Hasher::Hasher(std::string_view algorithm) : state_(std::make_unique<State>()) {
  state_->algorithm = algorithm == "sha512" ? "sha512" : "sha256";
  const EVP_MD* implementation = evp_algorithm(algorithm);
  state_->context = EVP_MD_CTX_new();
  if (state_->context == nullptr || EVP_DigestInit_ex(state_->context, implementation, nullptr) != 1) std::abort();
}
Hasher::Hasher(Hasher&&) noexcept = default;
Hasher& Hasher::operator=(Hasher&&) noexcept = default;
Hasher::~Hasher() = default;

void Hasher::update(std::span<const std::byte> bytes) { EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()); }
void Hasher::update(std::string_view bytes) { EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()); }

Digest Hasher::finish() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> raw;
  unsigned length = 0;
  EVP_DigestFinal_ex(state_->context, raw.data(), &length);
  return Digest(state_->algorithm + ":" + to_hex(std::span(raw).first(length)));
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
