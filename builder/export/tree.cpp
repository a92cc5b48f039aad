// SPDX-License-Identifier: Apache-2.0
// Trees of files as entries, and entries as files. Every path is opened whole beneath its root without following any
// symbolic link, so neither an image nor whoever shares the directory can lead us out of it.
#include "export/tree.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <dray/core/copy_content.hpp>
#include <dray/core/rooted_path.hpp>

#include "context/attributes.hpp"
#include "ops/ops.hpp"

namespace dray::builder {
namespace {

std::string below(const std::string& directory, const std::string& name) {
  return directory.empty() ? name : directory + "/" + name;
}

bool is_portable(std::string_view name) {
  return name.starts_with("user.") || name == "security.capability" || name.starts_with("system.posix_acl_");
}

class Walk {
 public:
  Walk(FdRef root, const VisitEntry& visit, const CancelToken& cancel) : root_(root), visit_(visit), cancel_(cancel) {}

  Result<void> directory(const std::string& path) {
    for (const std::string& name : TRY(list_without_links(root_, path))) {
      TRY(cancel_.check());
      TRY(entry(below(path, name)));
    }
    return {};
  }

 private:
  Result<void> entry(const std::string& path) {
    const FileDescriptor handle = TRY(open_without_links(root_, path, O_PATH));
    struct stat status;
    if (::fstat(handle.get(), &status) != 0) return fail_errno("reading the status of \"" + path + "\"");
    if (S_ISSOCK(status.st_mode)) return {};
    tar::Entry entry = tar::entry_of(path, status);
    if (S_ISLNK(status.st_mode)) {
      std::string target(static_cast<std::size_t>(status.st_size) + 1, '\0');
      const ssize_t length = ::readlinkat(handle.get(), "", target.data(), target.size());
      if (length < 0) return fail_errno("reading symlink \"" + path + "\"");
      target.resize(static_cast<std::size_t>(length));
      entry.link_target = std::move(target);
      return visit_(entry, FdRef());
    }
    if (S_ISDIR(status.st_mode)) {
      const FileDescriptor opened = TRY(open_without_links(root_, path, O_RDONLY | O_DIRECTORY));
      entry.xattrs = read_xattrs(opened, is_portable);
      TRY(visit_(entry, FdRef()));
      return directory(path);
    }
    if (status.st_nlink > 1) {
      const auto [first, is_new] = links_.try_emplace({status.st_dev, status.st_ino}, path);
      if (!is_new) {
        entry.type = tar::EntryType::hardlink;
        entry.link_target = first->second;
        return visit_(entry, FdRef());
      }
    }
    if (S_ISREG(status.st_mode)) {
      const FileDescriptor file = TRY(open_without_links(root_, path, O_RDONLY | O_NONBLOCK));
      entry.xattrs = read_xattrs(file, is_portable);
      entry.size = static_cast<std::uint64_t>(status.st_size);
      return visit_(entry, file);
    }
    entry.device_major = major(status.st_rdev);
    entry.device_minor = minor(status.st_rdev);
    return visit_(entry, FdRef());
  }

