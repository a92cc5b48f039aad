// SPDX-License-Identifier: Apache-2.0
#include "htpasswd.hpp"

#include <crypt.h>

#include <algorithm>
#include <memory>
#include <optional>

#include <dray/core/base64.hpp>
#include <dray/core/digest.hpp>
#include <dray/core/fd.hpp>

namespace dray::registry_server {
namespace {

constexpr std::size_t kMaxFile = 1u << 20;
constexpr std::size_t kMaxCredentials = 4096;
constexpr std::size_t kMaxKnown = 1024;
constexpr std::size_t kBcryptLength = 60;

bool is_bcrypt(std::string_view hash) {
  return hash.size() == kBcryptLength &&
         (hash.starts_with("$2y$") || hash.starts_with("$2b$") || hash.starts_with("$2a$"));
}

bool matches(const std::string& password, const std::string& hash) {
  auto data = std::make_unique<crypt_data>();  // 32 KiB: too much for a small stack
  const char* made = ::crypt_rn(password.c_str(), hash.c_str(), data.get(), sizeof *data);
  if (made == nullptr) return false;
  const std::string_view text(made);
  unsigned difference = text.size() == hash.size() ? 0 : 1;
  for (std::size_t i = 0; i < std::min(text.size(), hash.size()); ++i)
    difference |= static_cast<unsigned char>(text[i] ^ hash[i]);
  return difference == 0;
}

}  // namespace

Result<Htpasswd> Htpasswd::load(const std::string& path) {
  const std::string text = TRY(read_file(path, kMaxFile));
  auto parsed = parse(text);
  if (!parsed) return Failure(std::move(parsed).error().with_location(path));
  return parsed;
}

Result<Htpasswd> Htpasswd::parse(std::string_view text) {
  Htpasswd users;
  users.key_ = random_hex(32);
  for (int number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || line.starts_with('#')) continue;
    const std::size_t colon = line.find(':');
    const std::string_view hash = colon == std::string_view::npos ? "" : line.substr(colon + 1);
    if (colon == 0 || !is_bcrypt(hash))
      return Failure(
          Error(ErrorCode::invalid_argument, "line " + std::to_string(number) + " is not \"user:\" and a bcrypt hash")
              .with_hint("make it with: htpasswd -B -c FILE USER"));
    users.hashes_.insert_or_assign(std::string(line.substr(0, colon)), std::string(hash));
  }
  if (users.hashes_.empty()) return fail(ErrorCode::invalid_argument, "no users");
  return users;
}

std::string Htpasswd::user_of(std::string_view authorization) const {
  constexpr std::string_view kScheme = "basic ";
  if (authorization.size() > kMaxCredentials || authorization.size() <= kScheme.size()) return "";
  const bool basic = std::ranges::equal(authorization.substr(0, kScheme.size()), kScheme,
                                        [](char a, char b) { return (a >= 'A' && a <= 'Z' ? a + 32 : a) == b; });
  const auto pair = basic ? decode_base64(authorization.substr(kScheme.size())) : std::nullopt;
  const std::size_t colon = pair ? pair->find(':') : std::string::npos;
  if (colon == std::string::npos || pair->find('\0') != std::string::npos) return "";
  const std::string user = pair->substr(0, colon), password = pair->substr(colon + 1);

  const std::string token = Digest::of(key_ + *pair).hex();
  {
    const std::lock_guard lock(*mutex_);
    if (known_.contains(token)) return user;
  }
  const auto found = hashes_.find(user);
  const bool right = matches(password, found == hashes_.end() ? hashes_.begin()->second : found->second);
  if (!right || found == hashes_.end()) return "";
  const std::lock_guard lock(*mutex_);
  if (known_.size() >= kMaxKnown) known_.clear();
  known_.insert(token);
  return user;
}

}  // namespace dray::registry_server
