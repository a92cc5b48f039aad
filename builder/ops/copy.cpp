// SPDX-License-Identifier: Apache-2.0
// COPY and ADD by Docker's rules: what a directory holds is copied, not itself; a destination with a trailing
// slash, an existing directory or several sources mean "into". The destination is resolved in the rootfs once;
// below it every step is one component without following links, from a stack of open directories (a large
// tree costs no path lookups).
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>

#include <dray/core/rooted_path.hpp>

#include "ops/ops.hpp"
#include "plan/values.hpp"

namespace dray::builder {
namespace {

constexpr std::size_t kChunk = 64u << 20;

std::string proc_path(FdRef fd) { return "/proc/self/fd/" + std::to_string(fd.get()); }

/// user.* and file capabilities; of our own descriptors, so /proc/self/fd is no hostile path.
Result<void> copy_xattrs(FdRef from, FdRef to, const std::string& path) {
  std::string names(64u << 10, '\0');
  const ssize_t length = ::listxattr(proc_path(from).c_str(), names.data(), names.size());
  if (length <= 0) return {};
  std::string value(64u << 10, '\0');
  for (std::size_t at = 0; at < static_cast<std::size_t>(length);) {
    const std::string name = names.c_str() + at;
    at += name.size() + 1;
    if (!name.starts_with("user.") && name != "security.capability") continue;
    const ssize_t size = ::getxattr(proc_path(from).c_str(), name.c_str(), value.data(), value.size());
    if (size < 0) continue;
    if (::setxattr(proc_path(to).c_str(), name.c_str(), value.data(), static_cast<std::size_t>(size), 0) != 0 &&
        errno != ENOTSUP)
      return fail_errno("setting \"" + name + "\" of \"" + path + "\"");
  }
  return {};
}

class TreeCopier {
 public:
  TreeCopier(std::optional<std::uint32_t> mode, const SourceTree& tree, std::optional<Owner> owner,
             const CancelToken& cancel)
      : mode_(mode), tree_(tree), owner_(owner), cancel_(cancel) {}

  /// What the source directory holds, into the open directory.
  Result<void> copy_directory(const Source& source, FileDescriptor destination, bool created) {
    target_ = TRY(destination.duplicate());
    FileDescriptor from = TRY_CTX(tree_.open(source.path, O_RDONLY | O_DIRECTORY), source.path);
    if (created) TRY(set_metadata(from, destination, source.entries.front().status, source.path));
    levels_.clear();
    levels_.push_back({std::move(from), std::move(destination), source.entries.front().status, created});
    for (std::size_t i = 1; i < source.entries.size(); ++i) {
      if (cancel_.cancelled()) return fail(ErrorCode::cancelled, "build cancelled");
      const TreeEntry& entry = source.entries[i];
      const std::size_t depth = static_cast<std::size_t>(std::count(entry.path.begin(), entry.path.end(), '/')) + 1;
      TRY(leave(depth));
      const std::string name = split_path(entry.path).second;
      if (!S_ISDIR(entry.status.st_mode)) {
        TRY(copy_entry(levels_.back().from, name, levels_.back().to, name, entry, entry.path, O_NOFOLLOW));
        continue;
      }
      TRY(enter(name, entry));
    }
    return leave(0);
  }

  /// One file that is no directory, as `name` in the open directory.
  Result<void> copy_file(const Source& source, FileDescriptor directory, const std::string& name) {
    target_ = {};
    const FileDescriptor from = TRY(tree_.open(split_path(source.path).first, O_RDONLY | O_DIRECTORY));
    // The name may be a link: what it leads to is opened anew in the tree, never from the directory.
    if (S_ISREG(source.entries.front().status.st_mode)) {
      const FileDescriptor file = TRY(tree_.open(source.path, O_RDONLY | O_NONBLOCK | O_NOCTTY));
      return write_file(file, directory, name, source.entries.front().status, source.path);
    }
    return copy_entry(from, split_path(source.path).second, directory, name, source.entries.front(), source.path,
                      O_NOFOLLOW);
  }

  Result<void> set_owner_and_mode(FdRef fd, const struct stat& status, const std::string& path, bool is_link) {
    const uid_t uid = owner_ ? owner_->uid : status.st_uid;
    const gid_t gid = owner_ ? owner_->gid : status.st_gid;
    if (::fchownat(fd.get(), "", uid, gid, AT_EMPTY_PATH) != 0)
      return fail_errno("changing the owner of \"" + path + "\"");
    const mode_t mode = mode_ ? *mode_ : status.st_mode & 07777;
    if (!is_link && ::chmod(proc_path(fd).c_str(), mode) != 0)
      return fail_errno("changing the mode of \"" + path + "\"");
    return {};
  }

 private:
  struct Level {
    FileDescriptor from, to;
    struct stat status;
    bool set_times;
  };

  static Result<void> set_times(FdRef fd, const struct stat& status, const std::string& path) {
    const timespec times[2] = {status.st_mtim, status.st_mtim};
    if (::utimensat(fd.get(), "", times, AT_EMPTY_PATH) != 0)
      return fail_errno("setting the times of \"" + path + "\"");
    return {};
  }

