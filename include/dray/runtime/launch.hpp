// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <dray/core/fd.hpp>
#include <dray/core/process.hpp>
#include <dray/core/result.hpp>
#include <dray/runtime/cgroup.hpp>
#include <dray/runtime/spec.hpp>

namespace dray::runtime {

/// Descriptors that become 0, 1, 2 of the process (ignored with process.terminal: a fresh pty is made inside the
/// container).
struct Stdio {
  FdRef in, out, err;
};

/// Two FIFOs between `create` and `start`, both opened for reading and writing: the process waits for a byte from
/// `start`, then tells of a failing execve over `status`, or closes it.
struct Gate {
  FdRef start, status;
};

struct LaunchRequest {
  const Spec* spec = nullptr;
  /// Detached mount that becomes the root (store::open_mount). Consumed: it is attached in the container's namespace.
  FdRef rootfs;
  /// Of the host, where hooks shall find the root until the host's files are left; "" = nowhere.
  std::string rootfs_path;
  Stdio stdio;
  /// Runs in the parent once the network namespace exists, while the child makes its mounts; the process is exec'ed
  /// only after it succeeded. May be empty.
  std::function<Result<void>(FdRef netns)> configure_network;
  /// Runs in the parent before the process is let go on: puts it into groups that are no cgroups. May be empty.
  std::function<Result<void>(pid_t pid)> enter_groups;
  /// Runs in the parent when everything is mounted and set, before the host's files are left: the time of the hooks
  /// prestart, createRuntime and createContainer. May be empty.
  std::function<Result<void>(pid_t pid)> run_hooks;
  /// Gets the notification descriptor of a seccomp profile with SCMP_ACT_NOTIFY; must be there if the profile has it.
  std::function<Result<void>(pid_t pid, FdRef listener)> take_seccomp_listener;
  /// launch() returns as soon as the process waits at it. Without: when the command is executed.
  std::optional<Gate> gate;
  unsigned preserved_descriptors = 0;  ///< 3, 4, … that the process inherits
  /// The cgroup is the one of this unit, which systemd makes (spec.cgroups_path is its systemd_cgroups_path()).
  std::optional<SystemdUnit> systemd_unit;
  std::string unit_description;
  ExistingCgroup existing_cgroup = ExistingCgroup::replace;
  std::function<void(const std::string&)> warn;  ///< what is done without; may be empty
  bool plain_newlines = false;                   ///< of a terminal: for who relays it to another terminal
  bool use_init = false;                         ///< --init: dray-init becomes PID 1 and reaps
  bool use_pivot_root = true;                    ///< else chroot, for hosts whose root is an initramfs
  bool new_keyring = true;
  std::string keyring_name;
};

/// A container's first process, started. Owned by the caller, who is its parent and must reap it (waitid on pidfd).
struct Launched {
  pid_t pid = -1;
  FileDescriptor pidfd;
  FileDescriptor console;  ///< pty master with process.terminal
};

/// clone3 into new namespaces and the cgroup, mounts, pivot_root, capabilities, seccomp, exec. All of it or an error
/// that names the step ("mounting proc at \"/proc\": ..."), with nothing left. Errors of exec itself:
/// command_not_found, not_executable with Docker's wording. Must be called from a single-threaded or fork-safe process.
/// Implements runtime-spec create + start.
Result<Launched> launch(const LaunchRequest& request);

/// Lets the process go on that waits at the gate (whose other ends these are), and waits for its execve; the error says
/// why `command` could not be executed.
Result<void> open_gate(const Gate& gate, pid_t pid, FdRef pidfd, const std::string& command);

/// Starts a further process in the running container whose first process is `pid` (nsenter: namespaces, root, cgroup).
struct ExecRequest {
  pid_t pid = -1;
  FdRef pidfd;  ///< of `pid`, from a time when the number was known to be the container's
  Process process;
  std::optional<Seccomp> seccomp;
  std::optional<MemoryPolicy> memory_policy;
  std::optional<std::uint32_t> personality;
  std::string cgroups_path;
  SubCgroups sub_cgroups;  ///< below it, to run in
  /// Whose cgroup it is: systemd can put processes there that the caller itself may not.
  std::optional<SystemdUnit> systemd_unit;
  bool may_stay_outside = false;                 ///< of the cgroup, if the caller may not enter it
  std::function<void(const std::string&)> warn;  ///< what is done without; may be empty
  Stdio stdio;
  std::function<Result<void>(pid_t pid, FdRef listener)> take_seccomp_listener;  ///< as in LaunchRequest
  /// Runs before the process exists; `pid` will fork it.
  std::function<Result<void>(pid_t pid)> enter_groups;
  /// Until when it must have executed its command, or is ended (unavailable).
  std::optional<std::chrono::steady_clock::time_point> deadline;
  std::string program;  ///< executed instead of process.args[0], which stays its name; "" = none
  bool plain_newlines = false;
  unsigned preserved_descriptors = 0;
  bool new_keyring = false;
  std::string keyring_name;
};
Result<Launched> exec(const ExecRequest& request);

/// CLONE_NEW* of the namespaces of a process that are not ours: those to join; joining one's own is an error or a
/// waste. unavailable if there is no such process; that the number is still its own is the caller's to see to.
Result<int> foreign_namespaces(pid_t pid);

/// Compiled seccomp filters are kept in this directory (ours alone, such as /run/dray) and read back by later
/// processes: compiling takes milliseconds. "" (the start) = no cache. Not thread-safe: call once, early.
void set_seccomp_cache_directory(std::string directory);

}  // namespace dray::runtime
