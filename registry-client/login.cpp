// SPDX-License-Identifier: Apache-2.0
#include <dray/registry/login.hpp>

#include "credentials.hpp"
#include "session.hpp"

namespace dray::registry {

namespace {

/// "https://host:5000/v2/" -> "host:5000"; "", "index.docker.io" and the like -> "docker.io". invalid_argument for what
/// is no host.
Result<std::string> registry_host(std::string server) {
  if (const auto scheme = server.find("://"); scheme != std::string::npos) server.erase(0, scheme + 3);
  server = server.substr(0, server.find('/'));
  if (server.empty() || server == "index.docker.io" || server == "registry-1.docker.io")
    return std::string("docker.io");
  TRY_CTX(parse_origin("https://" + server), "\"" + server + "\" is not the name of a registry");
  return server;
}

}  // namespace

Result<LoginResult> login(const LoginRequest& request, const Options& options, ProgressSink& progress,
                          const CancelToken& cancel) {
  Stop stop(cancel);
  const std::string registry = TRY(registry_host(request.registry));
  const std::string directory = docker_config_directory(options.docker_config_directory);
  Credentials credentials;
  credentials.username = request.username;
  credentials.password = request.password;
  const bool given = !credentials.empty();
  if (!given) {
    std::vector<std::string> warnings;
    credentials = TRY(find_credentials(directory, registry, stop, warnings));
    if (credentials.empty()) return fail(ErrorCode::not_found, "no credentials are kept for " + registry);
  }
  HttpClient client = TRY(HttpClient::create());
  const std::string identity_token =
      TRY(Session::try_credentials(client, registry, credentials, options, progress, stop));
  LoginResult result{"", credentials.username};
  if (!given) return result;
  if (!identity_token.empty()) {
    credentials.password.clear();
    credentials.identity_token = identity_token;
  }
  result.config_path = TRY(store_credentials(directory, registry, credentials, stop));
  return result;
}

Result<bool> logout(const std::string& registry, const Options& options, const CancelToken& cancel) {
  const Stop stop(cancel);
  return erase_credentials(docker_config_directory(options.docker_config_directory), TRY(registry_host(registry)),
                           stop);
}

}  // namespace dray::registry
