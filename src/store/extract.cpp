// SPDX-License-Identifier: Apache-2.0
// Names of a tar are hostile. Each is cleaned as text first (a leading "/" or "./" is dropped, as Docker
// does; ".." past the top is refused); then its parent is opened with openat2(2) beneath the layer's root,
// and the last component is created in that descriptor, never through a symlink. What exists is replaced, as
// the last entry of a name wins.
//
// A parent that is a symlink of this layer is followed as long as it stays in the layer (Debian's bin ->
// usr/bin, then bin/x); relative targets that climb out and dangling ones are refused.
//
// Whiteouts take the store's form (whiteouts.hpp). They concern only the layers below: where this layer has the name
// itself, a directory is made opaque, and anything else stays. Files cost openat, write, fchmod, futimens; nothing is
// synced here.
#include "extract.hpp"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstring>

#include <dray/core/rooted_path.hpp>

#include "layer_format.hpp"

namespace dray::store {
namespace {

constexpr std::size_t kBufferSize = 256 * 1024;
constexpr std::size_t kHole = 64 * 1024;
constexpr std::uint64_t kLargeFile = 64u << 20;

/// The path beneath the root without ".", "..", doubled or leading slashes; "" is the root itself.
Result<std::string> beneath_root(const std::string& path) {
  if (path.empty()) return fail(ErrorCode::corrupt, "empty name");
  if (path.find('\0') != std::string::npos) return fail(ErrorCode::corrupt, "name with a NUL byte");
  std::string result;
  for (std::size_t start = 0; start < path.size();) {
    std::size_t end = std::min(path.find('/', start), path.size());
    std::string_view part = std::string_view(path).substr(start, end - start);
    start = end + 1;
    if (part.empty() || part == ".") continue;
    if (part == "..") {
      if (result.empty()) return fail(ErrorCode::permission_denied, "leads out of the layer");
      auto slash = result.rfind('/');
      result.resize(slash == std::string::npos ? 0 : slash);
      continue;
    }
    if (!result.empty()) result += '/';
    result += part;
  }
  return result;
}

enum class Kind { ordinary, marker, aufs, misplaced };

/// Looks for the whiteout prefix in each component.
Kind kind_of(std::string_view path) {
  for (std::size_t start = 0; start < path.size();) {
    std::size_t end = std::min(path.find('/', start), path.size());
    std::string_view part = path.substr(start, end - start);
    start = end + 1;
    if (!part.starts_with(kWhiteoutPrefix)) continue;
    if (part.starts_with(kAufsPrefix) && part != kOpaqueMarker) return Kind::aufs;
    return end == path.size() ? Kind::marker : Kind::misplaced;
  }
  return Kind::ordinary;
}

int open_resolved(FdRef root, const std::string& path, std::uint64_t resolve) {
  struct open_how how{};
  how.flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
  how.resolve = resolve | RESOLVE_NO_MAGICLINKS;
  for (int attempt = 0; attempt < 100; ++attempt) {
    long fd = ::syscall(SYS_openat2, root.get(), path.empty() ? "." : path.c_str(), &how, sizeof how);
    if (fd >= 0) return static_cast<int>(fd);
    if (errno != EAGAIN && errno != EINTR) break;
  }
  return -1;
}

struct timespec mtime_of(const tar::Entry& entry) {
  struct timespec time{};
  time.tv_sec = entry.mtime_seconds;
  time.tv_nsec = static_cast<long>(std::min<std::uint32_t>(entry.mtime_nanoseconds, 999'999'999));
  return time;
}

Result<void> set_xattrs(int fd, const tar::Entry& entry) {
  for (const auto& [name, value] : entry.xattrs) {
    if (!is_portable_xattr(name) || name.find('\0') != std::string::npos) continue;
    if (::fsetxattr(fd, name.c_str(), value.data(), value.size(), 0) == 0) continue;
    if (errno == ENOTSUP || errno == EPERM) continue;  // as the peers do: the file system or our user cannot have it
    const int number = errno;
    // ext4 says "no space" of one that does not fit beside the others of a file, too.
    if (number == ENOSPC)
      return Failure(Error::from_errno(number, "extended attribute \"" + name + "\" of " +
                                                   std::to_string(value.size()) +
                                                   " bytes is too large for the file system, or the disk is full"));
    if (number == E2BIG || number == ERANGE)
      return fail(ErrorCode::unsupported, "extended attribute \"" + name + "\" of " + std::to_string(value.size()) +
                                              " bytes is too large for the file system");
    return Failure(Error::from_errno(number, "setting extended attribute \"" + name + "\""));
  }
  return {};
}

bool all_zero(std::span<const std::byte> bytes) {
  return bytes.empty() ||
         (bytes[0] == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

}  // namespace

Extractor::Extractor(FdRef root, const WhiteoutForm& form)
    : root_(root), form_(form), is_root_user_(::geteuid() == 0), buffer_(kBufferSize) {}

Result<void> Extractor::add(const tar::Entry& entry, tar::Reader& reader) {
  TRY_CTX(add_entry(entry, reader), "layer entry \"" + entry.path.substr(0, 1024) + "\"");
  return {};
}

Result<void> Extractor::add_entry(const tar::Entry& entry, tar::Reader& reader) {
  const std::string path = TRY(beneath_root(entry.path));
  if (path.empty()) return add_root(entry);
  const Kind kind = kind_of(path);
  if (kind == Kind::aufs) return {};
  if (kind == Kind::misplaced) return fail(ErrorCode::corrupt, "below a whiteout");
  auto slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "" : path.substr(0, slash);
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  FdRef parent = TRY(open_parent(directory));
  if (kind == Kind::marker) return add_whiteout(parent, directory, name);
  switch (entry.type) {
    case tar::EntryType::regular:
      return add_regular(parent, path, name, entry, reader);
    case tar::EntryType::directory:
      return add_directory(parent, path, name, entry);
    case tar::EntryType::symlink:
      return add_symlink(parent, path, name, entry);
    case tar::EntryType::hardlink:
      return add_hardlink(parent, path, name, entry);
    default:
      return add_special(parent, path, name, entry);
  }
}

Result<void> Extractor::add_root(const tar::Entry& entry) {
  if (entry.type != tar::EntryType::directory)
    return fail(ErrorCode::permission_denied, "would replace the root directory");
  FileDescriptor fd = TRY(open_file_at(root_, ".", O_RDONLY | O_DIRECTORY));
  if (::fchown(fd.get(), entry.uid, entry.gid) != 0) return fail_errno("changing the owner");
  TRY(set_xattrs(fd.get(), entry));
  directories_[""] = {mtime_of(entry), entry.mode};
  return {};
}

Result<void> Extractor::add_whiteout(FdRef parent, const std::string& directory, const std::string& marker) {
  has_whiteouts_ = true;
  if (marker == kOpaqueMarker) {
    if (directory.empty()) has_opaque_root_ = true;
    return make_opaque(parent, ".");
  }
  const std::string name = marker.substr(kWhiteoutPrefix.size());
  if (name.empty() || name == "." || name == "..") return fail(ErrorCode::corrupt, "whiteout without a name");
  return form_.hide(parent, name);
}

Result<void> Extractor::make_opaque(FdRef parent, const std::string& name) {
  has_whiteouts_ = true;
  return form_.make_opaque(parent, name);
}

Result<Extractor::Room> Extractor::make_room(FdRef parent, const std::string& path, const std::string& name,
                                             bool for_directory) {
  struct stat status;
  if (::fstatat(parent.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) return fail_errno("replacing an entry");
  if (!S_ISDIR(status.st_mode)) {
    if (::unlinkat(parent.get(), name.c_str(), 0) != 0) return fail_errno("replacing an entry");
    return form_.is_whiteout(status) ? Room::was_whiteout : Room::free;
  }
  if (for_directory) return Room::kept_directory;
  forget(path);
  TRY(remove_tree(parent, name));
  return Room::free;
}

void Extractor::forget(const std::string& path) {
  directories_.erase(path);
  auto first = directories_.lower_bound(path + "/");
  auto last = directories_.lower_bound(path + "0");  // '0' follows '/'
  directories_.erase(first, last);
  // The caller still works in the cached parent of `path`, which cannot be below it unless a symlink led
  // there: such a descriptor then refers to a removed directory, and the next open_parent must not trust it.
  if (cached_path_.starts_with(path + "/") || cached_path_ == path) cached_path_ = "\n";
}

Result<void> Extractor::add_regular(FdRef parent, const std::string& path, const std::string& name,
                                    const tar::Entry& entry, tar::Reader& reader) {
  constexpr int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  FileDescriptor file(::openat(parent.get(), name.c_str(), flags, 0600));
  if (!file.valid() && errno == EEXIST) {
    TRY(make_room(parent, path, name, false));
    file = FileDescriptor(::openat(parent.get(), name.c_str(), flags, 0600));
  }
  if (!file.valid()) return fail_errno("creating a file");
  TRY(write_content(file, entry.size, reader));
  // Owner first: changing it clears setuid bits and capabilities.
  if ((entry.uid != 0 || entry.gid != 0 || !is_root_user_) && ::fchown(file.get(), entry.uid, entry.gid) != 0)
    return fail_errno("changing the owner");
  if (::fchmod(file.get(), entry.mode) != 0) return fail_errno("changing the mode");
  if (!entry.xattrs.empty()) TRY(set_xattrs(file.get(), entry));
  const struct timespec time = mtime_of(entry);
  const struct timespec times[2] = {time, time};
  if (::futimens(file.get(), times) != 0) return fail_errno("setting the time");
  return file.close_checked();
}

Result<void> Extractor::check_space(std::uint64_t size) {
  struct statvfs status;
  if (::fstatvfs(root_.get(), &status) != 0) return {};
  std::uint64_t available = std::uint64_t{status.f_bavail} * status.f_frsize;
  if (size > available)
    return fail(ErrorCode::no_space,
                "needs " + std::to_string(size) + " bytes, the disk has " + std::to_string(available) + " left");
  return {};
}

Result<void> Extractor::write_content(FdRef file, std::uint64_t size, tar::Reader& reader) {
  // A sparse entry can claim exabytes in a few bytes of archive: no use in starting on what cannot fit.
  if (size > kLargeFile) TRY(check_space(size));
  std::uint64_t done = 0;
  bool ends_in_hole = false;
  WriteBehind write_behind;
  for (;;) {
    std::size_t count = TRY(reader.read(buffer_));
    if (count == 0) break;
    auto chunk = std::span<const std::byte>(buffer_).first(count);
    ends_in_hole = count >= kHole && all_zero(chunk);
    if (ends_in_hole) {
      if (::lseek(file.get(), static_cast<off_t>(count), SEEK_CUR) < 0) return fail_errno("writing");
    } else {
      TRY(write_all(file, {reinterpret_cast<const char*>(chunk.data()), chunk.size()}));
      write_behind.wrote(file, chunk.size());
    }
    done += count;
  }
  if (done != size)
    return fail(ErrorCode::corrupt, "has " + std::to_string(done) + " bytes, its header says " + std::to_string(size));
  if (ends_in_hole && ::ftruncate(file.get(), static_cast<off_t>(done)) != 0) return fail_errno("writing");
  bytes_ += done;
  return {};
}

Result<void> Extractor::add_directory(FdRef parent, const std::string& path, const std::string& name,
                                      const tar::Entry& entry) {
  Room room = Room::free;
  if (::mkdirat(parent.get(), name.c_str(), 0700) != 0) {
    if (errno != EEXIST) return fail_errno("creating a directory");
    room = TRY(make_room(parent, path, name, true));
    if (room != Room::kept_directory && ::mkdirat(parent.get(), name.c_str(), 0700) != 0)
      return fail_errno("creating a directory");
  }
  // The whiteout stays true for what is below: nothing of the lower directory shows through the new one.
  if (room == Room::was_whiteout) TRY(make_opaque(parent, name));
  if ((entry.uid != 0 || entry.gid != 0 || room == Room::kept_directory || !is_root_user_) &&
      ::fchownat(parent.get(), name.c_str(), entry.uid, entry.gid, AT_SYMLINK_NOFOLLOW) != 0)
    return fail_errno("changing the owner");
  if (!entry.xattrs.empty()) {
    FileDescriptor fd = TRY(open_file_at(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    TRY(set_xattrs(fd.get(), entry));
  }
  directories_[path] = {mtime_of(entry), entry.mode};
  return {};
}

Result<void> Extractor::add_symlink(FdRef parent, const std::string& path, const std::string& name,
                                    const tar::Entry& entry) {
  if (entry.link_target.empty()) return fail(ErrorCode::corrupt, "symlink without a target");
  if (::symlinkat(entry.link_target.c_str(), parent.get(), name.c_str()) != 0) {
    if (errno != EEXIST) return fail_errno("creating a symlink");
    TRY(make_room(parent, path, name, false));
    if (::symlinkat(entry.link_target.c_str(), parent.get(), name.c_str()) != 0)
      return fail_errno("creating a symlink");
  }
  if ((entry.uid != 0 || entry.gid != 0 || !is_root_user_) &&
      ::fchownat(parent.get(), name.c_str(), entry.uid, entry.gid, AT_SYMLINK_NOFOLLOW) != 0)
    return fail_errno("changing the owner");
  const struct timespec time = mtime_of(entry);
  const struct timespec times[2] = {time, time};
  if (::utimensat(parent.get(), name.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0) return fail_errno("setting the time");
  return {};
}

Result<void> Extractor::add_hardlink(FdRef parent, const std::string& path, const std::string& name,
                                     const tar::Entry& entry) {
  const std::string what = "hard link to \"" + entry.link_target.substr(0, 1024) + "\"";
  const std::string target = TRY_CTX(beneath_root(entry.link_target), what);
  if (target.empty()) return fail(ErrorCode::permission_denied, what + ": is the root directory");
  if (target == path) return fail(ErrorCode::corrupt, what + ": links to itself");
  // In plain form a whiteout is a file, but not one of the layer's.
  if (kind_of(target) != Kind::ordinary) return fail(ErrorCode::unsupported, what + ", which is not in this layer");
  auto slash = target.rfind('/');
  const std::string target_name = slash == std::string::npos ? target : target.substr(slash + 1);
  // A second descriptor: the cached one is the parent of the new name.
  auto target_parent = open_directory(slash == std::string::npos ? "" : target.substr(0, slash), Missing::fail);
  if (!target_parent && target_parent.error().code() != ErrorCode::not_found)
    return Failure(std::move(target_parent).error().with_context(what));
  struct stat status;
  const bool found = target_parent.has_value() &&
                     ::fstatat(target_parent->get(), target_name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
  if (target_parent && !found && errno != ENOENT) return fail_errno(what);
  if (!found || form_.is_whiteout(status)) return fail(ErrorCode::unsupported, what + ", which is not in this layer");
  if (S_ISDIR(status.st_mode)) return fail(ErrorCode::permission_denied, what + ", which is a directory");
  if (::linkat(target_parent->get(), target_name.c_str(), parent.get(), name.c_str(), 0) == 0) return {};
  if (errno != EEXIST) return fail_errno(what);
  TRY(make_room(parent, path, name, false));
  if (::linkat(target_parent->get(), target_name.c_str(), parent.get(), name.c_str(), 0) != 0) return fail_errno(what);
  return {};
}

Result<void> Extractor::add_special(FdRef parent, const std::string& path, const std::string& name,
                                    const tar::Entry& entry) {
  unsigned type = entry.type == tar::EntryType::fifo               ? S_IFIFO
                  : entry.type == tar::EntryType::character_device ? S_IFCHR
                                                                   : S_IFBLK;
  dev_t device = type == S_IFIFO ? 0 : makedev(entry.device_major, entry.device_minor);
  // It would delete a file of a lower layer without the layer saying so in the image's own terms.
  if (type == S_IFCHR && device == 0)
    return fail(ErrorCode::permission_denied, "is overlay's form of a whiteout (device 0:0)");
  if (::mknodat(parent.get(), name.c_str(), type | 0600, device) != 0) {
    if (errno == EPERM && !is_root_user_) return {};  // rootless: devices are left out, as the peers do
    if (errno != EEXIST) return fail_errno("creating a device");
    TRY(make_room(parent, path, name, false));
    if (::mknodat(parent.get(), name.c_str(), type | 0600, device) != 0) return fail_errno("creating a device");
  }
  if (::fchownat(parent.get(), name.c_str(), entry.uid, entry.gid, AT_SYMLINK_NOFOLLOW) != 0)
    return fail_errno("changing the owner");
  if (::fchmodat(parent.get(), name.c_str(), entry.mode, 0) != 0) return fail_errno("changing the mode");
  const struct timespec time = mtime_of(entry);
  const struct timespec times[2] = {time, time};
  if (::utimensat(parent.get(), name.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0) return fail_errno("setting the time");
  return {};
}

Result<FdRef> Extractor::open_parent(const std::string& directory) {
  if (cached_.valid() && cached_path_ == directory) return FdRef(cached_);
  cached_ = TRY(open_directory(directory, Missing::create));
  cached_path_ = directory;
  return FdRef(cached_);
}

Result<FileDescriptor> Extractor::open_directory(const std::string& directory, Missing missing) {
  int fd = open_resolved(root_, directory, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
  if (fd >= 0) return FileDescriptor(fd);
  if (errno != ENOENT && errno != ENOTDIR && errno != ELOOP) return fail_errno("opening \"" + directory + "\"");
  return walk(directory, missing);
}

/// The slow way, component by component: something is missing, a symlink, or not a directory.
Result<FileDescriptor> Extractor::walk(const std::string& directory, Missing missing) {
  FileDescriptor current = TRY(open_file_at(root_, ".", O_PATH | O_DIRECTORY));
  for (std::size_t start = 0; start < directory.size();) {
    std::size_t end = std::min(directory.find('/', start), directory.size());
    const std::string name = directory.substr(start, end - start);
    const std::string prefix = directory.substr(0, end);
    start = end + 1;
    struct stat status;
    bool exists = ::fstatat(current.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
    if (!exists && errno != ENOENT) return fail_errno("opening \"" + prefix + "\"");
    if (exists && S_ISLNK(status.st_mode)) {
      current = TRY(follow_symlink(current, name, prefix));
      continue;
    }
    bool hidden = exists && form_.is_whiteout(status);
    if ((!exists || hidden) && missing == Missing::fail)
      return fail(ErrorCode::not_found, "\"" + prefix + "\" is not in this layer");
    if (hidden && ::unlinkat(current.get(), name.c_str(), 0) != 0) return fail_errno("replacing \"" + prefix + "\"");
    if (!exists || hidden) {
      if (::mkdirat(current.get(), name.c_str(), 0755) != 0) return fail_errno("creating directory \"" + prefix + "\"");
      if (::fchmodat(current.get(), name.c_str(), 0755, 0) != 0)
        return fail_errno("creating directory \"" + prefix + "\"");
      if (hidden) TRY(make_opaque(current, name));
    } else if (!S_ISDIR(status.st_mode)) {
      return fail(ErrorCode::corrupt, "its parent \"" + prefix + "\" is not a directory");
    }
    current = TRY(open_file_at(current, name, O_PATH | O_DIRECTORY | O_NOFOLLOW));
  }
  return current;
}

Result<FileDescriptor> Extractor::follow_symlink(FdRef parent, const std::string& name, const std::string& prefix) {
  char target[4096];
  ssize_t length = ::readlinkat(parent.get(), name.c_str(), target, sizeof target);
  if (length < 0) return fail_errno("reading symlink \"" + prefix + "\"");
  const std::string described =
      "symlink \"" + prefix + "\" -> \"" + std::string(target, static_cast<std::size_t>(length)) + "\"";
  // An absolute target starts at the root of the image; a relative one must not climb above it.
  bool absolute = length > 0 && target[0] == '/';
  int fd = open_resolved(root_, prefix, absolute ? RESOLVE_IN_ROOT : RESOLVE_BENEATH);
  if (fd >= 0) return FileDescriptor(fd);
  if (errno == EXDEV) return fail(ErrorCode::permission_denied, described + " leads out of the layer");
  if (errno == ENOENT) return fail(ErrorCode::permission_denied, described + " leads to nothing in this layer");
  return fail_errno(described);
}

Result<void> Extractor::finish() {
  // Backwards: children before their parents, whose final mode may forbid passing them.
  for (auto entry = directories_.rbegin(); entry != directories_.rend(); ++entry) {
    const auto& [path, attributes] = *entry;
    auto fd = open_in_root(root_, path.empty() ? "." : path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (!fd) {
      // Replaced later through a symlinked name.
      if (fd.error().error_number() == ENOENT || fd.error().error_number() == ENOTDIR ||
          fd.error().error_number() == ELOOP)
        continue;
      return Failure(std::move(fd).error().with_context("layer entry \"" + path + "\""));
    }
    if (::fchmod(fd->get(), attributes.mode) != 0) return fail_errno("changing the mode of \"" + path + "\"");
    const struct timespec times[2] = {attributes.mtime, attributes.mtime};
    if (::futimens(fd->get(), times) != 0) return fail_errno("setting the time of \"" + path + "\"");
  }
  return {};
}

}  // namespace dray::store
