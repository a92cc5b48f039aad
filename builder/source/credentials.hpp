// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>

#include <dray/core/result.hpp>

// What a URL has between "://" and "@", and what goes to its host instead.

namespace dray::builder {

/// A URL, or a text with URLs in it, without users and passwords.
std::string without_credentials(std::string text);

/// What git is called with for a remote.
struct GitAccess {
  std::string remote;         ///< no password in it; by http no user either
  std::string scope;          ///< "https://host:port/": nobody else gets the authorization; "": not http
  std::string authorization;  ///< the header's value; "": none
};

/// Of a secret's id; nullopt: there is none.
using FindSecret = std::function<Result<std::optional<std::string>>(const std::string& id)>;

/// A password in the URL before GIT_AUTH_HEADER.host, GIT_AUTH_TOKEN.host, and those two of every host, which are not
/// sent unencrypted.
Result<GitAccess> git_access(const std::string& remote, const FindSecret& find);

}  // namespace dray::builder
