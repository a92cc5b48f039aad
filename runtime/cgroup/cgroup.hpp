// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include <dray/core/fd.hpp>
#include <dray/core/result.hpp>
#include <dray/runtime/spec.hpp>

// The cgroups of a container as launch() and exec() need them; killing and counting are in <dray/runtime/launch.hpp>.
// `cgroups_path` is relative ("dray/<id>") to the mount point of each hierarchy.

namespace dray::runtime {

/// Makes the cgroup in every hierarchy and sets the limits. On failure nothing that was made is left.
Result<void> create_cgroup(const std::string& cgroups_path, const Resources& resources);

/// The ways into an existing cgroup that cost microseconds. Moving a process by its pid instead takes the kernel's
/// cgroup_threadgroup_rwsem for writing, whose first writer after an idle moment waits for an RCU grace period: 10 ms.
struct CgroupEntrance {
  FileDescriptor unified;             ///< v2: the directory, for CLONE_INTO_CGROUP; invalid on v1
  std::vector<FileDescriptor> tasks;  ///< v1: "tasks" of each hierarchy; who writes "0" moves itself (its thread alone)
};
Result<CgroupEntrance> open_cgroup_entrance(const std::string& cgroups_path);

/// One hierarchy of the host.
struct CgroupMountPoint {
  std::string host_path;  ///< "/sys/fs/cgroup/memory"
  std::string name;  ///< the directory's name below /sys/fs/cgroup in a container: "memory", "cpu,cpuacct", "unified";
                     ///< "" when v2 is all there is
  bool unified = false;  ///< cgroup2
};
Result<std::vector<CgroupMountPoint>> cgroup_mount_points();
/// Is cgroup v2 all there is?
Result<bool> is_cgroup_unified();

/// The file with the line "oom_kill N" (memory.oom_control, memory.events), for the monitor; not_found without memory
/// controller.
Result<FileDescriptor> open_oom_file(const std::string& cgroups_path);

}  // namespace dray::runtime
