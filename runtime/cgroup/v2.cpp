// SPDX-License-Identifier: Apache-2.0
// cgroup v2: one directory. Controllers are handed down level by level through cgroup.subtree_control; what cannot be
// handed down is an error only when a limit asks for it.

#include "hierarchy.hpp"

#include <fcntl.h>

#include <cerrno>

#include "../fields.hpp"

namespace dray::runtime::cgroup {
namespace {

/// Enables what a container can use in `directory`'s children. One write a controller: one that fails must not stop the
/// others.
Result<void> hand_down(FdRef directory) {
  std::string available = TRY(read_value(directory, "cgroup.controllers"));
  std::string enabled = TRY(read_value(directory, "cgroup.subtree_control"));
  for (const char* controller : {"cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc"})
    if (has_field(available, ' ', controller) && !has_field(enabled, ' ', controller))
      (void)write_value(directory, "cgroup.subtree_control", std::string("+") + controller);
  return {};
}

Result<void> set_all(FdRef leaf, const Resources& resources) {
  const std::string controllers = TRY(read_value(leaf, "cgroup.controllers"));
  for (const Need& need : needed_controllers(resources, true))
    if (!has_field(controllers, ' ', need.controller)) return Failure(missing_controller(need));
  const Plan plan = TRY(plan_v2(resources, read_present(leaf)));
  for (const auto& [file, value] : resources.unified) {
    const std::string controller = file.substr(0, file.find('.'));
    if (controller != "cgroup" && !has_field(controllers, ' ', controller))
      return fail(ErrorCode::unsupported,
                  "unified resource \"" + file + "\" can't be set: controller \"" + controller + "\" not available");
  }
  TRY(apply_plan(leaf, plan));

  if (resources.devices.empty()) return {};
  DevicePolicy policy = TRY(device_policy(resources.devices));
  FileDescriptor readable = TRY(open_file_at(leaf, ".", O_RDONLY | O_DIRECTORY));
  return set_device_program(readable, policy);
}

Result<void> prepare(FdRef root, FdRef leaf, const std::string& path, const Resources& resources) {
  TRY(hand_down(root));
  for (std::size_t slash = path.find('/'); slash != std::string::npos; slash = path.find('/', slash + 1)) {
    FileDescriptor parent = TRY(open_directory(root, path.substr(0, slash)));
    TRY(hand_down(parent));
  }
  return set_all(leaf, resources);
}

}  // namespace

Result<void> create_v2(const Hierarchy& unified, const std::string& path, const Resources& resources,
                       ExistingCgroup existing) {
  const FileDescriptor root = TRY(open_root(unified));
  const Leaf leaf = TRY(make_leaf(root, path, existing));
  Result<void> prepared = prepare(root, leaf.directory, path, resources);
  if (prepared) return {};
  Error error = std::move(prepared).error().with_context("cgroup \"" + path + "\"");
  if (leaf.made)
    if (auto removed = remove_directory(root, path); !removed)
      error = std::move(error).with_cleanup_failure(removed.error());
  return Failure(std::move(error));
}

Result<void> update_v2(const Hierarchy& unified, const std::string& path, const Resources& resources) {
  const FileDescriptor leaf = TRY(open_leaf(unified, path));
  return set_all(leaf, resources);
}

}  // namespace dray::runtime::cgroup
