// SPDX-License-Identifier: Apache-2.0
// A layer's tar into an overlay directory. The archive is hostile. Every entry is placed by the name of its last component beneath a
// descriptor of its parent; the parent is resolved with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS, so no entry is ever written through
// a symlink: a layer has no business below one, and refusing is simpler to be right about than following. The last parent is remembered,
// as archives list a directory's files together.
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <dray/core/rooted_path.hpp>
#include <dray/core/tar.hpp>

#include "snapshotter_state.hpp"

namespace dray::store {
namespace {

constexpr std::size_t kBufferSize = 256 * 1024;
constexpr std::string_view kWhiteout = ".wh.";
constexpr std::string_view kOpaque = ".wh..wh..opq";

Failure refuse(const tar::Entry& entry, std::string_view why) {
  return fail(ErrorCode::corrupt, "layer entry \"" + entry.path.substr(0, 300) + "\" " + std::string(why));
}

/// "./a//b/" -> "a/b"; as Docker, a leading slash is dropped. Components ".." are refused. "" is the root.
Result<std::string> normalize(const tar::Entry& entry, const std::string& path) {
  if (path.find('\0') != std::string::npos) return refuse(entry, "has a NUL byte in its name");
  std::string result;
  for (std::size_t start = 0; start < path.size();) {
    std::size_t end = std::min(path.find('/', start), path.size());
    std::string_view part = std::string_view(path).substr(start, end - start);
    start = end + 1;
    if (part.empty() || part == ".") continue;
    if (part == "..") return refuse(entry, "leads out of the layer by \"..\"");
    if (!result.empty()) result += '/';
    result += part;
  }
  return result;
}

class LayerExtractor {
 public:
  LayerExtractor(tar::Reader& reader, FdRef root) : reader_(reader), root_(root), buffer_(kBufferSize) {}

  Result<std::uint64_t> run() {
    for (;;) {
      std::optional<tar::Entry> entry = TRY(reader_.next());
      if (!entry) break;
      TRY(place(*entry));
    }
    // Last, deepest first is not needed: setting a directory's time changes no other's.
    for (const auto& [path, times] : directory_times_) {
      auto fd = open_plain(path.empty() ? "." : path, O_RDONLY | O_DIRECTORY);
      if (fd) ::futimens(fd->get(), times.data());  // a later entry may have replaced the directory
    }
    return size_;
  }

 private:
  Result<FileDescriptor> open_plain(const std::string& path, int flags) {
    struct open_how how{};
    how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC);
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;
    long fd = ::syscall(SYS_openat2, root_.get(), path.c_str(), &how, sizeof how);
    if (fd < 0) return fail_errno("opening \"" + path + "\"");
    return FileDescriptor(static_cast<int>(fd));
  }

  /// The directory an entry goes into; missing ones are made (0755, root), as Docker does.
  Result<FdRef> parent_of(const tar::Entry& entry, const std::string& parent) {
    if (parent_fd_.valid() && parent == parent_path_) return FdRef(parent_fd_);
    std::string path = parent.empty() ? "." : parent;
    auto opened = open_plain(path, O_RDONLY | O_DIRECTORY);
    if (!opened && opened.error().error_number() == ENOENT) {
      TRY(make_parents(entry, parent));
      opened = open_plain(path, O_RDONLY | O_DIRECTORY);
    }
    if (!opened) {
      int number = opened.error().error_number();
      if (number == ELOOP) return refuse(entry, "is placed through a symbolic link");
      if (number == ENOTDIR) return refuse(entry, "is placed below something that is not a directory");
      return Failure(std::move(opened).error().with_context("layer entry \"" + entry.path + "\""));
    }
    parent_fd_ = std::move(*opened);
    parent_path_ = parent;
    return FdRef(parent_fd_);
  }

