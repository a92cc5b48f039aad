// SPDX-License-Identifier: Apache-2.0
#include "build_run_flags.hpp"

#include <dray/core/text.hpp>
#include <dray/engine/containers.hpp>

#include "../table.hpp"

namespace dray::cli {
namespace {

Failure invalid(const std::string& text) { return fail(ErrorCode::invalid_argument, text); }

/// "id=ID[,src=FILE | ,env=NAME][,type=file|env]"
Result<builder::SecretSource> parse_secret(const std::string& text) {
  builder::SecretSource secret;
  std::string type;
  for (const std::string& part : split(text, ',')) {
    const std::size_t equals = part.find('=');
    const std::string key = part.substr(0, equals);
    if (equals == std::string::npos)
      return invalid("invalid --secret \"" + text + "\": \"" + part + "\" is no key=value");
    const std::string value = part.substr(equals + 1);
    if (key == "id")
      secret.id = value;
    else if (key == "src" || key == "source")
      secret.file = value;
    else if (key == "env")
      secret.env = value;
    else if (key == "type")
      type = value;
    else
      return invalid("invalid --secret \"" + text + "\": unknown key \"" + key + "\"");
  }
  if (type != "" && type != "file" && type != "env")
    return invalid("invalid --secret \"" + text + "\": type is file or env");
  if (type == "env" && secret.env.empty()) secret.env = std::exchange(secret.file, "");
  if (type == "env" && secret.env.empty()) secret.env = secret.id;
  if (secret.id.empty()) return invalid("invalid --secret \"" + text + "\": it has no id");
  return secret;
}

/// "ID[=SOCKET | =KEY[,KEY]]"
Result<builder::SshSource> parse_ssh(const std::string& text) {
  builder::SshSource source;
  const std::size_t equals = text.find('=');
  source.id = text.substr(0, equals);
  if (source.id.empty()) return invalid("invalid --ssh \"" + text + "\": it has no id");
  if (equals != std::string::npos) source.paths = split(text.substr(equals + 1), ',');
  for (const std::string& path : source.paths)
    if (path.empty()) return invalid("invalid --ssh \"" + text + "\": an empty path");
  return source;
}

}  // namespace

void BuildRunFlags::declare(Flags& flags) {
  flags.list("--add-host", add_host_, "Add a custom host-to-IP mapping (format: \"host:ip\")", "strings");
  flags.list("--allow", allow_, "Allow extra privileged entitlement (network.host, security.insecure, device)",
             "strings");
  flags.option("--cgroup-parent", cgroup_parent_, "Set the parent cgroup for the RUN instructions");
  flags.option("--network", network_, "Networking mode for the RUN instructions: default, none, host");
  flags.list("--no-cache-filter", no_cache_filter_, "Do not cache specified stages", "strings");
  flags.list("--secret", secrets_, "Secret to expose to the build (format: \"id=mysecret[,src=/local/secret]\")",
             "strings");
  flags.option("--shm-size", shm_size_, "Shared memory size for the RUN instructions", "bytes");
  flags.list("--ssh", ssh_, "SSH agent socket to expose to the build (format: \"default|<id>[=<socket>]\")", "strings");
  flags.list("--ulimit", ulimits_, "Ulimit options", "ulimit");
}

Result<void> BuildRunFlags::apply(builder::BuildRequest& request) const {
  if (network_ != "default" && network_ != "none" && network_ != "host")
    return invalid("unknown network mode \"" + network_ + "\": use default, none or host");
  request.network = network_;
  for (const std::string& text : secrets_) request.secrets.push_back(TRY(parse_secret(text)));
  for (const std::string& text : ssh_) request.ssh.push_back(TRY(parse_ssh(text)));
  for (const std::string& text : allow_) {
    for (const std::string& name : split(text, ',')) {
      if (name != "network.host" && name != "security.insecure" && name != "device" && !name.starts_with("device="))
        return Failure(Error(ErrorCode::invalid_argument, "invalid --allow \"" + name + "\"")
                           .with_hint("entitlements are network.host, security.insecure, device and device=NAME"));
      request.allowed.push_back(name);
    }
  }
  for (const std::string& text : add_host_) {
    const std::size_t separator = text.find_first_of("=:");
    if (separator == std::string::npos || separator == 0)
      return invalid("bad format for add-host: \"" + text + "\": expected host:ip");
    request.extra_hosts.emplace_back(text.substr(0, separator), text.substr(separator + 1));
  }
  for (const std::string& text : ulimits_) {
    TRY(engine::parse_ulimit(text));
    request.ulimits.push_back(text);
  }
  for (const std::string& text : no_cache_filter_)
    for (const std::string& name : split(text, ',')) request.no_cache_filter.push_back(name);
  if (!shm_size_.empty()) {
    const std::int64_t size = TRY(parse_size(shm_size_));
    if (size <= 0) return invalid("invalid --shm-size \"" + shm_size_ + "\"");
    request.shm_size = static_cast<std::uint64_t>(size);
  }
  request.cgroup_parent = cgroup_parent_;
  return {};
}

}  // namespace dray::cli
