// SPDX-License-Identifier: Apache-2.0
// See cache_mounts.hpp. A store is made under a name without meaning and renamed; whoever loses that race uses the
// winner's. Removal renames it away first, under the exclusive lock, and removes the lock's file last, so that a waiter
// finds that its lock is of no file any more and takes the next one.
#include <dray/builder/cache_mounts.hpp>

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <charconv>

#include <dray/core/digest.hpp>
#include <dray/core/process.hpp>
#include <dray/core/rooted_path.hpp>
#include <dray/core/tree_size.hpp>

#include "mounts/held_lock.hpp"

namespace dray::builder {
namespace {

constexpr unsigned kMaxCopies = 1024;  // of a private store: as many steps at once
constexpr std::size_t kMaxAbout = 64u << 10;
constexpr std::size_t kShortName = 25;

std::string stores(const std::string& root) { return root + "/cache-mounts"; }
std::string lock_path(const std::string& root, const std::string& name) { return stores(root) + "/" + name + ".lock"; }

/// The default's numbers are not in it, so that it stays the same however they are spelt.
std::string directory_of(const CacheMountWish& wish, unsigned copy) {
  Hasher hasher;
  for (const std::string& field : {wish.id, wish.origin, std::to_string(wish.mode), std::to_string(wish.uid),
                                   std::to_string(wish.gid), std::to_string(copy)}) {
    hasher.update(std::to_string(field.size()) + ":");
    hasher.update(field);
  }
  return hasher.finish().hex();
}

std::string about_text(const CacheMountWish& wish) {
  return "created " + format_time_now() + "\nmode " + std::to_string(wish.mode) + "\nuid " + std::to_string(wish.uid) +
         "\ngid " + std::to_string(wish.gid) + "\nid " + wish.id;
}

/// The id comes last and may hold anything.
CacheMountInfo parse_about(std::string_view text) {
  CacheMountInfo info;
  while (!text.empty()) {
    const std::size_t space = text.find(' ');
    if (space == std::string_view::npos) break;
    const std::string_view key = text.substr(0, space);
    text.remove_prefix(space + 1);
    if (key == "id") {
      info.id = text;
      break;
    }
    const std::string_view value = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(value.size() + 1, text.size()));
    if (key == "created") info.created_at = value;
    std::uint32_t* number = key == "mode" ? &info.mode : key == "uid" ? &info.uid : key == "gid" ? &info.gid : nullptr;
    if (number != nullptr) std::from_chars(value.data(), value.data() + value.size(), *number);
  }
  return info;
}

Result<void> make_store(const std::string& root, const std::string& name, const CacheMountWish& wish,
                        const std::function<Result<void>(FdRef directory)>& fill) {
  TempDir made = TRY(TempDir::create(stores(root), "new-"));
  const FileDescriptor directory = TRY(open_file(made.path(), O_RDONLY | O_DIRECTORY));
  if (::mkdirat(directory.get(), "data", 0755) != 0) return fail_errno("making a cache mount");
  const FileDescriptor data = TRY(open_file_at(directory, "data", O_RDONLY | O_DIRECTORY));
  if (fill) TRY_CTX(fill(data), "filling the cache mount \"" + wish.id + "\"");
  if (::fchown(data.get(), wish.uid, wish.gid) != 0 || ::fchmod(data.get(), wish.mode & 07777) != 0)
    return fail_errno("setting the mode of a cache mount");
  TRY(write_file_atomically(made.path() + "/about", about_text(wish), 0600, Durability::none));
  if (::renameat2(AT_FDCWD, made.path().c_str(), AT_FDCWD, (stores(root) + "/" + name).c_str(), RENAME_NOREPLACE) !=
      0) {
    if (errno == EEXIST || errno == ENOTEMPTY) return {};  // somebody shares it and was first
    return fail_errno("naming a cache mount");
  }
  made.release();
  return {};
}

Result<FileDescriptor> open_data(const std::string& root, const std::string& name) {
  return open_file(stores(root) + "/" + name + "/data", O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
}

Result<CacheMountInfo> describe(const std::string& root, const std::string& name) {
  const std::string path = stores(root) + "/" + name;
  const auto about = open_file(path + "/about", O_RDONLY);
  const bool lost = !about && about.error().code() == ErrorCode::not_found;
  if (!about && !lost) return Failure(about.error());
  struct stat status = {};
  if ((lost ? ::lstat(path.c_str(), &status) : ::fstat(about->get(), &status)) != 0)
    return fail_errno("reading a cache mount");
  CacheMountInfo info;
  if (lost)  // nobody knows what it was; it takes space all the same, and can be pruned
    info.created_at = format_time(status.st_mtim.tv_sec);
  else
    info = parse_about(TRY(read_all(*about, kMaxAbout)));
  info.directory = name;
  info.last_used_at = format_time(status.st_mtim.tv_sec, static_cast<std::uint32_t>(status.st_mtim.tv_nsec));
  const auto data = open_data(root, name);
  if (!data && !lost) return Failure(data.error());
  if (data) info.size = TRY(tree_size(path + "/data", CancelToken()));
  const auto lock = try_named_lock(lock_path(root, name), FileLock::Mode::exclusive);
  info.in_use = lock && !lock->has_value();
  return info;
}

}  // namespace

std::string cache_mount_directory(const CacheMountWish& wish) { return directory_of(wish, 0); }

Result<CacheMount> open_cache_mount(const std::string& root, const CacheMountWish& wish,
                                    const std::function<Result<void>(FdRef directory)>& fill,
                                    const std::function<void()>& waiting, const CancelToken& cancel) {
  using Sharing = CacheMountWish::Sharing;
  TRY(make_directories(stores(root), 0700));
  std::string name = directory_of(wish, 0);
  std::optional<FileLock> lock;
  if (wish.sharing == Sharing::private_copy) {
    for (unsigned copy = 0; copy < kMaxCopies && !lock; ++copy) {
      name = directory_of(wish, copy);
      lock = TRY(try_named_lock(lock_path(root, name), FileLock::Mode::exclusive));
    }
    if (!lock) return fail(ErrorCode::in_use, "the cache mount \"" + wish.id + "\" is used by too many steps at once");
  } else {
    const FileLock::Mode mode = wish.sharing == Sharing::shared ? FileLock::Mode::shared : FileLock::Mode::exclusive;
    lock = TRY(wait_for_named_lock(lock_path(root, name), mode, waiting, cancel));
  }
  auto data = open_data(root, name);
  if (!data && data.error().code() == ErrorCode::not_found) {
    TRY(make_store(root, name, wish, fill));
    data = open_data(root, name);
    if (!data && data.error().code() == ErrorCode::not_found) {  // a store that somebody took the files away from
      const std::string aside = stores(root) + "/old-" + random_hex(12);
      (void)::rename((stores(root) + "/" + name).c_str(), aside.c_str());
      (void)remove_tree(FdRef(AT_FDCWD), aside);
      TRY(make_store(root, name, wish, fill));
      data = open_data(root, name);
    }
  }
  if (!data) return Failure(std::move(data).error().with_context("opening the cache mount \"" + wish.id + "\""));
  (void)::utimensat(AT_FDCWD, (stores(root) + "/" + name + "/about").c_str(), nullptr, 0);  // its last use
  return CacheMount{.directory = std::move(name), .data = std::move(*data), .lock = std::move(*lock)};
}

Result<std::vector<CacheMountInfo>> list_cache_mounts(const std::string& root) {
  std::vector<CacheMountInfo> found;
  for (const std::string& name : list_directory(stores(root)).value_or(std::vector<std::string>())) {
    if (name.size() != 64 || name.find_first_not_of("0123456789abcdef") != std::string::npos) continue;
    auto info = describe(root, name);
    if (info) found.push_back(std::move(*info));  // else removed meanwhile
  }
  std::sort(found.begin(), found.end(), [](const CacheMountInfo& a, const CacheMountInfo& b) {
    return std::tie(a.id, a.directory) < std::tie(b.id, b.directory);
  });
  return found;
}

Result<CacheMountInfo> find_cache_mount(const std::string& root, const std::string& name) {
  std::vector<CacheMountInfo> all = TRY(list_cache_mounts(root)), fitting;
  for (CacheMountInfo& info : all)
    if (info.id == name || (!name.empty() && info.directory.starts_with(name))) fitting.push_back(std::move(info));
  if (fitting.empty()) return fail(ErrorCode::not_found, "no such cache mount: \"" + name + "\"");
  if (fitting.size() == 1) return std::move(fitting.front());
  std::string which;
  for (const CacheMountInfo& info : fitting) which += " " + info.directory.substr(0, kShortName);
  return Failure(Error(ErrorCode::invalid_argument, "several cache mounts have the id \"" + name + "\"")
                     .with_hint("name one by its ID:" + which));
}

Result<void> remove_cache_mount(const std::string& root, const std::string& directory) {
  auto lock = TRY(try_named_lock(lock_path(root, directory), FileLock::Mode::exclusive));
  if (!lock) return fail(ErrorCode::in_use, "the cache mount " + directory.substr(0, kShortName) + " is in use");
  const std::string aside = "old-" + random_hex(12);
  const FileDescriptor parent = TRY(open_file(stores(root), O_RDONLY | O_DIRECTORY));
  if (::renameat(parent.get(), directory.c_str(), parent.get(), aside.c_str()) != 0 && errno != ENOENT)
    return fail_errno("removing a cache mount");
  if (::unlinkat(parent.get(), (directory + ".lock").c_str(), 0) != 0 && errno != ENOENT)
    return fail_errno("removing a cache mount's lock");
  return remove_tree(parent, aside);
}

}  // namespace dray::builder
