// SPDX-License-Identifier: Apache-2.0
// cgroup v1: one directory in each hierarchy, each controller's limits in its own files. A fresh cpuset is empty and
// would refuse processes, so CPUs and memory nodes are inherited by hand.

#include "hierarchy.hpp"

#include <fcntl.h>

#include <cerrno>

namespace dray::runtime::cgroup {
namespace {

Result<void> inherit_cpuset(FdRef root, const std::string& path, const char* file) {
  FileDescriptor directory = TRY(open_directory(root, path));
  std::string value = TRY(read_value(directory, file));
  if (!value.empty()) return {};
  std::size_t slash = path.rfind('/');
  std::string parent = slash == std::string::npos ? "." : path.substr(0, slash);
  if (parent != ".") TRY(inherit_cpuset(root, parent, file));
  FileDescriptor parent_directory = TRY(open_directory(root, parent));
  std::string inherited = TRY(read_value(parent_directory, file));
  TRY(write_value(directory, file, inherited));
  return {};
}

Result<void> inherit_cpuset(FdRef root, const std::string& path) {
  TRY(inherit_cpuset(root, path, "cpuset.cpus"));
  TRY(inherit_cpuset(root, path, "cpuset.mems"));
  return {};
}

Result<void> set_new_devices(FdRef leaf, const Resources& resources) {
  TRY(device_policy(resources.devices));  // checks the rules
  FileDescriptor allow = TRY(open_file_at(leaf, "devices.allow", O_WRONLY));
  FileDescriptor deny = TRY(open_file_at(leaf, "devices.deny", O_WRONLY));
  for (const DeviceRule& rule : resources.devices) {
    std::string text = device_text(rule.type, rule.major.value_or(-1), rule.minor.value_or(-1), rule.access);
    TRY_CTX(write_all(rule.allow ? allow : deny, text), "device rule \"" + text + "\"");
  }
  return {};
}

Result<void> change_devices(FdRef leaf, const Resources& resources) {
  DevicePolicy policy = TRY(device_policy(resources.devices));
  std::string list = TRY(read_value(leaf, "devices.list"));
  return apply_plan(leaf, plan_devices_v1(list, policy));
}

/// Co-mounted controllers share the directory.
Result<void> set_limits(const Hierarchy& hierarchy, FdRef leaf, const Resources& resources) {
  const Present present = read_present(leaf);
  for (const std::string& controller : hierarchy.controllers) {
    const Plan plan = TRY(plan_v1(controller, resources, present));
    TRY(apply_plan(leaf, plan));
  }
  return {};
}

Result<void> fill(const Hierarchy& hierarchy, FdRef root, const Leaf& leaf, const std::string& path,
                  const Resources& resources) {
  const bool cpuset = hierarchy.has("cpuset");
  const std::size_t slash = path.rfind('/');
  const bool chosen = !resources.cpuset_cpus.empty() || !resources.cpuset_mems.empty();
  // The choice must be among the parent's CPUs, so the parent needs some first.
  if (cpuset && chosen && slash != std::string::npos) TRY(inherit_cpuset(root, path.substr(0, slash)));
  TRY(set_limits(hierarchy, leaf.directory, resources));
  if (cpuset) TRY(inherit_cpuset(root, path));
  if (!hierarchy.has("devices") || resources.devices.empty()) return {};
  return leaf.made ? set_new_devices(leaf.directory, resources) : change_devices(leaf.directory, resources);
}

Result<void> check_controllers(const std::vector<Hierarchy>& all, const Resources& resources) {
  if (!resources.unified.empty())
    return fail(ErrorCode::invalid_argument, "invalid configuration: cannot use unified on cgroup v1");
  auto mounted = [&](std::string_view controller) {
    for (const Hierarchy& hierarchy : all)
      if (hierarchy.has(controller)) return true;
    return false;
  };
  for (const Need& need : needed_controllers(resources, false))
    if (!mounted(need.controller)) return Failure(missing_controller(need));
  if (!resources.devices.empty() && !mounted("devices"))
    return Failure(missing_controller({"devices", "device policy"}));
  return {};
}

/// What this call made goes.
Error undo(Error error, const std::vector<const Hierarchy*>& made, const std::string& path) {
  for (const Hierarchy* hierarchy : made) {
    auto root = open_root(*hierarchy);
    if (!root) continue;
    auto removed = remove_directory(*root, path);
    // The container's process may have been born in the hybrid one; whoever ends it removes that.
    if (!removed && !(hierarchy->unified && removed.error().code() == ErrorCode::in_use))
      error = std::move(error).with_cleanup_failure(removed.error());
  }
  return error;
}

}  // namespace

Result<void> create_v1(const std::vector<Hierarchy>& all, const std::string& path, const Resources& resources,
                       ExistingCgroup existing) {
  TRY(check_controllers(all, resources));
  std::vector<const Hierarchy*> made;
  auto create_in = [&](const Hierarchy& hierarchy) -> Result<void> {
    const FileDescriptor root = TRY(open_root(hierarchy));
    const Leaf leaf = TRY(make_leaf(root, path, hierarchy.unified ? ExistingCgroup::join : existing));
    if (leaf.made) made.push_back(&hierarchy);
    return hierarchy.unified ? Result<void>() : fill(hierarchy, root, leaf, path, resources);
  };
  for (const Hierarchy& hierarchy : all) {
    Result<void> created = create_in(hierarchy);
    if (created) continue;
    return Failure(
        undo(std::move(created).error().with_context("cgroup hierarchy \"" + hierarchy.name + "\""), made, path));
  }
  return {};
}

Result<void> update_v1(const std::vector<Hierarchy>& all, const std::string& path, const Resources& resources) {
  TRY(check_controllers(all, resources));
  for (const Hierarchy& hierarchy : all) {
    if (hierarchy.controllers.empty()) continue;
    const FileDescriptor leaf = TRY(open_leaf(hierarchy, path));
    TRY(set_limits(hierarchy, leaf, resources));
    if (hierarchy.has("devices") && !resources.devices.empty()) TRY(change_devices(leaf, resources));
  }
  return {};
}

}  // namespace dray::runtime::cgroup
