// SPDX-License-Identifier: Apache-2.0
// Credentials and trust as the docker command line leaves them on disk, and leaving them there.
#include "credentials.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include <dray/core/directory_lock.hpp>
#include <dray/core/fd.hpp>
#include <dray/core/output_file.hpp>

#include "credential_helper.hpp"

namespace dray::registry {
namespace {

constexpr std::size_t kMaxConfig = 4u << 20;
constexpr std::size_t kMaxPem = 4u << 20;

bool is_docker_hub(std::string_view registry) {
  return registry == "docker.io" || registry == "index.docker.io" || registry == "registry-1.docker.io";
}

/// What a registry is called in config.json and by helpers: Docker Hub has a historic name.
std::string server_name(const std::string& registry) {
  return is_docker_hub(registry) ? "https://index.docker.io/v1/" : registry;
}

/// "https://host:port/v1/" -> "host:port".
std::string host_of_server(std::string_view server) {
  if (const auto scheme = server.find("://"); scheme != std::string_view::npos) server.remove_prefix(scheme + 3);
  server = server.substr(0, server.find('/'));
  return is_docker_hub(server) ? "docker.io" : std::string(server);
}

Result<void> read_certificates(const std::string& folder, TlsSettings& settings) {
  for (const std::string& name : list_directory(folder).value_or(std::vector<std::string>())) {
    const std::string path = folder + "/" + name;
    if (name.ends_with(".crt")) {
      settings.ca_pem += TRY_CTX(read_file(path, kMaxPem), "reading a registry's CA certificate") + "\n";
    } else if (name.ends_with(".cert")) {
      const std::string key = folder + "/" + name.substr(0, name.size() - 5) + ".key";
      if (access(key.c_str(), R_OK) != 0)
        return fail(ErrorCode::not_found, "missing key \"" + key + "\" for the client certificate \"" + path + "\"");
      settings.client_certificate = path;
      settings.client_key = key;
    }
  }
  return {};
}

std::string config_path(const std::string& directory) { return directory + "/config.json"; }

/// The owner stays, or is the directory's: root's `dray login` must not lock the user out of their own file.
Result<void> write_config(const std::string& path, const std::string& bytes) {
  OutputFile file = TRY(OutputFile::create(path, 0600, Durability::fsync));
  struct stat owner;
  if (::stat(path.c_str(), &owner) != 0 && ::stat(path.substr(0, path.rfind('/')).c_str(), &owner) != 0)
    return fail_errno("writing \"" + path + "\"");
  if (::geteuid() == 0) TRY(file.set_owner(owner.st_uid, owner.st_gid));
  TRY_CTX(file.sink().write(std::as_bytes(std::span(bytes))), "writing \"" + path + "\"");
  return file.commit();
}

/// "" where there is no file yet.
Result<std::string> read_config_bytes(const std::string& path) {
  auto bytes = read_file(path, kMaxConfig);
  if (!bytes && bytes.error().code() == ErrorCode::not_found) return std::string();
  return bytes;
}

Result<DockerConfig> read_config(const std::string& directory) {
  const std::string path = directory + "/config.json";
  const std::string bytes = TRY(read_config_bytes(path));
  if (bytes.empty()) return DockerConfig{};
  return TRY_CTX(parse_docker_config(bytes), "reading \"" + path + "\"");
}

/// The helper that keeps this registry's credentials, or "".
std::string helper_for(const DockerConfig& config, const std::string& registry) {
  for (const auto& [server, name] : config.helpers)
    if (host_of_server(server) == host_of_server(registry)) return name;
  return config.default_helper;
}

/// Two logins at once must not lose one of them. A directory that is made here belongs to whom the one above it does.
Result<DirectoryLock> lock_config(const std::string& directory) {
  struct stat status;
  const bool is_new = ::stat(directory.c_str(), &status) != 0;
  TRY(make_directories(directory, 0700));
  if (is_new && ::geteuid() == 0) {
    const FileDescriptor made = TRY(open_file(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    if (::fstatat(made.get(), "..", &status, 0) != 0 || ::fchown(made.get(), status.st_uid, status.st_gid) != 0)
      return fail_errno("changing the owner of \"" + directory + "\"");
  }
  return DirectoryLock::acquire(directory);
}

}  // namespace

std::string docker_config_directory(const std::string& configured) {
  if (!configured.empty()) return configured;
  if (const char* directory = std::getenv("DOCKER_CONFIG"); directory != nullptr && *directory != '\0')
    return directory;
  if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0') return std::string(home) + "/.docker";
  return "/root/.docker";
}

const DockerConfig::Auth* find_auth(const DockerConfig& config, const std::string& registry) {
  if (const auto exact = config.auths.find(registry); exact != config.auths.end()) return &exact->second;
  const std::string host = host_of_server(registry);
  for (const auto& [server, auth] : config.auths)
    if (host_of_server(server) == host) return &auth;
  return nullptr;
}

Result<Credentials> find_credentials(const std::string& directory, const std::string& registry, const Stop& stop,
                                     std::vector<std::string>& warnings) {
  const DockerConfig config = TRY(read_config(directory));
  const std::string helper = helper_for(config, registry);
  if (!helper.empty()) {
    auto answer = get_from_helper(helper, server_name(registry), stop);
    if (answer && !answer->empty()) return *std::move(answer);
    if (!answer) {
      if (answer.error().code() == ErrorCode::cancelled) return Failure(std::move(answer).error());
      warnings.push_back("warning: credential helper \"" + helper + "\" gave no credentials for " + registry + ": " +
                         answer.error().message());
    }
  }
  Credentials credentials;
  if (const DockerConfig::Auth* auth = find_auth(config, registry)) {
    credentials.username = auth->username;
    credentials.password = auth->password;
    credentials.identity_token = auth->identity_token;
    credentials.registry_token = auth->registry_token;
  }
  return credentials;
}

Result<std::string> store_credentials(const std::string& directory, const std::string& registry,
                                      const Credentials& credentials, const Stop& stop) {
  const DirectoryLock lock = TRY(lock_config(directory));
  const std::string helper = helper_for(TRY(read_config(directory)), registry);
  if (!helper.empty()) {
    TRY_CTX(store_in_helper(helper, server_name(registry), credentials, stop), "credential helper \"" + helper + "\"");
    return std::string();
  }
  const std::string path = config_path(directory);
  const std::string bytes = TRY(read_config_bytes(path));
  DockerConfig::Auth auth{credentials.username, credentials.password, credentials.identity_token, ""};
  const std::string changed = TRY_CTX(set_auth(bytes, server_name(registry), auth), "changing \"" + path + "\"");
  TRY(write_config(path, changed));
  return path;
}

Result<bool> erase_credentials(const std::string& directory, const std::string& registry, const Stop& stop) {
  const DirectoryLock lock = TRY(lock_config(directory));
  const DockerConfig config = TRY(read_config(directory));
  const std::string helper = helper_for(config, registry);
  bool known = false;
  if (!helper.empty()) {
    auto answer = get_from_helper(helper, server_name(registry), stop);
    known = answer && !answer->empty();
    TRY_CTX(erase_from_helper(helper, server_name(registry), stop), "credential helper \"" + helper + "\"");
  }
  std::vector<std::string> servers;
  for (const auto& [server, auth] : config.auths)
    if (host_of_server(server) == host_of_server(registry)) servers.push_back(server);
  if (servers.empty()) return known;
  const std::string path = config_path(directory);
  std::string bytes = TRY(read_config_bytes(path));
  for (const std::string& server : servers) bytes = TRY_CTX(remove_auth(bytes, server), "changing \"" + path + "\"");
  TRY(write_config(path, bytes));
  return true;
}

Result<TlsSettings> find_tls_settings(const std::string& directory, const std::string& host_and_port) {
  TlsSettings settings;
  if (host_and_port.empty() || host_and_port.find('/') != std::string::npos || host_and_port.starts_with('.'))
    return settings;
  TRY(read_certificates("/etc/containers/certs.d/" + host_and_port, settings));
  TRY(read_certificates("/etc/docker/certs.d/" + host_and_port, settings));
  TRY(read_certificates(directory + "/certs.d/" + host_and_port, settings));
  if (settings.ca_pem.empty()) return settings;
  // libcurl takes one bundle in place of the system's: add that, as Docker does.
  const char* configured = std::getenv("SSL_CERT_FILE");
  const std::string bundle =
      configured != nullptr && *configured != '\0' ? configured : "/etc/ssl/certs/ca-certificates.crt";
  if (auto system = read_file(bundle, kMaxPem)) settings.ca_pem += *system;
  return settings;
}

}  // namespace dray::registry
