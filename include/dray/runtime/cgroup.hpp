// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <dray/core/fd.hpp>
#include <dray/core/result.hpp>
#include <dray/runtime/cgroup_stats.hpp>
#include <dray/runtime/spec.hpp>

// The cgroups of a container, whichever version the host has: v1 hierarchies (with or without v2's hybrid one beside
// them) or v2 alone. Functions over a path; nothing is held between calls, so they may be called from any process.
//
// `cgroups_path` ("dray/<id>", a leading "/" is dropped) is relative to the mount point of each hierarchy. Components
// "", "." and ".." are refused (invalid_argument). systemd's form "slice:prefix:name" is for the functions of the last
// section only, which say what path it becomes.

namespace dray::runtime {

/// `wanted` as runc takes a spec's cgroupsPath: with a leading "/" it is below the mount point of each hierarchy, else
/// below the caller's own cgroup of each (on v2: beside the caller's own, whose processes keep controllers from it).
/// The result is for the functions below: a path, or, where the hierarchies' differ, more lines "hierarchy:directory".
Result<std::string> resolve_cgroups_path(const std::string& wanted);

// -- making and changing ----------------------------------------------------------------------------------------------

/// What happens to a cgroup that exists already.
enum class ExistingCgroup {
  replace,  ///< a leftover of a crash: removed and made afresh. With processes in it: in_use
  reuse,    ///< prepared by somebody else: its other values stay. With processes in it: in_use
  join,     ///< the same, processes or not
};

/// Is there a limit that takes a controller (any but a device rule)?
Result<bool> needs_controllers(const Resources& resources);

/// Makes the cgroup in every hierarchy, v1's named ones and the hybrid v2 one included, and sets the limits. On failure
/// nothing that was made is left. A limit whose controller the host lacks: unsupported, naming the limit;
/// `resources.unified` on v1: invalid_argument "invalid configuration: …". Zero means "not set" for sizes, shares,
/// quota, period and weights; for pids_limit it means 1, as in runc.
Result<void> create_cgroup(const std::string& cgroups_path, const Resources& resources,
                           ExistingCgroup existing = ExistingCgroup::replace);

/// Changes the values that are set and no other, in an order that the kernel accepts at each step; frozen cgroups too.
/// Device rules change only if there are any, and what old and new rules both allow is never refused in between.
/// With memory_check_before_update a limit below the present usage is refused ("rejecting memory limit …").
Result<void> update_cgroup(const std::string& cgroups_path, const Resources& resources);

/// Gives v2's directory and the files that the kernel allows to delegate to `uid` (a container's root with a writable
/// cgroup mount). On v1: unsupported.
Result<void> delegate_cgroup(const std::string& cgroups_path, uid_t uid);

/// Kills everything in the cgroup (cgroup.kill, else freeze and SIGKILL), waits up to 10 s for it to be empty, removes
/// it and those below it. Absent = success.
Result<void> destroy_cgroup(const std::string& cgroups_path);

// -- processes --------------------------------------------------------------------------------------------------------

/// Of the cgroup and those below it, sorted. Absent = none.
Result<std::vector<pid_t>> cgroup_processes(const std::string& cgroups_path);
/// No process in it, in no hierarchy. Absent = empty.
Result<bool> is_cgroup_empty(const std::string& cgroups_path);
/// Sends the signal to every process of the cgroup and those below it; SIGKILL reaches also those that are being forked
/// and those of a frozen cgroup (which it thaws on v1, where they could not die otherwise).
Result<void> signal_cgroup(const std::string& cgroups_path, int signal);

/// Stops all processes, and returns when they have stopped. unsupported without freezer. When they don't stop within
/// seconds the cgroup is thawed again, and the error is `unavailable`.
Result<void> freeze_cgroup(const std::string& cgroups_path);
Result<void> thaw_cgroup(const std::string& cgroups_path);
/// Frozen by itself; a frozen parent doesn't count. Absent, or no freezer = false.
Result<bool> is_cgroup_frozen(const std::string& cgroups_path);

// -- looking ----------------------------------------------------------------------------------------------------------

/// True if the kernel's OOM killer struck in it.
bool oom_killed(const std::string& cgroups_path);

/// Whatever the host's controllers count; the rest stays zero. not_found if the cgroup is gone.
Result<CgroupStats> read_cgroup_stats(const std::string& cgroups_path);

/// Where the cgroup is in one hierarchy.
struct CgroupDirectory {
  std::string controller;  ///< "memory"; "name=systemd" for a named hierarchy; "" for v2's
  std::string path;        ///< "/sys/fs/cgroup/memory/dray/<id>"
};
/// One entry a controller, sorted by controller: co-mounted ones share the path. Whether they exist is not looked at.
Result<std::vector<CgroupDirectory>> cgroup_directories(const std::string& cgroups_path);

/// Tells about out-of-memory events in a cgroup, for a poll loop. Movable; the descriptor lives with the object.
class OomEvents {
 public:
  /// not_found without memory controller or without the cgroup.
  static Result<OomEvents> open(const std::string& cgroups_path);

