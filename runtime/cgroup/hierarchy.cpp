// SPDX-License-Identifier: Apache-2.0
// Which cgroup hierarchies this host has, and the file operations that v1 and v2 share. Everything is relative to a
// descriptor opened for the one call: a cgroup's path is walked once, then its files cost one openat each.

#include "hierarchy.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>

namespace dray::runtime::cgroup {
namespace {

constexpr std::string_view kV1Controllers[] = {"cpu",     "cpuacct", "cpuset",  "memory",   "devices",
                                               "freezer", "blkio",   "net_cls", "net_prio", "perf_event",
                                               "hugetlb", "pids",    "rdma",    "misc"};

std::string_view next_field(std::string_view& text, char separator) {
  std::size_t end = text.find(separator);
  std::string_view field = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return field;
}

/// mountinfo writes space, tab, newline and backslash as \ooo.
std::string unescape(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      out += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

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
  while (!mountinfo.empty()) {
    std::string_view line = next_field(mountinfo, '\n');
    std::size_t separator = line.find(" - cgroup");
    if (separator == std::string_view::npos) continue;
    std::string_view right = line.substr(separator + 3);
    std::string_view type = next_field(right, ' ');
    next_field(right, ' ');  // source
    std::string_view options = right;
    for (int skipped = 0; skipped < 4; ++skipped) next_field(line, ' ');  // id, parent, device, root
    Hierarchy hierarchy;
    hierarchy.mount_point = unescape(next_field(line, ' '));
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
  if (any_controller || v2.empty()) return v1;
  return v2;
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

Result<FileDescriptor> make_leaf(FdRef root, const std::string& path) {
  // The parent exists but for the first container after a boot: try the leaf first.
  for (int attempt = 0; attempt < 3; ++attempt) {
    if (mkdirat(root.get(), path.c_str(), 0755) == 0) return open_directory(root, path);
    if (errno == EEXIST) {
      TRY(remove_directory(root, path));  // stale limits of a crashed run; refused (in_use) while something runs in it
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

std::vector<Need> needed_controllers(const Resources& r) {
  std::vector<Need> needs;
  auto set = [](const auto& value) { return value && *value != 0; };
  if (set(r.memory_limit) || set(r.memory_swap) || set(r.memory_reservation))
    needs.push_back({"memory", "memory limit"});
  if (set(r.cpu_shares) || set(r.cpu_period) || set(r.cpu_quota)) needs.push_back({"cpu", "CPU limit"});
  if (!r.cpuset_cpus.empty() || !r.cpuset_mems.empty()) needs.push_back({"cpuset", "choice of CPUs or memory nodes"});
  if (set(r.pids_limit)) needs.push_back({"pids", "limit of processes"});
  return needs;
}

Error missing_controller(const Need& need) {
  return Error(ErrorCode::unsupported, std::string("cgroup controller \"") + need.controller +
                                           "\" is not available on this host, so the " + need.limit +
                                           " cannot be enforced")
      .with_hint("leave the limit out, or enable the controller in the kernel");
}

Result<MemoryLimits> memory_limits(const Resources& r, std::string_view unlimited) {
  MemoryLimits out;
  auto check = [](std::int64_t value, const char* what) -> Result<void> {
    if (value < -1)
      return fail(ErrorCode::invalid_argument, std::string("invalid ") + what + " " + std::to_string(value));
    return {};
  };
  std::int64_t limit = r.memory_limit.value_or(0), swap = r.memory_swap.value_or(0),
               low = r.memory_reservation.value_or(0);
  TRY(check(limit, "memory limit"));
  TRY(check(swap, "memory-swap limit"));
  TRY(check(low, "memory reservation"));
  if (limit != 0) out.limit = limit < 0 ? std::string(unlimited) : std::to_string(limit);
  if (low != 0) out.reservation = low < 0 ? std::string(unlimited) : std::to_string(low);
  if (swap < 0) {
    out.swap_total = out.swap_only = unlimited;
  } else if (swap > 0) {
    if (limit <= 0)
      return fail(ErrorCode::invalid_argument,
                  "a memory-swap limit needs a memory limit, because it is the sum of both");
    if (swap < limit)
      return fail(ErrorCode::invalid_argument,
                  "memory-swap limit " + std::to_string(swap) + " is below the memory limit " + std::to_string(limit));
    out.swap_total = std::to_string(swap);
    out.swap_only = std::to_string(swap - limit);
  } else if (limit > 0) {
    // As Docker: memory + swap = twice the memory.
    std::int64_t total = 0;
    if (__builtin_add_overflow(limit, limit, &total)) {
      out.swap_total = out.swap_only = unlimited;
    } else {
      out.swap_total = std::to_string(total);
      out.swap_only = std::to_string(limit);
    }
  }
  return out;
}

std::uint64_t weight_of_shares(std::uint64_t shares) {
  if (shares <= 2) return 1;
  if (shares >= 262144) return 10000;
  double l = std::log2(static_cast<double>(shares));
  double exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
  return static_cast<std::uint64_t>(std::ceil(std::pow(10.0, exponent)));
}

}  // namespace dray::runtime::cgroup
