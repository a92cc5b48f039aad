// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <dray/core/fd.hpp>
#include <dray/core/result.hpp>
#include <dray/runtime/spec.hpp>

// What cgroup.cpp, v1.cpp, v2.cpp and devices_bpf.cpp share. No descriptor of a cgroup file system outlives a call: one
// that a container's first process inherited would be a door to the host (CVE-2024-21626).

namespace dray::runtime::cgroup {

struct Hierarchy {
  std::string mount_point;
  std::vector<std::string> controllers;  ///< v1: of the mount's options
  std::string name;                      ///< v1: controllers joined by ',' or the X of name=X
  bool unified = false;

  bool has(std::string_view controller) const;
};

/// Hierarchies in the text of /proc/self/mountinfo, each once. v2 is left out when a v1 controller is mounted.
std::vector<Hierarchy> parse_hierarchies(std::string_view mountinfo);

/// Relative, no empty, "." or ".." components: checked text.
Result<std::string> clean_path(const std::string& cgroups_path);

// -- files of a cgroup, relative to its directory
// ----------------------------------------------------------------------
/// `what` is the file's name and the error's subject. errno stays readable through Error::error_number().
Result<void> write_value(FdRef directory, const char* file, std::string_view value);
Result<std::string> read_value(FdRef directory, const char* file);  ///< without the final newline
bool file_exists(FdRef directory, const char* file);
Result<FileDescriptor> open_directory(FdRef parent, const std::string& path);
/// The pids of the cgroup and those below it; absent = none.
Result<std::vector<pid_t>> read_processes(FdRef parent, const std::string& path);
/// mkdir -p of all but the last component, then the last one fresh: an existing empty one is removed first; one with
/// processes: in_use. Returns its directory.
Result<FileDescriptor> make_leaf(FdRef root, const std::string& path);
/// rmdir of the cgroup and those below it. in_use while processes remain; absent = success.
Result<void> remove_directory(FdRef parent, const std::string& path);

// -- limits, checked and in the kernel's terms
// -------------------------------------------------------------------------
struct MemoryLimits {
  std::string limit, swap_total, swap_only, reservation;  ///< "" = not set; `unlimited` is the kernel's word for it
};
Result<MemoryLimits> memory_limits(const Resources& resources, std::string_view unlimited);
/// The controllers that the limits need, each with the limit's name for the user.
struct Need {
  const char* controller;
  const char* limit;
};
std::vector<Need> needed_controllers(const Resources& resources);
Error missing_controller(const Need& need);
/// cpu.weight of v2 for shares of v1: 2 → 1, 1024 → 100, 262144 → 10000 (the curve of runc 1.3.2).
std::uint64_t weight_of_shares(std::uint64_t shares);

Result<void> create_v1(const std::vector<Hierarchy>& all, const std::string& path, const Resources& resources);
Result<void> create_v2(const Hierarchy& unified, const std::string& path, const Resources& resources);

// -- device rules
// ------------------------------------------------------------------------------------------------------
struct DeviceException {
  char type = 'c';
  std::int64_t major = -1, minor = -1;  ///< -1 = any
  unsigned access = 0;                  ///< 1 mknod, 2 read, 4 write, as BPF_DEVCG_ACC_*
};
/// The state that v1's devices controller has after the rules were written in order.
struct DevicePolicy {
  bool allow_by_default = true;
  std::vector<DeviceException> exceptions;
};
Result<DevicePolicy> device_policy(const std::vector<DeviceRule>& rules);
/// Loads the policy as a cgroup device program and attaches it.
Result<void> attach_device_program(FdRef cgroup, const DevicePolicy& policy);

}  // namespace dray::runtime::cgroup
