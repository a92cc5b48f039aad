// SPDX-License-Identifier: Apache-2.0
// Credentials and trust as the docker command line leaves them on disk. Helpers (docker-credential-X) are
// programs of the host: their name is checked against a character set before it becomes part of a program
// name, the server's name goes to their stdin (never the command line), their answer is bounded in size and
// time.
#include "credentials.hpp"

#include <dirent.h>
#include <poll.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>

#include <dray/core/process.hpp>

namespace dray::registry {
namespace {

constexpr std::size_t kMaxHelperOutput = 1u << 20;
constexpr auto kHelperTimeout = std::chrono::seconds(30);
constexpr std::size_t kMaxPem = 4u << 20;

bool is_docker_hub(std::string_view registry) {
  return registry == "docker.io" || registry == "index.docker.io" || registry == "registry-1.docker.io";
}

/// "https://host:port/v1/" -> "host:port".
std::string host_of_server(std::string_view server) {
  if (const auto scheme = server.find("://"); scheme != std::string_view::npos) server.remove_prefix(scheme + 3);
  server = server.substr(0, server.find('/'));
  return is_docker_hub(server) ? "docker.io" : std::string(server);
}

bool is_helper_name(std::string_view name) {
  if (name.empty() || name.size() > 64) return false;
  return std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           c == '.';
  });
}

Result<std::string> read_helper_output(FdRef output, const Stop& stop) {
  std::string text;
  std::array<std::byte, 4096> buffer;
  const auto end = std::chrono::steady_clock::now() + kHelperTimeout;
  for (;;) {
    if (stop.requested()) return Failure(Stop::error());
    if (std::chrono::steady_clock::now() > end)
      return fail(ErrorCode::unavailable, "it did not answer within 30 seconds");
    pollfd poller{output.get(), POLLIN, 0};
    if (poll(&poller, 1, 100) <= 0) continue;
    const std::size_t got = TRY(read_some(output, buffer));
    if (got == 0) return text;
    text.append(reinterpret_cast<const char*>(buffer.data()), got);
    if (text.size() > kMaxHelperOutput) return fail(ErrorCode::corrupt, "it wrote more than 1 MiB");
  }
}

/// Anonymous if the helper has nothing for this registry.
Result<Credentials> ask_helper(const std::string& name, const std::string& registry, const Stop& stop) {
  if (!is_helper_name(name)) return fail(ErrorCode::invalid_argument, "not a valid name of a credential helper");
  Pipe input = TRY(make_pipe());
  Pipe output = TRY(make_pipe());
  // Written before the helper starts: it fits the pipe, and a helper that never reads cannot raise SIGPIPE
  // here.
  TRY(write_all(input.write_end, (is_docker_hub(registry) ? "https://index.docker.io/v1/" : registry) + "\n"));
  input.write_end.reset();
  SpawnRequest request;
  request.argv = {"docker-credential-" + name, "get"};
  request.stdin_fd = input.read_end;
  request.stdout_fd = output.write_end;
  ChildProcess child = TRY(ChildProcess::spawn(request));
  output.write_end.reset();
  auto text = read_helper_output(output.read_end, stop);
  if (!text) {
    child.signal(SIGKILL);
    return Failure(std::move(text).error());
  }
  const ExitStatus status = TRY(child.wait());
  if (status.exit_code() != 0) {
    if (text->find("credentials not found") != std::string::npos) return Credentials{};
    return fail(ErrorCode::command_failed, "it ended with status " + std::to_string(status.exit_code()));
  }
  HelperAnswer answer = TRY(parse_helper_answer(*text));
  Credentials credentials;
  if (answer.username == "<token>") {
    credentials.identity_token = std::move(answer.secret);
  } else {
    credentials.username = std::move(answer.username);
    credentials.password = std::move(answer.secret);
  }
  return credentials;
}

Result<void> read_certificates(const std::string& folder, TlsSettings& settings) {
  DIR* directory = opendir(folder.c_str());
  if (directory == nullptr) return {};
  std::vector<std::string> names;
  while (const dirent* entry = readdir(directory)) names.emplace_back(entry->d_name);
  closedir(directory);
  std::ranges::sort(names);
  for (const std::string& name : names) {
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
  const std::string path = directory + "/config.json";
  auto bytes = read_file(path, 4u << 20);
  if (!bytes) {
    if (bytes.error().code() == ErrorCode::not_found) return Credentials{};
    return Failure(std::move(bytes).error());
  }
  const DockerConfig config = TRY_CTX(parse_docker_config(*bytes), "reading \"" + path + "\"");
  std::string helper = config.default_helper;
  for (const auto& [server, name] : config.helpers)
    if (host_of_server(server) == host_of_server(registry)) helper = name;
  if (!helper.empty()) {
    auto answer = ask_helper(helper, registry, stop);
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

Result<TlsSettings> find_tls_settings(const std::string& directory, const std::string& host_and_port) {
  TlsSettings settings;
  if (host_and_port.empty() || host_and_port.find('/') != std::string::npos || host_and_port.starts_with('.'))
    return settings;
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
