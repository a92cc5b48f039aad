// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <linux/filter.h>
#include <sys/resource.h>
#include <sys/types.h>

#include <cstdint>
#include <type_traits>

// What the parent tells the child of a clone: numbers and pointers into memory that the parent owns and that the child,
// a copy of the parent, sees unchanged. The child allocates nothing and thinks little.
//
// The conversation (every descriptor close-on-exec until the very last step):
//   1. child -> parent  socket: the pty's master (terminal only); of exec: the pid and pidfd of the process in the
//   container
//   2. parent -> child  socket: a Go when cgroup and network are ready, with its descriptors beside it
//   3. child -> parent  status pipe: a ChildFailure, or end of file when execve() has closed it: success

namespace dray::runtime {

/// Where the child was when it failed, in order. failure.cpp has the sentence of each.
enum class Step : std::int32_t {
  none,
  not_dumpable,
  join_namespaces,
  fork_into_namespaces,
  new_session,
  session_keyring,
  join_network,
  private_mounts,
  attach_rootfs,
  pivot_root,
  mount_target,       // index: mount
  mount_target_kind,  // index: mount; proc, sysfs and /dev want an ordinary directory
  mount_over_proc,    // index: mount
  mount_create,       // index: mount
  mount_attach,       // index: mount
  device,             // index: device
  device_links,
  console_open,
  console_bind,
  console_control,
  console_send,
  hostname,
  domainname,
  sysctl,         // index: sysctl
  masked_path,    // index: path
  readonly_path,  // index: path
  wait_for_go,
  enter_cgroup,
  cgroup_namespace,
  cgroup_mount,
  make_working_directory,
  readonly_rootfs,
  working_directory,
  standard_streams,
  resource_limit,  // index: rlimit
  signals,
  bounding_set,
  seccomp,
  groups,
  group_id,
  user_id,
  capabilities,
  ambient_set,
  no_new_privileges,
  close_descriptors,
  start_init,
  // From dray-init (runtime/init/init.cpp), after execve():
  command_not_in_path,
  command_stat,  // args[0] has a slash and cannot be found
  command_is_directory,
  command_execute
};

struct ChildFailure {
  Step step = Step::none;
  std::int32_t error_number = 0;
  std::int32_t index = 0;
};

struct PlanOption {
  const char* key;
  const char* value;  ///< nullptr = a flag
};

struct PlanMount {
  const char* destination;  ///< absolute and clean; still to be resolved in the root
  const char* filesystem;   ///< for fsopen(); nullptr for a bind
  const PlanOption* options;
  std::uint32_t option_count;
  std::uint64_t attributes;  ///< MOUNT_ATTR_* of a new file system; those of a bind are set already
  int tree;                  ///< of a bind: detached mount
  bool is_directory;
  bool ordinary_directory;  ///< no symlink anywhere in `destination`
  bool may_cover_proc;
};

struct PlanDevice {
  const char* directory;
  const char* name;
  mode_t mode;
  dev_t number;
  uid_t uid;
  gid_t gid;
};

struct PlanSysctl {
  const char* path;  ///< relative to /proc/sys
  const char* value;
  std::uint32_t length;
};

struct PlanRlimit {
  int resource;
  struct rlimit64 limit;
};

struct PlanLink {
  const char* name;
  const char* target;
};

/// Where the cgroups appear: each hierarchy a directory in a small tmpfs (v1), or the one of v2 directly.
struct PlanCgroups {
  const char* destination;  ///< nullptr = no such mount
  bool unified;
  bool read_only;
  const char* const* names;
  std::uint32_t count;
  const PlanLink* links;  ///< "cpu" -> "cpu,cpuacct"
  std::uint32_t link_count;
};

inline constexpr std::uint32_t kMaxCgroups = 64;  ///< hierarchies

/// What lies beside it: first the opened "tasks" files of cgroup v1 to enter by, then the cgroups' mounts, detached.
struct Go {
  std::uint32_t tasks_count = 0, mount_count = 0;
};

struct PlanProcess {
  const char* const* argv;  ///< of dray-init: its own name first
  const char* const* envp;
  const char* cwd;
  int init;  ///< dray-init, opened on a read-only mount of its own
  int stdio[3];
  bool terminal;
  unsigned short rows, columns;
  uid_t uid;
  gid_t gid;
  const gid_t* groups;
  std::uint32_t group_count;
  mode_t umask;
  std::uint64_t bounding, effective, permitted, inheritable, ambient;
  int last_capability;
  const PlanRlimit* rlimits;
  std::uint32_t rlimit_count;
  bool no_new_privileges;
  const sock_filter* seccomp;  ///< nullptr = unconfined
  std::uint16_t seccomp_length;
  std::uint32_t seccomp_flags;
};

struct ChildPlan {
  int status;  ///< write end of the status pipe
  int socket;
  PlanProcess process;

  // exec: the namespaces to enter
  int target;  ///< pidfd
  int join_flags;

  // launch
  int rootfs;
  std::uint64_t rootfs_propagation;
  int network;  ///< namespace to join, or -1
  bool new_cgroup_namespace;
  bool rootfs_readonly;
  bool set_up_dev;
  const PlanMount* mounts;
  std::uint32_t mount_count;
  const PlanDevice* devices;
  std::uint32_t device_count;
  const char* hostname;
  const char* domainname;
  int proc_sys;  ///< the host's /proc/sys: what it shows depends on who asks
  const PlanSysctl* sysctls;
  std::uint32_t sysctl_count;
  int null_device;  ///< detached mount of the host's verified /dev/null
  const char* const* masked_paths;
  std::uint32_t masked_count;
  const char* const* readonly_paths;
  std::uint32_t readonly_count;
  PlanCgroups cgroups;
};
static_assert(std::is_standard_layout_v<ChildPlan> && std::is_trivially_destructible_v<ChildPlan> &&
              std::is_trivially_copyable_v<ChildPlan>);

/// Both run in the child of a clone and never return.
[[noreturn]] void run_container_child(const ChildPlan& plan);
[[noreturn]] void run_exec_child(const ChildPlan& plan);

}  // namespace dray::runtime
