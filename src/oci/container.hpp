// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <dray/core/result.hpp>
#include <dray/runtime/launch.hpp>

#include "state.hpp"

// The life of a container, from create to delete (runtime-spec runtime.md §lifecycle); docs/runtime.md tells it.

namespace dray::oci {

struct Settings {
  std::string root;  ///< of the state directories
  bool root_is_default = true;
  bool systemd_cgroup = false;
  bool rootless = false;  ///< cgroups that may not be made are done without
};

struct CreateOptions {
  std::string id, bundle = ".", console_socket, pidfd_socket, pid_file;
  bool pivot_root = true, new_keyring = true;
  unsigned preserved_descriptors = 0;
  bool detach = true;  ///< a terminal goes to console_socket
};

/// Where the caller wants to hear of the process.
struct Handover {
  std::string console_socket, pidfd_socket, pid_file;
};

/// What there is of a container before anything is made: the bundle, read and checked, with the cgroup's place.
struct Bundle {
  std::string config;  ///< config.json
  runtime::Spec spec;
  ContainerState state;
  Handover handover;  ///< paths that no longer depend on the working directory
};
/// The bundle is the working directory afterwards.
Result<Bundle> read_bundle(const Settings& settings, const CreateOptions& options);
/// in_use if somebody else is in the container's cgroup, or has frozen it.
Result<void> check_cgroup(const ContainerState& state);

/// A container whose process waits at its gate.
struct Created {
  StateDirectory directory;
  ContainerState state;
  runtime::Spec spec;
  runtime::Launched launched;
};

/// All of it or nothing: on failure whatever was made is gone. The caller is the process's parent.
Result<Created> create_container(const Settings& settings, const CreateOptions& options);

/// Hooks startContainer, the gate, hooks poststart. When the command cannot be executed: that error.
Result<void> start_container(StateDirectory& directory, const ContainerState& state, const runtime::Spec& spec);

/// Kills what is left, removes cgroup and state, runs the hooks poststop. For any status.
Result<void> destroy_container(StateDirectory& directory, const ContainerState& state);

/// "unless own pid namespace, all processes of the cgroup": what SIGKILL to the container means.
Result<void> kill_container(const ContainerState& state, int signal, bool all);

// -- shared by create and exec
/// HOME where missing or empty, by the container's /etc/passwd; of a variable that is there twice the last stays.
void complete_environment(runtime::Process& process, FdRef rootfs);
/// A terminal that nobody would hold, or nobody gets.
Result<void> check_terminal(bool terminal, bool detach, const std::string& console_socket);
/// For a process with the container's confinement; `process` and stdio are to be filled in. `process`: the container's
/// pidfd. It refers to `state`.
runtime::ExecRequest make_exec_request(const ContainerState& state, FdRef process, const runtime::Spec& spec,
                                       const char* status);
/// Sends pty and pidfd to the sockets, writes the pid file.
Result<void> hand_over(const Handover& handover, const runtime::Launched& launched);
/// Connects to the profile's listener and sends the descriptor with the containerProcessState.
std::function<Result<void>(pid_t, FdRef)> make_seccomp_sender(const std::optional<runtime::Seccomp>& profile,
                                                              const ContainerState& state, const char* status);
/// Puts a process into the container's groups that are no cgroups; empty without.
std::function<Result<void>(pid_t)> make_group_entrance(const ContainerState& state);
/// To the debug log, in runc's words.
void log_seccomp_flags(const std::optional<runtime::Seccomp>& profile);
/// Before anything is opened: 0, 1 and 2 are taken where the caller closed them, and those that it passes are counted.
Result<void> settle_descriptors();
/// --preserve-fds and $LISTEN_FDS; adds the variables to the environment. invalid_argument if the caller has not passed
/// that many: what lies there is ours, and leads into the host.
Result<unsigned> count_preserved(unsigned wanted, runtime::Process& process);

}  // namespace dray::oci
