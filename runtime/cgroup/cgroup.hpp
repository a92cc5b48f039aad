// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include <dray/core/fd.hpp>
#include <dray/core/result.hpp>
#include <dray/runtime/cgroup.hpp>

// What launch() and exec() need of a container's cgroups beside <dray/runtime/cgroup.hpp>, whose paths these are.

namespace dray::runtime {

/// The ways into an existing cgroup that cost microseconds. Moving a process by its pid instead takes the kernel's
/// cgroup_threadgroup_rwsem for writing, whose first writer after an idle moment waits for an RCU grace period: 10 ms.
struct CgroupEntrance {
  FileDescriptor unified;             ///< v2, or hybrid where the container is in it: for CLONE_INTO_CGROUP; or invalid
  std::vector<FileDescriptor> tasks;  ///< v1: "tasks" of each hierarchy; who writes "0" moves itself (its thread alone)
};
/// invalid_argument "bad sub cgroup path: …", "unknown controller …".
Result<CgroupEntrance> open_cgroup_entrance(const std::string& cgroups_path, const SubCgroups& sub_cgroups = {});

/// On a host with v1 controllers and v2's hierarchy beside them: makes v2's cgroup (a tenth of a millisecond), for the
/// container's process to be born in it while create_cgroup makes the rest. It can't be entered by writing "0" to
/// cgroup.procs without the wait described above (measured: 6 to 11 ms). Invalid descriptor on other hosts.
Result<FileDescriptor> make_hybrid_birthplace(const std::string& cgroups_path,
                                              ExistingCgroup existing = ExistingCgroup::replace);

/// One hierarchy of the host that a container gets to see: not the hybrid one, as with runc.
struct CgroupMountPoint {
  std::string host_path;  ///< "/sys/fs/cgroup/memory", or of the cgroup that was asked for
  std::string name;  ///< the directory's name below /sys/fs/cgroup in a container: "memory", "cpu,cpuacct", "unified";
                     ///< "" when v2 is all there is
  bool unified = false;  ///< cgroup2
};
Result<std::vector<CgroupMountPoint>> cgroup_mount_points(const std::string& cgroups_path = "");
/// Is cgroup v2 all there is?
Result<bool> is_cgroup_unified();

/// The file with the line "oom_kill N" (memory.oom_control, memory.events), for the monitor; not_found without memory
/// controller.
Result<FileDescriptor> open_oom_file(const std::string& cgroups_path);

}  // namespace dray::runtime
