// SPDX-License-Identifier: Apache-2.0
// Mounts of the spec, as far as the parent can prepare them: options are split into mount attributes, propagation and
// options of the file system; the source of a bind is opened with open_tree(OPEN_TREE_CLONE), so that the child needs
// no path of the host.
#include "mounts.hpp"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

#include <algorithm>
#include <cerrno>
#include <climits>

#include <dray/core/copy_directory.hpp>
#include <dray/core/rooted_path.hpp>

#include "user_namespace.hpp"

namespace dray::runtime {
namespace {

struct FlagOption {
  std::string_view name;
  std::uint64_t set, clear;
  bool only_recursive = false;  ///< as mount(8), which leaves the times' setting unless it gets another one
};
constexpr std::uint64_t kAtimeMask = MOUNT_ATTR__ATIME;
constexpr std::uint64_t kNoSymFollow = 0x00200000;  // MOUNT_ATTR_NOSYMFOLLOW, Linux 5.14
constexpr FlagOption kFlags[] = {
    {"ro", MOUNT_ATTR_RDONLY, 0},
    {"rw", 0, MOUNT_ATTR_RDONLY},
    {"nosuid", MOUNT_ATTR_NOSUID, 0},
    {"suid", 0, MOUNT_ATTR_NOSUID},
    {"nodev", MOUNT_ATTR_NODEV, 0},
    {"dev", 0, MOUNT_ATTR_NODEV},
    {"noexec", MOUNT_ATTR_NOEXEC, 0},
    {"exec", 0, MOUNT_ATTR_NOEXEC},
    {"noatime", MOUNT_ATTR_NOATIME, kAtimeMask},
    {"strictatime", MOUNT_ATTR_STRICTATIME, kAtimeMask},
    {"relatime", 0, kAtimeMask},
    {"atime", 0, kAtimeMask, true},
    {"norelatime", 0, 0},
    {"nostrictatime", 0, kAtimeMask, true},
    {"nodiratime", MOUNT_ATTR_NODIRATIME, 0},
    {"diratime", 0, MOUNT_ATTR_NODIRATIME, true},
    {"nosymfollow", kNoSymFollow, 0},
    {"symfollow", 0, kNoSymFollow},
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

// Attributes to set and to clear; the last of two words that contradict each other wins.
struct Attributes {
  std::uint64_t set = 0, clear = 0;
  void add(const FlagOption& flag) {
    set = (set & ~flag.clear) | flag.set;
    clear = (clear & ~flag.set) | flag.clear;
  }
  bool any() const { return set != 0 || clear != 0; }
};

struct Wishes {
  Attributes top, tree;  ///< "ro": of the mount alone; "rro": of all mounts below, too
  std::uint64_t propagation = 0;
  bool recursive_propagation = false;
  bool idmap = false, recursive_idmap = false, copy_up = false;
  bool flagged = false;  ///< a word about attributes was there
  std::vector<std::pair<std::string, std::string>> others;
};

const FlagOption* find_flag(std::string_view name) {
  auto flag =
      std::find_if(std::begin(kFlags), std::end(kFlags), [&](const FlagOption& known) { return known.name == name; });
  return flag == std::end(kFlags) ? nullptr : flag;
}

Wishes sort_options(const std::vector<std::string>& options) {
  Wishes wishes;
  for (const auto& option : options) {
    if (const FlagOption* flag = find_flag(option); flag != nullptr) {
      if (!flag->only_recursive) wishes.top.add(*flag);
      wishes.flagged = true;
    } else if (std::uint64_t propagation = propagation_of(option); propagation != 0) {
      wishes.propagation = propagation;
      wishes.recursive_propagation = option.front() == 'r';
    } else if (flag = option.starts_with('r') ? find_flag(option.substr(1)) : nullptr; flag != nullptr) {
      wishes.tree.add(*flag);
    } else if (option == "idmap" || option == "ridmap") {
      wishes.idmap = true;
      wishes.recursive_idmap = option == "ridmap";
    } else if (option == "tmpcopyup") {
      wishes.copy_up = true;
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

// What the source's mount has now.
Result<std::uint64_t> attributes_of(FdRef mount) {
  struct statvfs status;
  if (::fstatvfs(mount.get(), &status) != 0) return fail_errno("reading the options of a mount");
  std::uint64_t attributes = 0;
  for (auto [flag, attribute] : {std::pair<unsigned long, std::uint64_t>{ST_RDONLY, MOUNT_ATTR_RDONLY},
                                 {ST_NOSUID, MOUNT_ATTR_NOSUID},
                                 {ST_NODEV, MOUNT_ATTR_NODEV},
                                 {ST_NOEXEC, MOUNT_ATTR_NOEXEC},
                                 {0x2000 /* ST_NOSYMFOLLOW */, kNoSymFollow}}) {
    if ((status.f_flag & flag) != 0) attributes |= attribute;
  }
  return attributes;
}

constexpr std::uint64_t kTimes = kAtimeMask | MOUNT_ATTR_NODIRATIME;

Result<std::uint64_t> times_of(FdRef mount) {
  struct statvfs status;
  if (::fstatvfs(mount.get(), &status) != 0) return fail_errno("reading the options of a mount");
  const std::uint64_t directories = (status.f_flag & ST_NODIRATIME) != 0 ? MOUNT_ATTR_NODIRATIME : 0;
  if ((status.f_flag & ST_NOATIME) != 0) return directories | MOUNT_ATTR_NOATIME;
  return directories | ((status.f_flag & ST_RELATIME) != 0 ? MOUNT_ATTR_RELATIME : MOUNT_ATTR_STRICTATIME);
}

// As mount(8) and runc: without any word the source's attributes stay; with one, those not named are cleared. For a
// user namespace the kernel has locked what the source has; so has this.
Result<void> set_top_attributes(FdRef tree, const Wishes& wishes, bool user_namespace) {
  if (!wishes.flagged) return {};
  constexpr std::uint64_t kLockable = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
  const std::uint64_t present = TRY(attributes_of(tree));
  if (user_namespace && (present & kLockable & wishes.top.clear) != 0)
    return Failure(Error::from_errno(EPERM, "clearing an option that the source has"));
  std::uint64_t clear = wishes.top.clear | (present & ~wishes.top.set);
  if (user_namespace) clear &= ~(present & kLockable);
  // The times' settings are one: a word for one of them replaces all; and they are locked, too.
  if ((wishes.top.set & kTimes) != 0 || (wishes.top.clear & kAtimeMask) != 0) {
    if (user_namespace && TRY(times_of(tree)) != (wishes.top.set & kTimes))
      return Failure(Error::from_errno(EPERM, "changing how the source keeps times"));
    clear |= kAtimeMask | (MOUNT_ATTR_NODIRATIME & ~wishes.top.set);
  }
  return change_mount(tree, wishes.top.set, clear, 0, 0);
}

Result<FileDescriptor> open_id_map(const Mount& mount, const Spec& spec) {
  if (!mount.uid_mappings.empty() || !mount.gid_mappings.empty())
    return make_user_namespace(mount.uid_mappings, mount.gid_mappings);
  if (!spec.namespaces.user.path.empty()) return open_file(spec.namespaces.user.path, O_RDONLY);
  if (spec.namespaces.user.is_new) return make_user_namespace(spec.uid_mappings, spec.gid_mappings);
  return fail(ErrorCode::invalid_argument, "an idmapped mount needs mappings or a user namespace");
}

Result<void> check_bind_options(const Wishes& wishes) {
  for (const auto& [name, value] : wishes.others) {
    if (value.empty()) return fail(ErrorCode::invalid_argument, "unknown mount option \"" + name + "\"");
  }
  if (wishes.copy_up) return fail(ErrorCode::invalid_argument, "tmpcopyup is for tmpfs");
  return {};
}

Result<void> look_at_tree(const std::string& source, PreparedMount& prepared) {
  struct stat status;
  if (::fstat(prepared.tree.get(), &status) != 0) return fail_errno("reading the status of \"" + source + "\"");
  prepared.is_directory = S_ISDIR(status.st_mode);
  struct statfs filesystem;
  bool is_proc = ::fstatfs(prepared.tree.get(), &filesystem) == 0 && filesystem.f_type == PROC_SUPER_MAGIC;
  prepared.may_cover_proc = prepared.may_cover_proc || is_proc;
  return {};
}

Result<void> take_tree(const Mount& mount, PreparedMount& prepared) {
  prepared.tree = FileDescriptor(::fcntl(mount.tree, F_DUPFD_CLOEXEC, 0));
  if (!prepared.tree.valid()) return fail_errno("taking a mount");
  return look_at_tree(prepared.source, prepared);
}

Result<void> prepare_bind(const Mount& mount, const Wishes& wishes, const MountSurroundings& surroundings,
                          PreparedMount& prepared) {
  TRY(check_bind_options(wishes));
  prepared.recursive = contains(mount.options, "rbind");
  const unsigned depth = prepared.recursive ? AT_RECURSIVE : 0;
  // A clone is in the peer group of its source: unless asked for, what is mounted inside must not appear on the host.
  const std::uint64_t propagation = wishes.propagation != 0 ? wishes.propagation : std::uint64_t{MS_PRIVATE};
  if (wishes.idmap || !mount.uid_mappings.empty() || !mount.gid_mappings.empty()) {
    prepared.id_map = TRY(open_id_map(mount, *surroundings.spec));
    prepared.recursive_id_map = wishes.recursive_idmap;
  }
  const std::string& rootfs = surroundings.rootfs_path;
  if (!rootfs.empty() && mount.source.starts_with(rootfs + "/")) {
    prepared.inner_source = mount.source.substr(rootfs.size());
    prepared.propagation = propagation;
    prepared.set = wishes.top.set;
    prepared.clear = wishes.top.clear;
    prepared.tree_set = wishes.tree.set;
    prepared.tree_clear = wishes.tree.clear;
    return {};
  }
  prepared.tree = TRY(clone_mount(mount.source, depth));
  TRY(look_at_tree(mount.source, prepared));
  if (prepared.id_map.valid()) {
    TRY(set_id_map(prepared.tree, prepared.id_map, prepared.recursive_id_map));
    prepared.id_map.reset();
  }
  bool everywhere = wishes.propagation == 0 || wishes.recursive_propagation;
  TRY(change_mount(prepared.tree, 0, 0, propagation, everywhere ? depth : 0));
  TRY(set_top_attributes(prepared.tree, wishes, surroundings.user_namespace));
  if (wishes.tree.any()) TRY(change_mount(prepared.tree, wishes.tree.set, wishes.tree.clear, 0, AT_RECURSIVE));
  return {};
}

// A tmpfs with what the image has at its place.
Result<FileDescriptor> make_filled_tmpfs(const PreparedMount& mount, int rootfs) {
  FileDescriptor context(::fsopen("tmpfs", FSOPEN_CLOEXEC));
  if (!context.valid()) return fail_errno("opening tmpfs");
  auto configure = [&](unsigned command, const char* key, const char* value) -> Result<void> {
    if (::fsconfig(context.get(), command, key, value, 0) == 0) return {};
    return fail_errno(key == nullptr ? "creating a tmpfs" : "setting option \"" + std::string(key) + "\"");
  };
  auto source = open_in_root(FdRef(rootfs), mount.destination, O_RDONLY | O_DIRECTORY);
  struct stat status{};
  const bool copies = source && ::fstat(source->get(), &status) == 0;
  TRY(configure(FSCONFIG_SET_STRING, "source", mount.source.c_str()));
  for (const auto& [key, value] : mount.options) {
    TRY(configure(value.empty() ? FSCONFIG_SET_FLAG : FSCONFIG_SET_STRING, key.c_str(),
                  value.empty() ? nullptr : value.c_str()));
  }
  TRY(configure(FSCONFIG_CMD_CREATE, nullptr, nullptr));
  FileDescriptor tree(::fsmount(context.get(), FSMOUNT_CLOEXEC, 0));
  if (!tree.valid()) return fail_errno("mounting a tmpfs");
  if (!copies) return tree;
  // fsmount() gives an O_PATH descriptor, which fchmod() does not take.
  FileDescriptor target = TRY(open_file_at(tree, ".", O_RDONLY | O_DIRECTORY));
  if (mount.keep_mode && (::fchown(target.get(), status.st_uid, status.st_gid) != 0 ||
                          ::fchmod(target.get(), status.st_mode & 07777) != 0))
    return fail_errno("setting the mode of a tmpfs");
  TRY_CTX(copy_directory(*source, target), "copying what the image has there");
  return tree;
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

Result<void> set_id_map(FdRef mount, FdRef user_namespace, bool recursive) {
  struct mount_attr change{};
  change.attr_set = MOUNT_ATTR_IDMAP;
  change.userns_fd = static_cast<std::uint64_t>(user_namespace.get());
  if (::mount_setattr(mount.get(), "", AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0u), &change, sizeof change) != 0)
    return fail_errno("mapping the IDs of a mount");
  return {};
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

Result<PreparedMount> prepare_mount(const Mount& mount, const MountSurroundings& surroundings) {
  PreparedMount prepared;
  if (mount.destination.empty() || mount.destination.find('\0') != std::string::npos)
    return fail(ErrorCode::invalid_argument, "invalid mount destination \"" + mount.destination + "\"");
  prepared.destination = clean_path("/" + mount.destination);
  if (prepared.destination == "/") return fail(ErrorCode::invalid_argument, "invalid mount destination \"/\"");
  if (prepared.destination.size() >= PATH_MAX)
    return fail(ErrorCode::invalid_argument, "mount destination is too long");
  bool is_bind = mount.type == "bind" || mount.type == "none" || contains(mount.options, "bind") ||
                 contains(mount.options, "rbind");
  prepared.source = mount.source.empty() ? mount.type : mount.source;
  Wishes wishes = sort_options(mount.options);
  prepared.may_cover_proc = contains(kProcFiles, prepared.destination) || mount.type == "proc";
  bool fundamental =
      prepared.destination == "/proc" || prepared.destination == "/sys" || prepared.destination == "/dev";
  prepared.ordinary_directory = mount.type == "proc" || mount.type == "sysfs" || fundamental;
  std::string context = "error mounting \"" + prepared.source + "\" to rootfs at \"" + prepared.destination + "\"";
  if (mount.tree >= 0) {
    TRY_CTX(take_tree(mount, prepared), context);
  } else if (is_bind) {
    TRY_CTX(prepare_bind(mount, wishes, surroundings, prepared), context);
  } else {
    if (wishes.idmap || !mount.uid_mappings.empty() || !mount.gid_mappings.empty())
      return fail(ErrorCode::invalid_argument, context + ": only a bind mount can be idmapped");
    prepared.filesystem = mount.type;
    prepared.options = std::move(wishes.others);
    prepared.attributes = wishes.top.set | wishes.tree.set;
    prepared.propagation = wishes.propagation;
    prepared.keep_mode =
        mount.type == "tmpfs" && std::none_of(prepared.options.begin(), prepared.options.end(),
                                              [](const auto& option) { return option.first == "mode"; });
    if (wishes.copy_up) {
      if (mount.type != "tmpfs") return fail(ErrorCode::invalid_argument, context + ": tmpcopyup is for tmpfs");
      prepared.tree = TRY_CTX(make_filled_tmpfs(prepared, surroundings.rootfs), context);
      TRY_CTX(change_mount(prepared.tree, prepared.attributes, 0, MS_PRIVATE, 0), context);
    }
  }
  // What resolves to /proc is found by the child; this is what its path says, procfs mounted or not.
  bool on_proc = prepared.destination == "/proc" || prepared.destination.starts_with("/proc/");
  if (on_proc && !prepared.may_cover_proc)
    return fail(ErrorCode::invalid_argument, context + ": cannot be mounted because it is inside /proc");
  return prepared;
}

}  // namespace dray::runtime
