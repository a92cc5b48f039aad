// SPDX-License-Identifier: Apache-2.0
#include "ops/tree_copier.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <map>
#include <thread>

#include <dray/core/copy_content.hpp>
#include <dray/core/parallel.hpp>
#include <dray/core/rooted_path.hpp>

#include "context/attributes.hpp"

namespace dray::builder {
namespace {

constexpr std::size_t kMostThreads = 4;  // a file system does not take more at once
constexpr std::size_t kFewEntries = 200, kBatch = 64;

Result<void> set_times(FdRef fd, const FileStatus& status, const std::string& path) {
  const timespec times[2] = {status.st_mtim, status.st_mtim};
  if (::utimensat(fd.get(), "", times, AT_EMPTY_PATH) != 0) return fail_errno("setting the times of \"" + path + "\"");
  return {};
}

}  // namespace

Result<void> make_room(FdRef directory, const std::string& name, const std::string& path) {
  if (::unlinkat(directory.get(), name.c_str(), 0) == 0 || errno == ENOENT) return {};
  if (errno == EISDIR) return fail(ErrorCode::already_exists, "cannot copy a file over the directory \"" + path + "\"");
  return fail_errno("replacing \"" + path + "\"");
}

/// Of our own descriptors, so /proc/self/fd is no hostile path.
Result<void> TreeCopier::copy_xattrs(FdRef from, FdRef to, const std::string& path) const {
  for (const auto& [name, value] : copied_attributes(from, tree_.is_context))
    if (::setxattr(descriptor_path(to).c_str(), name.c_str(), value.data(), value.size(), 0) != 0 && errno != ENOTSUP)
      return fail_errno("setting \"" + name + "\" of \"" + path + "\"");
  return {};
}

Result<void> TreeCopier::set_owner_and_mode(FdRef fd, const FileStatus& status, const std::string& path) const {
  const uid_t uid = owner_ ? owner_->uid : status.st_uid;
  const gid_t gid = owner_ ? owner_->gid : status.st_gid;
  const mode_t mode = mode_.apply(status.st_mode);
  // A look is a tenth of a change, and what is new mostly is as it should be.
  struct stat now = {};
  if (::fstat(fd.get(), &now) != 0) return fail_errno("reading \"" + path + "\"");
  const bool other_owner = now.st_uid != uid || now.st_gid != gid;
  if (other_owner && ::fchownat(fd.get(), "", uid, gid, AT_EMPTY_PATH) != 0)
    return fail_errno("changing the owner of \"" + path + "\"");
  // A change of owner takes setuid bits away.
  if (!S_ISLNK(status.st_mode) && (other_owner || (now.st_mode & 07777) != (mode & 07777)) &&
      ::chmod(descriptor_path(fd).c_str(), mode) != 0)
    return fail_errno("changing the mode of \"" + path + "\"");
  return {};
}

Result<void> TreeCopier::set_metadata(FdRef from, FdRef to, const FileStatus& status, const std::string& path) const {
  TRY(set_owner_and_mode(to, status, path));
  return copy_xattrs(from, to, path);
}

Result<void> TreeCopier::copy_directory(const Source& source, FileDescriptor destination) {
  source_ = TRY_CTX(tree_.open(source.path, O_RDONLY | O_DIRECTORY), source.path);
  target_ = std::move(destination);
  TRY(make_directories(source));
  std::size_t threads = std::min<std::size_t>(kMostThreads, std::thread::hardware_concurrency());
  if (source.entries.size() < kFewEntries) threads = 1;
  std::atomic<bool> failed{false};
  TRY(run_parallel(batches_.size(), threads,
                   [&](std::size_t, std::size_t i) { return copy_batch(batches_[i], failed); },
                   {.failed = [&] { failed = true; }, .idle = {}}));
  for (const auto& [entry, first] : other_names_) TRY(link(*entry, *first));
  // When nothing more is put into them.
  for (auto directory = directories_.rbegin(); directory != directories_.rend(); ++directory) {
    const FileDescriptor made = TRY(open_without_links(target_, (*directory)->path, O_PATH | O_DIRECTORY));
    TRY(set_times(made, (*directory)->status, (*directory)->path));
  }
  return set_times(target_, source.entries.front().status, source.path);
}

/// All directories with their owners and modes; what goes into them is put into batches.
Result<void> TreeCopier::make_directories(const Source& source) {
  std::map<std::pair<dev_t, ino_t>, const TreeEntry*> first_names;
  std::vector<Level> levels;
  levels.push_back({TRY(source_.duplicate()), TRY(target_.duplicate())});
  for (std::size_t i = 1; i < source.entries.size(); ++i) {
    TRY(cancel_.check());
    const TreeEntry& entry = source.entries[i];
    const auto [directory, name] = split_path(entry.path);
    levels.resize(static_cast<std::size_t>(std::count(entry.path.begin(), entry.path.end(), '/')) + 1);
    if (S_ISDIR(entry.status.st_mode)) {
      levels.push_back(TRY(enter(levels.back(), name, entry)));
      directories_.push_back(&entry);
      continue;
    }
    if (S_ISREG(entry.status.st_mode) && entry.status.has_other_names) {
      const auto [known, is_new] = first_names.try_emplace({entry.status.st_dev, entry.status.st_ino}, &entry);
      if (!is_new) {
        other_names_.emplace_back(&entry, known->second);
        continue;
      }
    }
    std::optional<std::size_t>& batch = levels.back().batch;
    if (!batch || batches_[*batch].entries.size() == kBatch) {
      batch = batches_.size();
      batches_.push_back({directory, {}});
    }
    batches_[*batch].entries.push_back(&entry);
  }
  return {};
}

Result<void> TreeCopier::copy_batch(const Batch& batch, const std::atomic<bool>& failed) const {
  const FileDescriptor from = TRY_CTX(open_without_links(source_, batch.directory, O_RDONLY | O_DIRECTORY),
                                      "reading \"" + batch.directory + "\"");
  const FileDescriptor to = TRY(open_without_links(target_, batch.directory, O_RDONLY | O_DIRECTORY));
  for (const TreeEntry* entry : batch.entries) {
    if (failed) return {};
    TRY(cancel_.check());
    const std::string name = split_path(entry->path).second;
    TRY(copy_entry(from, name, to, name, *entry, entry->path));
  }
  return {};
}

/// Another name of a file that is copied.
Result<void> TreeCopier::link(const TreeEntry& entry, const TreeEntry& first) const {
  TRY(cancel_.check());
  const auto [directory, name] = split_path(entry.path);
  const FileDescriptor to = TRY(open_without_links(target_, directory, O_RDONLY | O_DIRECTORY));
  TRY(make_room(to, name, entry.path));
  // All components of the first path are directories this copy went through itself.
  if (::linkat(target_.get(), first.path.c_str(), to.get(), name.c_str(), 0) != 0)
    return fail_errno("linking \"" + entry.path + "\"");
  return {};
}

Result<void> TreeCopier::copy_file(const Source& source, FileDescriptor directory, const std::string& name) {
  const FileStatus& status = source.entries.front().status;
  // The name may be a link: what it leads to is opened anew in the tree, never from the directory.
  if (S_ISREG(status.st_mode)) {
    const FileDescriptor file = TRY(tree_.open(source.path, O_RDONLY | O_NONBLOCK | O_NOCTTY));
    return write_file(file, directory, name, status, source.path);
  }
  const FileDescriptor from = TRY(tree_.open(split_path(source.path).first, O_RDONLY | O_DIRECTORY));
  return copy_entry(from, split_path(source.path).second, directory, name, source.entries.front(), source.path);
}

Result<TreeCopier::Level> TreeCopier::enter(const Level& above, const std::string& name, const TreeEntry& entry) const {
  if (::mkdirat(above.to.get(), name.c_str(), 0700) != 0) {
    if (errno != EEXIST) return fail_errno("creating \"" + entry.path + "\"");
    struct stat existing = {};
    if (::fstatat(above.to.get(), name.c_str(), &existing, AT_SYMLINK_NOFOLLOW) != 0)
      return fail_errno("reading \"" + entry.path + "\"");
    if (!S_ISDIR(existing.st_mode))
      return fail(ErrorCode::already_exists, "cannot copy to non-directory: \"" + entry.path + "\"");
  }
  Level level;
  level.to = TRY(open_file_at(above.to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  level.from =
      TRY_CTX(open_file_at(above.from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW), "reading \"" + entry.path + "\"");
  TRY(set_metadata(level.from, level.to, entry.status, entry.path));
  return level;
}

Result<void> TreeCopier::copy_entry(FdRef from, const std::string& from_name, FdRef to, const std::string& name,
                                    const TreeEntry& entry, const std::string& path) const {
  const FileStatus& status = entry.status;
  if (S_ISREG(status.st_mode)) {
    const FileDescriptor file = TRY_CTX(open_file_at(from, from_name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW),
                                        "reading \"" + path + "\"");
    return write_file(file, to, name, status, path);
  }
  TRY(make_room(to, name, path));
  if (S_ISLNK(status.st_mode)) {
    if (::symlinkat(entry.link_target.c_str(), to.get(), name.c_str()) != 0)
      return fail_errno("creating the link \"" + path + "\"");
  } else if (const mode_t mode = S_ISSOCK(status.st_mode) ? S_IFREG | (status.st_mode & 07777) : status.st_mode;
             ::mknodat(to.get(), name.c_str(), mode, status.st_rdev) != 0) {
    return fail_errno("creating \"" + path + "\"");
  }
  const FileDescriptor made = TRY(open_file_at(to, name, O_PATH | O_NOFOLLOW));
  TRY(set_owner_and_mode(made, status, path));
  return set_times(made, status, path);
}

/// Mostly the name is free.
Result<FileDescriptor> TreeCopier::create_file(FdRef to, const std::string& name, mode_t mode,
                                               const std::string& path) const {
  constexpr int kFlags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW;
  auto made = open_file_at(to, name, kFlags, mode);
  if (!made && made.error().error_number() == EEXIST) {
    TRY(make_room(to, name, path));
    made = open_file_at(to, name, kFlags, mode);
  }
  if (!made) return Failure(std::move(made).error().with_context("creating \"" + path + "\""));
  return made;
}

Result<void> TreeCopier::write_file(FdRef file, FdRef to, const std::string& name, const FileStatus& status,
                                    const std::string& path) const {
  struct stat opened = {};
  if (::fstat(file.get(), &opened) != 0) return fail_errno("reading \"" + path + "\"");
  if (!S_ISREG(opened.st_mode)) return fail(ErrorCode::invalid_argument, "\"" + path + "\" changed while it was read");
  const FileDescriptor made = TRY(create_file(to, name, mode_.apply(status.st_mode) & 0777, path));
  TRY_CTX(copy_content(file, made, opened, cancel_), "copying \"" + path + "\"");
  TRY(set_metadata(file, made, status, path));
  return set_times(made, status, path);
}

}  // namespace dray::builder
