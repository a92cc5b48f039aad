// SPDX-License-Identifier: Apache-2.0
// The changes of an active snapshot are what its upper directory holds: no trees are compared. Entries come
// in the order of their names' bytes, parents before children; owner and group names, access times and the
// like are left out by tar::Writer, so that one upper directory gives one digest.
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

struct Attributes {
  std::map<std::string, std::string> portable;
  bool is_opaque = false;
};

Result<Attributes> read_xattrs(FdRef fd, const std::string& path) {
  Attributes attributes;
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
    if (name != kOpaqueXattr && !is_portable_xattr(name)) continue;
    std::string value(256, '\0');
    ssize_t length;
    while ((length = ::fgetxattr(fd.get(), name.c_str(), value.data(), value.size())) < 0 && errno == ERANGE &&
           value.size() < (1u << 20))
      value.resize(value.size() * 4);
    if (length < 0) return fail_errno("reading extended attribute \"" + name + "\" of \"" + path + "\"");
    value.resize(static_cast<std::size_t>(length));
    if (name == kOpaqueXattr) {
      attributes.is_opaque = value == "y";
    } else {
      attributes.portable[name] = std::move(value);
    }
  }
  return attributes;
}

class DiffWriter {
 public:
  /// changes: overlay's marks of deletions become those of a layer. all: every name is a name.
  enum class Form { changes, all };
  DiffWriter(FdRef root, ByteSink& sink, const CancelToken& cancel, Form form = Form::changes)
      : root_(root), writer_(sink), cancel_(cancel), form_(form) {}

  Result<void> write_tree(const std::string& directory) {
    for (const std::string& name : TRY(list_without_links(root_, directory))) {
      if (cancel_.cancelled()) return fail(ErrorCode::cancelled, "cancelled");
      TRY(write_entry(directory, name));
    }
    return {};
  }
  Result<void> write_root(const struct stat& status) {
    tar::Entry entry = tar::entry_of(".", status);
    FileDescriptor fd = TRY(open_without_links(root_, "", O_RDONLY | O_DIRECTORY));
    entry.xattrs = TRY(read_xattrs(fd, "/")).portable;
    return add(entry, nullptr);
  }
  Result<void> finish() { return writer_.finish(); }
  const Snapshotter::DiffSummary& summary() const { return summary_; }

 private:
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

  Result<void> write_entry(const std::string& directory, const std::string& name) {
    const std::string path = directory.empty() ? name : directory + "/" + name;
    FileDescriptor handle = TRY(open_without_links(root_, path, O_PATH));
    struct stat status;
    if (::fstat(handle.get(), &status) != 0) return fail_errno("reading the status of \"" + path + "\"");
    if (form_ == Form::changes && is_whiteout(status))
      return add_marker((directory.empty() ? "" : directory + "/") + std::string(kWhiteoutPrefix) + name);
    if (form_ == Form::changes && name.starts_with(kWhiteoutPrefix))
      return fail(ErrorCode::unsupported,
                  "\"/" + path + "\" cannot be stored in a layer: names that begin with \".wh.\" mean deletions there");
    if (S_ISSOCK(status.st_mode)) return {};

    tar::Entry entry = tar::entry_of(path, status);
    if (S_ISDIR(status.st_mode)) return write_directory(std::move(entry));
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

  Result<void> write_directory(tar::Entry entry) {
    const std::string path = entry.path;
    bool is_opaque;
    {
      FileDescriptor fd = TRY(open_without_links(root_, path, O_RDONLY | O_DIRECTORY));
      Attributes attributes = TRY(read_xattrs(fd, path));
      entry.xattrs = std::move(attributes.portable);
      is_opaque = attributes.is_opaque;
    }
    TRY(add(entry, nullptr));
    if (is_opaque) TRY(add_marker(path + "/" + std::string(kOpaqueMarker)));
    return write_tree(path);
  }

  Result<void> write_regular(tar::Entry entry, const struct stat& status) {
    FileDescriptor file = TRY(open_without_links(root_, entry.path, O_RDONLY | O_NONBLOCK));
    struct stat opened;
    if (::fstat(file.get(), &opened) != 0) return fail_errno("reading \"/" + entry.path + "\"");
    if (opened.st_ino != status.st_ino || !S_ISREG(opened.st_mode))
      return fail(ErrorCode::in_use, "\"/" + entry.path + "\" changed while the layer was written");
    entry.xattrs = TRY(read_xattrs(file, entry.path)).portable;
    entry.size = static_cast<std::uint64_t>(opened.st_size);
    auto content = make_fd_source(FdRef(file));
    return add(entry, content.get());
  }

  FdRef root_;
  tar::Writer writer_;
  const CancelToken& cancel_;
  const Form form_;
  Snapshotter::DiffSummary summary_;
  const std::int64_t now_ = ::time(nullptr);
  std::map<std::pair<dev_t, ino_t>, std::string> links_;
};

}  // namespace

Result<void> write_tree(FdRef root, ByteSink& sink, const CancelToken& cancel) {
  DiffWriter writer(root, sink, cancel, DiffWriter::Form::all);
  TRY(writer.write_tree(""));
  return writer.finish();
}

Result<Snapshotter::DiffSummary> Snapshotter::write_diff(const std::string& id, ByteSink& sink,
                                                         const CancelToken& cancel) const {
  MountRecipe recipe = TRY(mount_recipe(id));
  FileDescriptor upper = TRY_CTX(open_file(recipe.upper, O_RDONLY | O_DIRECTORY), "snapshot " + id);
  struct stat root, below{};
  if (::fstat(upper.get(), &root) != 0) return fail_errno("snapshot " + id);
  if (::stat(recipe.lower.front().c_str(), &below) != 0) return fail_errno("snapshot " + id);
  DiffWriter writer(upper, sink, cancel);
  // The root is in the upper directory always; it is a change only if somebody changed it.
  if (root.st_mode != below.st_mode || root.st_uid != below.st_uid || root.st_gid != below.st_gid)
    TRY(writer.write_root(root));
  TRY(writer.write_tree(""));
  TRY(writer.finish());
  const std::lock_guard lock(state_->mutex);
  state_->diff_bytes[id] = writer.summary().bytes;
  return writer.summary();
}

}  // namespace dray::store
