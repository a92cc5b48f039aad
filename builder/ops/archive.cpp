// SPDX-License-Identifier: Apache-2.0
// Unpacks an archive of a user (ADD, a context from "-") below a directory. The archive is hostile: its paths
// are resolved in the root, so a link it brings leads nowhere else; the last component is never followed.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include <dray/core/rooted_path.hpp>
#include <dray/core/tar.hpp>

#include "ops/ops.hpp"

namespace dray::builder {
namespace {

constexpr std::size_t kBlock = 512;
constexpr std::string_view kWhiteout = ".wh.", kOpaque = ".wh..wh..opq";

/// "./a//b/" -> "a/b"; ".." is refused.
Result<std::string> entry_path(const std::string& written) {
  std::string path;
  for (std::size_t begin = 0; begin <= written.size();) {
    const std::size_t end = std::min(written.find('/', begin), written.size());
    const std::string part = written.substr(begin, end - begin);
    begin = end + 1;
    if (part.empty() || part == ".") continue;
    if (part == "..") return fail(ErrorCode::corrupt, "archive entry \"" + written + "\" would leave its directory");
    path += (path.empty() ? "" : "/") + part;
  }
  return path;
}

class Extractor {
 public:
  Extractor(FdRef root, std::string base, const ExtractOptions& options, const CancelToken& cancel)
      : root_(root), base_(std::move(base)), options_(options), cancel_(cancel) {}

  Result<void> run(tar::Reader& reader) {
    while (true) {
      TRY(cancel_.check());
      const std::optional<tar::Entry> entry = TRY(reader.next());
      if (!entry) break;
      const std::string path = TRY(entry_path(entry->path));
      if (path.empty() && options_.is_layer && entry->type == tar::EntryType::directory) {
        const FileDescriptor top = TRY(open_in_root(root_, "/", O_RDONLY | O_DIRECTORY));
        TRY(finish(*entry, top));
      }
      if (path.empty()) continue;
      TRY_CTX(place(*entry, path, reader), "\"" + entry->path + "\"");
    }
    for (auto made = directories_.rbegin(); made != directories_.rend(); ++made) {
      const auto fd = open_in_root(root_, made->first, O_RDONLY | O_DIRECTORY);
      const timespec times[2] = {made->second, made->second};
      if (fd) (void)::futimens(fd->get(), times);  // may have been replaced by a later entry
    }
    return {};
  }

 private:
  std::string full(const std::string& path) const { return base_ == "/" ? "/" + path : base_ + "/" + path; }

  /// The open directory of an entry; the last one is kept, as archives list directory by directory.
  Result<FdRef> parent(const std::string& path) {
    const std::string directory = split_path(full(path)).first;
    if (!parent_.valid() || directory != parent_path_) {
      const FileDescriptor made = TRY(make_directories_in_root(root_, directory.empty() ? "/" : directory));
      parent_ = TRY(open_file_at(made, ".", O_RDONLY | O_DIRECTORY));
      parent_path_ = directory;
    }
    return FdRef(parent_);
  }

  Result<void> place(const tar::Entry& entry, const std::string& path, tar::Reader& reader) {
    const FdRef directory = TRY(parent(path));
    const std::string name = split_path(path).second;
    if (options_.is_layer && name.starts_with(kWhiteout)) return delete_below(directory, name);
    if (entry.type == tar::EntryType::directory) return place_directory(entry, path, directory, name);
    FileDescriptor linked;
    std::string linked_name;
    if (entry.type == tar::EntryType::hardlink) {  // resolved before an entry of this name goes away
      const std::string target = TRY(entry_path(entry.link_target));
      if (target.empty()) return fail(ErrorCode::corrupt, "hard link to nothing");
      const std::string above = split_path(full(target)).first;
      linked = TRY(open_in_root(root_, above.empty() ? "/" : above, O_PATH | O_DIRECTORY));
      linked_name = split_path(target).second;
      if (target == path) return {};
    }
    TRY(remove_tree(directory, name));
    parent_path_.clear();
    switch (entry.type) {
      case tar::EntryType::regular:
        return place_file(entry, directory, name, reader);
      case tar::EntryType::hardlink:
        if (::linkat(linked.get(), linked_name.c_str(), directory.get(), name.c_str(), 0) != 0)
          return fail_errno("linking to \"" + entry.link_target + "\"");
        return {};
      case tar::EntryType::symlink:
        if (::symlinkat(entry.link_target.c_str(), directory.get(), name.c_str()) != 0)
          return fail_errno("creating a link");
        break;
      default:
        if (!options_.allow_devices) return fail(ErrorCode::invalid_argument, "a device or FIFO in a build context");
        if (::mknodat(directory.get(), name.c_str(), node_mode(entry),
                      makedev(entry.device_major, entry.device_minor)) != 0)
          return fail_errno("creating a device");
    }
    const FileDescriptor made = TRY(open_file_at(directory, name, O_PATH | O_NOFOLLOW));
    return finish(entry, made);
  }

