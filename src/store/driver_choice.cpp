// SPDX-License-Identifier: Apache-2.0
// Which driver a new store gets. Whether overlayfs can write to a file system is told by no property of it that could
// be asked for (another overlay, NFS, a FUSE without xattrs or RENAME_WHITEOUT): so it is tried, with a file removed
// and a directory replaced, and with what unpack() makes.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "layer_format.hpp"
#include "snapshotter_state.hpp"

namespace dray::store {
namespace {

/// Errors that speak of the file system, not of this moment.
bool is_refusal(const Error& error) {
  switch (error.error_number()) {
    case EINVAL:
    case ENOSYS:
    case EOPNOTSUPP:
    case EPERM:
    case EACCES:
    case EROFS:
    case EXDEV:
      return true;
    default:
      return error.code() == ErrorCode::unavailable || error.code() == ErrorCode::unsupported;
  }
}

/// As unpack() does.
Result<void> make_whiteouts(FdRef directory) {
  TRY(overlay_whiteouts().hide(directory, "gone"));
  return overlay_whiteouts().make_opaque(directory, ".");
}

/// Through the mount: what a container's `rm` and `rm -r d; mkdir d` do.
Result<void> change_through(FdRef root) {
  if (::unlinkat(root.get(), "file", 0) != 0 || ::unlinkat(root.get(), "directory", AT_REMOVEDIR) != 0)
    return fail_errno("removing files through an overlay");
  if (::mkdirat(root.get(), "directory", 0755) != 0) return fail_errno("replacing a directory through an overlay");
  return {};
}

Result<void> look_at_upper(FdRef upper) {
  struct stat status;
  if (::fstatat(upper.get(), "file", &status, AT_SYMLINK_NOFOLLOW) != 0) return fail_errno("reading a whiteout");
  if (!is_whiteout(status)) return fail(ErrorCode::unsupported, "this overlay makes no whiteouts");
  return {};
}

}  // namespace

std::string_view name_of(StorageDriver driver) { return driver == StorageDriver::vfs ? "vfs" : "overlay"; }

Result<StorageDriver> parse_storage_driver(const std::string& name) {
  if (name == "overlay" || name == "overlay2") return StorageDriver::overlay;
  if (name == "vfs") return StorageDriver::vfs;
  return Failure(Error(ErrorCode::invalid_argument, "unknown storage driver \"" + name + "\"")
                     .with_hint("known drivers: overlay, vfs"));
}

Result<DriverChoice> choose_driver(FdRef directory, const std::string& path) {
  if (::geteuid() != 0) return DriverChoice();  // who cannot mount cannot try; no driver would work
  const UnnamedSnapshot scratch = TRY(UnnamedSnapshot::create(directory));
  for (const char* name : {"lower", "upper", "work", "layer", "lower/directory"})
    TRY(make_directory(scratch.directory(), name, 0755));
  TRY(open_file_at(scratch.directory(), "lower/file", O_WRONLY | O_CREAT, 0644));
  const std::string here = path + "/" + scratch.name();
  const auto mounted = open_mount({.lower = {here + "/lower"}, .upper = here + "/upper", .work = here + "/work"});
  if (!mounted && mounted.error().error_number() == EPERM) {
    // Who may mount nothing needs other rights, not another driver: with them this shall be an overlay store.
    const auto bound = open_mount({.lower = {here + "/lower"}, .upper = "", .work = ""});
    return bound ? DriverChoice{StorageDriver::vfs, mounted.error().message()} : DriverChoice();
  }
  // The choice is for ever, and this may be for now: a module that can't be loaded until the next boot.
  if (!mounted && (mounted.error().error_number() == ENODEV || mounted.error().error_number() == ENOSYS))
    return Failure(Error(mounted.error())
                       .with_context("trying overlayfs")
                       .with_hint("the kernel has no overlayfs: load it (modprobe overlay; after an upgrade of the "
                                  "kernel: reboot), or make a store that copies instead, with --storage-driver vfs"));
  Result<void> tried;
  if (!mounted) tried = Failure(mounted.error());
  // First what says why it cannot: without extended attributes overlayfs itself would only say EIO, as a broken disk does.
  if (tried) tried = make_whiteouts(TRY(open_file_at(scratch.directory(), "layer", O_RDONLY | O_DIRECTORY)));
  if (tried) tried = change_through(*mounted);
  if (tried) tried = look_at_upper(TRY(open_file(here + "/upper", O_PATH | O_DIRECTORY)));
  if (tried) return DriverChoice();
  if (is_refusal(tried.error())) return DriverChoice{StorageDriver::vfs, tried.error().message()};
  return Failure(std::move(tried).error().with_context("trying overlayfs"));
}

}  // namespace dray::store
