// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <dray/core/fd.hpp>
#include <dray/core/progress.hpp>
#include <dray/core/stream.hpp>

// The directories of RUN --mount=type=cache: stores with a name, kept below root/cache-mounts from build to build.
//   <directory>/data    what the steps see
//   <directory>/about   its id and how it was made; its mtime is the last use
//   <directory>.lock    flock: shared while a step uses it, exclusive where it is to be alone
// <directory> is a digest of all that tells two stores apart, so that no id, however it is spelt, is a path.
// Process-safe; a killed process leaves no lock, and a half-made store has no name.

namespace dray::builder {

struct CacheMountWish {
  std::string id;
  std::string origin;  ///< digest of the content it starts with; "" = empty
  std::uint32_t mode = 0755, uid = 0, gid = 0;
  enum class Sharing { shared, private_copy, locked } sharing = Sharing::shared;
};

/// The name of the store's directory; of a private one, of the first copy. Two wishes with one name are for one store.
std::string cache_mount_directory(const CacheMountWish& wish);

/// A store in use. `data` is the directory.
struct CacheMount {
  std::string directory;
  FileDescriptor data;
  FileLock lock;
};

struct CacheMountInfo {
  std::string directory;  ///< its ID for users
  std::string id;
  std::string created_at, last_used_at;
  std::uint32_t mode = 0755, uid = 0, gid = 0;
  std::uint64_t size = 0;  ///< bytes on disk
  bool in_use = false;
};

/// Opens the store, made if missing: `fill` gets the new directory. Waits for others as `sharing` says; `waiting` is
/// called once before.
Result<CacheMount> open_cache_mount(const std::string& root, const CacheMountWish& wish,
                                    const std::function<Result<void>(FdRef directory)>& fill,
                                    const std::function<void()>& waiting, const CancelToken& cancel);

Result<std::vector<CacheMountInfo>> list_cache_mounts(const std::string& root);
/// By id or by the beginning of its directory. not_found; invalid_argument if several fit.
Result<CacheMountInfo> find_cache_mount(const std::string& root, const std::string& name);
/// in_use while a step has it.
Result<void> remove_cache_mount(const std::string& root, const std::string& directory);
/// A tar of the files with owners, modes, times, links. Others wait meanwhile, but for those that share it.
Result<void> export_cache_mount(const std::string& root, const CacheMountInfo& store, ByteSink& sink,
                                const CancelToken& cancel);
/// Replaces the content of the store `wish` names by a tar's (compressed or not), all or nothing.
Result<void> import_cache_mount(const std::string& root, const CacheMountWish& wish, ByteSource& tar,
                                const CancelToken& cancel);

}  // namespace dray::builder
