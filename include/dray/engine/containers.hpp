// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <dray/engine/engine.hpp>
#include <dray/network/network.hpp>
#include <dray/runtime/spec.hpp>

namespace dray::engine {

/// -v / --mount / --tmpfs, parsed.
struct VolumeMount {
  enum class Kind { bind, volume, tmpfs };
  Kind kind = Kind::bind;
  std::string source;  ///< host path, volume name, or "" (anonymous volume)
  std::string destination;
  bool read_only = false;
  std::vector<std::string> options;  ///< propagation, tmpfs size=…, mode=…
  bool create_source = true;         ///< -v makes a missing host directory; --mount refuses
  bool no_copy = false;              ///< a new volume is not filled from the image
};
/// Docker's grammars. invalid_argument with Docker's wording.
Result<VolumeMount> parse_volume(const std::string& text);
Result<VolumeMount> parse_mount(const std::string& text);

/// --restart. The monitor applies it; after a reboot, start_wanted_containers() does.
struct RestartPolicy {
  enum class Kind { no, always, unless_stopped, on_failure };
  Kind kind = Kind::no;
  int maximum_retries = 0;  ///< of on_failure; 0 = any number

  const char* name() const;
};
/// "no", "always", "unless-stopped", "on-failure[:N]"; "" = no. invalid_argument with Docker's wording.
Result<RestartPolicy> parse_restart_policy(const std::string& text);

/// All that `create` fixes for a container; kept as JSON in containers/<id>/config.json.
struct ContainerOptions {
  std::string image;                                   ///< reference or ID
  std::optional<image::Platform> platform;             ///< which of a name's images; not kept
  std::string name;                                    ///< "" = generated
  std::vector<std::string> command;                    ///< replaces CMD when not empty
  std::optional<std::vector<std::string>> entrypoint;  ///< --entrypoint (empty list resets)
  std::vector<std::string> env;                        ///< "K=V", or "K" (taken from our environment)
  std::map<std::string, std::string> labels;
  std::vector<VolumeMount> mounts;
  std::vector<network::PortMapping> ports;
  std::string network = "bridge";  ///< bridge | none | host
  std::string working_dir, user, hostname;
  std::vector<std::string> add_hosts;
  network::DnsOptions dns;
  bool terminal = false, open_stdin = false, auto_remove = false, use_init = false;
  bool privileged = false, read_only = false;
  std::vector<std::string> cap_add, cap_drop, security_opt, group_add;
  std::vector<std::string> devices;  ///< HOST[:CONTAINER[:rwm]]
  std::vector<runtime::Rlimit> ulimits;
  std::int64_t memory = 0;  ///< bytes, 0 = unlimited
  std::int64_t nano_cpus = 0;
  std::int64_t pids_limit = 0;  ///< 0 or -1 = unlimited
  std::string stop_signal;
  int stop_timeout_seconds = 10;
  bool trust_host_ca = false;
  RestartPolicy restart;
};

/// restarting: it has ended, and its restart policy starts it again in a moment.
enum class Status { created, running, restarting, exited, dead };

struct ContainerInfo {
  std::string id, name, image, image_id;
  std::vector<std::string> command;  ///< entrypoint + cmd as run
  Status status = Status::created;
  int exit_code = 0;
  int restart_count = 0;  ///< by the policy, since the user started it
  bool oom_killed = false;
  std::string error;  ///< why the last start failed
  pid_t pid = 0;
  std::string created_at, started_at, finished_at;
  std::optional<network::Endpoint> endpoint;
  ContainerOptions options;
};

/// Creates: image resolved (not pulled: not_found "no such image"), name reserved (in_use as Docker's Conflict
/// message), writable snapshot prepared, volumes made. Returns the ID. On failure nothing is left.
Result<std::string> create_container(Context& context, const ContainerOptions& options);

/// A client's end of an attach socket (runtime/monitor.hpp frames).
struct StartOptions {
  bool attach = false;
};
struct Started {
  FileDescriptor connection;  ///< attach socket, from before the first byte of output; invalid without attach
};
/// Starts a created or exited container: its monitor is forked, the container launched. Errors carry command_not_found
/// / not_executable for the command. Already running = success.
Result<Started> start_container(Context& context, const std::string& name, const StartOptions& options);
Result<FileDescriptor> attach_container(Context& context, const std::string& name);

struct ExecOptions {
  std::vector<std::string> command, env;
  std::string user, working_dir;
  bool terminal = false, open_stdin = false, detach = false, privileged = false;
  unsigned short rows = 0, columns = 0;
};
/// `exec`: the process is a child of the caller, its stdio are ours (or a pty).
struct Exec {
  pid_t pid = -1;
  FileDescriptor pidfd, console, stdin_write, stdout_read, stderr_read;
};
Result<Exec> exec_in_container(Context& context, const std::string& name, const ExecOptions& options);

Result<void> stop_container(Context& context, const std::string& name, std::optional<int> timeout_seconds);
Result<void> kill_container(Context& context, const std::string& name, const std::string& signal);
Result<void> restart_container(Context& context, const std::string& name, std::optional<int> timeout_seconds);
/// `rm`: in_use if running and not `force`. `volumes`: anonymous volumes too.
Result<void> remove_container(Context& context, const std::string& name, bool force, bool volumes);
/// Blocks until it is not running; the exit code. Like Docker's, it returns at each end, also when a restart follows.
Result<int> wait_container(Context& context, const std::string& name, const CancelToken& cancel);
/// What the monitor runs when the process has ended: network detached, cgroup removed, --rm honoured. Idempotent.
Result<void> clean_up_container(Context& context, const std::string& id);
/// What the monitor becomes when a restart is due; it left the container's lock as descriptor 3.
Result<void> restart_by_policy(Context& context, const std::string& id);
struct StartWantedReport {
  std::vector<std::string> started;                     ///< names
  std::vector<std::pair<std::string, Error>> failures;  ///< names
};
/// Starts what should run and does not (after a reboot, or after a killed monitor): containers that were started once,
/// with policy always, or unless-stopped and not stopped by the user.
Result<StartWantedReport> start_wanted_containers(Context& context);

/// ID, unambiguous ID prefix, or name. not_found: "No such container: x".
Result<ContainerInfo> find_container(Context& context, const std::string& name);
Result<std::vector<ContainerInfo>> list_containers(Context& context, bool all);
/// Docker's `container inspect` object as JSON text.
Result<std::string> inspect_container(Context& context, const std::string& name);

struct LogOptions {
  bool follow = false, timestamps = false;
  std::int64_t tail = -1;                    ///< lines, -1 = all
  std::optional<std::int64_t> since, until;  ///< seconds since the epoch
};
/// Calls `line` for each record. Follow ends when the container ends or on cancel.
Result<void> read_logs(Context& context, const std::string& name, const LogOptions& options,
                       const std::function<void(std::string_view text, bool is_stderr, std::string_view time)>& line,
                       const CancelToken& cancel);

struct VolumeInfo {
  std::string name, created_at, mountpoint;
  bool anonymous = false;
};
Result<VolumeInfo> create_volume(Context& context, const std::string& name);
Result<std::vector<VolumeInfo>> list_volumes(Context& context);
Result<void> remove_volume(Context& context, const std::string& name);

/// "nofile=1024:2048", "nproc=100"; -1 = unlimited.
Result<runtime::Rlimit> parse_ulimit(const std::string& text);

}  // namespace dray::engine
