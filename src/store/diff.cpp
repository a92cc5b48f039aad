// SPDX-License-Identifier: Apache-2.0
// The layer tar of an active snapshot, read from overlay's upper directory: what is there is what changed. Entries are sorted
// bytewise within each directory, so that one content gives one digest.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <dray/core/tar.hpp>

#include "snapshotter_state.hpp"

namespace dray::store {
namespace {

constexpr std::size_t kMaxXattr = 64 * 1024;  // XATTR_SIZE_MAX

class DiffWriter {
 public:
  DiffWriter(ByteSink& sink, const CancelToken& cancel) : writer_(sink), cancel_(cancel) {}

  Result<Snapshotter::DiffSummary> run(FdRef upper) {
    TRY(directory(upper, ""));
    TRY(writer_.finish());
    return summary_;
  }

 private:
  Result<void> directory(FdRef fd, const std::string& prefix) {
    std::vector<std::string> names;
    FileDescriptor copy = TRY(open_file_at(fd, ".", O_RDONLY | O_DIRECTORY));
    DIR* listing = ::fdopendir(copy.get());
    if (listing == nullptr) return fail_errno("listing \"" + prefix + "\"");
    (void)copy.release();  // closedir closes it
    errno = 0;
    while (dirent* entry = ::readdir(listing)) {
      std::string_view name = entry->d_name;
      if (name != "." && name != "..") names.emplace_back(name);
    }
    ::closedir(listing);
    std::sort(names.begin(), names.end());
    for (const std::string& name : names) TRY(entry(fd, name, prefix + name));
    return {};
  }

  Result<void> entry(FdRef parent, const std::string& name, const std::string& path) {
    if (cancel_.cancelled()) return fail(ErrorCode::cancelled, "cancelled");
    struct stat status;
    if (::fstatat(parent.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) return fail_errno("reading \"" + path + "\"");
    tar::Entry out;
    out.path = path;
    out.mode = status.st_mode & 07777;
    out.uid = status.st_uid;
    out.gid = status.st_gid;
    out.mtime_seconds = status.st_mtim.tv_sec;
    out.mtime_nanoseconds = static_cast<std::uint32_t>(status.st_mtim.tv_nsec);

    if (S_ISCHR(status.st_mode) && status.st_rdev == 0) return whiteout(path);
    if (S_ISSOCK(status.st_mode)) return {};  // a socket's name means nothing without its process
    summary_.empty = false;
    ++summary_.files;
    if (S_ISDIR(status.st_mode)) {
      out.type = tar::EntryType::directory;
      FileDescriptor fd = TRY(open_file_at(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
      bool opaque = TRY(read_xattrs(fd, path, out));
      TRY(writer_.add(out, nullptr));
      if (opaque) TRY(whiteout(path + "/.wh..opq"));
      return directory(fd, path + "/");
    }
    if (status.st_nlink > 1) {
      auto [first, is_new] = links_.try_emplace({status.st_dev, status.st_ino}, path);
      if (!is_new) {
        out.type = tar::EntryType::hardlink;
        out.link_target = first->second;
        return writer_.add(out, nullptr);
      }
    }
    if (S_ISREG(status.st_mode)) {
      out.type = tar::EntryType::regular;
      FileDescriptor fd = TRY(open_file_at(parent, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
      TRY(read_xattrs(fd, path, out));
      out.size = static_cast<std::uint64_t>(status.st_size);
      summary_.bytes += out.size;
      auto content = make_fd_source(FdRef(fd));
      return writer_.add(out, content.get());
    }
    if (S_ISLNK(status.st_mode)) {
      out.type = tar::EntryType::symlink;
      std::string target(4096, '\0');
      ssize_t length = ::readlinkat(parent.get(), name.c_str(), target.data(), target.size());
      if (length < 0) return fail_errno("reading link \"" + path + "\"");
      target.resize(static_cast<std::size_t>(length));
      out.link_target = std::move(target);
    } else {
      out.type = S_ISFIFO(status.st_mode) ? tar::EntryType::fifo : S_ISCHR(status.st_mode) ? tar::EntryType::character_device : tar::EntryType::block_device;
      out.device_major = ::gnu_dev_major(status.st_rdev);
      out.device_minor = ::gnu_dev_minor(status.st_rdev);
    }
    return writer_.add(out, nullptr);
  }

  /// "a/b" hidden -> an empty file "a/.wh.b"; for opaque directories called with ".wh..opq" as the name.
  Result<void> whiteout(const std::string& path) {
    std::size_t slash = path.rfind('/');
    tar::Entry out;
    out.path = (slash == std::string::npos ? "" : path.substr(0, slash + 1)) + ".wh." + (slash == std::string::npos ? path : path.substr(slash + 1));
    summary_.empty = false;
    ++summary_.files;
    return writer_.add(out, nullptr);
  }

  /// Fills entry.xattrs (but for overlay's own); true if the directory is opaque.
  Result<bool> read_xattrs(FdRef fd, const std::string& path, tar::Entry& out) {
    ssize_t size = ::flistxattr(fd.get(), nullptr, 0);
    if (size <= 0) return false;
    std::string names(static_cast<std::size_t>(size), '\0');
    size = ::flistxattr(fd.get(), names.data(), names.size());
    if (size < 0) return fail_errno("reading the attributes of \"" + path + "\"");
    names.resize(static_cast<std::size_t>(size));
    bool opaque = false;
    for (std::size_t start = 0; start < names.size();) {
      std::string name = names.c_str() + start;
      start += name.size() + 1;
      std::string value(kMaxXattr, '\0');
      ssize_t length = ::fgetxattr(fd.get(), name.c_str(), value.data(), value.size());
      if (length < 0) continue;  // removed meanwhile
      value.resize(static_cast<std::size_t>(length));
      if (name == "trusted.overlay.opaque") opaque = value == "y";
      // POSIX ACLs and SELinux labels are of this host; capabilities and user attributes are content.
      if (name == "security.capability" || name.starts_with("user.")) out.xattrs[name] = value;
    }
    return opaque;
  }

  tar::Writer writer_;
  const CancelToken& cancel_;
  Snapshotter::DiffSummary summary_;
  std::map<std::pair<dev_t, ino_t>, std::string> links_;
};

}  // namespace

Result<Snapshotter::DiffSummary> Snapshotter::write_diff(const std::string& id, ByteSink& sink, const CancelToken& cancel) const {
  MountRecipe recipe = TRY(mount_recipe(id));
  FileDescriptor upper = TRY(open_file(recipe.upper, O_RDONLY | O_DIRECTORY));
  DiffSummary summary = TRY(DiffWriter(sink, cancel).run(upper));
  TRY(state_->db->execute("UPDATE snapshots SET size=? WHERE id=?", {static_cast<std::int64_t>(summary.bytes), std::stoll(id)}));
  return summary;
}

}  // namespace dray::store