  /// What a whiteout hides: one name, or everything that lower layers had in the directory.
  Result<void> delete_below(FdRef directory, const std::string& marker) {
    parent_path_.clear();
    if (marker != kOpaque) {
      const std::string name = marker.substr(kWhiteout.size());
      if (name.empty() || name == "." || name == "..") return fail(ErrorCode::corrupt, "a whiteout of no name");
      return remove_tree(directory, name);
    }
    const auto names = TRY(list_directory(directory));
    for (const std::string& name : names) TRY(remove_tree(directory, name));
    return {};
  }

  static mode_t node_mode(const tar::Entry& entry) {
    const mode_t mode = entry.mode & 07777;
    if (entry.type == tar::EntryType::character_device) return S_IFCHR | mode;
    return (entry.type == tar::EntryType::block_device ? S_IFBLK : S_IFIFO) | mode;
  }

  Result<void> place_directory(const tar::Entry& entry, const std::string& path, FdRef directory,
                               const std::string& name) {
    const auto existing = stat_in_root(root_, full(path), FollowLast::no);
    if (!existing || !S_ISDIR(existing->st_mode)) {
      TRY(remove_tree(directory, name));
      if (::mkdirat(directory.get(), name.c_str(), 0755) != 0) return fail_errno("creating a directory");
    }
    const FileDescriptor fd = TRY(open_in_root(root_, full(path), O_RDONLY | O_DIRECTORY));
    directories_.emplace_back(full(path), time_of(entry));
    return finish(entry, fd);
  }

  Result<void> place_file(const tar::Entry& entry, FdRef directory, const std::string& name, tar::Reader& reader) {
    FileDescriptor file = TRY(open_file_at(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
    std::vector<std::byte> buffer(256u << 10);
    while (true) {
      TRY(cancel_.check());
      const std::size_t count = TRY(reader.read(buffer));
      if (count == 0) break;
      TRY(write_all(file, std::string_view(reinterpret_cast<const char*>(buffer.data()), count)));
    }
    return finish(entry, file);
  }

  static timespec time_of(const tar::Entry& entry) {
    return {static_cast<time_t>(entry.mtime_seconds), static_cast<long>(entry.mtime_nanoseconds)};
  }

  Result<void> finish(const tar::Entry& entry, FdRef fd) {
    const bool is_link = entry.type == tar::EntryType::symlink;
    if (options_.keep_owner) {
      const Owner owner = options_.owner.value_or(Owner{entry.uid, entry.gid});
      if (::fchownat(fd.get(), "", owner.uid, owner.gid, AT_EMPTY_PATH) != 0) return fail_errno("changing the owner");
    }
    if (!is_link && ::chmod(descriptor_path(fd).c_str(), entry.mode & 07777) != 0)
      return fail_errno("changing the mode");
    for (const auto& [name, value] : entry.xattrs) {
      const bool wanted = name.starts_with("user.") || name == "security.capability" ||
                          (options_.is_layer && name.starts_with("system.posix_acl_"));
      if (is_link || !options_.keep_owner || !wanted) continue;
      if (::setxattr(descriptor_path(fd).c_str(), name.c_str(), value.data(), value.size(), 0) != 0 && errno != ENOTSUP)
        return fail_errno("setting \"" + name + "\"");
    }
    const timespec times[2] = {time_of(entry), time_of(entry)};
    if (::utimensat(fd.get(), "", times, AT_EMPTY_PATH) != 0) return fail_errno("setting the times");
    return {};
  }

  FdRef root_;
  std::string base_;
  const ExtractOptions& options_;
  const CancelToken& cancel_;
  FileDescriptor parent_;
  std::string parent_path_;
  std::vector<std::pair<std::string, timespec>> directories_;
};

}  // namespace

bool is_tar_header(std::span<const std::byte> block) {
  if (block.size() < kBlock) return false;
  unsigned sum = 0, stored = 0;
  for (std::size_t i = 0; i < kBlock; ++i)
    sum += i >= 148 && i < 156 ? unsigned{' '} : std::to_integer<unsigned>(block[i]);
  for (std::size_t i = 148; i < 156; ++i) {
    const char digit = static_cast<char>(block[i]);
    if (digit == ' ' && stored == 0) continue;
    if (digit < '0' || digit > '7') break;
    stored = stored * 8 + static_cast<unsigned>(digit - '0');
  }
  return stored != 0 && stored == sum;
}

Result<bool> is_archive(FdRef file) {
  const auto raw = make_fd_source(file);
  const auto bytes = make_decompressing_source(*raw);
  std::array<std::byte, kBlock> block{};
  std::size_t filled = 0;
  while (filled < block.size()) {
    const auto count = bytes->read(std::span(block).subspan(filled));
    if (!count) {
      if (count.error().code() == ErrorCode::corrupt) return false;  // looks compressed and is not
      return Failure(count.error());
    }
    if (*count == 0) return false;
    filled += *count;
  }
  return is_tar_header(block);
}

Result<void> extract_archive(FdRef root, const std::string& directory, ByteSource& source,
                             const ExtractOptions& options, const CancelToken& cancel) {
  const auto bytes = make_decompressing_source(source);
  tar::Reader reader(*bytes);
  return Extractor(root, directory, options, cancel).run(reader);
}

}  // namespace dray::builder
