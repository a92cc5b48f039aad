// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <dray/core/fd.hpp>
#include <dray/core/result.hpp>
#include <dray/runtime/cgroup.hpp>

#include "limits.hpp"

// What the files of this folder share. No descriptor of a cgroup file system outlives a call: one
// that a container's first process inherited would be a door to the host (CVE-2024-21626).

namespace dray::runtime::cgroup {

struct Hierarchy {
  std::string mount_point;
  std::vector<std::string> controllers;  ///< v1: of the mount's options
  std::string name;                      ///< v1: controllers joined by ',' or the X of name=X
  bool unified = false;
  std::string root = "/";  ///< the cgroup that is mounted there

  bool has(std::string_view controller) const;
};

/// Hierarchies in the text of /proc/self/mountinfo, each once; v2's is the last. It is alone where no v1 controller is
/// mounted; beside v1 controllers (a "hybrid" host) it holds processes but no limits.
std::vector<Hierarchy> parse_hierarchies(std::string_view mountinfo);

/// Those of this host, looked up once a process.
const Result<std::vector<Hierarchy>>& hierarchies();
/// The same, as a result that TRY can take, and the path checked.
struct Place {
  const std::vector<Hierarchy>* all = nullptr;
  std::string path;
  /// What `all` is where the path is not the same in all hierarchies: their mount points end at what differs.
  std::shared_ptr<const std::vector<Hierarchy>> moved;

  bool is_unified() const { return all->front().unified; }
  const Hierarchy* find(std::string_view controller) const;  ///< v1's; nullptr = not mounted
  /// The v2 hierarchy, alone or hybrid.
  const Hierarchy* unified() const { return all->back().unified ? &all->back() : nullptr; }
};
Result<Place> find_place(const std::string& cgroups_path);
/// resolve_cgroups_path() on given hierarchies and the text of a /proc/PID/cgroup.
Result<std::string> resolve_path(const std::vector<Hierarchy>& all, std::string_view own, const std::string& wanted);
Result<FileDescriptor> open_root(const Hierarchy& hierarchy);
/// The cgroup's directory in one hierarchy.
Result<FileDescriptor> open_leaf(const Hierarchy& hierarchy, const std::string& path);

/// Relative, no empty, "." or ".." components: checked text.
Result<std::string> clean_path(const std::string& cgroups_path);

// -- files of a cgroup, relative to its directory ---------------------------------------------------------------------
/// `what` is the file's name and the error's subject. errno stays readable through Error::error_number().
Result<void> write_value(FdRef directory, const char* file, std::string_view value);
Result<std::string> read_value(FdRef directory, const char* file);  ///< without the final newline
bool file_exists(FdRef directory, const char* file);
Result<FileDescriptor> open_directory(FdRef parent, const std::string& path);
/// The pids of the cgroup and those below it; absent = none.
Result<std::vector<pid_t>> read_processes(FdRef parent, const std::string& path);
struct Leaf {
  FileDescriptor directory;
  bool made = false;  ///< by this call
};
/// mkdir -p of all but the last component, then the last one, as ExistingCgroup says.
Result<Leaf> make_leaf(FdRef root, const std::string& path, ExistingCgroup existing);
/// rmdir of the cgroup and those below it. in_use while processes remain; absent = success.
Result<void> remove_directory(FdRef parent, const std::string& path);

// -- making and changing ---------------------------------------------------------------------------------------------
Result<void> create_v1(const std::vector<Hierarchy>& all, const std::string& path, const Resources& resources,
                       ExistingCgroup existing);
Result<void> create_v2(const Hierarchy& unified, const std::string& path, const Resources& resources,
                       ExistingCgroup existing);
Result<void> update_v1(const std::vector<Hierarchy>& all, const std::string& path, const Resources& resources);
Result<void> update_v2(const Hierarchy& unified, const std::string& path, const Resources& resources);
/// SIGKILL to everything in it and below, in all hierarchies.
void kill_all(const std::vector<Hierarchy>& all, const std::string& path);

// -- device rules -----------------------------------------------------------------------------------------------------
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
/// "c 1:3 rwm", as v1's files take and show it.
std::string device_text(char type, std::int64_t major, std::int64_t minor, std::string_view access);
/// Bits of DeviceException::access as letters of "rwm".
std::string access_text(unsigned bits);
/// The writes from what "devices.list" shows to the policy; what both allow is allowed at each step, except on the way
/// from "everything" to a list.
Plan plan_devices_v1(std::string_view devices_list, const DevicePolicy& policy);
/// v2: loads the policy as a cgroup device program and attaches it in the place of the ones there are.
Result<void> set_device_program(FdRef cgroup, const DevicePolicy& policy);

}  // namespace dray::runtime::cgroup
