// SPDX-License-Identifier: Apache-2.0
// containers-auth.json(5): the form of Docker's config.json, but a key may name part of a registry, and the longest one
// that covers the repository counts. The file is only read; `login` writes Docker's.
#include <unistd.h>

#include <cstdlib>

#include "credentials.hpp"
#include "registry_json.hpp"

namespace dray::registry {
namespace {

std::string from_environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::vector<std::string> candidates() {
  if (const std::string file = from_environment("REGISTRY_AUTH_FILE"); !file.empty()) return {file};
  std::vector<std::string> paths;
  if (const std::string runtime = from_environment("XDG_RUNTIME_DIR"); !runtime.empty())
    paths.push_back(runtime + "/containers/auth.json");
  paths.push_back("/run/containers/" + std::to_string(::geteuid()) + "/auth.json");
  std::string config = from_environment("XDG_CONFIG_HOME");
  if (const std::string home = from_environment("HOME"); config.empty() && !home.empty()) config = home + "/.config";
  if (!config.empty()) paths.push_back(config + "/containers/auth.json");
  return paths;
}

}  // namespace

Result<Credentials> find_containers_credentials(const std::string& registry, const std::string& repository) {
  for (const std::string& path : candidates()) {
    auto bytes = read_file(path, 4u << 20);
    if (!bytes && bytes.error().code() == ErrorCode::not_found) continue;
    if (!bytes) return Failure(std::move(bytes).error());
    const DockerConfig config = TRY_CTX(parse_docker_config(*bytes), "reading \"" + path + "\"");
    const DockerConfig::Auth* found = nullptr;
    for (std::string key = registry + "/" + repository; found == nullptr && !key.empty();
         key.resize(key.find('/') == std::string::npos ? 0 : key.rfind('/')))
      if (const auto entry = config.auths.find(key); entry != config.auths.end()) found = &entry->second;
    if (found == nullptr && registry == "docker.io") found = find_auth(config, registry);  // it has older keys
    if (found == nullptr) return Credentials{};
    Credentials credentials;
    credentials.username = found->username;
    credentials.password = found->password;
    credentials.identity_token = found->identity_token;
    credentials.registry_token = found->registry_token;
    return credentials;
  }
  return Credentials{};
}

}  // namespace dray::registry