  Result<void> set_metadata(FdRef from, FdRef to, const struct stat& status, const std::string& path) {
    TRY(set_owner_and_mode(to, status, path, S_ISLNK(status.st_mode)));
    if (!tree_.is_context) TRY(copy_xattrs(from, to, path));
    return {};
  }

  /// A directory's times are set when nothing more is put into it.
  Result<void> leave(std::size_t depth) {
    while (levels_.size() > depth) {
      if (levels_.back().set_times) TRY(set_times(levels_.back().to, levels_.back().status, "a directory"));
      levels_.pop_back();
    }
    return {};
  }

  Result<void> enter(const std::string& name, const TreeEntry& entry) {
    if (::mkdirat(levels_.back().to.get(), name.c_str(), 0700) != 0) {
      if (errno != EEXIST) return fail_errno("creating \"" + entry.path + "\"");
      struct stat existing = {};
      if (::fstatat(levels_.back().to.get(), name.c_str(), &existing, AT_SYMLINK_NOFOLLOW) != 0)
        return fail_errno("reading \"" + entry.path + "\"");
      if (!S_ISDIR(existing.st_mode))
        return fail(ErrorCode::already_exists, "cannot copy to non-directory: \"" + entry.path + "\"");
    }
    FileDescriptor to = TRY(open_file_at(levels_.back().to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    FileDescriptor from = TRY_CTX(open_file_at(levels_.back().from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW),
                                  "reading \"" + entry.path + "\"");
    TRY(set_metadata(from, to, entry.status, entry.path));
    levels_.push_back({std::move(from), std::move(to), entry.status, true});
    return {};
  }

  Result<void> copy_entry(FdRef from, const std::string& from_name, FdRef to, const std::string& name,
                          const TreeEntry& entry, const std::string& path, int flags) {
    const struct stat& status = entry.status;
    if (S_ISREG(status.st_mode)) {
      if (status.st_nlink > 1 && target_.valid()) {
        const auto [known, is_new] = links_.try_emplace({status.st_dev, status.st_ino}, entry.path);
        if (!is_new) {
          TRY(make_room(to, name, path));
          // All components of the earlier path are directories this copy went through itself.
          if (::linkat(target_.get(), known->second.c_str(), to.get(), name.c_str(), 0) != 0)
            return fail_errno("linking \"" + path + "\"");
          return {};
        }
      }
      const FileDescriptor file =
          TRY_CTX(open_file_at(from, from_name, O_RDONLY | O_NONBLOCK | O_NOCTTY | flags), "reading \"" + path + "\"");
      return write_file(file, to, name, status, path);
    }
    TRY(make_room(to, name, path));
    if (S_ISLNK(status.st_mode)) {
      if (::symlinkat(entry.link_target.c_str(), to.get(), name.c_str()) != 0)
        return fail_errno("creating the link \"" + path + "\"");
    } else if (::mknodat(to.get(), name.c_str(), status.st_mode, status.st_rdev) != 0) {
      return fail_errno("creating \"" + path + "\"");
    }
    const FileDescriptor made = TRY(open_file_at(to, name, O_PATH | O_NOFOLLOW));
    TRY(set_owner_and_mode(made, status, path, S_ISLNK(status.st_mode)));
    return set_times(made, status, path);
  }

  Result<void> write_file(FdRef file, FdRef to, const std::string& name, const struct stat& status,
                          const std::string& path) {
    struct stat opened = {};
    if (::fstat(file.get(), &opened) != 0) return fail_errno("reading \"" + path + "\"");
    if (!S_ISREG(opened.st_mode))
      return fail(ErrorCode::invalid_argument, "\"" + path + "\" changed while it was read");
    TRY(make_room(to, name, path));
    const FileDescriptor made =
        TRY_CTX(open_file_at(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600), "creating \"" + path + "\"");
    TRY_CTX(copy_content(file, made, cancel_), "copying \"" + path + "\"");
    TRY(set_metadata(file, made, status, path));
    const timespec times[2] = {status.st_mtim, status.st_mtim};
    if (::futimens(made.get(), times) != 0) return fail_errno("setting the times of \"" + path + "\"");
    return {};
  }

  std::optional<std::uint32_t> mode_;  ///< --chmod
  const SourceTree& tree_;
  std::optional<Owner> owner_;  ///< nullopt: as in the source
  const CancelToken& cancel_;
  std::vector<Level> levels_;
  FileDescriptor target_;
  std::map<std::pair<dev_t, ino_t>, std::string> links_;
};

/// Where one source goes: "into" is decided once for all of them.
class Destination {
 public:
  Destination(FdRef root, const CopyOp& op, std::size_t count, Owner owner)
      : root_(root), path_(op.destination), owner_(owner) {
    is_directory_ = path_.ends_with('/') || count > 1;
    while (path_.size() > 1 && path_.ends_with('/')) path_.pop_back();
  }

  Result<void> look() {
    const auto status = stat_in_root(root_, path_, FollowLast::yes);
    exists_ = status.has_value();
    if (exists_ && S_ISDIR(status->st_mode)) is_directory_ = true;
    if (exists_ && is_directory_ && !S_ISDIR(status->st_mode))
      return fail(ErrorCode::invalid_argument, "cannot copy to \"" + path_ + "\": not a directory");
    return {};
  }

  /// The destination itself as a directory, created if missing.
  Result<FileDescriptor> directory(bool& created) {
    TRY(look());
    created = !exists_;
    const FileDescriptor fd =
        TRY_CTX(make_directories_in_root(root_, path_, 0755, owner_.uid, owner_.gid), "creating \"" + path_ + "\"");
    return open_file_at(fd, ".", O_RDONLY | O_DIRECTORY);
  }

  /// The directory a file is put into, and its name there.
  Result<FileDescriptor> parent(const std::string& source_name, std::string& name) {
    TRY(look());
    bool created = false;
    if (is_directory_) {
      name = source_name;
      return directory(created);
    }
    const auto [above, last] = split_path(path_);
    name = last;
    const FileDescriptor fd =
        TRY_CTX(make_directories_in_root(root_, above.empty() ? "/" : above, 0755, owner_.uid, owner_.gid),
                "creating \"" + above + "\"");
    return open_file_at(fd, ".", O_RDONLY | O_DIRECTORY);
  }

  const std::string& path() const { return path_; }

 private:
  FdRef root_;
  std::string path_;
  Owner owner_;
  bool is_directory_ = false, exists_ = false;
};

}  // namespace

Result<void> copy_content(FdRef from, FdRef to, const CancelToken& cancel) {
  bool in_kernel = true;
  while (!cancel.cancelled()) {
    const ssize_t count = in_kernel ? ::copy_file_range(from.get(), nullptr, to.get(), nullptr, kChunk, 0)
                                    : ::sendfile(to.get(), from.get(), nullptr, kChunk);
    if (count > 0) continue;
    if (count == 0 && !in_kernel) return {};
    // Zero may also mean that the file system (proc, some FUSE) cannot say: sendfile confirms the end.
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && (!in_kernel || errno == ENOSPC || errno == EDQUOT || errno == EIO)) return fail_errno("copying");
    in_kernel = false;
  }
  return fail(ErrorCode::cancelled, "build cancelled");
}

Result<void> make_room(FdRef directory, const std::string& name, const std::string& path) {
  if (::unlinkat(directory.get(), name.c_str(), 0) == 0 || errno == ENOENT) return {};
  if (errno == EISDIR) return fail(ErrorCode::already_exists, "cannot copy a file over the directory \"" + path + "\"");
  return fail_errno("replacing \"" + path + "\"");
}

Result<void> copy_sources(FdRef root, const CopyOp& op, const SourceTree& tree, const std::vector<Source>& sources,
                          const CancelToken& cancel) {
  const Owner owner = TRY(resolve_owner(root, op.chown));
  // Files of the context belong to root, those of a stage keep their owner (as in BuildKit), unless --chown.
  const std::optional<Owner> forced = tree.is_context || !op.chown.empty() ? std::optional(owner) : std::nullopt;
  Destination destination(root, op, sources.size() + op.files.size(), owner);
  const std::optional<std::uint32_t> mode = TRY(parse_mode(op.chmod));
  TreeCopier copier(mode, tree, forced, cancel);
  for (const Source& source : sources) {
    if (source.is_directory()) {
      bool created = false;
      FileDescriptor directory = TRY(destination.directory(created));
      TRY(copier.copy_directory(source, std::move(directory), created));
      continue;
    }
    if (op.is_add && S_ISREG(source.entries.front().status.st_mode)) {
      const FileDescriptor file = TRY(tree.open(source.path, O_RDONLY | O_NONBLOCK | O_NOCTTY));
      const bool archive = TRY(is_archive(file));
      if (archive) {
        bool created = false;
        TRY(destination.directory(created));
        if (::lseek(file.get(), 0, SEEK_SET) < 0) return fail_errno("reading \"" + source.path + "\"");
        const auto bytes = make_fd_source(FdRef(file));
        ExtractOptions options;
        if (!op.chown.empty()) options.owner = owner;
        TRY_CTX(extract_archive(root, destination.path(), *bytes, options, cancel),
                "unpacking \"" + source.path + "\"");
        continue;
      }
    }
    std::string name;
    FileDescriptor directory = TRY(destination.parent(split_path(source.path).second, name));
    TRY(copier.copy_file(source, std::move(directory), name));
  }
  for (const InlineFile& file : op.files) {
    std::string name;
    const FileDescriptor directory = TRY(destination.parent(file.name, name));
    TRY(make_room(directory, name, file.name));
    const FileDescriptor made =
        TRY_CTX(open_file_at(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600), file.name);
    TRY_CTX(write_all(made, file.content), file.name);
    struct stat status = {};
    status.st_mode = S_IFREG | 0644;
    TRY(TreeCopier(mode, tree, owner, cancel).set_owner_and_mode(made, status, file.name, false));
  }
  return {};
}

}  // namespace dray::builder
