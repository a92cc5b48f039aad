// SPDX-License-Identifier: Apache-2.0
// Linux 6.15 clones what lies inside a detached mount; before, the mount must be in the caller's mount namespace. There
// a thread makes a namespace of its own, attaches the mount to it, and takes the clone out: the namespace ends with the
// thread.
#include <dray/core/detached_mount.hpp>

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>

#include <dray/core/rooted_path.hpp>
#include <dray/core/thread.hpp>

namespace dray {
namespace {

Result<FileDescriptor> clone_inside(FdRef mount, const std::string& path) {
  const FileDescriptor place = TRY(open_in_root(mount, path, O_PATH));
  return clone_mount_at(place, Below::no);
}

Result<FileDescriptor> clone_in_this_thread(FdRef mount, const std::string& path) {
  if (::unshare(CLONE_FS | CLONE_NEWNS) != 0) return fail_errno("making a mount namespace");
  if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return fail_errno("making mounts private");
  const FileDescriptor root = TRY(open_file("/", O_PATH | O_DIRECTORY));
  if (::move_mount(mount.get(), "", root.get(), "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) != 0)
    return fail_errno("attaching a mount");
  return clone_inside(mount, path);
}

Result<void> configure(FdRef context, unsigned command, const char* key, const char* value) {
  if (::fsconfig(context.get(), command, key, value, 0) == 0) return {};
  return fail_errno("making a tmpfs");
}

}  // namespace

Result<FileDescriptor> clone_mount_at(FdRef opened, Below below) {
  const unsigned flags =
      OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | (below == Below::yes ? AT_RECURSIVE : 0u);
  FileDescriptor tree(::open_tree(opened.get(), "", flags));
  if (!tree.valid()) return fail_errno("cloning a mount");
  return tree;
}

Result<FileDescriptor> open_submount(FdRef mount, const std::string& path) {
  auto direct = clone_inside(mount, path);
  if (direct || direct.error().error_number() != EINVAL) return direct;
  Result<FileDescriptor> result = fail(ErrorCode::internal, "not run");
  std::thread cloner = TRY(start_thread([&] { result = clone_in_this_thread(mount, path); }));
  cloner.join();
  return result;
}

Result<void> set_mount_attributes(FdRef mount, std::uint64_t attributes, Below below) {
  struct mount_attr change{};
  change.attr_set = attributes;
  change.propagation = MS_PRIVATE;
  const unsigned flags = AT_EMPTY_PATH | (below == Below::yes ? AT_RECURSIVE : 0u);
  if (::mount_setattr(mount.get(), "", flags, &change, sizeof change) != 0)
    return fail_errno("setting the attributes of a mount");
  return {};
}

Result<FileDescriptor> make_tmpfs(std::uint64_t size, std::uint64_t attributes) {
  const FileDescriptor context(::fsopen("tmpfs", FSOPEN_CLOEXEC));
  if (!context.valid()) return fail_errno("opening tmpfs");
  TRY(configure(context, FSCONFIG_SET_STRING, "source", "tmpfs"));
  TRY(configure(context, FSCONFIG_SET_STRING, "mode", "0755"));
  if (size > 0) TRY(configure(context, FSCONFIG_SET_STRING, "size", std::to_string(size).c_str()));
  (void)::fsconfig(context.get(), FSCONFIG_SET_FLAG, "noswap", nullptr, 0);  // Linux 6.4, not in user namespaces
  TRY(configure(context, FSCONFIG_CMD_CREATE, nullptr, nullptr));
  FileDescriptor mount(::fsmount(context.get(), FSMOUNT_CLOEXEC, static_cast<unsigned>(attributes)));
  if (!mount.valid()) return fail_errno("mounting a tmpfs");
  return mount;
}

}  // namespace dray
