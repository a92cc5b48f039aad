// SPDX-License-Identifier: Apache-2.0
// A detached mount of a stack of layers. Options are spelled out rather than left to the module's parameters:
// no metacopy and no redirects, so that an upper directory holds whole files, plain whiteouts and opaque
// directories only, and a hostile lower layer cannot point elsewhere; no index, so that an upper directory
// may change its place.
//
// The new API takes one layer a call (no limit of a page on the options). Where it is missing, a thread
// leaves our mount namespace, mounts the old way on top of one of the lower directories, and takes a clone
// out: the namespace dies with the thread.
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <dray/core/thread.hpp>

#include "overlay_mount.hpp"

// glibc 2.36 declares these too, but in <sys/mount.h>, which conflicts with <linux/mount.h>.
extern "C" int mount(const char* source, const char* target, const char* type, unsigned long flags,
                     const void* data) noexcept;

namespace dray::store {
namespace {

constexpr std::size_t kMaxLower = 500;   // OVL_MAX_STACK; beyond it the kernel only says EINVAL
constexpr std::size_t kMaxOption = 255;  // fsconfig refuses longer strings
constexpr int kMaxTries = 8;             // for a mount that may be written to
#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif

int open_tree(int directory, const char* path, unsigned flags) {
  return static_cast<int>(::syscall(SYS_open_tree, directory, path, flags));
}
int set_option(int context, unsigned command, const char* key, const char* value) {
  return static_cast<int>(::syscall(SYS_fsconfig, context, command, key, value, 0));
}

/// What the kernel wrote about its last refusal.
std::string kernel_log(int context) {
  char text[512];
  ssize_t count = ::read(context, text, sizeof text);
  if (count <= 0) return "";
  std::string message(text, static_cast<std::size_t>(count));
  if (message.starts_with("e ") || message.starts_with("w ")) message.erase(0, 2);
  while (message.ends_with('\n')) message.pop_back();
  message.insert(0, " (");
  message += ")";
  return message;
}

/// As an overlay would show it: what the mount is that the directory happens to lie on (nosuid, nodev, noexec) says
/// nothing about a container's files.
Result<FileDescriptor> open_bind(const std::string& path, bool is_writable) {
  const int fd = open_tree(AT_FDCWD, path.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
  if (fd < 0) return fail_errno("opening a layer for mounting");
  FileDescriptor view(fd);
  struct mount_attr attributes{};
  (is_writable ? attributes.attr_clr : attributes.attr_set) = MOUNT_ATTR_RDONLY;
  attributes.attr_clr |= MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
  attributes.propagation = MS_PRIVATE;
  if (::syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH, &attributes, sizeof attributes) == 0) return view;
  attributes.attr_clr = 0;  // they may be locked by whoever made our namespace
  if (::syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH, &attributes, sizeof attributes) != 0)
    return fail_errno("setting the attributes of a view");
  return view;
}

/// Before 6.5 overlay had no parser of its own behind the new API: the kernel takes any key there, joins them all, and
/// only the mount itself fails (with a line in the kernel's log each time). Such a kernel tells itself apart by taking
/// a key that nobody knows.
bool has_legacy_parser(int context) {
  if (set_option(context, FSCONFIG_SET_STRING, "dray_no_such_option", "x") == 0) return true;
  (void)kernel_log(context);  // the refusal's message is no news
  return false;
}

/// Sets options one by one; directories with long or odd names go through a descriptor kept open meanwhile.
class OptionSetter {
 public:
  explicit OptionSetter(int context) : context_(context) {}
  Result<void> text(const char* key, const char* value) {
    if (set_option(context_, FSCONFIG_SET_STRING, key, value) == 0) return {};
    int number = errno;
    return Failure(Error::from_errno(number, std::string("overlay option ") + key + kernel_log(context_)));
  }
  Result<void> flag(const char* key) {
    if (set_option(context_, FSCONFIG_SET_FLAG, key, nullptr) == 0) return {};
    return fail_errno("overlay option \"" + std::string(key) + "\"");
  }
  Result<void> directory(const char* key, const std::string& path) {
    // Some kernels take a backslash in upperdir for an escape, others don't.
    if (path.size() <= kMaxOption && path.find('\\') == std::string::npos) return text(key, path.c_str());
    open_.push_back(TRY(open_file(path, O_PATH | O_DIRECTORY)));
    return text(key, descriptor_path(open_.back()).c_str());
  }

