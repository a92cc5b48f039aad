// SPDX-License-Identifier: Apache-2.0
// Where a cgroup is that was named relative to the caller's own, or not at all.
#include <algorithm>

#include "../fields.hpp"
#include "hierarchy.hpp"

namespace dray::runtime {
namespace cgroup {
namespace {

/// The line of /proc/PID/cgroup about the hierarchy: its path; "/" without one.
std::string_view own_path(const Hierarchy& hierarchy, std::string_view own) {
  while (!own.empty()) {
    std::string_view line = next_field(own, '\n');
    next_field(line, ':');
    const std::string_view controllers = next_field(line, ':');
    const bool same = hierarchy.unified               ? controllers.empty()
                      : hierarchy.controllers.empty() ? controllers == "name=" + hierarchy.name
                                                      : has_field(controllers, ',', hierarchy.controllers.front());
    if (same) return line;
  }
  return "/";
}

/// The same below the mount point, without slashes around it. In a container without cgroup namespace the mount shows
/// the container's cgroup while the path is the host's; what lies outside ("/..") can't be reached: then it is the top.
std::string below_mount(const Hierarchy& hierarchy, std::string_view path) {
  if (hierarchy.root != "/") {
    const std::string root = hierarchy.root + "/";
    if (path == hierarchy.root || !path.starts_with(root)) return "";
    path.remove_prefix(hierarchy.root.size());
  }
  if (path.starts_with("/..")) return "";
  while (path.starts_with('/')) path.remove_prefix(1);
  return std::string(path);
}

}  // namespace

Result<std::string> resolve_path(const std::vector<Hierarchy>& all, std::string_view own, const std::string& wanted) {
  if (wanted.starts_with('/')) return clean_path(wanted);
  const std::string path = TRY(clean_path(wanted));
  std::vector<std::string> bases;
  for (const Hierarchy& hierarchy : all) {
    std::string base = below_mount(hierarchy, own_path(hierarchy, own));
    // Our own has processes, so v2 gives its children no controllers (cgroups(7), "no internal processes"): beside it.
    if (hierarchy.unified && all.size() == 1) base.erase(base.rfind('/') == std::string::npos ? 0 : base.rfind('/'));
    bases.push_back(std::move(base));
  }
  const bool same = std::ranges::all_of(bases, [&](const std::string& base) { return base == bases.front(); });
  if (same) return bases.front().empty() ? path : clean_path(bases.front() + "/" + path);
  std::string text = path;
  for (std::size_t i = 0; i < all.size(); ++i)
    if (!bases[i].empty()) text += "\n" + all[i].name + ":" + TRY(clean_path(bases[i]));
  return text;
}

}  // namespace cgroup

Result<std::string> resolve_cgroups_path(const std::string& wanted) {
  const auto& all = cgroup::hierarchies();
  if (!all) return Failure(all.error());
  return cgroup::resolve_path(*all, TRY(read_file("/proc/self/cgroup", 64 * 1024)), wanted);
}

}  // namespace dray::runtime
