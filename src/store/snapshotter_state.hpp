// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <mutex>

#include <dray/store/snapshotter.hpp>

namespace dray::store {

/// Shared by snapshotter.cpp, unpack.cpp and diff.cpp.
struct Snapshotter::State {
  std::string path;          ///< root/snapshots
  FileDescriptor directory;  ///< of the same
  std::shared_ptr<Database> db;
  std::string boot;  ///< boot ID, see schema.cpp
  std::mutex mutex;
  std::map<std::string, std::uint64_t> diff_bytes;  ///< what write_diff counted, for commit
};

/// Facts about a layer that decide how it may be mounted (column `flags`).
inline constexpr std::int64_t kHasWhiteouts = 1;   ///< not to be shown without an overlay
inline constexpr std::int64_t kHasOpaqueRoot = 2;  ///< hides all layers below

/// A directory that is being filled: snapshots/new-<random>/fs. Removed by the destructor unless published.
class UnnamedSnapshot {
 public:
  static Result<UnnamedSnapshot> create(FdRef snapshots);
  UnnamedSnapshot(UnnamedSnapshot&& other) noexcept
      : snapshots_(other.snapshots_), name_(std::exchange(other.name_, {})), root_(std::move(other.root_)) {}
  ~UnnamedSnapshot();
  FdRef root() const { return root_; }  ///< the directory "fs", until close()
  void close() { root_.reset(); }
  const std::string& name() const { return name_; }
  void release() { name_.clear(); }

 private:
  UnnamedSnapshot() = default;
  FdRef snapshots_;
  std::string name_;
  FileDescriptor root_;
};

/// A layer's files, not yet a layer: whoever has them says by what diffID.
struct ExtractedLayer {
  UnnamedSnapshot snapshot;
  std::uint64_t size = 0;  ///< bytes of file content
  std::int64_t flags = 0;
};

struct SnapshotterAccess {
  /// Reads to the end-of-archive mark of an uncompressed tar; what follows is the caller's.
  static Result<ExtractedLayer> extract(Snapshotter& snapshotter, ByteSource& tar);
  /// Gives the directory a number and a row. False if the layer exists already (then the directory is
  /// dropped).
  static Result<bool> publish(Snapshotter& snapshotter, ExtractedLayer layer, const DiffId& diff_id);
  /// Their rows go first, for good: after a power failure a row without its directory would be damage.
  static Result<void> remove_layers(Snapshotter& snapshotter, const std::vector<DiffId>& layers);
};

}  // namespace dray::store
