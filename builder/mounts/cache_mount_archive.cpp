// SPDX-License-Identifier: Apache-2.0
// A cache mount's store as a tar and back. The content is that of whatever the steps ran, so it is hostile: links are
// never followed on the way out, and a tar comes in through the same extractor as ADD's.
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <climits>
#include <map>

#include <dray/builder/cache_mounts.hpp>
#include <dray/core/rooted_path.hpp>
#include <dray/core/tar.hpp>

#include "mounts/held_lock.hpp"
#include "ops/ops.hpp"

namespace dray::builder {
namespace {

constexpr int kMaxDepth = 1000;

class Writer {
 public:
  Writer(ByteSink& sink, const CancelToken& cancel) : tar_(sink), cancel_(cancel) {}

  Result<void> directory(FdRef directory, const std::string& path, int depth) {
    if (depth > kMaxDepth) return fail(ErrorCode::invalid_argument, "directories too deep: \"" + path + "\"");
    for (const std::string& name : TRY_CTX(list_without_links(directory, ""), "reading \"" + path + "\"")) {
      TRY(cancel_.check());
      TRY(entry(directory, name, path.empty() ? name : path + "/" + name, depth));
    }
    return {};
  }
  Result<void> finish() { return tar_.finish(); }

 private:
  Result<void> entry(FdRef directory, const std::string& name, const std::string& path, int depth) {
    struct stat status = {};
    if (::fstatat(directory.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0)
      return fail_errno("reading \"" + path + "\"");
    tar::Entry made = tar::entry_of(path, status);
    if (S_ISDIR(status.st_mode)) {
      TRY(tar_.add(made, nullptr));
      const FileDescriptor next = TRY(open_file_at(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
      return this->directory(next, path, depth + 1);
    }
    if (S_ISLNK(status.st_mode)) {
      std::string target(PATH_MAX, '\0');
      const ssize_t length = ::readlinkat(directory.get(), name.c_str(), target.data(), target.size());
      if (length < 0) return fail_errno("reading \"" + path + "\"");
      made.link_target = target.substr(0, static_cast<std::size_t>(length));
      return tar_.add(made, nullptr);
    }
    if (!S_ISREG(status.st_mode)) return {};  // sockets, pipes and devices hold nothing to keep
    if (status.st_nlink > 1) {
      const auto [first, is_new] = links_.try_emplace(status.st_ino, path);
      if (!is_new) {
        made.type = tar::EntryType::hardlink;
        made.link_target = first->second;
        return tar_.add(made, nullptr);
      }
    }
    const FileDescriptor file = TRY(open_file_at(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
    if (::fstat(file.get(), &status) != 0) return fail_errno("reading \"" + path + "\"");
    made.size = static_cast<std::uint64_t>(status.st_size);
    const auto bytes = make_fd_source(FdRef(file));
    return tar_.add(made, bytes.get());
  }

  tar::Writer tar_;
  const CancelToken& cancel_;
  std::map<ino_t, std::string> links_;
};

std::string path_of(const std::string& root, const std::string& directory) {
  return root + "/cache-mounts/" + directory;
}

}  // namespace

Result<void> export_cache_mount(const std::string& root, const CacheMountInfo& store, ByteSink& sink,
                                const CancelToken& cancel) {
  const FileLock lock =
      TRY(wait_for_named_lock(path_of(root, store.directory) + ".lock", FileLock::Mode::exclusive, {}, cancel));
  const FileDescriptor data = TRY(open_file(path_of(root, store.directory) + "/data", O_RDONLY | O_DIRECTORY));
  Writer writer(sink, cancel);
  TRY(writer.directory(data, "", 0));
  return writer.finish();
}

Result<void> import_cache_mount(const std::string& root, const CacheMountWish& wish, ByteSource& tar,
                                const CancelToken& cancel) {
  CacheMountWish alone = wish;
  alone.sharing = CacheMountWish::Sharing::locked;
  const CacheMount mount = TRY(open_cache_mount(root, alone, {}, {}, cancel));
  // Filled beside the old content, on the same file system, and exchanged with it.
  TempDir fresh = TRY(TempDir::create(root + "/cache-mounts", "new-"));
  const FileDescriptor target = TRY(open_file(fresh.path(), O_RDONLY | O_DIRECTORY));
  const auto bytes = make_decompressing_source(tar);
  TRY_CTX(extract_archive(target, "/", *bytes, {.allow_devices = false}, cancel), "unpacking the cache mount");
  if (::fchown(target.get(), wish.uid, wish.gid) != 0 || ::fchmod(target.get(), wish.mode & 07777) != 0)
    return fail_errno("setting the mode of a cache mount");
  if (::renameat2(AT_FDCWD, fresh.path().c_str(), AT_FDCWD, (path_of(root, mount.directory) + "/data").c_str(),
                  RENAME_EXCHANGE) != 0)
    return fail_errno("replacing the content of a cache mount");
  return {};
}

}  // namespace dray::builder
