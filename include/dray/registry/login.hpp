// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include <dray/registry/client.hpp>

// `docker login` and `docker logout`: credentials are tried at the registry, then kept where Docker keeps them.

namespace dray::registry {

struct LoginRequest {
  std::string registry = "docker.io";  ///< "host[:port]"; a scheme and a path are dropped
  std::string username, password;      ///< both empty: what is kept already is tried
};
struct LoginResult {
  std::string config_path;  ///< the file that now holds the password or token in the clear; "" = a credential helper
  std::string username;
};

/// not_found: nothing was given and nothing is kept. permission_denied: the registry refuses. Only credentials that
/// the registry took are kept; where its token server hands out an identity token, that in place of the password.
Result<LoginResult> login(const LoginRequest& request, const Options& options, ProgressSink& progress,
                          const CancelToken& cancel);

/// Forgets them, without asking the registry. False if there were none.
Result<bool> logout(const std::string& registry, const Options& options, const CancelToken& cancel);

}  // namespace dray::registry
