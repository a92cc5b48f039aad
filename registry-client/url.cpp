// SPDX-License-Identifier: Apache-2.0
// A registry tells us where to go next (redirects, upload locations, token realms), so each URL it names is
// parsed by one parser (libcurl's, the same that will make the request: two parsers that disagree are a hole)
// and checked here.
#include "url.hpp"

#include <arpa/inet.h>
#include <curl/curl.h>

#include <memory>

#include <dray/core/percent.hpp>
#include <dray/core/text.hpp>

namespace dray::registry {
namespace {

struct UrlCleanup {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};
using UrlHandle = std::unique_ptr<CURLU, UrlCleanup>;

std::string part(CURLU* url, CURLUPart which, unsigned flags = 0) {
  char* text = nullptr;
  if (curl_url_get(url, which, &text, flags) != CURLUE_OK || text == nullptr) return {};
  std::string copy = text;
  curl_free(text);
  return copy;
}

/// An unfriendly URL is quoted only in part: it may be long and hold signatures.
std::string quoted(const std::string& url) {
  return "\"" + url.substr(0, url.find_first_of("?#")).substr(0, 200) + "\"";
}

Result<UrlHandle> parse(const std::string& text) {
  UrlHandle url(curl_url());
  if (url == nullptr) return fail(ErrorCode::internal, "out of memory for a URL");
  if (curl_url_set(url.get(), CURLUPART_URL, text.c_str(), 0) != CURLUE_OK)
    return fail(ErrorCode::invalid_argument, "not a valid URL: " + quoted(text));
  return url;
}

Result<void> check(CURLU* url, const std::string& text) {
  const std::string scheme = part(url, CURLUPART_SCHEME);
  if (scheme != "http" && scheme != "https")
    return fail(ErrorCode::invalid_argument, "only http and https URLs are allowed, not " + quoted(text));
  if (part(url, CURLUPART_HOST).empty()) return fail(ErrorCode::invalid_argument, "URL without host: " + quoted(text));
  return {};
}

std::string_view host_of(std::string_view host_and_port) {
  if (host_and_port.starts_with('[')) return host_and_port.substr(1, host_and_port.find(']') - 1);
  return host_and_port.substr(0, host_and_port.rfind(':'));
}

std::optional<std::uint32_t> ipv4(std::string_view text) {
  in_addr address{};
  if (inet_pton(AF_INET, std::string(text).c_str(), &address) != 1) return std::nullopt;
  return ntohl(address.s_addr);
}

}  // namespace

std::string Origin::host_and_port() const {
  const bool own_port = (scheme == "https" && port == "443") || (scheme == "http" && port == "80");
  return own_port ? host : host + ":" + port;
}

Result<Origin> parse_origin(const std::string& text) {
  const UrlHandle url = TRY(parse(text));
  TRY(check(url.get(), text));
  Origin origin;
  origin.scheme = part(url.get(), CURLUPART_SCHEME);
  origin.host = to_lower(part(url.get(), CURLUPART_HOST));
  origin.port = part(url.get(), CURLUPART_PORT, CURLU_DEFAULT_PORT);
  return origin;
}

Result<std::string> resolve_location(const std::string& base, const std::string& location) {
  if (location.empty()) return fail(ErrorCode::corrupt, "the registry sent no Location");
  for (const char c : location)
    if (static_cast<unsigned char>(c) <= ' ' || c == '\x7f')
      return fail(ErrorCode::corrupt, "the registry sent a Location with blanks or control characters");
  const UrlHandle url = TRY(parse(base));
  const std::string base_scheme = part(url.get(), CURLUPART_SCHEME);
  if (curl_url_set(url.get(), CURLUPART_URL, location.c_str(), 0) != CURLUE_OK)
    return fail(ErrorCode::corrupt, "the registry sent an invalid Location: " + quoted(location));
  TRY(check(url.get(), location));
  if (base_scheme == "https" && part(url.get(), CURLUPART_SCHEME) != "https")
    return fail(ErrorCode::permission_denied, "refusing a redirect from https to http: " + quoted(location));
  curl_url_set(url.get(), CURLUPART_USER, nullptr, 0);
  curl_url_set(url.get(), CURLUPART_PASSWORD, nullptr, 0);
  curl_url_set(url.get(), CURLUPART_FRAGMENT, nullptr, 0);
  return part(url.get(), CURLUPART_URL);
}

std::string with_query(std::string url, std::string_view key, std::string_view value) {
  url += url.find('?') == std::string::npos ? '?' : '&';
  url += std::string(key) + "=" + percent_encode(value);
  return url;
}

bool is_loopback(std::string_view host_and_port) {
  const std::string_view host = host_of(host_and_port);
  if (host == "localhost" || host == "::1" || host_and_port == "::1") return true;
  const auto address = ipv4(host);
  return address && (*address >> 24) == 127;
}

bool matches_insecure_rule(std::string_view host_and_port, std::string_view rule) {
  if (const auto scheme = rule.find("://"); scheme != std::string_view::npos) rule.remove_prefix(scheme + 3);
  if (rule == host_and_port) return true;
  const std::string_view host = host_of(host_and_port);
  if (rule == host) return true;
  const auto slash = rule.find('/');
  if (slash == std::string_view::npos) return false;
  const auto network = ipv4(rule.substr(0, slash));
  const auto address = ipv4(host);
  const std::string_view digits = rule.substr(slash + 1);
  if (!network || !address || digits.empty() || digits.size() > 2) return false;
  unsigned bits = 0;
  for (const char c : digits) {
    if (c < '0' || c > '9') return false;
    bits = bits * 10 + static_cast<unsigned>(c - '0');
  }
  if (bits > 32) return false;
  const std::uint32_t mask = bits == 0 ? 0 : ~std::uint32_t{0} << (32 - bits);
  return (*network & mask) == (*address & mask);
}

}  // namespace dray::registry
