// SPDX-License-Identifier: Apache-2.0
// Recipes to detached mounts. The new mount API gives a mount as a descriptor that is in no mount table; kernels before 6.5 have no
// `lowerdir+` (and limit one fsconfig string to 255 bytes), so there a thread with a private mount namespace mounts the old way and
// clones the result out with open_tree.
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <thread>

#include <dray/store/snapshotter.hpp>

// glibc's <sys/mount.h> and <linux/mount.h> cannot be included together in Debian 12.
extern "C" int mount(const char*, const char*, const char*, unsigned long, const void*) noexcept;

namespace dray::store {
namespace {

#ifndef MS_REC
constexpr unsigned long MS_REC = 16384, MS_PRIVATE = 1 << 18;
#endif

int fsopen_raw(const char* type) { return static_cast<int>(::syscall(SYS_fsopen, type, FSOPEN_CLOEXEC)); }
int fsconfig_raw(int fd, unsigned command, const char* key, const char* value, int aux = 0) {
  return static_cast<int>(::syscall(SYS_fsconfig, fd, command, key, value, aux));
}

/// The kernel's reason, which fsopen descriptors carry as text.
std::string kernel_message(int fd) {
  char text[512];
  ssize_t count = ::read(fd, text, sizeof text - 1);
  return count > 2 ? ": " + std::string(text + 2, static_cast<std::size_t>(count) - 2) : "";
}

Result<FileDescriptor> clone_tree(const std::string& path, bool read_only) {
  FileDescriptor tree(static_cast<int>(::syscall(SYS_open_tree, AT_FDCWD, path.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)));
  if (!tree.valid()) return fail_errno("opening a layer");
  if (read_only) {
    struct mount_attr attributes{};
    attributes.attr_set = MOUNT_ATTR_RDONLY;
    if (::syscall(SYS_mount_setattr, tree.get(), "", AT_EMPTY_PATH, &attributes, sizeof attributes) != 0) return fail_errno("making a layer read-only");
  }
  return tree;
}

/// nullopt: this kernel's overlay does not know lowerdir+.
Result<std::optional<FileDescriptor>> mount_with_new_api(const MountRecipe& recipe) {
  FileDescriptor context(fsopen_raw("overlay"));
  if (!context.valid()) return fail_errno("overlay file system");
  for (const std::string& lower : recipe.lower) {
    if (fsconfig_raw(context.get(), FSCONFIG_SET_STRING, "lowerdir+", lower.c_str()) != 0) {
      if (errno == EINVAL) return std::optional<FileDescriptor>();
      return fail_errno("overlay: adding a layer" + kernel_message(context.get()));
    }
  }
  auto set = [&](const char* key, const std::string& value) { return fsconfig_raw(context.get(), FSCONFIG_SET_STRING, key, value.c_str()) == 0; };
  if (!recipe.upper.empty() && (!set("upperdir", recipe.upper) || !set("workdir", recipe.work))) return fail_errno("overlay: upper directory" + kernel_message(context.get()));
  // Plain whiteouts and whole files in the upper directory, so that write_diff can read it: no metadata-only copies, no redirects.
  for (const char* option : {"metacopy", "redirect_dir"}) (void)set(option, "off");
  if (recipe.is_volatile && !recipe.upper.empty()) (void)fsconfig_raw(context.get(), FSCONFIG_SET_FLAG, "volatile", nullptr);
  if (fsconfig_raw(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr) != 0) {
    int number = errno;
    return Failure(Error::from_errno(number, "mounting overlay" + kernel_message(context.get())));
  }
  FileDescriptor mounted(static_cast<int>(::syscall(SYS_fsmount, context.get(), FSMOUNT_CLOEXEC, 0)));
  if (!mounted.valid()) return fail_errno("mounting overlay");
  return std::optional<FileDescriptor>(std::move(mounted));
}

Result<FileDescriptor> mount_with_old_api(const MountRecipe& recipe) {
  std::string options = "lowerdir=";
  for (std::size_t i = 0; i < recipe.lower.size(); ++i) options += (i > 0 ? ":" : "") + recipe.lower[i];
  if (!recipe.upper.empty()) options += ",upperdir=" + recipe.upper + ",workdir=" + recipe.work;
  if (recipe.is_volatile && !recipe.upper.empty()) options += ",volatile";
  options += ",metacopy=off,redirect_dir=off";
  if (options.size() >= 4096) return fail(ErrorCode::unsupported, "too many layers for this kernel's overlay (its limit is one page of options; Linux 6.5 lifts it)");
  Result<FileDescriptor> result = fail(ErrorCode::internal, "overlay thread did not run");
  std::thread([&] {
    if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
      result = fail_errno("making a private mount namespace");
      return;
    }
    // Any directory serves as the mount point: the namespace ends with this thread.
    std::string target = recipe.upper.empty() ? recipe.lower.front() : recipe.work;
    if (::mount("overlay", target.c_str(), "overlay", 0, options.c_str()) != 0) {
      result = fail_errno("mounting overlay");
      return;
    }
    result = clone_tree(target, false);
  }).join();
  return result;
}

}  // namespace

Result<FileDescriptor> open_mount(const MountRecipe& recipe) {
  if (recipe.lower.empty() && recipe.upper.empty()) return fail(ErrorCode::internal, "nothing to mount");
  if (recipe.upper.empty() && recipe.lower.size() == 1) return clone_tree(recipe.lower.front(), true);
  // FROM scratch: a writable directory needs no overlay.
  if (recipe.lower.empty()) return clone_tree(recipe.upper, false);
  auto mounted = TRY(mount_with_new_api(recipe));
  if (mounted) return std::move(*mounted);
  return mount_with_old_api(recipe);
}

}  // namespace dray::store
