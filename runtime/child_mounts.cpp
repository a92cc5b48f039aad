// SPDX-License-Identifier: Apache-2.0
// The file tree of a container, made in the child of the clone (see child.cpp for the rules of this code).
// Everything in the root is hostile: an image chooses its symlinks, and another container may move directories of a
// shared volume under our feet. So a target is resolved exactly once, by openat2() in the root and without magic links,
// to a descriptor; from then on only the descriptor is used: move_mount() of a detached mount onto it. Paths of the
// host are never resolved here: their mounts were opened by the parent.
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>

#include "child_steps.hpp"

namespace dray::runtime::child {
namespace {

int attach(int tree, int target) {
  return ::move_mount(tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

int change_attributes(int mount, std::uint64_t set, std::uint64_t clear, unsigned flags) {
  struct mount_attr change{};
  change.attr_set = set;
  change.attr_clr = clear;
  return ::mount_setattr(mount, "", AT_EMPTY_PATH | flags, &change, sizeof change);
}

int set_propagation(int mount, std::uint64_t propagation, bool recursive) {
  struct mount_attr change{};
  change.propagation = propagation;
  return ::mount_setattr(mount, "", AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0u), &change, sizeof change);
}

// A new file system as a detached mount.
int make_filesystem(const char* name, const char* source, const PlanOption* options, std::uint32_t count,
                    std::uint64_t attributes, const PlanOption* more = nullptr) {
  int context = ::fsopen(name, FSOPEN_CLOEXEC);
  if (context < 0) return -1;
  int outcome = ::fsconfig(context, FSCONFIG_SET_STRING, "source", source, 0);
  for (std::uint32_t i = 0; i < count && outcome == 0; ++i) {
    outcome = options[i].value != nullptr
                  ? ::fsconfig(context, FSCONFIG_SET_STRING, options[i].key, options[i].value, 0)
                  : ::fsconfig(context, FSCONFIG_SET_FLAG, options[i].key, nullptr, 0);
  }
  if (outcome == 0 && more != nullptr) outcome = ::fsconfig(context, FSCONFIG_SET_STRING, more->key, more->value, 0);
  if (outcome == 0) outcome = ::fsconfig(context, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0);
  int mount = outcome == 0 ? ::fsmount(context, FSMOUNT_CLOEXEC, static_cast<unsigned>(attributes)) : -1;
  int error = errno;
  ::close(context);
  errno = error;
  return mount;
}

bool is_on(int fd, decltype(statfs::f_type) magic) {
  struct statfs status;
  return ::fstatfs(fd, &status) == 0 && status.f_type == magic;
}

// In octal.
const char* format_mode(mode_t mode, char (&text)[8]) {
  for (int i = 0; i < 4; ++i) text[i] = static_cast<char>('0' + (mode >> (9 - 3 * i) & 7));
  text[4] = '\0';
  return text;
}

// A clone of what lies in the root by now, mounts before it included.
int clone_inner_source(const ChildPlan& plan, std::uint32_t index, bool& is_directory) {
  const PlanMount& mount = plan.mounts[index];
  int source = open_in(plan.rootfs, mount.inner_source, O_PATH);
  struct stat status;
  if (source < 0 || ::fstat(source, &status) != 0) fail(plan, Step::mount_create, errno, index);
  is_directory = S_ISDIR(status.st_mode);
  const unsigned depth = mount.recursive ? AT_RECURSIVE : 0;
  int tree = ::open_tree(source, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | depth);
  if (tree < 0) fail(plan, Step::mount_create, errno, index);
  ::close(source);
  if (mount.map_ids) {
    report(plan, Step::map_ids, static_cast<int>(index));
    char mark = 'm';
    if (!send_with_fd(plan.socket, &mark, 1, tree)) fail(plan, Step::map_ids, errno, index);
    wait_for_go(plan, Step::map_ids, nullptr);
  }
  if ((mount.set != 0 || mount.clear != 0) && change_attributes(tree, mount.set, mount.clear, 0) != 0)
    fail(plan, Step::mount_options, errno, index);
  if ((mount.tree_set != 0 || mount.tree_clear != 0) &&
      change_attributes(tree, mount.tree_set, mount.tree_clear, AT_RECURSIVE) != 0)
    fail(plan, Step::mount_options, errno, index);
  return tree;
}

void make_one_mount(const ChildPlan& plan, std::uint32_t index) {
  const PlanMount& mount = plan.mounts[index];
  const std::uint64_t resolve = mount.ordinary_directory ? RESOLVE_NO_SYMLINKS : 0;
  char mode[8];
  PlanOption mode_option{"mode", nullptr};
  int target = -1;
  bool is_directory = mount.is_directory;
  int tree = mount.inner_source != nullptr ? clone_inner_source(plan, index, is_directory) : mount.tree;
  if (mount.keep_mode) {
    target = open_in(plan.rootfs, mount.destination, O_PATH | O_DIRECTORY, resolve);
    struct stat status;
    if (target >= 0 && ::fstat(target, &status) == 0) mode_option.value = format_mode(status.st_mode, mode);
  }
  if (target < 0) target = open_target(plan.rootfs, mount.destination, is_directory, resolve);
  if (target < 0) {
    bool kind = mount.ordinary_directory && (errno == ELOOP || errno == ENOTDIR || errno == EEXIST);
    fail(plan, kind ? Step::mount_target_kind : Step::mount_target, errno, index);
  }
  if (!mount.may_cover_proc && is_on(target, PROC_SUPER_MAGIC)) fail(plan, Step::mount_over_proc, EINVAL, index);
  if (mount.filesystem != nullptr) {
    tree = make_filesystem(mount.filesystem, mount.source, mount.options, mount.option_count, mount.attributes,
                           mode_option.value != nullptr ? &mode_option : nullptr);
    if (tree < 0) fail(plan, Step::mount_create, errno, index);
  }
  if (attach(tree, target) != 0) fail(plan, Step::mount_attach, errno, index);
  if (mount.propagation != 0) {
    if (set_propagation(tree, mount.propagation, false) != 0) fail(plan, Step::mount_options, errno, index);
  }
  ::close(tree);
  ::close(target);
}

}  // namespace

int open_in(int root, const char* path, int flags, std::uint64_t resolve) {
  struct open_how how{};
  how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC);
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | resolve;
  long fd = -1;
  // EAGAIN: a rename raced with ".."; the manual page says to repeat.
  for (int attempt = 0; attempt < 1000; ++attempt) {
    fd = ::syscall(SYS_openat2, root, path, &how, sizeof how);
    if (fd >= 0 || (errno != EAGAIN && errno != EINTR)) break;
  }
  return static_cast<int>(fd);
}

namespace {

// Replaces the component of `path` that ends at `end` and is a symlink without a target by what it says, so that the
// target can be made, too. False and errno if that cannot be.
bool follow_dangling_link(int directory, char (&path)[PATH_MAX], std::size_t start, std::size_t end) {
  char name[NAME_MAX + 1], text[PATH_MAX];
  if (end - start > NAME_MAX) {
    errno = ENAMETOOLONG;
    return false;
  }
  std::memcpy(name, path + start, end - start);
  name[end - start] = '\0';
  const long length = ::syscall(SYS_readlinkat, directory, name, text, sizeof text);
  if (length < 0) return false;
  const std::size_t rest = std::strlen(path + end), head = text[0] == '/' ? 0 : start;
  if (head + static_cast<std::size_t>(length) + rest >= PATH_MAX) {
    errno = ENAMETOOLONG;
    return false;
  }
  char tail[PATH_MAX];
  std::memcpy(tail, path + end, rest + 1);
  std::memcpy(path + head, text, static_cast<std::size_t>(length));
  std::memcpy(path + head + length, tail, rest + 1);
  return true;
}

// Makes what is missing of `path` from its first component on. -1, and errno 0 if a link was followed: once more.
int make_target(int root, char (&path)[PATH_MAX], bool is_directory, std::uint64_t resolve) {
  const int kind = is_directory ? O_DIRECTORY : 0;
  const std::size_t length = std::strlen(path);
  int current = open_in(root, "/", O_PATH | O_DIRECTORY);
  for (std::size_t start = 0; current >= 0;) {
    while (path[start] == '/') ++start;
    std::size_t end = start;
    while (end < length && path[end] != '/') ++end;
    std::size_t next_start = end;
    while (path[next_start] == '/') ++next_start;
    const bool last = next_start >= length;
    char prefix[PATH_MAX];
    std::memcpy(prefix, path, end);
    prefix[end] = '\0';
    const char* name = prefix + start;
    int outcome;
    if (!last || is_directory) {
      outcome = ::mkdirat(current, name, 0755);
    } else {
      outcome = ::openat(current, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
      if (outcome >= 0) ::close(outcome);
    }
    const bool existed = outcome < 0 && errno == EEXIST;
    int next = -1;
    if (outcome >= 0 || existed) next = open_in(root, prefix, O_PATH | (last ? kind : O_DIRECTORY), resolve);
    if (next < 0 && existed && errno == ENOENT) errno = follow_dangling_link(current, path, start, end) ? 0 : errno;
    int error = errno;
    ::close(current);
    errno = error;
    if (next < 0 || last) return next;
    current = next;
    start = end;
  }
  return -1;
}

}  // namespace

int open_target(int root, const char* path, bool is_directory, std::uint64_t resolve) {
  int whole = open_in(root, path, O_PATH | (is_directory ? O_DIRECTORY : 0), resolve);
  if (whole >= 0 || errno != ENOENT) return whole;
  char left[PATH_MAX];
  const std::size_t length = std::strlen(path);
  if (length >= sizeof left) {
    errno = ENAMETOOLONG;
    return -1;
  }
  std::memcpy(left, path, length + 1);
  for (int links = 0; links < 40; ++links) {
    int target = make_target(root, left, is_directory, resolve);
    if (target >= 0 || errno != 0) return target;
  }
  errno = ELOOP;
  return -1;
}

void enter_rootfs(const ChildPlan& plan) {
  // The copies of the host's mounts must not tell the host of what we unmount.
  if (plan.own_mounts && ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    fail(plan, Step::private_mounts, errno);
  // On top of the old root, which pivot_root then takes away below it: no directory of the host is needed.
  const char* place = plan.rootfs_path != nullptr ? plan.rootfs_path : "/";
  if (::move_mount(plan.rootfs, "", AT_FDCWD, place, MOVE_MOUNT_F_EMPTY_PATH) != 0)
    fail(plan, Step::attach_rootfs, errno);
  // A shared or unbindable root cannot be pivoted to: it becomes so afterwards.
  const bool later = plan.final_propagation != 0;
  if (set_propagation(plan.rootfs, later ? std::uint64_t{MS_SLAVE} : plan.rootfs_propagation,
                      later || plan.rootfs_propagation_recursive) != 0)
    fail(plan, Step::attach_rootfs, errno);
}

namespace {

void set_final_propagation(const ChildPlan& plan) {
  if (plan.final_propagation != 0 &&
      set_propagation(plan.rootfs, plan.final_propagation, plan.rootfs_propagation_recursive) != 0)
    fail(plan, Step::pivot_root, errno);
}

// What the host has of procfs and sysfs would stay in reach, unmasked: the kernel lets a user namespace mount new ones
// only where such are in full view.
void hide_host_proc(const ChildPlan& plan) {
  for (std::uint32_t i = 0; i < plan.host_proc_count; ++i) {
    const char* path = plan.host_proc_paths[i];
    if (::umount2(path, MNT_DETACH) == 0 || errno == ENOENT || errno == EINVAL) continue;
    if (::mount("tmpfs", path, "tmpfs", MS_RDONLY, "size=0k") != 0) fail(plan, Step::pivot_root, errno);
  }
}

}  // namespace

void leave_host(const ChildPlan& plan) {
  if (::fchdir(plan.rootfs) != 0) fail(plan, Step::pivot_root, errno);
  if (plan.use_chroot) {
    // --no-pivot, for hosts that run from an initramfs: the root moves on top of the host's.
    if (plan.own_mounts) hide_host_proc(plan);
    if (plan.own_mounts && plan.rootfs_path != nullptr && ::mount(".", "/", nullptr, MS_MOVE, nullptr) != 0)
      fail(plan, Step::pivot_root, errno);
    if (::syscall(SYS_chroot, ".") != 0 || ::chdir("/") != 0) fail(plan, Step::pivot_root, errno);
    set_final_propagation(plan);
    return;
  }
  // pivot_root(".", "."): the old root ends on top of the new one and is unmounted from there (pivot_root(2), NOTES).
  // Between the two calls "/.." would lead into the host, even with RESOLVE_IN_ROOT: nothing may be resolved there.
  if (::syscall(SYS_pivot_root, ".", ".") != 0) fail(plan, Step::pivot_root, errno);
  if (::umount2(".", MNT_DETACH) != 0) fail(plan, Step::pivot_root, errno);
  if (::chdir("/") != 0) fail(plan, Step::pivot_root, errno);
  set_final_propagation(plan);
}

void make_mounts(const ChildPlan& plan) {
  for (std::uint32_t i = 0; i < plan.mount_count; ++i) make_one_mount(plan, i);
}

void make_devices(const ChildPlan& plan) {
  for (std::uint32_t i = 0; i < plan.device_count; ++i) {
    const PlanDevice& device = plan.devices[i];
    int directory = open_target(plan.rootfs, device.directory, true);
    if (directory < 0) fail(plan, Step::device, errno, i);
    if (device.tree >= 0) {
      int file = ::openat(directory, device.name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
      if (file < 0 && errno != EEXIST) fail(plan, Step::device, errno, i);
      if (file >= 0) ::close(file);
      int target = ::openat(directory, device.name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
      if (target < 0 || attach(device.tree, target) != 0) fail(plan, Step::device, errno, i);
      ::close(target);
    } else if (::mknodat(directory, device.name, device.mode, device.number) == 0) {
      if ((device.uid != 0 || device.gid != 0) &&
          ::fchownat(directory, device.name, device.uid, device.gid, AT_SYMLINK_NOFOLLOW) != 0)
        fail(plan, Step::device, errno, i);
    } else if (errno != EEXIST) {  // a mount of the user's is there already
      fail(plan, Step::device, errno, i);
    }
    ::close(directory);
  }
  static constexpr PlanLink kLinks[] = {{"fd", "/proc/self/fd"},       {"stdin", "/proc/self/fd/0"},
                                        {"stdout", "/proc/self/fd/1"}, {"stderr", "/proc/self/fd/2"},
                                        {"ptmx", "pts/ptmx"},          {"core", "/proc/kcore"}};
  int dev = open_target(plan.rootfs, "/dev", true);
  if (dev < 0) fail(plan, Step::device_links, errno);
  for (const auto& link : kLinks) {
    if (::symlinkat(link.target, dev, link.name) != 0 && errno != EEXIST) fail(plan, Step::device_links, errno);
  }
  ::close(dev);
}

void bind_console(const ChildPlan& plan, int slave) {
  int target = open_target(plan.rootfs, "/dev/console", false);
  if (target < 0) fail(plan, Step::console_bind, errno);
  // From the descriptor, not from /dev/pts/N: a path could have been swapped meanwhile.
  int tree = ::open_tree(slave, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
  if (tree < 0 || attach(tree, target) != 0) fail(plan, Step::console_bind, errno);
  ::close(tree);
  ::close(target);
}

void mask_paths(const ChildPlan& plan) {
  // One mount each for all files and for all directories: the first path gets it, the others clones of it.
  int null_device = plan.null_device, empty = -1;
  bool null_attached = false, empty_attached = false;
  for (std::uint32_t i = 0; i < plan.masked_count; ++i) {
    int target = open_in(plan.rootfs, plan.masked_paths[i], O_PATH);
    if (target < 0) {
      if (errno == ENOENT || errno == ENOTDIR) continue;  // nothing there to hide
      fail(plan, Step::masked_path, errno, i);
    }
    struct stat status;
    if (::fstat(target, &status) != 0) fail(plan, Step::masked_path, errno, i);
    bool directory = S_ISDIR(status.st_mode);
    if (directory && empty < 0) {
      static constexpr PlanOption kTiny[] = {{"nr_blocks", "1"}, {"nr_inodes", "1"}};
      empty = make_filesystem("tmpfs", "tmpfs", kTiny, 2,
                              MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
      if (empty < 0) fail(plan, Step::masked_path, errno, i);
    }
    int cover = directory ? empty : null_device;
    bool& attached = directory ? empty_attached : null_attached;
    int clone = attached ? ::open_tree(cover, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH) : cover;
    if (clone < 0 || attach(clone, target) != 0) fail(plan, Step::masked_path, errno, i);
    if (attached) ::close(clone);
    attached = true;
    ::close(target);
  }
  if (empty >= 0) ::close(empty);
}

void make_paths_readonly(const ChildPlan& plan) {
  for (std::uint32_t i = 0; i < plan.readonly_count; ++i) {
    int target = open_in(plan.rootfs, plan.readonly_paths[i], O_PATH);
    if (target < 0) {
      if (errno == ENOENT || errno == ENOTDIR) continue;
      fail(plan, Step::readonly_path, errno, i);
    }
    int tree = ::open_tree(target, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE);
    if (tree < 0 || change_attributes(tree, MOUNT_ATTR_RDONLY, 0, AT_RECURSIVE) != 0 || attach(tree, target) != 0)
      fail(plan, Step::readonly_path, errno, i);
    ::close(tree);
    ::close(target);
  }
}

void mount_cgroups(const ChildPlan& plan, const int* trees, std::uint32_t count) {
  const PlanCgroups& cgroups = plan.cgroups;
  if (cgroups.destination == nullptr || count == 0) return;
  int target = open_target(plan.rootfs, cgroups.destination, true);
  if (target < 0) fail(plan, Step::cgroup_mount, errno);
  if (cgroups.unified) {
    if (attach(trees[0], target) != 0) fail(plan, Step::cgroup_mount, errno);
    ::close(target);
    return;
  }
  static constexpr PlanOption kMode[] = {{"mode", "755"}};
  std::uint64_t attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
  int top = make_filesystem("tmpfs", "cgroup", kMode, 1, attributes);
  if (top < 0 || attach(top, target) != 0) fail(plan, Step::cgroup_mount, errno);
  for (std::uint32_t i = 0; i < count && i < cgroups.count; ++i) {
    if (::mkdirat(top, cgroups.names[i], 0755) != 0) fail(plan, Step::cgroup_mount, errno, i);
    int point = ::openat(top, cgroups.names[i], O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (point < 0 || attach(trees[i], point) != 0) fail(plan, Step::cgroup_mount, errno, i);
    ::close(point);
  }
  for (std::uint32_t i = 0; i < cgroups.link_count; ++i) {
    if (::symlinkat(cgroups.links[i].target, top, cgroups.links[i].name) != 0 && errno != EEXIST)
      fail(plan, Step::cgroup_mount, errno);
  }
  if (cgroups.read_only && change_attributes(top, MOUNT_ATTR_RDONLY, 0, 0) != 0) fail(plan, Step::cgroup_mount, errno);
  ::close(top);
  ::close(target);
}

void make_rootfs_readonly(const ChildPlan& plan) {
  if (plan.dev_readonly) {
    int dev = open_in(plan.rootfs, "/dev", O_PATH | O_DIRECTORY);
    if (dev < 0 || change_attributes(dev, MOUNT_ATTR_RDONLY, 0, 0) != 0) fail(plan, Step::readonly_rootfs, errno);
    ::close(dev);
  }
  if (!plan.rootfs_readonly) return;
  if (change_attributes(plan.rootfs, MOUNT_ATTR_RDONLY, 0, 0) != 0) fail(plan, Step::readonly_rootfs, errno);
}

}  // namespace dray::runtime::child
