// SPDX-License-Identifier: Apache-2.0
#include "source/credentials.hpp"

#include <algorithm>

#include <dray/core/base64.hpp>
#include <dray/core/percent.hpp>
#include <dray/core/text.hpp>

namespace dray::builder {
namespace {

constexpr std::string_view kEndOfHost = "/?# \t\r\n\"";

/// Where the user of the URL at `host` ends: its "@"; npos: there is none.
std::size_t end_of_user(const std::string& text, std::size_t host) {
  const std::size_t end = std::min(text.find_first_of(kEndOfHost, host), text.size());
  const std::size_t at = end == host ? std::string::npos : text.rfind('@', end - 1);
  return at == std::string::npos || at < host ? std::string::npos : at;
}

/// The header's value from the secrets whose ids end so; "": there is none.
Result<std::string> header_of(const std::string& ending, const FindSecret& find) {
  std::string value;
  if (const std::optional<std::string> header = TRY(find("GIT_AUTH_HEADER" + ending)))
    value = trim(*header);
  else if (const std::optional<std::string> token = TRY(find("GIT_AUTH_TOKEN" + ending)))
    value = "basic " + encode_base64("x-access-token:" + std::string(trim(*token)));
  if (value.find_first_of(std::string_view("\r\n\0", 3)) != std::string::npos)
    return fail(ErrorCode::invalid_argument, "secret GIT_AUTH_HEADER" + ending + " has more than one line");
  return value;
}

}  // namespace

std::string without_credentials(std::string text) {
  for (std::size_t at = 0; (at = text.find("://", at)) != std::string::npos;) {
    at += 3;
    const std::size_t user = end_of_user(text, at);
    if (user != std::string::npos) text.erase(at, user + 1 - at);
  }
  return text;
}

Result<GitAccess> git_access(const std::string& remote, const FindSecret& find) {
  GitAccess access{.remote = remote, .scope = "", .authorization = ""};
  const std::size_t scheme = remote.find("://");
  if (scheme == std::string::npos) return access;
  const std::size_t host = scheme + 3, at = end_of_user(remote, host);
  const std::string user = at == std::string::npos ? "" : remote.substr(host, at - host);
  const std::size_t colon = user.find(':');
  if (!remote.starts_with("http://") && !remote.starts_with("https://")) {
    if (colon != std::string::npos) access.remote = remote.substr(0, host + colon) + remote.substr(at);
    return access;
  }
  if (at != std::string::npos) access.remote.erase(host, at + 1 - host);
  const std::size_t end = std::min(access.remote.find('/', host), access.remote.size());
  access.scope = access.remote.substr(0, end) + "/";
  const std::string name = access.remote.substr(host, end - host);
  if (colon == std::string::npos) {
    access.authorization = TRY(header_of("." + name, find));
    if (!access.authorization.empty()) return access;
    access.authorization = TRY(header_of("", find));
    if (!access.authorization.empty() && remote.starts_with("http://"))
      return fail(ErrorCode::invalid_argument, "GIT_AUTH_TOKEN and GIT_AUTH_HEADER are not sent unencrypted to " +
                                                   access.scope + ": use https, or the secret GIT_AUTH_TOKEN." + name);
    if (!access.authorization.empty() || user.empty()) return access;
  }
  const std::string password = colon == std::string::npos ? "" : user.substr(colon + 1);
  constexpr PercentRules kAsWritten{.keeps_bad_escapes = true};
  access.authorization = "basic " + encode_base64(*percent_decode(user.substr(0, colon), kAsWritten) + ":" +
                                                  *percent_decode(password, kAsWritten));
  return access;
}

}  // namespace dray::builder
