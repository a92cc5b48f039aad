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
  FdRef root() const { return root_; }  ///< the directory "fs"
  const std::string& name() const { return name_; }
  void release() { name_.clear(); }

 private:
  UnnamedSnapshot() = default;
  FdRef snapshots_;
  std::string name_;
  FileDescriptor root_;
};

struct SnapshotterAccess {
  /// Gives the directory a number and a row. False if the layer exists already (then the directory is
  /// dropped).
  static Result<bool> publish(Snapshotter& snapshotter, UnnamedSnapshot snapshot, const DiffId& diff_id,
                              std::uint64_t size, std::int64_t flags);
  /// Their rows go first, for good: after a power failure a row without its directory would be damage.
  static Result<void> remove_layers(Snapshotter& snapshotter, const std::vector<DiffId>& layers);
};

}  // namespace dray::store