 private:
  int context_;
  std::vector<FileDescriptor> open_;
};

Result<FileDescriptor> mount_in_this_thread(const MountRecipe& recipe) {
  if (::unshare(CLONE_FS | CLONE_NEWNS) != 0) return fail_errno("making a mount namespace");
  if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return fail_errno("making mounts private");
  // The options must fit in a page: a directory is named by its descriptor's number, seen from where those are listed.
  // Opened in here, since overlay takes only what is mounted in its own namespace.
  std::vector<FileDescriptor> open;
  const auto name_of = [&](const std::string& path) -> Result<std::string> {
    open.push_back(TRY(open_file(path, O_PATH | O_DIRECTORY)));
    return std::to_string(open.back().get());
  };
  std::string options;
  for (const std::string& path : recipe.lower) options += (options.empty() ? "lowerdir=" : ":") + TRY(name_of(path));
  if (!recipe.upper.empty()) {
    options += ",upperdir=" + TRY(name_of(recipe.upper));
    options += ",workdir=" + TRY(name_of(recipe.work));
  }
  if (::chdir("/proc/self/fd") != 0) return fail_errno("entering /proc/self/fd");
  options += ",redirect_dir=nofollow,metacopy=off,index=off";
  if (options.size() >= static_cast<std::size_t>(::getpagesize()))
    return fail(ErrorCode::unsupported,
                "too many layers for this kernel's overlay (" + std::to_string(recipe.lower.size()) + ")");
  unsigned long flags = recipe.upper.empty() ? MS_RDONLY : 0;
  const char* target = recipe.lower.front().c_str();
  bool volatile_option = recipe.is_volatile && !recipe.upper.empty();
  int outcome = volatile_option ? ::mount("overlay", target, "overlay", flags, (options + ",volatile").c_str()) : -1;
  if (outcome != 0) outcome = ::mount("overlay", target, "overlay", flags, options.c_str());
  if (outcome != 0) return fail_errno("mounting an overlay");
  int fd = open_tree(AT_FDCWD, target, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
  if (fd < 0) return fail_errno("taking the overlay out of its mount namespace");
  return FileDescriptor(fd);
}

Result<FileDescriptor> open_overlay(const MountRecipe& recipe) {
  auto mounted = open_overlay_new_api(recipe);
  if (!mounted && (mounted.error().code() == ErrorCode::unsupported || mounted.error().error_number() == ENOSYS))
    return open_overlay_mount2(recipe);
  return mounted;
}

/// Where the kernel could not make its folder in the work directory, it mounts read-only and tells only its log why.
Result<bool> is_as_wanted(const MountRecipe& recipe, FdRef mounted) {
  struct statvfs status;
  if (::fstatvfs(mounted.get(), &status) != 0) return fail_errno("mounting an overlay");
  if (recipe.upper.empty() || (status.f_flag & ST_RDONLY) == 0) return true;
  const std::string probe = recipe.work + "/probe";
  if (::mkdir(probe.c_str(), 0700) != 0) return fail_errno("mounting an overlay: making its work directory");
  (void)::rmdir(probe.c_str());
  return false;
}

}  // namespace

Result<FileDescriptor> open_overlay_new_api(const MountRecipe& recipe) {
  FileDescriptor context(static_cast<int>(::syscall(SYS_fsopen, "overlay", FSOPEN_CLOEXEC)));
  if (!context.valid()) return fail_errno("opening the overlay file system");
  if (has_legacy_parser(context.get()))
    return fail(ErrorCode::unsupported, "this kernel's overlay takes no layers one by one");
  OptionSetter options(context.get());
  for (const auto& path : recipe.lower) {
    auto set = options.directory("lowerdir+", path);
    if (set) continue;
    if (set.error().error_number() == EINVAL && &path == &recipe.lower.front())
      return Failure(std::move(set).error().with_code(ErrorCode::unsupported));
    return Failure(std::move(set).error());
  }
  if (!recipe.upper.empty()) {
    TRY(options.directory("upperdir", recipe.upper));
    TRY(options.directory("workdir", recipe.work));
    if (recipe.is_volatile) TRY(options.flag("volatile"));
  }
  TRY(options.text("redirect_dir", "nofollow"));
  TRY(options.text("metacopy", "off"));
  TRY(options.text("index", "off"));
  TRY(options.text("source", "overlay"));
  if (set_option(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr) != 0) {
    int number = errno;
    return Failure(Error::from_errno(number, "mounting an overlay" + kernel_log(context.get())));
  }
  unsigned attributes = recipe.upper.empty() ? MOUNT_ATTR_RDONLY : 0;
  FileDescriptor mounted(static_cast<int>(::syscall(SYS_fsmount, context.get(), FSMOUNT_CLOEXEC, attributes)));
  if (!mounted.valid()) return fail_errno("mounting an overlay");
  return mounted;
}

Result<FileDescriptor> open_overlay_mount2(const MountRecipe& recipe) {
  Result<FileDescriptor> result = fail(ErrorCode::internal, "not run");
  std::thread mounter = TRY(start_thread([&] { result = mount_in_this_thread(recipe); }));
  mounter.join();
  return result;
}

Result<FileDescriptor> open_mount(const MountRecipe& recipe) {
  if (recipe.lower.empty() && recipe.upper.empty()) return fail(ErrorCode::invalid_argument, "a mount without layers");
  if (recipe.lower.empty()) return open_bind(recipe.upper, true);
  if (recipe.upper.empty() && recipe.lower.size() == 1) return open_bind(recipe.lower.front(), false);
  if (recipe.lower.size() > kMaxLower)
    return Failure(Error(ErrorCode::unsupported, "an image of " + std::to_string(recipe.lower.size()) +
                                                     " layers: overlay takes at most " + std::to_string(kMaxLower))
                       .with_hint("copy its files into one layer: FROM scratch, COPY --from=IMAGE / /"));
  auto mounted = open_overlay(recipe);
  // A full disk may have room again by the time one asks what was wrong: then another mount finds it, too.
  for (int tries = 1; mounted && !TRY(is_as_wanted(recipe, *mounted)); ++tries) {
    if (tries == kMaxTries)
      return fail(ErrorCode::unavailable, "the kernel mounted an overlay read-only; its log says why");
    mounted->reset();  // else the kernel complains of two mounts that use one directory
    mounted = open_overlay(recipe);
  }
  if (mounted) return mounted;
  const int number = mounted.error().error_number();
  if (number == ENODEV)
    return Failure(std::move(mounted).error().with_hint("the kernel has no overlayfs: modprobe overlay"));
  if (number == EINVAL)
    return Failure(
        std::move(mounted).error().with_hint("overlayfs does not work on every file system (not on another overlay, "
                                             "nor on NFS): choose a folder on ext4, xfs, "
                                             "btrfs or tmpfs with --root, or --storage-driver vfs for a new one"));
  return mounted;
}

}  // namespace dray::store