  FdRef root_;
  const VisitEntry& visit_;
  const CancelToken& cancel_;
  std::map<std::pair<dev_t, ino_t>, std::string> links_;
};

}  // namespace

Result<void> walk_tree(FdRef root, const VisitEntry& visit, const CancelToken& cancel) {
  return Walk(root, visit, cancel).directory("");
}

Result<void> TreeWriter::make_directory(FdRef parent, const std::string& name) {
  struct stat status;
  if (::fstatat(parent.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0) {
    if (S_ISDIR(status.st_mode)) return {};
    if (::unlinkat(parent.get(), name.c_str(), 0) != 0) return fail_errno("replacing \"" + name + "\"");
  }
  if (::mkdirat(parent.get(), name.c_str(), 0755) != 0) return fail_errno("creating directory \"" + name + "\"");
  return {};
}

Result<FdRef> TreeWriter::parent(const std::string& directory) {
  if (directory == parent_path_) return FdRef(parent_);
  auto opened = open_without_links(root_, directory, O_PATH | O_DIRECTORY);
  const bool can_be_made = !directory.empty() && directory != "/";
  if (!opened && can_be_made) {  // it, or one above it, is missing or is no directory
    const auto [above, name] = split_path(directory);
    const FdRef upper = TRY(parent(above));
    TRY(make_directory(upper, name));
    placed_.insert(directory);
    opened = open_without_links(root_, directory, O_PATH | O_DIRECTORY);
  }
  if (!opened) return Failure(std::move(opened).error());
  parent_ = *std::move(opened);
  parent_path_ = directory;
  return FdRef(parent_);
}

Result<void> TreeWriter::set_attributes(const tar::Entry& entry, FdRef fd) {
  const bool is_link = entry.type == tar::EntryType::symlink;
  const bool owner_kept = entry.uid == ::geteuid() && entry.gid == ::getegid();
  const mode_t mode = entry.mode & (owner_kept ? 07777 : 01777);
  if (::fchownat(fd.get(), "", ::geteuid(), ::getegid(), AT_EMPTY_PATH) != 0) return fail_errno("changing the owner");
  if (!is_link && ::chmod(descriptor_path(fd).c_str(), mode) != 0) return fail_errno("changing the mode");
  for (const auto& [name, value] : entry.xattrs) {
    if (is_link || (!owner_kept && name == "security.capability")) continue;
    if (::setxattr(descriptor_path(fd).c_str(), name.c_str(), value.data(), value.size(), 0) == 0) continue;
    if (errno != ENOTSUP && errno != EPERM) return fail_errno("setting \"" + name + "\"");
  }
  timespec time{};
  time.tv_sec = entry.mtime_seconds;
  time.tv_nsec = static_cast<long>(entry.mtime_nanoseconds);
  const timespec times[2] = {time, time};
  if (::utimensat(fd.get(), "", times, AT_EMPTY_PATH) != 0) return fail_errno("setting the times");
  return {};
}

Result<void> TreeWriter::place(const tar::Entry& entry, FdRef file, const CancelToken& cancel) {
  if (const std::string rooted = "/" + entry.path; entry.path.empty() || clean_path(rooted) != rooted)
    return fail(ErrorCode::corrupt, "\"" + entry.path + "\" is no path below the destination");
  const bool is_device = entry.type == tar::EntryType::character_device || entry.type == tar::EntryType::block_device;
  if (is_device || (entry.type == tar::EntryType::hardlink && skipped_.contains(entry.link_target))) {
    skipped_.insert(entry.path);
    return {};
  }
  const auto [directory, name] = split_path(entry.path);
  const FdRef parent_fd = TRY_CTX(parent(directory), "\"" + entry.path + "\"");
  placed_.insert(entry.path);
  if (entry.type == tar::EntryType::directory) {
    TRY_CTX(make_directory(parent_fd, name), "\"" + entry.path + "\"");
    directories_.emplace_back(entry.path, entry);
    return {};
  }
  // Made under another name and then put in its place: nobody sees a half-written file.
  const std::string temporary = ".dray-" + random_hex(8);
  const auto make = [&]() -> Result<void> {
    FileDescriptor made;
    if (entry.type == tar::EntryType::regular) {
      made = TRY(open_file_at(parent_fd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
      TRY(copy_content(file, made, cancel));
      TRY(set_attributes(entry, made));
      return made.close_checked();
    }
    if (entry.type == tar::EntryType::hardlink) {
      const FileDescriptor first =
          TRY(open_without_links(root_, split_path(entry.link_target).first, O_PATH | O_DIRECTORY));
      if (::linkat(first.get(), split_path(entry.link_target).second.c_str(), parent_fd.get(), temporary.c_str(), 0) !=
          0)
        return fail_errno("linking to \"" + entry.link_target + "\"");
      return {};
    }
    if (entry.type == tar::EntryType::symlink) {
      if (::symlinkat(entry.link_target.c_str(), parent_fd.get(), temporary.c_str()) != 0)
        return fail_errno("creating a symbolic link");
    } else if (::mkfifoat(parent_fd.get(), temporary.c_str(), 0600) != 0) {
      return fail_errno("creating a FIFO");
    }
    made = TRY(open_file_at(parent_fd, temporary, O_PATH | O_NOFOLLOW));
    return set_attributes(entry, made);
  };
  auto result = make();
  if (result) {
    struct stat old;
    if (::fstatat(parent_fd.get(), name.c_str(), &old, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(old.st_mode))
      result = remove_tree(parent_fd, name);
  }
  if (result && ::renameat(parent_fd.get(), temporary.c_str(), parent_fd.get(), name.c_str()) != 0)
    result = fail_errno("putting it in place");
  // Two names of one file: rename() then does nothing and leaves both.
  if (!result || entry.type == tar::EntryType::hardlink) ::unlinkat(parent_fd.get(), temporary.c_str(), 0);
  if (!result) return Failure(std::move(result).error().with_context("\"" + entry.path + "\""));
  return {};
}

Result<void> TreeWriter::remove_others_in(const std::string& directory) {
  const FileDescriptor fd = TRY(open_without_links(root_, directory, O_RDONLY | O_DIRECTORY));
  for (const std::string& name : TRY(list_without_links(root_, directory))) {
    const std::string path = below(directory, name);
    if (!placed_.contains(path)) {
      TRY(remove_tree(fd, name));
      continue;
    }
    struct stat status;
    if (::fstatat(fd.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(status.st_mode))
      TRY(remove_others_in(path));
  }
  return {};
}

Result<void> TreeWriter::remove_others() { return remove_others_in(""); }

Result<void> TreeWriter::finish() {
  for (auto made = directories_.rbegin(); made != directories_.rend(); ++made) {
    const FileDescriptor fd = TRY(open_without_links(root_, made->first, O_RDONLY | O_DIRECTORY));
    TRY_CTX(set_attributes(made->second, fd), "\"" + made->first + "\"");
  }
  return {};
}

}  // namespace dray::builder
