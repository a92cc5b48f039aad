// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include <dray/core/result.hpp>

#include "challenge.hpp"
#include "credentials.hpp"
#include "http.hpp"

namespace dray::registry {

/// The Authorization header for one registry (Basic, or Bearer with tokens of the realm's server).
/// Thread-safe: while one thread fetches a token, the others wait for it.
class Authorizer {
 public:
  /// Sends a request to the token server: with trust and redirects, without authorization of its own.
  using Transport = std::function<Result<Response>(Request request)>;

  Authorizer(Credentials credentials, bool registry_is_plain)
      : credentials_(std::move(credentials)), plain_(registry_is_plain) {}

  void add_scope(const std::string& scope);
  /// Asks the token server for an identity token, too, which can stand for the password later.
  void want_identity_token() { want_identity_token_ = true; }
  /// The one it gave, or "".
  std::string identity_token() const {
    const std::lock_guard lock(mutex_);
    return identity_token_;
  }
  /// What the registry said when it was first asked: with Bearer, the first real request already brings a
  /// token.
  Result<void> prepare(const std::vector<Challenge>& challenges);
  /// The header's value, or "" if none is needed or known yet. Fetches a new token when the last one is about
  /// to expire.
  Result<std::string> header(const Transport& transport);
  /// The registry answered 401 to a request sent with `used`. True if the next try has something better to
  /// show; permission_denied (the reason only) if there is nothing.
  Result<bool> answer(const std::vector<Challenge>& challenges, const std::string& used, const Transport& transport);

 private:
  Result<void> set_realm(const Challenge& bearer);
  Result<void> fetch_token(const Transport& transport);

  const Credentials credentials_;
  const bool plain_;
  mutable std::mutex mutex_;
  std::set<std::string> scopes_;
  bool bearer_ = false;
  std::string realm_, service_;
  std::string header_;
  bool want_identity_token_ = false;
  std::string identity_token_;
  bool scopes_changed_ = false;
  std::chrono::steady_clock::time_point expires_ = std::chrono::steady_clock::time_point::max();
};

}  // namespace dray::registry
