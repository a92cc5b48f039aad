// SPDX-License-Identifier: Apache-2.0
// cgroup v2: one directory. Controllers are handed down level by level through cgroup.subtree_control; what cannot be
// handed down is an error only when a limit asks for it.

#include "hierarchy.hpp"

#include <fcntl.h>

#include <cerrno>

namespace dray::runtime::cgroup {
namespace {

bool has_word(std::string_view words, std::string_view word) {
  while (!words.empty()) {
    std::size_t end = words.find(' ');
    if (words.substr(0, end) == word) return true;
    words.remove_prefix(end == std::string_view::npos ? words.size() : end + 1);
  }
  return false;
}

/// Enables what a container can use in `directory`'s children. One write a controller: one that fails must not stop the
/// others.
Result<void> hand_down(FdRef directory) {
  std::string available = TRY(read_value(directory, "cgroup.controllers"));
  std::string enabled = TRY(read_value(directory, "cgroup.subtree_control"));
  for (const char* controller : {"cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc"})
    if (has_word(available, controller) && !has_word(enabled, controller))
      (void)write_value(directory, "cgroup.subtree_control", std::string("+") + controller);
  return {};
}

Result<void> apply(FdRef leaf, const Resources& r) {
  std::string controllers = TRY(read_value(leaf, "cgroup.controllers"));
  for (const Need& need : needed_controllers(r))
    if (!has_word(controllers, need.controller)) return Failure(missing_controller(need));

  MemoryLimits memory = TRY(memory_limits(r, "max"));
  if (!memory.limit.empty()) TRY(write_value(leaf, "memory.max", memory.limit));
  // Missing when the kernel has no swap accounting: nothing to limit it with, as in Docker.
  if (!memory.swap_only.empty() && file_exists(leaf, "memory.swap.max"))
    TRY(write_value(leaf, "memory.swap.max", memory.swap_only));
  if (!memory.reservation.empty()) TRY(write_value(leaf, "memory.low", memory.reservation));

  if (r.cpu_shares.value_or(0) != 0)
    TRY(write_value(leaf, "cpu.weight", std::to_string(weight_of_shares(*r.cpu_shares))));
  std::int64_t quota = r.cpu_quota.value_or(0);
  std::uint64_t period = r.cpu_period.value_or(0);
  if (quota != 0 || period != 0) {
    std::string value = quota > 0 ? std::to_string(quota) : "max";
    if (period != 0) value += " " + std::to_string(period);
    TRY(write_value(leaf, "cpu.max", value));
  }
  if (!r.cpuset_cpus.empty()) TRY(write_value(leaf, "cpuset.cpus", r.cpuset_cpus));
  if (!r.cpuset_mems.empty()) TRY(write_value(leaf, "cpuset.mems", r.cpuset_mems));
  std::int64_t pids = r.pids_limit.value_or(0);
  if (pids != 0) TRY(write_value(leaf, "pids.max", pids < 0 ? "max" : std::to_string(pids)));

  if (!r.devices.empty()) {
    DevicePolicy policy = TRY(device_policy(r.devices));
    FileDescriptor readable = TRY(open_file_at(leaf, ".", O_RDONLY | O_DIRECTORY));
    TRY(attach_device_program(readable, policy));
  }
  return {};
}

Result<void> prepare(FdRef root, FdRef leaf, const std::string& path, const Resources& resources) {
  TRY(hand_down(root));
  for (std::size_t slash = path.find('/'); slash != std::string::npos; slash = path.find('/', slash + 1)) {
    FileDescriptor parent = TRY(open_directory(root, path.substr(0, slash)));
    TRY(hand_down(parent));
  }
  TRY(apply(leaf, resources));
  return {};
}

}  // namespace

Result<void> create_v2(const Hierarchy& unified, const std::string& path, const Resources& resources) {
  FileDescriptor root = TRY(open_file(unified.mount_point, O_PATH | O_DIRECTORY));
  FileDescriptor leaf = TRY(make_leaf(root, path));
  Result<void> prepared = prepare(root, leaf, path, resources);
  if (prepared) return {};
  Error error = std::move(prepared).error().with_context("cgroup \"" + path + "\"");
  if (auto removed = remove_directory(root, path); !removed)
    error = std::move(error).with_cleanup_failure(removed.error());
  return Failure(std::move(error));
}

}  // namespace dray::runtime::cgroup
