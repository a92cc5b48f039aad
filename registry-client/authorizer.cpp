// SPDX-License-Identifier: Apache-2.0
// Authentication as registries do it: a 401 names Basic, or Bearer with a realm that hands out tokens for
// scopes (distribution's token specification). The registry is not trusted with the choice of scope: a
// challenge could ask for a token for another repository, so the scopes are ours. The realm must be https
// unless the registry itself is plain.
#include "authorizer.hpp"

#include <dray/core/base64.hpp>
#include <dray/core/percent.hpp>

#include "registry_json.hpp"
#include "url.hpp"

namespace dray::registry {
namespace {

const Challenge* find(const std::vector<Challenge>& challenges, std::string_view scheme) {
  for (const Challenge& challenge : challenges)
    if (challenge.scheme == scheme) return &challenge;
  return nullptr;
}

std::string parameter(const Challenge& challenge, const std::string& name) {
  const auto found = challenge.parameters.find(name);
  return found == challenge.parameters.end() ? std::string() : found->second;
}

}  // namespace

void Authorizer::add_scope(const std::string& scope) {
  const std::lock_guard lock(mutex_);
  if (scopes_.insert(scope).second) scopes_changed_ = true;
}

Result<std::string> Authorizer::header(const Transport& transport) {
  const std::lock_guard lock(mutex_);
  if (!bearer_) return header_;
  if (scopes_changed_ || std::chrono::steady_clock::now() > expires_) TRY(fetch_token(transport));
  return header_;
}

Result<bool> Authorizer::answer(const std::vector<Challenge>& challenges, const std::string& used,
                                const Transport& transport) {
  const std::lock_guard lock(mutex_);
  if (header_ != used) return true;  // another thread was faster
  if (const Challenge* bearer = find(challenges, "bearer")) {
    TRY(set_realm(*bearer));
    TRY(fetch_token(transport));
    return header_ != used;
  }
  if (find(challenges, "basic") != nullptr) {
    if (credentials_.username.empty()) return fail(ErrorCode::permission_denied, "no basic auth credentials");
    bearer_ = false;
    header_ = "Basic " + encode_base64(credentials_.username + ":" + credentials_.password);
    return header_ != used;
  }
  return false;
}

Result<void> Authorizer::set_realm(const Challenge& bearer) {
  const std::string realm = parameter(bearer, "realm");
  auto origin = parse_origin(realm);
  if (!origin)
    return fail(ErrorCode::corrupt, "the registry names an invalid token server: " + origin.error().message());
  if (origin->scheme != "https" && !plain_)
    return fail(ErrorCode::permission_denied, "the registry names a token server without TLS");
  bearer_ = true;
  realm_ = realm;
  service_ = parameter(bearer, "service");
  return {};
}

Result<void> Authorizer::prepare(const std::vector<Challenge>& challenges) {
  const std::lock_guard lock(mutex_);
  const Challenge* bearer = find(challenges, "bearer");
  if (bearer == nullptr) return {};
  TRY(set_realm(*bearer));
  scopes_changed_ = true;
  return {};
}

Result<void> Authorizer::fetch_token(const Transport& transport) {
  if (!credentials_.registry_token.empty()) {
    header_ = "Bearer " + credentials_.registry_token;
    scopes_changed_ = false;
    expires_ = std::chrono::steady_clock::time_point::max();
    return {};
  }
  Request request;
  request.body_limit = 1u << 20;
  if (!credentials_.identity_token.empty()) {
    request.method = "POST";
    request.url = realm_;
    request.headers = {"Content-Type: application/x-www-form-urlencoded"};
    request.body = "grant_type=refresh_token&client_id=dray&service=" + percent_encode(service_) +
                   "&refresh_token=" + percent_encode(credentials_.identity_token);
    std::string scope;
    for (const std::string& one : scopes_) scope += (scope.empty() ? "" : " ") + one;
    request.body += "&scope=" + percent_encode(scope);
  } else {
    request.url = realm_;
    if (!service_.empty()) request.url = with_query(request.url, "service", service_);
    for (const std::string& scope : scopes_) request.url = with_query(request.url, "scope", scope);
    if (want_identity_token_) {
      request.url = with_query(request.url, "client_id", "dray");
      request.url = with_query(request.url, "offline_token", "true");
    }
    if (!credentials_.username.empty()) {
      request.url = with_query(request.url, "account", credentials_.username);
      request.authorization = "Basic " + encode_base64(credentials_.username + ":" + credentials_.password);
    }
  }
  const Response response = TRY(transport(std::move(request)));
  if (response.status == 401 || response.status == 403 || response.status == 400) {
    std::string reason = "the token server refused: HTTP status " + std::to_string(response.status);
    if (!credentials_.empty()) reason = "incorrect username or password";
    for (const RegistryError& error : parse_registry_errors(response.body))
      if (!error.message.empty()) {
        reason = error.message;
        break;
      }
    return fail(ErrorCode::permission_denied, "unauthorized: " + reason);
  }
  if (!response.ok())
    return fail(ErrorCode::unavailable,
                "the token server answered with HTTP status " + std::to_string(response.status));
  const Token token = TRY(parse_token(response.body));
  header_ = "Bearer " + token.value;
  if (want_identity_token_) identity_token_ = token.refresh_token;
  scopes_changed_ = false;
  // Renewed a little early, so that a long upload does not start with a token that is about to end.
  const int margin = std::min(10, token.expires_in_seconds / 4);
  expires_ = std::chrono::steady_clock::now() + std::chrono::seconds(token.expires_in_seconds - margin);
  return {};
}

}  // namespace dray::registry
