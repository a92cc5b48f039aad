// SPDX-License-Identifier: Apache-2.0
// The cgroup of a container, whichever version the host has: make, change, enter, find. Descriptors live for one call
// only (see hierarchy.hpp).

#include "cgroup.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "hierarchy.hpp"

namespace dray::runtime {

using cgroup::Hierarchy;
using cgroup::Place;

Result<void> create_cgroup(const std::string& cgroups_path, const Resources& resources, ExistingCgroup existing) {
  const Place place = TRY(cgroup::find_place(cgroups_path));
  return place.is_unified() ? cgroup::create_v2(place.all->front(), place.path, resources, existing)
                            : cgroup::create_v1(*place.all, place.path, resources, existing);
}

Result<bool> needs_controllers(const Resources& resources) {
  const bool unified = TRY(is_cgroup_unified());
  return !resources.unified.empty() || !cgroup::needed_controllers(resources, unified).empty();
}

Result<void> update_cgroup(const std::string& cgroups_path, const Resources& resources) {
  const Place place = TRY(cgroup::find_place(cgroups_path));
  return place.is_unified() ? cgroup::update_v2(place.all->front(), place.path, resources)
                            : cgroup::update_v1(*place.all, place.path, resources);
}

Result<void> delegate_cgroup(const std::string& cgroups_path, uid_t uid) {
  const Place place = TRY(cgroup::find_place(cgroups_path));
  if (!place.is_unified()) return fail(ErrorCode::unsupported, "cgroup v1 cannot be delegated");
  const FileDescriptor leaf = TRY(cgroup::open_leaf(place.all->front(), place.path));
  auto names = read_file("/sys/kernel/cgroup/delegate", 64 * 1024);
  // Before Linux 4.15, by cgroups(7).
  std::string_view rest = names ? std::string_view(*names) : "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";
  const auto keep_group = static_cast<gid_t>(-1);
  if (fchownat(leaf.get(), "", uid, keep_group, AT_EMPTY_PATH) != 0) return fail_errno("delegating the cgroup");
  while (!rest.empty()) {
    const std::string name(rest.substr(0, rest.find('\n')));
    rest.remove_prefix(std::min(name.size() + 1, rest.size()));
    // A controller that is not enabled here has no file.
    if (!name.empty() && fchownat(leaf.get(), name.c_str(), uid, keep_group, AT_SYMLINK_NOFOLLOW) != 0 &&
        errno != ENOENT)
      return fail_errno("delegating the cgroup's " + name);
  }
  return {};
}

Result<FileDescriptor> make_hybrid_birthplace(const std::string& cgroups_path, ExistingCgroup existing) {
  const Place place = TRY(cgroup::find_place(cgroups_path));
  if (place.is_unified() || place.unified() == nullptr) return FileDescriptor();
  const FileDescriptor root = TRY(cgroup::open_root(*place.unified()));
  cgroup::Leaf leaf = TRY(cgroup::make_leaf(root, place.path, existing));
  return std::move(leaf.directory);
}

namespace {

/// The path below the container's cgroup that the hierarchy's processes go to.
Result<std::string> sub_path(const Hierarchy& hierarchy, const SubCgroups& wanted) {
  for (const auto& [controller, path] : wanted) {
    const bool named = controller.starts_with("name=") && hierarchy.name == controller.substr(5);
    if (!controller.empty() && !named && !hierarchy.has(controller)) continue;
    std::string_view rest = path;
    while (rest.starts_with('/')) rest.remove_prefix(1);
    while (rest.ends_with('/')) rest.remove_suffix(1);
    if (rest.empty()) return std::string();
    auto clean = cgroup::clean_path(std::string(rest));
    if (!clean) return fail(ErrorCode::invalid_argument, "bad sub cgroup path: " + path);
    return "/" + *clean;
  }
  return std::string();
}

/// A container that was not born in the hybrid hierarchy's cgroup has no cgroup namespace there either: who joined it
/// later would see the host's path.
bool is_populated(FdRef root, const std::string& path) {
  auto directory = cgroup::open_directory(root, path);
  if (!directory) return false;
  auto events = cgroup::read_value(*directory, "cgroup.events");
  return events && events->find("populated 1") != std::string::npos;
}

Result<void> check_sub_cgroups(const Place& place, const SubCgroups& wanted) {
  for (const auto& [controller, path] : wanted) {
    const bool known = controller.empty() || std::ranges::any_of(*place.all, [&](const Hierarchy& hierarchy) {
                         return hierarchy.has(controller) || "name=" + hierarchy.name == controller;
                       });
    if (!known) return fail(ErrorCode::invalid_argument, "unknown controller " + controller + " in SubCgroupPaths");
  }
  return {};
}

}  // namespace

Result<CgroupEntrance> open_cgroup_entrance(const std::string& cgroups_path, const SubCgroups& sub_cgroups) {
  const Place place = TRY(cgroup::find_place(cgroups_path));
  TRY(check_sub_cgroups(place, sub_cgroups));
  CgroupEntrance entrance;
  for (const Hierarchy& hierarchy : *place.all) {
    const FileDescriptor root = TRY(cgroup::open_root(hierarchy));
    const std::string path = place.path + TRY(sub_path(hierarchy, sub_cgroups));
    if (hierarchy.unified) {
      if (!place.is_unified() && !is_populated(root, place.path)) continue;
      entrance.unified = TRY(cgroup::open_directory(root, path));
    } else {
      FileDescriptor tasks = TRY_CTX(open_file_at(root, path + "/tasks", O_WRONLY | O_NOFOLLOW), "entering the cgroup");
      entrance.tasks.push_back(std::move(tasks));
    }
  }
  return entrance;
}

Result<std::vector<CgroupMountPoint>> cgroup_mount_points(const std::string& cgroups_path) {
  const auto& host = cgroup::hierarchies();
  if (!host) return Failure(host.error());
  Place place;
  place.all = &*host;
  if (!cgroups_path.empty()) place = TRY(cgroup::find_place(cgroups_path));
  std::vector<CgroupMountPoint> out;
  for (const Hierarchy& hierarchy : *place.all)
    if (!hierarchy.unified || place.all->size() == 1)
      out.push_back(
          {hierarchy.mount_point + (place.path.empty() ? "" : "/" + place.path), hierarchy.name, hierarchy.unified});
  return out;
}

Result<bool> is_cgroup_unified() {
  const auto& all = cgroup::hierarchies();
  if (!all) return Failure(all.error());
  return all->front().unified;
}

Result<std::vector<CgroupDirectory>> cgroup_directories(const std::string& cgroups_path) {
  const Place place = TRY(cgroup::find_place(cgroups_path));
  std::vector<CgroupDirectory> out;
  for (const Hierarchy& hierarchy : *place.all) {
    const std::string path = hierarchy.mount_point + "/" + place.path;
    if (hierarchy.unified)
      out.push_back({"", path});
    else if (hierarchy.controllers.empty())
      out.push_back({"name=" + hierarchy.name, path});
    for (const std::string& controller : hierarchy.controllers) out.push_back({controller, path});
  }
  std::ranges::sort(out, {}, &CgroupDirectory::controller);
  return out;
}

}  // namespace dray::runtime
