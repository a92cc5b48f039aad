// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <dray/core/result.hpp>

// OCI runtime-spec 1.3 as plain values (config.md, config-linux.md). What the engine and the builder hand to launch().

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

/// sched_setattr(2); policy "SCHED_FIFO", flags "SCHED_FLAG_RESET_ON_FORK". Times in nanoseconds.
struct Scheduler {
  std::string policy;
  std::int32_t nice = 0, priority = 0;
  std::vector<std::string> flags;
  std::uint64_t runtime = 0, deadline = 0, period = 0;
};
struct IoPriority {
  std::string io_class;  ///< "IOPRIO_CLASS_BE"
  int priority = 0;
};
/// CPU lists ("0-3,7") for the process while it is set up and from its execve on. "" = as it is.
struct CpuAffinity {
  std::string initial, final;
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
  std::string apparmor_profile, selinux_label;
  std::optional<Scheduler> scheduler;
  std::optional<IoPriority> io_priority;
  CpuAffinity cpu_affinity;
  std::vector<std::string> warnings;  ///< what its reader ignored, to be logged
};

/// One range of a user namespace's map (or of an idmapped mount's).
struct IdMapping {
  std::uint32_t container_id = 0, host_id = 0, size = 0;
};

/// config.md §mounts. type "bind" with options "rbind"; "proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup" …
/// `source` of a bind is a host path of the user's or the engine's, never one from an image. Destinations are resolved
/// in the rootfs; missing ones are created.
struct Mount {
  std::string destination, type, source;
  std::vector<std::string> options;
  std::vector<IdMapping> uid_mappings, gid_mappings;  ///< of an idmapped bind mount
  /// A detached mount, attached as it is instead of what `type`, `source` and `options` describe. Borrowed, consumed.
  int tree = -1;
};

struct Device {
  std::string path;
  char type = 'c';  ///< 'c', 'u' (the same), 'b', 'p'
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

struct BlockIo {
  struct Weight {
    std::int64_t major = 0, minor = 0;
    std::optional<std::uint16_t> weight, leaf_weight;
  };
  struct Rate {
    std::int64_t major = 0, minor = 0;
    std::uint64_t rate = 0;
  };
  std::optional<std::uint16_t> weight, leaf_weight;
  std::vector<Weight> weight_devices;
  std::vector<Rate> read_bps, write_bps, read_iops, write_iops;
};
struct HugepageLimit {
  std::string page_size;  ///< "2MB"
  std::uint64_t limit = 0;
};
struct RdmaLimit {
  std::optional<std::uint32_t> hca_handles, hca_objects;
};
struct NetworkPriority {
  std::string interface;
  std::uint32_t priority = 0;
};

/// config-linux.md §control-groups. Sizes in bytes, times in microseconds; -1 = unlimited.
struct Resources {
  std::optional<std::int64_t> memory_limit, memory_swap, memory_reservation;  ///< swap = memory + swap
  std::optional<std::int64_t> memory_kernel, memory_kernel_tcp;
  std::optional<std::uint64_t> memory_swappiness;
  std::optional<bool> disable_oom_killer, memory_check_before_update;
  std::optional<std::uint64_t> cpu_shares, cpu_period, cpu_burst, cpu_realtime_period;
  std::optional<std::int64_t> cpu_quota, cpu_realtime_runtime, cpu_idle;
  std::string cpuset_cpus, cpuset_mems;
  std::optional<std::int64_t> pids_limit;
  BlockIo block_io;
  std::vector<HugepageLimit> hugepage_limits;
  std::map<std::string, RdmaLimit> rdma;
  std::optional<std::uint32_t> network_class_id;
  std::vector<NetworkPriority> network_priorities;
  std::map<std::string, std::string> unified;  ///< v2 file -> value
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
  std::string listener_path, listener_metadata;  ///< for SCMP_ACT_NOTIFY: a Unix socket that gets the descriptor
};

/// New, joined by path, or (neither) shared with the caller.
struct Namespace {
  bool is_new = false;
  std::string path;
  bool is_own() const { return is_new || !path.empty(); }
};
struct Namespaces {
  Namespace mount{true, {}}, pid{true, {}}, uts{true, {}}, ipc{true, {}}, network{true, {}}, cgroup{true, {}};
  Namespace user, time;
};
/// Seconds and nanoseconds that a new time namespace's clock is ahead.
struct TimeOffset {
  std::int64_t seconds = 0;
  std::uint32_t nanoseconds = 0;
};

/// config.md §posix-platform-hooks
struct Hook {
  std::string path;
  std::vector<std::string> args, env;
  std::optional<int> timeout;  ///< seconds
};
struct Hooks {
  std::vector<Hook> prestart, create_runtime, create_container, start_container, poststart, poststop;
};

struct IntelRdt {
  std::string clos_id, l3_cache_schema, memory_bandwidth_schema;
  std::vector<std::string> schemata;
  bool enable_monitoring = false;
};

/// set_mempolicy(2); mode "MPOL_BIND", nodes "0-3,7", flags "MPOL_F_STATIC_NODES".
struct MemoryPolicy {
  std::string mode, nodes;
  std::vector<std::string> flags;
};

struct Spec {
  std::string oci_version;
  Process process;
  std::string rootfs_path;  ///< of a bundle; launch() takes a descriptor
  bool rootfs_readonly = false;
  std::string hostname, domainname;
  std::vector<Mount> mounts;
  Hooks hooks;
  std::map<std::string, std::string> annotations;
  Namespaces namespaces;
  std::vector<IdMapping> uid_mappings, gid_mappings;
  std::map<std::string, TimeOffset> time_offsets;  ///< "monotonic", "boottime"
  Resources resources;
  std::string cgroups_path;  ///< "dray/<id>", relative to the mount of each hierarchy
  std::vector<Device> devices;
  std::optional<Seccomp> seccomp;
  std::vector<std::string> masked_paths, readonly_paths;
  std::map<std::string, std::string> sysctl;
  std::string rootfs_propagation = "private";
  std::string mount_label;
  std::optional<std::uint32_t> personality;
  std::optional<IntelRdt> intel_rdt;
  std::optional<MemoryPolicy> memory_policy;
  std::map<std::string, std::string> net_devices;  ///< the caller's -> name in the container; "" = the same
  std::vector<std::string> warnings;               ///< what its reader ignored, to be logged
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
