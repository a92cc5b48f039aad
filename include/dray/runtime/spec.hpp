// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <dray/core/result.hpp>

// OCI runtime-spec 1.2 as plain values (config.md, config-linux.md). What the engine and the builder hand to launch().

namespace dray::runtime {

struct User {
  std::uint32_t uid = 0, gid = 0;
  std::vector<std::uint32_t> additional_gids;
  std::optional<std::uint32_t> umask;
};

/// Capability names with prefix ("CAP_NET_RAW").
struct Capabilities {
  std::vector<std::string> bounding, effective, permitted, inheritable, ambient;
};

struct Rlimit {
  std::string type;  ///< "RLIMIT_NOFILE"
  std::uint64_t soft = 0, hard = 0;
};

struct Process {
  bool terminal = false;
  unsigned short console_rows = 0, console_columns = 0;
  User user;
  std::vector<std::string> args;
  std::vector<std::string> env;  ///< "K=V"; PATH of it is searched for args[0] inside the container
  std::string cwd = "/";
  Capabilities capabilities;
  std::vector<Rlimit> rlimits;
  bool no_new_privileges = false;
  std::optional<int> oom_score_adj;
};

/// config.md §mounts. type "bind" with options "rbind"; "proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup".
/// `source` of a bind is a host path of the user's or the engine's, never one from an image. Destinations are resolved
/// in the rootfs; missing ones are created.
struct Mount {
  std::string destination, type, source;
  std::vector<std::string> options;
};

struct Device {
  std::string path;
  char type = 'c';
  std::int64_t major = 0, minor = 0;
  std::uint32_t mode = 0666;
  std::uint32_t uid = 0, gid = 0;
};
struct DeviceRule {
  bool allow = false;
  char type = 'a';
  std::optional<std::int64_t> major, minor;
  std::string access = "rwm";
};

struct Resources {
  std::optional<std::int64_t> memory_limit, memory_swap,
      memory_reservation;  ///< bytes; -1 unlimited; swap = memory+swap
  std::optional<std::uint64_t> cpu_shares, cpu_period;
  std::optional<std::int64_t> cpu_quota;
  std::string cpuset_cpus, cpuset_mems;
  std::optional<std::int64_t> pids_limit;
  std::vector<DeviceRule> devices;
};

struct SeccompArg {
  unsigned index = 0;
  std::uint64_t value = 0, value_two = 0;
  std::string op;  ///< "SCMP_CMP_EQ" …
};
struct SeccompSyscall {
  std::vector<std::string> names;
  std::string action;  ///< "SCMP_ACT_ALLOW"
  std::optional<unsigned> errno_ret;
  std::vector<SeccompArg> args;
};
struct Seccomp {
  std::string default_action;
  std::optional<unsigned> default_errno_ret;
  std::vector<std::string> architectures, flags;
  std::vector<SeccompSyscall> syscalls;
};

/// Which namespaces are new; the others are shared with the caller (host network) or joined by path.
struct Namespaces {
  bool mount = true, pid = true, uts = true, ipc = true, network = true, cgroup = true;
  std::string network_path;  ///< join instead
};

struct Spec {
  Process process;
  bool rootfs_readonly = false;
  std::string hostname, domainname;
  std::vector<Mount> mounts;
  Namespaces namespaces;
  Resources resources;
  std::string cgroups_path;  ///< "dray/<id>", relative to the mount of each hierarchy
  std::vector<Device> devices;
  std::optional<Seccomp> seccomp;
  std::vector<std::string> masked_paths, readonly_paths;
  std::map<std::string, std::string> sysctl;
  std::string rootfs_propagation = "private";
};

/// Docker's defaults: mounts, 14 capabilities, devices and device rules, masked and read-only paths; no process, no
/// seccomp.
Spec make_default_spec();
/// Docker's default seccomp profile for the given capabilities (its conditional rules resolved).
Seccomp default_seccomp(const std::vector<std::string>& capabilities);
/// A seccomp profile in Docker's or the runtime-spec's JSON form (--security-opt seccomp=FILE).
Result<Seccomp> parse_seccomp(std::string_view json, const std::vector<std::string>& capabilities);

/// All names the kernel of this host knows, and the 14 that Docker gives.
std::vector<std::string> all_capabilities();
std::vector<std::string> default_capabilities();
/// --cap-add/--cap-drop over `base` as Docker does it (ALL, with or without CAP_); unknown name: invalid_argument.
Result<std::vector<std::string>> adjust_capabilities(std::vector<std::string> base, const std::vector<std::string>& add,
                                                     const std::vector<std::string>& drop);

/// USER as Docker reads it: "", "name", "uid", "name:group", "uid:gid". Names are looked up in /etc/passwd and
/// /etc/group below `rootfs` (read with size limits, regular files only). Numbers are exact 0…2147483647 or an error.
struct ResolvedUser {
  User user;
  std::string name, home;  ///< home "/" where unknown
};
Result<ResolvedUser> resolve_user(int rootfs_fd, const std::string& text,
                                  const std::vector<std::string>& additional_groups = {});

}  // namespace dray::runtime