  /// Readable (POLLIN) when take() has news.
  FdRef fd() const { return fd_; }
  struct News {
    bool oom = false;   ///< at least one since the last call
    bool gone = false;  ///< the cgroup was removed (v2: or its last process ended): there will be no more news
  };
  /// Does not block.
  Result<News> take();

 private:
  FileDescriptor fd_;         // v1: eventfd; v2: inotify
  FileDescriptor directory_;  // of the cgroup
  bool unified_ = false;
  std::uint64_t kills_ = 0;
};

/// Controller ("" = all) -> path below the container's cgroup, as `exec --cgroup` takes it.
using SubCgroups = std::map<std::string, std::string>;

/// fork() for a process that is to outlive the caller's systemd unit, which ends all of its cgroup: on v2 the child is
/// in the cgroup dray/monitors, unless the caller is in no unit. The result is a pid to wait for, which need not be the
/// child's; -1 as fork().
pid_t fork_monitor();

// -- systemd ----------------------------------------------------------------------------------------------------------

/// A cgroupsPath "slice:prefix:name", as container managers give it to runtimes that work with systemd.
struct SystemdUnit {
  std::string slice;           ///< "system.slice" if the text left it out
  std::string name;            ///< "prefix-name.scope"; or the name itself, if it ends in ".slice"
  bool of_user = false;        ///< of the caller's own systemd, not of the host's
  std::string manager_cgroup;  ///< where that one's units are; see user_manager_cgroup()
  /// More properties at the start: name -> value in GVariant's text form, as annotations "org.systemd.property.<name>"
  /// have them; "…Sec" takes seconds.
  std::map<std::string, std::string> properties;

  bool is_slice() const { return name.ends_with(".slice"); }
};
Result<SystemdUnit> parse_systemd_path(const std::string& text);
/// The path for the functions above: "a-b.slice" and "x.scope" are at "a.slice/a-b.slice/x.scope".
Result<std::string> systemd_cgroups_path(const SystemdUnit& unit);

/// Has systemd make a transient unit with the process in it and the limits as its properties, so that a reload of
/// systemd keeps them; returns when the job is done. What systemd has no property for, and the hierarchies it does not
/// use, the caller sets with create_cgroup(…, join). `pid` 0 = without process (slices only). unsupported without
/// systemd. The value: warnings for the log.
Result<std::vector<std::string>> start_systemd_unit(const SystemdUnit& unit, const std::string& description, pid_t pid,
                                                    const Resources& resources);
/// As properties of the running unit; the caller also calls update_cgroup. The value: warnings for the log.
Result<std::vector<std::string>> update_systemd_unit(const SystemdUnit& unit, const Resources& resources);
/// Has systemd move a process of the caller's into the unit's cgroup.
Result<void> attach_to_systemd_unit(const SystemdUnit& unit, pid_t pid);
/// The cgroup of the caller's own systemd ("user.slice/user-1000.slice/user@1000.service").
Result<std::string> user_manager_cgroup();
/// Stops the unit and clears a failed one. Absent = success.
Result<void> stop_systemd_unit(const SystemdUnit& unit);

}  // namespace dray::runtime
