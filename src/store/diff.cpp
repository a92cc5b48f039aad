// SPDX-License-Identifier: Apache-2.0
// The changes of an active snapshot as a tar. What they are is the driver's knowledge. Entries come in the order of
// their names' bytes, parents before children; owner and group names, access times and the like are left out by
// tar::Writer, so that one set of changes gives one digest.
//
// Directories are opened by their whole path beneath the root, one at a time, so that depth costs no
// descriptors.
#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <dray/core/rooted_path.hpp>
#include <dray/core/tar.hpp>
#include <dray/store/tree_tar.hpp>

#include "layer_format.hpp"
#include "snapshotter_state.hpp"

namespace dray::store {
namespace {

constexpr std::uint64_t kManyFiles = 1000;  // take their time to get to the disk

Result<std::map<std::string, std::string>> read_xattrs(FdRef fd, const std::string& path) {
  std::map<std::string, std::string> attributes;
  std::string names(1024, '\0');
  ssize_t size;
  while ((size = ::flistxattr(fd.get(), names.data(), names.size())) < 0 && errno == ERANGE &&
         names.size() < (1u << 20))
    names.resize(names.size() * 4);
  if (size < 0 && errno == ENOTSUP) return attributes;
  if (size < 0) return fail_errno("reading extended attributes of \"" + path + "\"");
  names.resize(static_cast<std::size_t>(size));
  for (std::size_t start = 0; start < names.size();) {
    const std::string name = names.c_str() + start;
    start += name.size() + 1;
    if (!is_portable_xattr(name)) continue;
    std::string value(256, '\0');
    ssize_t length;
    while ((length = ::fgetxattr(fd.get(), name.c_str(), value.data(), value.size())) < 0 && errno == ERANGE &&
           value.size() < (1u << 20))
      value.resize(value.size() * 4);
    if (length < 0) return fail_errno("reading extended attribute \"" + name + "\" of \"" + path + "\"");
    value.resize(static_cast<std::size_t>(length));
    attributes[name] = std::move(value);
  }
  return attributes;
}

class TreeWriter {
 public:
  TreeWriter(FdRef root, ByteSink& sink, const CancelToken& cancel) : root_(root), writer_(sink), cancel_(cancel) {}

  /// Everything, every name being a name.
  Result<void> write_all_of(const std::string& directory) {
    for (const std::string& name : TRY(list_without_links(root_, directory))) {
      const std::string path = directory.empty() ? name : directory + "/" + name;
      const FileDescriptor handle = TRY(open_without_links(root_, path, O_PATH));
      struct stat status;
      if (::fstat(handle.get(), &status) != 0) return fail_errno("reading the status of \"" + path + "\"");
      TRY(write_entry(path, status));
      if (S_ISDIR(status.st_mode)) TRY(write_all_of(path));
    }
    return {};
  }
  Result<void> write_change(const Change& change) {
    TRY(cancel_.check());
    const auto [directory, name] = split_path(change.path);
    const std::string prefix = directory.empty() ? "" : directory + "/";
    if (change.kind == Change::Kind::root) return change.is_changed ? write_root(change.status) : Result<void>();
    if (change.kind == Change::Kind::gone) return add_marker(prefix + std::string(kWhiteoutPrefix) + name);
    if (name.starts_with(kWhiteoutPrefix))
      return fail(ErrorCode::unsupported, "\"/" + change.path +
                                              "\" cannot be stored in a layer: names that begin with \".wh.\" mean "
                                              "deletions there");
    if (is_whiteout(change.status))  // overlayfs lets nobody make one; extract.cpp would take the layer nowhere
      return Failure(Error(ErrorCode::unsupported, "\"/" + change.path +
                                                       "\" cannot be stored in a layer: a character device 0:0 means "
                                                       "a deletion in overlayfs")
                         .with_hint("remove it, or give it another device number"));
    TRY(write_entry(change.path, change.status));
    return change.is_opaque ? add_marker(change.path + "/" + std::string(kOpaqueMarker)) : Result<void>();
  }
  Result<void> finish() { return writer_.finish(); }
  const Snapshotter::DiffSummary& summary() const { return summary_; }

 private:
  Result<void> write_root(const struct stat& status) {
    tar::Entry entry = tar::entry_of(".", status);
    const FileDescriptor fd = TRY(open_without_links(root_, "", O_RDONLY | O_DIRECTORY));
    entry.xattrs = TRY(read_xattrs(fd, "/"));
    return add(entry, nullptr);
  }

