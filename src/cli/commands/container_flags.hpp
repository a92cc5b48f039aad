// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <dray/engine/containers.hpp>

#include <dray/flags/flags.hpp>

namespace dray::cli {

/// The flags that `run` and `create` share, as typed; to_options() parses them.
struct ContainerFlags {
  bool interactive = false, terminal = false, remove = false, init = false, privileged = false, read_only = false,
       trust_host_ca = false, quiet = false;
  std::string name, hostname, network = "bridge", user, working_dir, memory, cpus, stop_signal, pull = "missing",
                              platform, cidfile, restart;
  std::optional<std::string> entrypoint;
  std::optional<int> pids_limit, stop_timeout;
  std::vector<std::string> env, env_files, volumes, mounts, ports, tmpfs, cap_add, cap_drop, security_opt, add_hosts,
      dns, dns_search, dns_options, labels, label_files, ulimits, devices, group_add;
  std::vector<std::string> words;  ///< IMAGE [COMMAND] [ARG...]

  void declare(Flags& flags);
  Result<engine::ContainerOptions> to_options() const;
};

/// Lines "K=V", "K", "#comment" of --env-file and --label-file.
Result<std::vector<std::string>> read_list_file(const std::string& path);

/// Creates the container, pulling the image first as --pull says; progress on stderr.
Result<std::string> create_with_pull(engine::Context& context, const ContainerFlags& flags);

}  // namespace dray::cli