  Result<void> make_parents(const tar::Entry& entry, const std::string& parent) {
    for (std::size_t end = 0; end < parent.size();) {
      end = std::min(parent.find('/', end + 1), parent.size());
      auto [directory, name] = split_path(parent.substr(0, end));
      auto above = open_plain(directory.empty() ? "." : directory, O_PATH | O_DIRECTORY);
      if (!above) return above.error().error_number() == ELOOP ? refuse(entry, "is placed through a symbolic link") : Failure(std::move(above).error());
      if (::mkdirat(above->get(), name.c_str(), 0755) != 0 && errno != EEXIST) return fail_errno("layer entry \"" + entry.path + "\"");
    }
    return {};
  }

  Result<void> place(const tar::Entry& entry) {
    std::string path = TRY(normalize(entry, entry.path));
    if (path.empty()) {
      if (entry.type != tar::EntryType::directory) return refuse(entry, "is the root, but no directory");
      return apply_to_directory(entry, path, root_);
    }
    auto [parent_path, name] = split_path(path);
    FdRef parent = TRY(parent_of(entry, parent_path));
    if (name.starts_with(kWhiteout)) return whiteout(entry, parent, name);

    struct stat existing;
    bool exists = ::fstatat(parent.get(), name.c_str(), &existing, AT_SYMLINK_NOFOLLOW) == 0;
    if (entry.type == tar::EntryType::directory) {
      if (exists && !S_ISDIR(existing.st_mode)) TRY(replace(entry, parent, name));
      if ((!exists || !S_ISDIR(existing.st_mode)) && ::mkdirat(parent.get(), name.c_str(), 0700) != 0) return failed(entry);
      FileDescriptor fd = TRY(open_file_at(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
      return apply_to_directory(entry, path, fd);
    }
    if (exists) TRY(replace(entry, parent, name));
    switch (entry.type) {
      case tar::EntryType::regular: return regular_file(entry, parent, name);
      case tar::EntryType::hardlink: return hard_link(entry, parent, name);
      case tar::EntryType::symlink:
        if (::symlinkat(entry.link_target.c_str(), parent.get(), name.c_str()) != 0) return failed(entry);
        return apply_to_name(entry, parent, name);
      case tar::EntryType::fifo: return node(entry, parent, name, S_IFIFO);
      case tar::EntryType::character_device: return node(entry, parent, name, S_IFCHR);
      case tar::EntryType::block_device: return node(entry, parent, name, S_IFBLK);
      case tar::EntryType::directory: break;
    }
    return {};
  }

  static Failure failed(const tar::Entry& entry) { return fail_errno("layer entry \"" + entry.path + "\""); }

  /// A later entry takes the place of an earlier one.
  Result<void> replace(const tar::Entry& entry, FdRef parent, const std::string& name) {
    auto removed = remove_tree(parent, name);
    if (!removed) return Failure(std::move(removed).error().with_context("layer entry \"" + entry.path + "\""));
    return {};
  }

  Result<void> whiteout(const tar::Entry& entry, FdRef parent, const std::string& name) {
    if (name == kOpaque) {
      if (::fsetxattr(parent.get(), "trusted.overlay.opaque", "y", 1, 0) != 0) return failed(entry);
      return {};
    }
    std::string hidden = name.substr(kWhiteout.size());
    if (hidden.starts_with(kWhiteout)) return {};  // AUFS's own bookkeeping (.wh..wh.plnk and the like)
    if (hidden.empty() || hidden == "." || hidden == "..") return refuse(entry, "is a whiteout of its parent");
    TRY(replace(entry, parent, hidden));
    if (::mknodat(parent.get(), hidden.c_str(), S_IFCHR, ::makedev(0, 0)) != 0) return failed(entry);
    return {};
  }

  Result<void> regular_file(const tar::Entry& entry, FdRef parent, const std::string& name) {
    FileDescriptor fd = TRY_CTX(open_file_at(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600), "layer entry");
    for (;;) {
      std::size_t count = TRY(reader_.read(buffer_));
      if (count == 0) break;
      TRY_CTX(write_all(fd, {reinterpret_cast<const char*>(buffer_.data()), count}), "layer entry \"" + entry.path + "\"");
      size_ += count;
    }
    return apply(entry, fd);
  }

  Result<void> hard_link(const tar::Entry& entry, FdRef parent, const std::string& name) {
    std::string target = TRY(normalize(entry, entry.link_target));
    auto [directory, last] = split_path(target);
    auto from = open_plain(directory.empty() ? "." : directory, O_PATH | O_DIRECTORY);
    if (!from) return refuse(entry, "is a hard link to \"" + entry.link_target.substr(0, 300) + "\", which is not in this layer");
    // No AT_SYMLINK_FOLLOW: a link to a symlink links the symlink itself.
    if (::linkat(from->get(), last.c_str(), parent.get(), name.c_str(), 0) != 0) {
      if (errno == ENOENT) return refuse(entry, "is a hard link to \"" + entry.link_target.substr(0, 300) + "\", which is not in this layer");
      return failed(entry);
    }
    return {};
  }

  Result<void> node(const tar::Entry& entry, FdRef parent, const std::string& name, unsigned type) {
    dev_t device = type == S_IFIFO ? 0 : ::makedev(entry.device_major, entry.device_minor);
    // 0:0 is overlay's whiteout: in a layer it would hide what is below without saying so.
    if (type == S_IFCHR && device == 0) return refuse(entry, "is a character device 0:0");
    if (::mknodat(parent.get(), name.c_str(), type | 0600, device) != 0) return failed(entry);
    TRY(apply_to_name(entry, parent, name));
    if (::fchmodat(parent.get(), name.c_str(), entry.mode, 0) != 0) return failed(entry);
    return {};
  }

  static std::array<timespec, 2> times_of(const tar::Entry& entry) {
    timespec modified{entry.mtime_seconds, static_cast<long>(entry.mtime_nanoseconds)};
    return {modified, modified};
  }

  /// For what cannot be opened: symlinks, devices, FIFOs.
  Result<void> apply_to_name(const tar::Entry& entry, FdRef parent, const std::string& name) {
    if (::fchownat(parent.get(), name.c_str(), entry.uid, entry.gid, AT_SYMLINK_NOFOLLOW) != 0) return failed(entry);
    auto times = times_of(entry);
    if (::utimensat(parent.get(), name.c_str(), times.data(), AT_SYMLINK_NOFOLLOW) != 0) return failed(entry);
    return {};
  }

  /// Owner first: chown drops setuid and file capabilities.
  Result<void> apply(const tar::Entry& entry, FdRef fd) {
    if (::fchown(fd.get(), entry.uid, entry.gid) != 0) return failed(entry);
    if (::fchmod(fd.get(), entry.mode) != 0) return failed(entry);
    for (const auto& [name, value] : entry.xattrs) {
      // trusted.* is overlay's own (opaque, redirect, metacopy): never from an archive. Others that the file system lacks are dropped, as
      // Docker does.
      if (name.starts_with("trusted.")) return refuse(entry, "has the extended attribute \"" + name.substr(0, 100) + "\"");
      if (::fsetxattr(fd.get(), name.c_str(), value.data(), value.size(), 0) != 0 && errno != ENOTSUP && errno != EPERM) return failed(entry);
    }
    auto times = times_of(entry);
    if (::futimens(fd.get(), times.data()) != 0) return failed(entry);
    return {};
  }

  Result<void> apply_to_directory(const tar::Entry& entry, const std::string& path, FdRef fd) {
    TRY(apply(entry, fd));
    directory_times_[path] = times_of(entry);
    return {};
  }

  tar::Reader& reader_;
  FdRef root_;
  std::vector<std::byte> buffer_;
  std::string parent_path_;
  FileDescriptor parent_fd_;
  std::map<std::string, std::array<timespec, 2>> directory_times_;
  std::uint64_t size_ = 0;
};

}  // namespace

Result<std::uint64_t> extract_layer(ByteSource& tar, FdRef target) {
  tar::Reader reader(tar);
  return LayerExtractor(reader, target).run();
}

}  // namespace dray::store
