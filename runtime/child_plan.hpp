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
// The conversation (every descriptor close-on-exec until the very last step); what is in brackets happens only if the
// plan asks for it:
//   [1. helper -> parent  socket: pid and pidfd of the process proper, which the helper forked into the namespaces]
//   [2. parent -> child   socket: a Go without descriptors when the user namespace has its maps]
//    3. parent -> child   socket: a Go when cgroup and network are ready, with its descriptors beside it
//   [3a. child -> parent  status pipe: `map_ids`, the mount on the socket; parent -> child, socket: a Go when done]
//   [4. child -> parent   status pipe: `mounted`; parent -> child, socket: a Go when the hooks have run]
//   [5. child -> parent   status pipe: `seccomp_listener`; parent -> child, socket: a Go when it has the descriptor]
//   [6. child -> parent   status pipe: `ready`; from then on the child only listens to its gate (PlanGate)]
//    7. child -> parent   status pipe: a failure, or end of file when execve() has closed it: success
// A pty's master is sent on the socket once it is made (terminal only).

namespace dray::runtime {

/// Where the child was when it failed, in order. failure.cpp has the sentence of each.
enum class Step : std::int32_t {
  none,
  not_dumpable,
  join_namespaces,
  join_namespace,  // index: join
  time_offsets,
  fork_into_namespaces,
  wait_for_maps,
  become_root,
  new_session,
  session_keyring,
  private_mounts,
  attach_rootfs,
  pivot_root,
  mount_target,       // index: mount
  mount_target_kind,  // index: mount; proc, sysfs and /dev want an ordinary directory
  mount_over_proc,    // index: mount
  mount_create,       // index: mount
  mount_attach,       // index: mount
  mount_options,      // index: mount
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
  map_ids,        // not a failure if error_number is 0: the parent is asked to do it; index: mount
  mounted,        // not a failure: the parent's hooks may run
  wait_for_go,
  enter_cgroup,
  cgroup_namespace,
  cgroup_mount,
  make_working_directory,
  readonly_rootfs,
  working_directory,
  standard_streams,
  label,
  personality,
  scheduler,
  io_priority,
  cpu_affinity,
  memory_policy,
  resource_limit,  // index: rlimit
  signals,
  bounding_set,
  seccomp,
  seccomp_listener,  // not a failure if error_number is 0; index: the child's descriptor
  groups,
  group_id,
  user_id,
  capabilities,
  ambient_set,
  no_new_privileges,
  close_descriptors,
  ready,  // not a failure: the process waits at its gate
  wait_for_start,
  start_init,
  // From dray-init (runtime/init/init.cpp), after execve():
  command_not_in_path,
  command_stat,  // args[0] has a slash and cannot be found
  command_is_directory,
  command_execute
};

/// A failure, or one of the two reports that are none.
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
  const char* source;         ///< what mountinfo shows
  std::uint64_t attributes;   ///< MOUNT_ATTR_* of a new file system; those of a bind are set already
  std::uint64_t propagation;  ///< MS_SHARED ... of a new file system; 0 = as it comes
  int tree;                   ///< of a bind: detached mount
  const char* inner_source;   ///< of a bind from inside the root: instead of `tree`, opened in its turn
  bool recursive;
  bool map_ids;                                    ///< of an inner source: by the parent, who has the right to
  std::uint64_t set, clear, tree_set, tree_clear;  ///< of an inner source
  bool is_directory;
  bool ordinary_directory;  ///< no symlink anywhere in `destination`
  bool may_cover_proc;
  bool keep_mode;  ///< a tmpfs gets the mode of the directory that it covers
};

struct PlanDevice {
  const char* directory;
  const char* name;
  mode_t mode;
  dev_t number;
  uid_t uid;
  gid_t gid;
  int tree;  ///< instead of mknod, which a user namespace forbids: the host's node as a detached mount, or -1
};

struct PlanSysctl {
  const char* path;  ///< "sys/net/…", relative to /proc
  const char* value;
  std::uint32_t length;
};

struct PlanRlimit {
  int resource;
  struct rlimit64 limit;
};

/// A namespace to join: an open file of /proc/PID/ns and its CLONE_NEW* flag.
struct PlanJoin {
  int fd;
  int flag;
};

/// Written to /proc/self/…: labels of the process, offsets of its time namespace.
struct PlanText {
  const char* text;  ///< nullptr = nothing to write
  std::uint32_t length;
};

