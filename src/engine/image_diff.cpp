// SPDX-License-Identifier: Apache-2.0
// Both images are mounted (detached: no path, nothing to leave behind) and walked side by side, one directory entry at
// a time by name beneath its directory's descriptor, links not followed.
#include <dray/engine/image_diff.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <set>

namespace dray::engine {
namespace {

constexpr int kMaxDepth = 1000;

Result<std::set<std::string>> names_in(const FileDescriptor& directory) {
  if (!directory.valid()) return std::set<std::string>();
  const auto names = TRY(list_directory(directory));
  return std::set<std::string>(names.begin(), names.end());
}

Result<std::optional<struct stat>> look(const FileDescriptor& directory, const std::string& name) {
  struct stat status;
  if (!directory.valid()) return std::optional<struct stat>();
  if (::fstatat(directory.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0) return std::optional(status);
  if (errno == ENOENT) return std::optional<struct stat>();
  return fail_errno("reading a file of an image");
}

Result<std::string> link_target(const FileDescriptor& directory, const std::string& name) {
  std::array<char, 4096> target;
  const ssize_t size = ::readlinkat(directory.get(), name.c_str(), target.data(), target.size());
  if (size < 0) return fail_errno("reading a link of an image");
  return std::string(target.data(), static_cast<std::size_t>(size));
}

Result<bool> same_content(const FileDescriptor& from, const FileDescriptor& to, const std::string& name) {
  const FileDescriptor a = TRY(open_file_at(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
  const FileDescriptor b = TRY(open_file_at(to, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
  std::vector<std::byte> left(128 * 1024), right(128 * 1024);
  for (off_t offset = 0;;) {
    const ssize_t got = ::pread(a.get(), left.data(), left.size(), offset);
    if (got < 0) return fail_errno("reading a file of an image");
    if (got == 0) return true;
    for (ssize_t done = 0; done < got;) {
      const ssize_t more = ::pread(b.get(), right.data() + done, static_cast<std::size_t>(got - done), offset + done);
      if (more < 0) return fail_errno("reading a file of an image");
      if (more == 0) return false;
      done += more;
    }
    if (!std::equal(left.begin(), left.begin() + got, right.begin())) return false;
    offset += got;
  }
}

class Walker {
 public:
  explicit Walker(const CancelToken& cancel) : cancel_(cancel) {}
  std::vector<FileChange> changes;

  Result<void> walk(const FileDescriptor& from, const FileDescriptor& to, const std::string& path, int depth) {
    if (depth > kMaxDepth) return fail(ErrorCode::unsupported, "directories nested too deeply: \"" + path + "\"");
    std::set<std::string> names = TRY(names_in(from));
    names.merge(TRY(names_in(to)));
    for (const std::string& name : names) {
      TRY(cancel_.check());
      TRY(compare(from, to, name, path + "/" + name, depth));
    }
    return {};
  }

 private:
  Result<void> compare(const FileDescriptor& from, const FileDescriptor& to, const std::string& name,
                       const std::string& path, int depth) {
    const auto before = TRY(look(from, name)), after = TRY(look(to, name));
    if (!after) {
      changes.push_back({'D', path});
      return {};
    }
    if (!before) {
      changes.push_back({'A', path});
    } else if (TRY(differs(from, to, name, *before, *after))) {
      changes.push_back({'C', path});
    }
    if (!S_ISDIR(after->st_mode)) return {};
    FileDescriptor old_directory;
    if (before && S_ISDIR(before->st_mode))
      old_directory = TRY(open_file_at(from, name, O_PATH | O_DIRECTORY | O_NOFOLLOW));
    const FileDescriptor new_directory = TRY(open_file_at(to, name, O_PATH | O_DIRECTORY | O_NOFOLLOW));
    return walk(old_directory, new_directory, path, depth + 1);
  }

  Result<bool> differs(const FileDescriptor& from, const FileDescriptor& to, const std::string& name,
                       const struct stat& before, const struct stat& after) {
    if (before.st_mode != after.st_mode || before.st_uid != after.st_uid || before.st_gid != after.st_gid) return true;
    if (S_ISCHR(after.st_mode) || S_ISBLK(after.st_mode)) return before.st_rdev != after.st_rdev;
    if (S_ISLNK(after.st_mode)) return TRY(link_target(from, name)) != TRY(link_target(to, name));
    if (!S_ISREG(after.st_mode)) return false;
    if (before.st_size != after.st_size) return true;
    return !TRY(same_content(from, to, name));
  }

  const CancelToken& cancel_;
};

/// An invalid descriptor for an image without layers.
Result<FileDescriptor> mount_image(Context& context, const std::string& name) {
  const store::LoadedImage image = TRY_CTX(context.store->load_image(TRY(context.store->resolve_image(name))), name);
  if (image.config.diff_ids.empty()) return FileDescriptor();
  return store::open_mount(TRY(context.store->snapshots().view(image.config.diff_ids)));
}

}  // namespace

Result<std::vector<FileChange>> diff_images(Context& context, const std::string& from, const std::string& to,
                                            const CancelToken& cancel) {
  const auto lease = TRY(context.store->lease());
  const FileDescriptor before = TRY(mount_image(context, from)), after = TRY(mount_image(context, to));
  Walker walker(cancel);
  TRY(walker.walk(before, after, "", 0));
  return std::move(walker.changes);
}

}  // namespace dray::engine
