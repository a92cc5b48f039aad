// SPDX-License-Identifier: Apache-2.0
// Mounts of the spec, as far as the parent can prepare them: options are split into mount attributes, propagation and
// options of the file system; the source of a bind is opened with open_tree(OPEN_TREE_CLONE), so that the child needs
// no path of the host.
#include "mounts.hpp"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <algorithm>
#include <array>
#include <climits>

#include <dray/core/rooted_path.hpp>

namespace dray::runtime {
namespace {

struct FlagOption {
  std::string_view name;
  std::uint64_t set, clear;
};
constexpr std::uint64_t kAtimeMask = MOUNT_ATTR__ATIME;
constexpr FlagOption kFlags[] = {
    {"ro", MOUNT_ATTR_RDONLY, 0},
    {"rw", 0, 0},
    {"rro", MOUNT_ATTR_RDONLY, 0},
    {"readonly", MOUNT_ATTR_RDONLY, 0},
    {"nosuid", MOUNT_ATTR_NOSUID, 0},
    {"suid", 0, MOUNT_ATTR_NOSUID},
    {"nodev", MOUNT_ATTR_NODEV, 0},
    {"dev", 0, MOUNT_ATTR_NODEV},
    {"noexec", MOUNT_ATTR_NOEXEC, 0},
    {"exec", 0, MOUNT_ATTR_NOEXEC},
    {"noatime", MOUNT_ATTR_NOATIME, kAtimeMask},
    {"strictatime", MOUNT_ATTR_STRICTATIME, kAtimeMask},
    {"relatime", 0, kAtimeMask},
    {"atime", 0, kAtimeMask},
    {"norelatime", 0, 0},
    {"nostrictatime", 0, 0},
    {"nodiratime", MOUNT_ATTR_NODIRATIME, 0},
    {"diratime", 0, MOUNT_ATTR_NODIRATIME},
    {"nosymfollow", 0x00200000 /* MOUNT_ATTR_NOSYMFOLLOW */, 0},
    {"symfollow", 0, 0x00200000},
    {"defaults", 0, 0},
};

// Words of docker -v that mean something elsewhere (labels, other systems, the engine).
constexpr std::string_view kIgnored[] = {"z",      "Z",         "nocopy", "copy", "consistent",
                                         "cached", "delegated", "bind",   "rbind"};

// Files below /proc that lxcfs-like services replace by views of the container's limits; runc's list.
constexpr std::string_view kProcFiles[] = {"/proc/cpuinfo",
                                           "/proc/diskstats",
                                           "/proc/meminfo",
                                           "/proc/stat",
                                           "/proc/swaps",
                                           "/proc/uptime",
                                           "/proc/loadavg",
                                           "/proc/slabinfo",
                                           "/proc/sys/kernel/ns_last_pid",
                                           "/proc/sys/crypto/fips_enabled"};

bool contains(const auto& list, std::string_view word) {
  return std::find(std::begin(list), std::end(list), word) != std::end(list);
}

struct Wishes {
  std::uint64_t set = 0, clear = 0, propagation = 0;
  bool recursive_propagation = false;
  std::vector<std::pair<std::string, std::string>> others;
};

Wishes sort_options(const std::vector<std::string>& options) {
  Wishes wishes;
  for (const auto& option : options) {
    auto flag = std::find_if(std::begin(kFlags), std::end(kFlags),
                             [&](const FlagOption& known) { return known.name == option; });
    if (flag != std::end(kFlags)) {
      // The last of two that contradict each other wins.
      wishes.set = (wishes.set & ~flag->clear) | flag->set;
      wishes.clear = (wishes.clear & ~flag->set) | flag->clear;
    } else if (std::uint64_t propagation = propagation_of(option); propagation != 0) {
      wishes.propagation = propagation;
      wishes.recursive_propagation = option.front() == 'r';
    } else if (!contains(kIgnored, option) && !option.empty()) {
      std::size_t equals = option.find('=');
      if (equals == std::string::npos) {
        wishes.others.emplace_back(option, "");
      } else {
        wishes.others.emplace_back(option.substr(0, equals), option.substr(equals + 1));
      }
    }
  }
  return wishes;
}

Result<void> prepare_bind(const Mount& mount, const Wishes& wishes, PreparedMount& prepared) {
  if (!wishes.others.empty())
    return fail(ErrorCode::invalid_argument, "unknown mount option \"" + wishes.others.front().first + "\"");
  bool recursive = contains(mount.options, "rbind");
  unsigned depth = recursive ? AT_RECURSIVE : 0;
  prepared.tree = TRY(clone_mount(mount.source, depth));
  struct stat status;
  if (::fstat(prepared.tree.get(), &status) != 0) return fail_errno("reading the status of \"" + mount.source + "\"");
  prepared.is_directory = S_ISDIR(status.st_mode);
  struct statfs filesystem;
  bool is_proc = ::fstatfs(prepared.tree.get(), &filesystem) == 0 && filesystem.f_type == PROC_SUPER_MAGIC;
  prepared.may_cover_proc = prepared.may_cover_proc || is_proc;
  // A clone is in the peer group of its source: unless asked for, what is mounted inside must not appear on the host.
  std::uint64_t propagation = wishes.propagation != 0 ? wishes.propagation : std::uint64_t{MS_PRIVATE};
  bool everywhere = wishes.propagation == 0 || wishes.recursive_propagation;
  TRY(change_mount(prepared.tree, 0, 0, propagation, everywhere ? depth : 0));
  if (wishes.set != 0 || wishes.clear != 0) TRY(change_mount(prepared.tree, wishes.set, wishes.clear, 0, depth));
  return {};
}

}  // namespace

std::uint64_t propagation_of(const std::string& word) {
  std::string_view kind = word;
  if (kind.starts_with('r')) kind.remove_prefix(1);
  if (kind == "private") return MS_PRIVATE;
  if (kind == "shared") return MS_SHARED;
  if (kind == "slave") return MS_SLAVE;
  if (kind == "unbindable" || word == "unbindable") return MS_UNBINDABLE;
  return 0;
}

Result<FileDescriptor> clone_mount(const std::string& path, unsigned extra_flags) {
  int tree = ::open_tree(AT_FDCWD, path.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | extra_flags);
  if (tree < 0) return fail_errno("opening \"" + path + "\"");
  return FileDescriptor(tree);
}

Result<void> change_mount(FdRef mount, std::uint64_t set, std::uint64_t clear, std::uint64_t propagation,
                          unsigned flags) {
  struct mount_attr change{};
  change.attr_set = set;
  change.attr_clr = clear;
  change.propagation = propagation;
  if (::mount_setattr(mount.get(), "", AT_EMPTY_PATH | flags, &change, sizeof change) != 0)
    return fail_errno("setting the options of a mount");
  return {};
}

Result<PreparedMount> prepare_mount(const Mount& mount) {
  PreparedMount prepared;
  if (mount.destination.empty() || mount.destination.front() != '/' ||
      mount.destination.find('\0') != std::string::npos)
    return fail(ErrorCode::invalid_argument, "mount destination \"" + mount.destination + "\" is not an absolute path");
  prepared.destination = clean_path(mount.destination);
  if (prepared.destination == "/") return fail(ErrorCode::invalid_argument, "invalid mount destination \"/\"");
  if (prepared.destination.size() >= PATH_MAX)
    return fail(ErrorCode::invalid_argument, "mount destination is too long");
  bool is_bind = mount.type == "bind" || mount.type == "none" || contains(mount.options, "bind") ||
                 contains(mount.options, "rbind");
  Wishes wishes = sort_options(mount.options);
  prepared.may_cover_proc = contains(kProcFiles, prepared.destination) || mount.type == "proc";
  bool fundamental =
      prepared.destination == "/proc" || prepared.destination == "/sys" || prepared.destination == "/dev";
  prepared.ordinary_directory = mount.type == "proc" || mount.type == "sysfs" || fundamental;
  std::string context =
      "mounting \"" + (is_bind ? mount.source : mount.type) + "\" at \"" + prepared.destination + "\"";
  if (is_bind) {
    TRY_CTX(prepare_bind(mount, wishes, prepared), context);
  } else {
    if (wishes.propagation != 0) return fail(ErrorCode::invalid_argument, context + ": propagation is for bind mounts");
    prepared.filesystem = mount.type;
    prepared.options = std::move(wishes.others);
    prepared.attributes = wishes.set;
  }
  // What resolves to /proc is found by the child; this is what its path says, procfs mounted or not.
  bool on_proc = prepared.destination == "/proc" || prepared.destination.starts_with("/proc/");
  if (on_proc && !prepared.may_cover_proc)
    return fail(ErrorCode::invalid_argument, context + ": cannot be mounted because it is inside /proc");
  return prepared;
}

}  // namespace dray::runtime
