// SPDX-License-Identifier: Apache-2.0
// Copies a tree, as from an image into a new volume. Both sides are walked by descriptors, one component at a time with
// O_NOFOLLOW, so nothing in the image can redirect a read or a write.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <climits>

#include <dray/core/copy_content.hpp>
#include <dray/core/copy_directory.hpp>
#include <dray/core/rooted_path.hpp>

namespace dray {
namespace {

constexpr int kDirectory = O_RDONLY | O_DIRECTORY;

/// A list of directories and no recursion: however deep an image's tree is, it costs neither stack nor descriptors.
/// A path is no longer than PATH_MAX.
class TreeCopy {
 public:
  TreeCopy(FdRef source, FdRef target, const SkipPath& skip, const CancelToken& cancel)
      : source_root_(source), target_root_(target), skip_(skip), copier_(target, EntryCopier::Files::copy, cancel) {}
  Result<void> run();

 private:
  struct Directory {
    std::string path;
    struct stat status;
  };
  Result<void> entries(const std::string& path);
  Result<void> entry(FdRef source, FdRef target, const std::string& name, const std::string& path);
  FdRef source_root_, target_root_;
  const SkipPath& skip_;
  EntryCopier copier_;
  std::vector<Directory> directories_;  ///< a directory comes before those in it
};

/// An overlay's bookkeeping, the labels of security modules: the new file has its own.
bool is_of_the_host(std::string_view name) {
  return name.starts_with("trusted.") || (name.starts_with("security.") && name != "security.capability");
}

Result<void> copy_xattrs(FdRef source, FdRef target) {
  std::vector<char> names(65536), value(65536);
  ssize_t length = ::flistxattr(source.get(), names.data(), names.size());
  if (length <= 0) return {};
  for (const char* name = names.data(); name < names.data() + length; name += std::strlen(name) + 1) {
    if (is_of_the_host(name)) continue;
    ssize_t size = ::fgetxattr(source.get(), name, value.data(), value.size());
    if (size < 0) continue;
    if (::fsetxattr(target.get(), name, value.data(), static_cast<std::size_t>(size), 0) != 0 && errno != EOPNOTSUPP)
      return fail_errno(std::string("copying attribute ") + name);
  }
  return {};
}

Result<void> copy_regular(FdRef source, FdRef target, const std::string& name, const CancelToken& cancel) {
  FileDescriptor in = TRY(open_file_at(source, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
  struct stat status;
  if (::fstat(in.get(), &status) != 0) return fail_errno("reading status");
  if (!S_ISREG(status.st_mode)) return fail(ErrorCode::in_use, "changed while it was read");
  FileDescriptor out = TRY(open_file_at(target, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  if (status.st_size > 0 && ::ioctl(out.get(), FICLONE, in.get()) != 0) TRY(copy_content(in, out, status, cancel));
  TRY(copy_attributes(in, out, status));
  return out.close_checked();
}

Result<void> copy_special(FdRef source, FdRef target, const std::string& name, const struct stat& status) {
  if (S_ISLNK(status.st_mode)) {
    char link[PATH_MAX];
    ssize_t length = ::readlinkat(source.get(), name.c_str(), link, sizeof link);
    if (length < 0 || static_cast<std::size_t>(length) >= sizeof link) return fail_errno("reading a symlink");
    link[length] = '\0';
    if (::symlinkat(link, target.get(), name.c_str()) != 0) return fail_errno("creating a symlink");
  } else if (::mknodat(target.get(), name.c_str(), status.st_mode, status.st_rdev) != 0) {
    return fail_errno("creating a special file");
  }
  if (::fchownat(target.get(), name.c_str(), status.st_uid, status.st_gid, AT_SYMLINK_NOFOLLOW) != 0)
    return fail_errno("changing the owner");
  if (!S_ISLNK(status.st_mode) && ::fchmodat(target.get(), name.c_str(), status.st_mode & 07777, 0) != 0)
    return fail_errno("changing the mode");
  struct timespec times[2] = {status.st_atim, status.st_mtim};
  ::utimensat(target.get(), name.c_str(), times, AT_SYMLINK_NOFOLLOW);
  return {};
}

Result<void> TreeCopy::entry(FdRef source, FdRef target, const std::string& name, const std::string& path) {
  struct stat status;
  if (::fstatat(source.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) return fail_errno("reading status");
  if (!S_ISDIR(status.st_mode)) return copier_.add(source, name, status, target, path);
  if (::mkdirat(target.get(), name.c_str(), 0700) != 0) return fail_errno("creating a directory");
  directories_.push_back({path, status});
  return {};
}

Result<void> TreeCopy::entries(const std::string& path) {
  const FileDescriptor target = TRY(open_without_links(target_root_, path, kDirectory));
  const FileDescriptor source = TRY(open_without_links(source_root_, path, kDirectory));
  const auto names = TRY(list_directory(source));
  for (const std::string& name : names) {
    const std::string place = path.empty() ? name : path + "/" + name;
    if (!skip_ || !skip_(place)) TRY_CTX(entry(source, target, name, place), name);
  }
  return {};
}

Result<void> TreeCopy::run() {
  struct stat status;
  if (::fstat(source_root_.get(), &status) != 0) return fail_errno("reading status");
  directories_.push_back({"", status});
  const auto shown = [](const std::string& path) { return path.size() > 200 ? path.substr(0, 200) + "…" : path; };
  for (std::size_t i = 0; i < directories_.size(); ++i) {
    const std::string path = directories_[i].path;  // the list grows
    TRY_CTX(entries(path), "\"" + shown(path) + "\"");
  }
  // Last, and from the inside out: what is made in a directory changes its times.
  for (auto made = directories_.rbegin(); made != directories_.rend(); ++made) {
    const FileDescriptor source = TRY(open_without_links(source_root_, made->path, kDirectory));
    const FileDescriptor target = TRY(open_without_links(target_root_, made->path, kDirectory));
    TRY_CTX(copy_attributes(source, target, made->status), "\"" + shown(made->path) + "\"");
  }
  return {};
}

}  // namespace

Result<void> copy_attributes(FdRef source, FdRef target, const struct stat& status) {
  if (::fchown(target.get(), status.st_uid, status.st_gid) != 0) return fail_errno("changing the owner");
  if (::fchmod(target.get(), status.st_mode & 07777) != 0) return fail_errno("changing the mode");
  TRY(copy_xattrs(source, target));  // after chown, which drops file capabilities
  struct timespec times[2] = {status.st_atim, status.st_mtim};
  if (::futimens(target.get(), times) != 0) return fail_errno("setting the times");
  return {};
}

Result<void> EntryCopier::add(FdRef source, const std::string& name, const struct stat& status, FdRef target,
                              const std::string& path) {
  TRY(cancel_.check());
  // Refused where a file has too many names already, or is not ours to link, or the file system knows no links.
  if (files_ == Files::link && ::linkat(source.get(), name.c_str(), target.get(), name.c_str(), 0) == 0) return {};
  if (status.st_nlink > 1) {
    auto [first, fresh] = links_.try_emplace(std::pair{status.st_dev, status.st_ino}, path);
    if (!fresh) {
      if (::linkat(target_root_.get(), first->second.c_str(), target.get(), name.c_str(), 0) == 0) return {};
      return fail_errno("linking");
    }
  }
  return S_ISREG(status.st_mode) ? copy_regular(source, target, name, cancel_)
                                 : copy_special(source, target, name, status);
}

Result<void> copy_directory(FdRef source, FdRef target, const SkipPath& skip, const CancelToken& cancel) {
  return TreeCopy(source, target, skip, cancel).run();
}

}  // namespace dray
