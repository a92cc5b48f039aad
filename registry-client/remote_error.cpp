// SPDX-License-Identifier: Apache-2.0
// Answers turned into errors, and errors into waiting times. People search the web for Docker's sentences, so
// these keep them. A registry that is down must be reported within two seconds, hence few and short tries
// where no connection stood; one that is busy gets four more tries over about eight seconds.
#include "remote_error.hpp"

#include <random>

#include "registry_json.hpp"
#include "url.hpp"

namespace dray::registry {
namespace {

constexpr int kMaxBusyRetries = 4;
constexpr int kMaxUnreachableRetries = 2;
constexpr std::chrono::milliseconds kMaxRetryAfter{30000};

/// "MANIFEST_UNKNOWN" -> "manifest unknown".
std::string words(std::string code) {
  for (char& c : code) {
    if (c == '_') c = ' ';
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return code;
}

std::string describe(const std::vector<RegistryError>& errors) {
  std::string text;
  for (const RegistryError& error : errors) {
    if (!text.empty()) text += ", ";
    const std::string code = words(error.code);
    text += code;
    if (error.message.empty() || words(error.message) == code) continue;
    text += (code.empty() ? "" : ": ") + error.message;
  }
  return text;
}

bool has(const std::vector<RegistryError>& errors, std::string_view code) {
  return std::ranges::any_of(errors, [&](const RegistryError& error) { return error.code == code; });
}

std::string status_text(const Response& response) {
  std::string host = "the registry";
  if (const auto origin = parse_origin(response.url)) host = origin->host_and_port();
  return host + " answered with HTTP status " + std::to_string(response.status);
}

std::string wanted(const Reference& reference) {
  return reference.digest() && reference.tag().empty()
             ? reference.familiar_name() + "@" + reference.digest()->to_string()
             : reference.familiar();
}

std::optional<std::uint64_t> number(std::string_view text) {
  std::uint64_t value = 0;
  std::size_t digits = 0;
  for (; digits < text.size() && digits < 12 && text[digits] >= '0' && text[digits] <= '9'; ++digits)
    value = value * 10 + static_cast<std::uint64_t>(text[digits] - '0');
  return digits == 0 ? std::nullopt : std::optional(value);
}

std::string duration_text(std::uint64_t seconds) {
  const auto count = [](std::uint64_t n, const std::string& unit) {
    return std::to_string(n) + " " + unit + (n == 1 ? "" : "s");
  };
  if (seconds >= 3600) return count((seconds + 1800) / 3600, "hour");
  return seconds >= 60 ? count((seconds + 30) / 60, "minute") : count(seconds, "second");
}

Error too_many_requests(const Response& response, const std::string& reason, const std::string& status) {
  std::string message = "too many requests: ";
  message = reason.starts_with("toomanyrequests") ? reason : message + (reason.empty() ? status : reason);
  if (const std::string limit = rate_limit(response, ~std::uint64_t{0}); !limit.empty()) message += " (" + limit + ")";
  std::string hint = "the registry limits how often it is asked; `dray login` raises Docker Hub's limit";
  if (const auto after = number(response.header("retry-after")); after && *after > 0)
    hint = "try again in " + duration_text(*after) + "; " + hint;
  return Error(ErrorCode::unavailable, message).with_hint(hint);
}

}  // namespace

std::string rate_limit(const Response& response, std::uint64_t worth_telling) {
  const std::string_view limit = response.header("ratelimit-limit"), left = response.header("ratelimit-remaining");
  const auto total = number(limit), remaining = number(left);
  if (!total || !remaining || *remaining > worth_telling) return "";
  std::string text = std::to_string(*remaining) + " of " + std::to_string(*total) + " pulls left";
  if (const auto window = limit.find(";w="); window != std::string_view::npos)
    if (const auto seconds = number(limit.substr(window + 3)); seconds) text += " in " + duration_text(*seconds);
  return text;
}

Error denied(const Reference& reference, Purpose purpose, const std::string& reason) {
  if (purpose == Purpose::login)
    return Error(ErrorCode::permission_denied, reason.starts_with("unauthorized") ? reason : "unauthorized: " + reason);
  const std::string verb = purpose == Purpose::push ? "push" : purpose == Purpose::remove ? "delete" : "pull";
  return Error(ErrorCode::permission_denied,
               verb + " access denied for " + reference.familiar_name() +
                   ", repository does not exist or may require 'docker login': " + reason);
}

Error remote_error(const Response& response, const Reference& reference, Purpose purpose) {
  const std::vector<RegistryError> errors = parse_registry_errors(response.body);
  std::string reason = describe(errors);
  const std::string status = status_text(response);
  if (response.status == 401 || response.status == 403)
    return denied(reference, purpose, reason.empty() ? status : reason);
  if (response.status == 429) return too_many_requests(response, reason, status);
  if (response.status == 404 && has(errors, "NAME_UNKNOWN"))
    return Error(ErrorCode::not_found, "repository " + reference.familiar_name() + " not found: " + reason);
  if (response.status == 404 && purpose == Purpose::pull_manifest)
    return Error(ErrorCode::not_found,
                 "manifest for " + wanted(reference) + " not found: " + (reason.empty() ? status : reason));
  const std::string message = reason.empty() ? status : reason + " (" + status + ")";
  if (response.status == 404) return Error(ErrorCode::not_found, message);
  if (response.status >= 400 && response.status < 500) return Error(ErrorCode::invalid_argument, message);
  return Error(ErrorCode::unavailable, message);
}

Error transfer_error(const Response& response, const std::string& host) {
  switch (response.failure) {
    case TransferFailure::unreachable:
      return Error(ErrorCode::unavailable, "registry " + host + " is not reachable: " + response.failure_text);
    case TransferFailure::certificate:
      return Error(ErrorCode::permission_denied,
                   "registry " + host + ": TLS certificate not trusted: " + response.failure_text)
          .with_hint("put its CA into /etc/docker/certs.d/" + host + "/ca.crt, or list it in insecure-registries");
    case TransferFailure::own_certificate:
      return Error(ErrorCode::permission_denied,
                   "registry " + host +
                       ": it does not accept us without another client certificate: " + response.failure_text)
          .with_hint("put certificate and key into /etc/docker/certs.d/" + host + "/ as client.cert and client.key");
    case TransferFailure::handshake:
      return Error(ErrorCode::unavailable, "registry " + host + ": TLS handshake failed: " + response.failure_text)
          .with_hint("a registry without TLS must be listed in insecure-registries");
    default:
      return Error(ErrorCode::unavailable, "registry " + host + ": connection failed: " + response.failure_text);
  }
}

bool is_temporary(const Response& response) {
  switch (response.failure) {
    case TransferFailure::unreachable:
    case TransferFailure::handshake:
    case TransferFailure::interrupted:
      return true;
    case TransferFailure::certificate:
    case TransferFailure::own_certificate:
    case TransferFailure::protocol:
      return false;
    case TransferFailure::none:
      break;
  }
  return response.status == 408 || response.status == 429 || (response.status >= 500 && response.status != 501);
}

std::optional<std::chrono::milliseconds> Backoff::next(const Response& response) {
  if (!is_temporary(response)) return std::nullopt;
  const bool quick = patience_ == Patience::quick && (response.failure == TransferFailure::unreachable ||
                                                      response.failure == TransferFailure::handshake);
  if (tries_ >= (quick ? kMaxUnreachableRetries : kMaxBusyRetries)) return std::nullopt;
  std::int64_t wait = (quick ? 150 : 500) << tries_;
  ++tries_;
  thread_local std::minstd_rand random(std::random_device{}());
  wait += static_cast<std::int64_t>(random() % static_cast<unsigned>(wait / 2 + 1)) - wait / 4;
  const std::chrono::milliseconds asked(number(response.header("retry-after")).value_or(0) * 1000);
  if (asked > kMaxRetryAfter) return std::nullopt;  // nobody waits that long before a prompt
  return std::max(std::chrono::milliseconds(wait), asked);
}

}  // namespace dray::registry
