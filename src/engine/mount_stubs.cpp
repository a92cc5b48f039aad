// SPDX-License-Identifier: Apache-2.0
// See mount_stubs.hpp. Paths are the image's: everything goes through openat2 in the root.
#include "mount_stubs.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>

#include <dray/core/rooted_path.hpp>

namespace dray::engine {
namespace {

constexpr int kMaxDepth = 256;  // parents that are symlinks could lead on for ever

bool is_below(const std::string& path, std::string_view parent) {
  return path.starts_with(parent) && path.size() > parent.size() && path[parent.size()] == '/';
}

bool source_is_directory(const runtime::Mount& mount) {
  struct stat status;
  if (mount.tree >= 0) return ::fstat(mount.tree, &status) != 0 || S_ISDIR(status.st_mode);
  if (mount.type != "bind") return true;
  return ::stat(mount.source.c_str(), &status) != 0 || S_ISDIR(status.st_mode);
}

// Where a chain of symlinks ends, existing or not; textual beyond the first missing component.
std::string follow_links(FdRef rootfs, std::string path) {
  for (int i = 0; i < 16; ++i) {
    auto link = open_in_root(rootfs, path, O_PATH | O_NOFOLLOW);
    struct stat status;
    if (!link || ::fstat(link->get(), &status) != 0 || !S_ISLNK(status.st_mode)) return path;
    char target[PATH_MAX];
    ssize_t length = ::readlinkat(link->get(), "", target, sizeof target);
    if (length <= 0) return path;
    path = join_path(split_path(path).first, std::string_view(target, static_cast<std::size_t>(length)));
  }
  return path;
}

Result<struct timespec> modification_time(FdRef directory) {
  struct stat status;
  if (::fstat(directory.get(), &status) != 0) return fail_errno("reading the status of a mount point's parent");
  return status.st_mtim;
}

void set_modification_time(FdRef directory, struct timespec time) {
  struct timespec times[2] = {{0, UTIME_OMIT}, time};
  ::utimensat(directory.get(), ".", times, 0);
}

bool equal(const struct timespec& a, const struct timespec& b) {
  return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

}  // namespace

Result<void> MountStubs::make_one(const std::string& path, bool is_directory, int depth) {
  if (depth > kMaxDepth) return fail(ErrorCode::permission_denied, "mount point \"" + path + "\" lies too deep");
  auto [parent_path, name] = split_path(path);
  if (name.empty()) return {};
  auto parent = open_in_root(rootfs_, parent_path, O_PATH | O_DIRECTORY);
  if (!parent) {
    if (parent.error().error_number() != ENOENT) return Failure(std::move(parent).error());
    TRY(make_one(follow_links(rootfs_, parent_path), true, depth + 1));
    parent = open_in_root(rootfs_, parent_path, O_PATH | O_DIRECTORY);
    if (!parent) return Failure(std::move(parent).error());
  }
  Stub stub;
  stub.path = path;
  stub.is_directory = is_directory;
  stub.parent_before = TRY(modification_time(*parent));
  if (is_directory) {
    if (::mkdirat(parent->get(), name.c_str(), 0755) != 0) return fail_errno("creating mount point \"" + path + "\"");
  } else {
    TRY(open_file_at(*parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0644));
  }
  struct stat made;
  if (::fstatat(parent->get(), name.c_str(), &made, AT_SYMLINK_NOFOLLOW) != 0)
    return fail_errno("creating mount point \"" + path + "\"");
  stub.device = made.st_dev;
  stub.inode = made.st_ino;
  set_modification_time(*parent, stub.parent_before);
  stub.parent_after = TRY(modification_time(*parent));
  stubs_.push_back(std::move(stub));
  return {};
}

Result<void> MountStubs::make(const std::vector<runtime::Mount>& mounts) {
  for (const auto& mount : mounts) {
    std::string path = clean_path("/" + mount.destination);
    // What is below another mount is made in that one, not in the image.
    bool covered = false;
    for (const auto& other : mounts) covered = covered || is_below(path, clean_path("/" + other.destination));
    if (covered || stat_in_root(rootfs_, path, FollowLast::yes)) continue;
    path = follow_links(rootfs_, path);
    if (stat_in_root(rootfs_, path, FollowLast::no)) continue;
    TRY(make_one(path, source_is_directory(mount), 0));
  }
  return {};
}

Result<void> MountStubs::make_dangling_targets(const std::vector<runtime::Mount>& mounts) {
  for (const auto& mount : mounts) {
    if (!mount.destination.starts_with("/etc/")) continue;
    std::string path = clean_path(mount.destination);
    auto status = stat_in_root(rootfs_, path, FollowLast::no);
    if (!status || !S_ISLNK(status->st_mode) || stat_in_root(rootfs_, path, FollowLast::yes)) continue;
    path = follow_links(rootfs_, path);
    if (!stat_in_root(rootfs_, path, FollowLast::no)) TRY(make_one(path, source_is_directory(mount), 0));
  }
  return {};
}

void MountStubs::remove() {
  for (auto stub = stubs_.rbegin(); stub != stubs_.rend(); ++stub) {
    auto [parent_path, name] = split_path(stub->path);
    auto parent = open_in_root(rootfs_, parent_path, O_PATH | O_DIRECTORY);
    struct stat status, parent_status;
    if (!parent || ::fstat(parent->get(), &parent_status) != 0) continue;
    if (::fstatat(parent->get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) continue;
    // The step may have put something of its own in its place, or have made the path lead elsewhere: that stays.
    if (status.st_dev != stub->device || status.st_ino != stub->inode) continue;
    if (stub->is_directory ? !S_ISDIR(status.st_mode) : !S_ISREG(status.st_mode) || status.st_size != 0) continue;
    if (::unlinkat(parent->get(), name.c_str(), stub->is_directory ? AT_REMOVEDIR : 0) != 0) continue;
    bool untouched = equal(parent_status.st_mtim, stub->parent_after);
    set_modification_time(*parent, untouched ? stub->parent_before : parent_status.st_mtim);
  }
  stubs_.clear();
}

}  // namespace dray::engine