/// sched_setattr(2)
struct PlanScheduler {
  std::uint32_t size, policy;
  std::uint64_t flags;
  std::int32_t nice;
  std::uint32_t priority;
  std::uint64_t runtime, deadline, period;
};

/// Between create and start the process waits here: two FIFOs that outlive the parent.
struct PlanGate {
  int start;   ///< a byte from it means go; -1 = no gate
  int status;  ///< becomes the status pipe
};

inline constexpr std::uint32_t kAffinityBytes = 1024;  ///< 8192 CPUs
struct PlanAffinity {
  std::uint32_t size;  ///< bytes used of `mask`; 0 = as it is
  unsigned char mask[kAffinityBytes];
};

/// set_mempolicy(2)
inline constexpr std::uint32_t kMaxNodes = 1024;
struct PlanMemoryPolicy {
  int mode;                ///< with flags; -1 = as it is
  std::uint32_t max_node;  ///< one more than the bits of `nodes` that count
  unsigned long nodes[kMaxNodes / (8 * sizeof(unsigned long))];
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
  Step answers = Step::wait_for_go;  ///< where the child waits for it; the one for the cgroup may come early
  std::uint32_t tasks_count = 0, mount_count = 0;
};

struct PlanProcess {
  const char* command;      ///< as it was given
  const char* const* argv;  ///< of dray-init: its own name first
  const char* const* envp;
  const char* cwd;
  int init;  ///< dray-init, opened on a read-only mount of its own
  int stdio[3];
  bool terminal;
  unsigned short rows, columns;
  bool plain_newlines;  ///< the terminal writes no carriage returns
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
  bool seccomp_listener;   ///< the parent wants the notification descriptor
  bool send_listener;      ///< over the socket: the parent has not the right to fetch it
  const char* label_file;  ///< relative to /proc: "thread-self/attr/exec"
  PlanText label;
  std::int64_t personality;  ///< -1 = as it is
  const PlanScheduler* scheduler;
  int io_priority;  ///< ioprio_set(2); -1 = as it is
  PlanAffinity affinity;
  PlanMemoryPolicy memory_policy;
  unsigned preserved;  ///< descriptors 3, 4 … that the command inherits
  PlanGate gate;
};

struct ChildPlan {
  int status;  ///< write end of the status pipe
  int socket;
  int proc;  ///< the host's /proc: what it shows depends on who asks; a container cannot have replaced it
  PlanProcess process;

  PlanText oom_score;  ///< of a process whose launcher may not set it once it is undumpable

  // exec: the namespaces to enter
  int target;  ///< pidfd
  int join_flags;

  // launch: a helper first joins what only children are put into, then forks
  const PlanJoin* joins;  ///< in this order
  std::uint32_t join_count;
  std::uint64_t new_namespaces;  ///< CLONE_NEW* of the fork
  PlanText time_offsets;         ///< of a new time namespace

  // launch: the container's process
  bool wait_for_maps;  ///< in a new user namespace
  bool become_root;    ///< in a user namespace, whose root the launcher is not by itself
  bool new_keyring;
  const char* keyring;      ///< name
  const char* rootfs_path;  ///< of the host, where hooks look for it; nullptr = over "/"
  bool own_mounts;          ///< not the host's mount namespace
  bool
      visible_to_parent;  ///< and its hooks, who have no rights of the host's by which to look at an undumpable process
  bool hooks;             ///< tell the parent when everything is mounted, and wait
  bool use_chroot;        ///< instead of pivot_root
  int rootfs;
  std::uint64_t rootfs_propagation;
  std::uint64_t final_propagation;  ///< once the host's files are left; 0 = no other
  bool rootfs_propagation_recursive;
  const char* const* host_proc_paths;  ///< for use_chroot: procfs and sysfs of the host, which stay mounted otherwise
  std::uint32_t host_proc_count;
  bool dev_readonly;  ///< once everything is in it
  bool new_cgroup_namespace;
  bool rootfs_readonly;
  bool set_up_dev;
  const PlanMount* mounts;
  std::uint32_t mount_count;
  const PlanDevice* devices;
  std::uint32_t device_count;
  const char* hostname;
  const char* domainname;
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

/// They run in the child of a clone and never return.
[[noreturn]] void run_container_child(const ChildPlan& plan);
/// Joins namespaces and forks the container's process into them.
[[noreturn]] void run_launch_helper(const ChildPlan& plan);
[[noreturn]] void run_exec_child(const ChildPlan& plan);

}  // namespace dray::runtime