  Result<void> add(const tar::Entry& entry, ByteSource* content) {
    TRY(writer_.add(entry, content));
    summary_.empty = false;
    if (entry.mtime_seconds <= now_) summary_.newest = std::max(summary_.newest, entry.mtime_seconds);
    ++summary_.files;
    summary_.bytes += entry.type == tar::EntryType::regular ? entry.size : 0;
    return {};
  }

  /// Not the time of the deletion: equal deletions give equal layers.
  Result<void> add_marker(const std::string& path) {
    tar::Entry entry;
    entry.path = path;
    entry.mode = 0600;
    return add(entry, nullptr);
  }

  Result<void> write_entry(const std::string& path, const struct stat& status) {
    TRY(cancel_.check());
    if (S_ISSOCK(status.st_mode)) return {};
    tar::Entry entry = tar::entry_of(path, status);
    if (S_ISDIR(status.st_mode)) {
      const FileDescriptor fd = TRY(open_without_links(root_, path, O_RDONLY | O_DIRECTORY));
      entry.xattrs = TRY(read_xattrs(fd, path));
      return add(entry, nullptr);
    }
    if (status.st_nlink > 1) {
      auto [first, is_new] = links_.try_emplace({status.st_dev, status.st_ino}, path);
      if (!is_new) {
        entry.type = tar::EntryType::hardlink;
        entry.link_target = first->second;
        return add(entry, nullptr);
      }
    }
    if (S_ISREG(status.st_mode)) return write_regular(std::move(entry), status);
    if (S_ISLNK(status.st_mode)) {
      std::string target(static_cast<std::size_t>(std::max<off_t>(status.st_size, 0)) + 1, '\0');
      const FileDescriptor handle = TRY(open_without_links(root_, path, O_PATH));
      ssize_t length = ::readlinkat(handle.get(), "", target.data(), target.size());
      if (length < 0) return fail_errno("reading symlink \"" + path + "\"");
      target.resize(static_cast<std::size_t>(length));
      entry.link_target = std::move(target);
    } else {
      entry.device_major = major(status.st_rdev);
      entry.device_minor = minor(status.st_rdev);
    }
    return add(entry, nullptr);
  }

  Result<void> write_regular(tar::Entry entry, const struct stat& status) {
    FileDescriptor file = TRY(open_without_links(root_, entry.path, O_RDONLY | O_NONBLOCK));
    struct stat opened;
    if (::fstat(file.get(), &opened) != 0) return fail_errno("reading \"/" + entry.path + "\"");
    if (opened.st_ino != status.st_ino || !S_ISREG(opened.st_mode))
      return fail(ErrorCode::in_use, "\"/" + entry.path + "\" changed while the layer was written");
    entry.xattrs = TRY(read_xattrs(file, entry.path));
    entry.size = static_cast<std::uint64_t>(opened.st_size);
    auto content = make_fd_source(FdRef(file));
    return add(entry, content.get());
  }

  FdRef root_;
  tar::Writer writer_;
  const CancelToken& cancel_;
  Snapshotter::DiffSummary summary_;
  const std::int64_t now_ = ::time(nullptr);
  std::map<std::pair<dev_t, ino_t>, std::string> links_;
};

}  // namespace

Result<void> write_tree(FdRef root, ByteSink& sink, const CancelToken& cancel) {
  TreeWriter writer(root, sink, cancel);
  TRY(writer.write_all_of(""));
  return writer.finish();
}

Result<Snapshotter::DiffSummary> Snapshotter::write_diff(const std::string& id, ByteSink& sink,
                                                         const CancelToken& cancel) const {
  const auto active = TRY(SnapshotterAccess::open_active(*this, id));
  TreeWriter writer(active.tree, sink, cancel);
  bool is_early = false;  // what is there is on its way to the disk
  TRY(state_->driver->changes(active.path, active.tree, active.stack, SnapshotDriver::Before::no,
                              [&](const Change& change) -> Result<void> {
                                TRY(writer.write_change(change));
                                if (is_early || writer.summary().files < kManyFiles) return {};
                                is_early = true;
                                SnapshotterAccess::sync_early(*this);
                                return {};
                              }));
  TRY(writer.finish());
  const std::lock_guard lock(state_->mutex);
  state_->diff_bytes[id] = writer.summary().bytes;
  return writer.summary();
}

}  // namespace dray::store
