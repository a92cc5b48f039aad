// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include <dray/core/result.hpp>

#include "http.hpp"
#include "registry_json.hpp"

namespace dray::registry {

/// Who we are for one registry. All empty = anonymous.
struct Credentials {
  std::string username, password;
  std::string identity_token;  ///< an OAuth2 refresh token, exchanged at the token server
  std::string registry_token;  ///< used as the bearer token itself
  bool empty() const { return username.empty() && identity_token.empty() && registry_token.empty(); }
};

/// "" resolved to $DOCKER_CONFIG or ~/.docker.
std::string docker_config_directory(const std::string& configured);

/// From config.json: credHelpers, credsStore, auths, in Docker's order. `registry` is the reference's domain.
/// An absent file means anonymous; a helper that is missing or fails too, with a line in `warnings`.
Result<Credentials> find_credentials(const std::string& directory, const std::string& registry, const Stop& stop,
                                     std::vector<std::string>& warnings);
/// Keeps them where find_credentials looks: in the registry's helper, or in config.json (0600; everything else in it
/// stays). Returns the file's path, "" for a helper.
Result<std::string> store_credentials(const std::string& directory, const std::string& registry,
                                      const Credentials& credentials, const Stop& stop);
/// False if there were none.
Result<bool> erase_credentials(const std::string& directory, const std::string& registry, const Stop& stop);
/// The entry of `auths` for the registry, by Docker's loose matching ("https://host/v1/" is "host").
const DockerConfig::Auth* find_auth(const DockerConfig& config, const std::string& registry);

/// What Podman, Skopeo and Buildah keep in auth.json ($REGISTRY_AUTH_FILE, $XDG_RUNTIME_DIR/containers,
/// /run/containers/UID or ~/.config/containers; the first that exists), by registry or by "registry/name/space".
Result<Credentials> find_containers_credentials(const std::string& registry, const std::string& repository);

/// The system's trust plus certs.d/<host:port>/{*.crt,*.cert,*.key}, looked up in /etc/docker and
/// `directory`.
Result<TlsSettings> find_tls_settings(const std::string& directory, const std::string& host_and_port);

}  // namespace dray::registry
