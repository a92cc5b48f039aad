// SPDX-License-Identifier: Apache-2.0
// cgroup v1: one directory in each hierarchy, each controller's limits in its own files. A fresh cpuset is empty and
// would refuse processes, so CPUs and memory nodes are inherited by hand.

#include "hierarchy.hpp"

#include <fcntl.h>

#include <cerrno>

namespace dray::runtime::cgroup {
namespace {

Result<void> set_memory(FdRef leaf, const Resources& resources) {
  MemoryLimits limits = TRY(memory_limits(resources, "-1"));
  // memory first: the sum must never be below it, and in a fresh cgroup both are unlimited.
  if (!limits.limit.empty()) TRY(write_value(leaf, "memory.limit_in_bytes", limits.limit));
  // Without swap accounting (swapaccount=0) the file is missing: there is nothing to limit it with, as in Docker.
  if (!limits.swap_total.empty() && file_exists(leaf, "memory.memsw.limit_in_bytes"))
    TRY(write_value(leaf, "memory.memsw.limit_in_bytes", limits.swap_total));
  if (!limits.reservation.empty()) TRY(write_value(leaf, "memory.soft_limit_in_bytes", limits.reservation));
  return {};
}

Result<void> set_cpu(FdRef leaf, const Resources& r) {
  if (r.cpu_shares.value_or(0) != 0) TRY(write_value(leaf, "cpu.shares", std::to_string(*r.cpu_shares)));
  if (r.cpu_period.value_or(0) != 0) TRY(write_value(leaf, "cpu.cfs_period_us", std::to_string(*r.cpu_period)));
  if (r.cpu_quota.value_or(0) != 0) TRY(write_value(leaf, "cpu.cfs_quota_us", std::to_string(*r.cpu_quota)));
  return {};
}

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

Result<void> set_cpuset(FdRef root, FdRef leaf, const std::string& path, const Resources& resources) {
  if (!resources.cpuset_cpus.empty() || !resources.cpuset_mems.empty()) {
    std::size_t slash = path.rfind('/');
    if (slash != std::string::npos) {
      TRY(inherit_cpuset(root, path.substr(0, slash), "cpuset.cpus"));
      TRY(inherit_cpuset(root, path.substr(0, slash), "cpuset.mems"));
    }
  }
  if (!resources.cpuset_cpus.empty()) TRY(write_value(leaf, "cpuset.cpus", resources.cpuset_cpus));
  if (!resources.cpuset_mems.empty()) TRY(write_value(leaf, "cpuset.mems", resources.cpuset_mems));
  TRY(inherit_cpuset(root, path, "cpuset.cpus"));
  TRY(inherit_cpuset(root, path, "cpuset.mems"));
  return {};
}

std::string rule_text(const DeviceRule& rule) {
  if (rule.type == 'a') return "a";
  auto number = [](const std::optional<std::int64_t>& value) {
    return value && *value >= 0 ? std::to_string(*value) : std::string("*");
  };
  return std::string(1, rule.type == 'u' ? 'c' : rule.type) + " " + number(rule.major) + ":" + number(rule.minor) +
         " " + (rule.access.empty() ? "rwm" : rule.access);
}

Result<void> set_devices(FdRef leaf, const Resources& resources) {
  TRY(device_policy(resources.devices));  // checks the rules
  FileDescriptor allow = TRY(open_file_at(leaf, "devices.allow", O_WRONLY));
  FileDescriptor deny = TRY(open_file_at(leaf, "devices.deny", O_WRONLY));
  for (const DeviceRule& rule : resources.devices) {
    std::string text = rule_text(rule);
    TRY_CTX(write_all(rule.allow ? allow : deny, text), "device rule \"" + text + "\"");
  }
  return {};
}

Result<void> create_in(const Hierarchy& hierarchy, FdRef root, const std::string& path, const Resources& resources) {
  FileDescriptor leaf = TRY(make_leaf(root, path));
  // Co-mounted controllers share the directory.
  if (hierarchy.has("memory")) TRY(set_memory(leaf, resources));
  if (hierarchy.has("cpu")) TRY(set_cpu(leaf, resources));
  if (hierarchy.has("cpuset")) TRY(set_cpuset(root, leaf, path, resources));
  if (hierarchy.has("pids") && resources.pids_limit.value_or(0) != 0) {
    std::int64_t limit = *resources.pids_limit;
    TRY(write_value(leaf, "pids.max", limit < 0 ? "max" : std::to_string(limit)));
  }
  if (hierarchy.has("devices") && !resources.devices.empty()) TRY(set_devices(leaf, resources));
  return {};
}

}  // namespace

Result<void> create_v1(const std::vector<Hierarchy>& all, const std::string& path, const Resources& resources) {
  auto mounted = [&](std::string_view controller) {
    for (const Hierarchy& hierarchy : all)
      if (hierarchy.has(controller)) return true;
    return false;
  };
  for (const Need& need : needed_controllers(resources))
    if (!mounted(need.controller)) return Failure(missing_controller(need));
  if (!resources.devices.empty() && !mounted("devices"))
    return Failure(missing_controller({"devices", "device policy"}));

  for (std::size_t i = 0; i < all.size(); ++i) {
    FileDescriptor root = TRY(open_file(all[i].mount_point, O_PATH | O_DIRECTORY));
    Result<void> created = create_in(all[i], root, path, resources);
    if (created) continue;
    Error error = std::move(created).error().with_context("cgroup hierarchy \"" + all[i].name + "\"");
    // A cgroup in use is another container's: only what this call made goes.
    std::size_t made = error.code() == ErrorCode::in_use ? i : i + 1;
    for (std::size_t j = 0; j < made; ++j) {
      auto undo_root = open_file(all[j].mount_point, O_PATH | O_DIRECTORY);
      if (undo_root)
        if (auto removed = remove_directory(*undo_root, path); !removed)
          error = std::move(error).with_cleanup_failure(removed.error());
    }
    return Failure(std::move(error));
  }
  return {};
}

}  // namespace dray::runtime::cgroup
