// SPDX-License-Identifier: Apache-2.0
// Which cgroup hierarchies this host has, and the file operations that v1 and v2 share. Everything is relative to a
// descriptor opened for the one call: a cgroup's path is walked once, then its files cost one openat each.

#include "hierarchy.hpp"

#include "../fields.hpp"
#include "../mountinfo.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

namespace dray::runtime::cgroup {
namespace {

constexpr std::string_view kV1Controllers[] = {"cpu",     "cpuacct", "cpuset",  "memory",   "devices",
                                               "freezer", "blkio",   "net_cls", "net_prio", "perf_event",
                                               "hugetlb", "pids",    "rdma",    "misc"};

struct DirCloser {
  void operator()(DIR* dir) const { closedir(dir); }
};

/// Names of the cgroups directly below.
std::vector<std::string> child_names(FdRef directory) {
  std::vector<std::string> names;
  int fd = openat(directory.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return names;
  std::unique_ptr<DIR, DirCloser> dir(fdopendir(fd));
  if (!dir) {
    close(fd);
    return names;
  }
  while (dirent* entry = readdir(dir.get())) {
    std::string_view name = entry->d_name;
    if (entry->d_type == DT_DIR && name != "." && name != "..") names.emplace_back(name);
  }
  return names;
}

}  // namespace

bool Hierarchy::has(std::string_view controller) const {
  return std::find(controllers.begin(), controllers.end(), controller) != controllers.end();
}

std::vector<Hierarchy> parse_hierarchies(std::string_view mountinfo) {
  std::vector<Hierarchy> v1, v2;
  bool any_controller = false;
  for (MountEntry& entry : parse_mountinfo(mountinfo)) {
    const std::string& type = entry.filesystem;
    std::string_view options = entry.super_options;
    Hierarchy hierarchy;
    hierarchy.mount_point = std::move(entry.mount_point);
    hierarchy.root = std::move(entry.root);
    if (type == "cgroup2") {
      hierarchy.unified = true;
      if (v2.empty()) v2.push_back(std::move(hierarchy));
      continue;
    }
    if (type != "cgroup") continue;
    while (!options.empty()) {
      std::string_view option = next_field(options, ',');
      if (option.starts_with("name=")) hierarchy.name = option.substr(5);
      if (std::find(std::begin(kV1Controllers), std::end(kV1Controllers), option) != std::end(kV1Controllers))
        hierarchy.controllers.emplace_back(option);
    }
    if (hierarchy.name.empty())
      for (const std::string& controller : hierarchy.controllers)
        hierarchy.name += (hierarchy.name.empty() ? "" : ",") + controller;
    if (hierarchy.name.empty()) continue;
    bool known =
        std::any_of(v1.begin(), v1.end(), [&](const Hierarchy& other) { return other.name == hierarchy.name; });
    if (known) continue;  // the same hierarchy, mounted again elsewhere
    any_controller |= !hierarchy.controllers.empty();
    v1.push_back(std::move(hierarchy));
  }
  if (!any_controller && !v2.empty()) return v2;
  if (!v2.empty()) {
    v2.front().name = "unified";
    v1.push_back(std::move(v2.front()));
  }
  return v1;
}

const Result<std::vector<Hierarchy>>& hierarchies() {
  static const Result<std::vector<Hierarchy>> found = []() -> Result<std::vector<Hierarchy>> {
    std::string text = TRY(read_file("/proc/self/mountinfo", 64u << 20));
    std::vector<Hierarchy> all = parse_hierarchies(text);
    if (all.empty())
      return Failure(Error(ErrorCode::unsupported, "no cgroup hierarchy is mounted")
                         .with_hint("mount -t cgroup2 none /sys/fs/cgroup"));
    return all;
  }();
  return found;
}

const Hierarchy* Place::find(std::string_view controller) const {
  for (const Hierarchy& hierarchy : *all)
    if (hierarchy.has(controller)) return &hierarchy;
  return nullptr;
}

Result<Place> find_place(const std::string& cgroups_path) {
  Place place;
  std::string_view rest = cgroups_path;
  place.path = TRY(clean_path(std::string(next_field(rest, '\n'))));
  const auto& all = hierarchies();
  if (!all) return Failure(all.error());
  place.all = &*all;
  if (rest.empty()) return place;
  auto moved = std::make_shared<std::vector<Hierarchy>>(*all);
  while (!rest.empty()) {
    std::string_view base = next_field(rest, '\n');
    const std::string_view name = next_field(base, ':');
    const std::string path = TRY(clean_path(std::string(base)));
    for (Hierarchy& hierarchy : *moved)
      if (hierarchy.name == name) hierarchy.mount_point += "/" + path;
  }
  place.all = moved.get();
  place.moved = std::move(moved);
  return place;
}

Result<FileDescriptor> open_root(const Hierarchy& hierarchy) {
  return open_file(hierarchy.mount_point, O_PATH | O_DIRECTORY);
}

Result<FileDescriptor> open_leaf(const Hierarchy& hierarchy, const std::string& path) {
  const FileDescriptor root = TRY(open_root(hierarchy));
  return open_directory(root, path);
}

Result<std::string> clean_path(const std::string& cgroups_path) {
  std::string_view rest = cgroups_path;
  std::string out;
  if (rest.starts_with('/')) rest.remove_prefix(1);
  while (!rest.empty()) {
    std::string_view component = next_field(rest, '/');
    if (component.empty() || component == "." || component == ".." || component.size() > 255 ||
        component.find('\0') != std::string_view::npos || component.find('\n') != std::string_view::npos)
      return fail(ErrorCode::invalid_argument, "invalid cgroup path \"" + cgroups_path + "\"");
    out += (out.empty() ? "" : "/") + std::string(component);
  }
  if (out.empty() || out.size() > 3000)
    return fail(ErrorCode::invalid_argument, "invalid cgroup path \"" + cgroups_path + "\"");
  return out;
}

Result<void> write_value(FdRef directory, const char* file, std::string_view value) {
  FileDescriptor fd(openat(directory.get(), file, O_WRONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd.valid()) return fail_errno(std::string("opening ") + file);
  // One write(2) is one command to the kernel: it must not be split.
  if (write(fd.get(), value.data(), value.size()) < 0)
    return fail_errno(std::string("writing \"") + std::string(value) + "\" to " + file);
  return {};
}

Result<std::string> read_value(FdRef directory, const char* file) {
  FileDescriptor fd(openat(directory.get(), file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd.valid()) return fail_errno(std::string("opening ") + file);
  std::string text = TRY(read_all(fd, 4u << 20));
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

bool file_exists(FdRef directory, const char* file) { return faccessat(directory.get(), file, F_OK, 0) == 0; }

Result<FileDescriptor> open_directory(FdRef parent, const std::string& path) {
  FileDescriptor fd(openat(parent.get(), path.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid()) return fail_errno("opening cgroup \"" + path + "\"");
  return fd;
}

Result<std::vector<pid_t>> read_processes(FdRef parent, const std::string& path) {
  std::vector<pid_t> pids;
  auto directory = open_directory(parent, path);
  if (!directory) {
    if (directory.error().error_number() == ENOENT) return pids;
    return Failure(std::move(directory).error());
  }
  auto text = read_value(*directory, "cgroup.procs");
  if (!text) {
    // ENODEV: removed meanwhile. EOPNOTSUPP: a threaded v2 cgroup, whose processes its ancestor lists.
    int number = text.error().error_number();
    if (number != ENOENT && number != ENODEV && number != EOPNOTSUPP) return Failure(std::move(text).error());
    text = std::string();
  }
  std::string_view rest = *text;
  while (!rest.empty()) {
    std::string_view line = next_field(rest, '\n');
    pid_t pid = 0;
    std::from_chars(line.data(), line.data() + line.size(), pid);
    if (pid > 0) pids.push_back(pid);  // 0 = a process outside our pid namespace: kill(0) would be us
  }
  for (const std::string& name : child_names(*directory)) {
    std::vector<pid_t> below = TRY(read_processes(*directory, name));
    pids.insert(pids.end(), below.begin(), below.end());
  }
  return pids;
}

Result<void> remove_directory(FdRef parent, const std::string& path) {
  if (unlinkat(parent.get(), path.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT || errno == ENODEV) return {};
  if (errno != EBUSY) return fail_errno("removing cgroup \"" + path + "\"");
  auto directory = open_directory(parent, path);
  if (!directory) {
    if (directory.error().error_number() == ENOENT) return {};
    return Failure(std::move(directory).error());
  }
  std::vector<std::string> children = child_names(*directory);
  for (const std::string& child : children) TRY(remove_directory(*directory, child));
  if (unlinkat(parent.get(), path.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT || errno == ENODEV) return {};
  if (errno == EBUSY) return fail(ErrorCode::in_use, "cgroup \"" + path + "\" still has processes");
  return fail_errno("removing cgroup \"" + path + "\"");
}

Result<Leaf> make_leaf(FdRef root, const std::string& path, ExistingCgroup existing) {
  // The parent exists but for the first container after a boot: try the leaf first.
  for (int attempt = 0; attempt < 3; ++attempt) {
    Leaf leaf;
    if (mkdirat(root.get(), path.c_str(), 0755) == 0) {
      leaf.directory = TRY(open_directory(root, path));
      leaf.made = true;
      return leaf;
    }
    if (errno == EEXIST && existing == ExistingCgroup::replace) {
      TRY(remove_directory(root, path));  // stale limits of a crashed run; refused (in_use) while something runs in it
    } else if (errno == EEXIST) {
      if (existing == ExistingCgroup::reuse)
        if (auto pids = TRY(read_processes(root, path)); !pids.empty())
          return fail(ErrorCode::in_use,
                      "container's cgroup is not empty: " + std::to_string(pids.size()) + " process(es) found");
      leaf.directory = TRY(open_directory(root, path));
      return leaf;
    } else if (errno == ENOENT) {
      for (std::size_t slash = path.find('/'); slash != std::string::npos; slash = path.find('/', slash + 1)) {
        std::string parent = path.substr(0, slash);
        if (mkdirat(root.get(), parent.c_str(), 0755) != 0 && errno != EEXIST)
          return fail_errno("creating cgroup \"" + parent + "\"");
      }
    } else {
      return fail_errno("creating cgroup \"" + path + "\"");
    }
  }
  return fail(ErrorCode::in_use, "cgroup \"" + path + "\" is in use");
}

}  // namespace dray::runtime::cgroup
