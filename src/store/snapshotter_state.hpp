// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <mutex>

#include "early_sync.hpp"
#include "snapshot_driver.hpp"

namespace dray::store {

/// Shared by snapshotter.cpp, unpack.cpp, diff.cpp and settle_times.cpp.
struct Snapshotter::State {
  std::string path;          ///< root/snapshots
  FileDescriptor directory;  ///< of the same
  std::shared_ptr<Database> db;
  std::string boot;  ///< boot ID, see schema.cpp
  std::unique_ptr<SnapshotDriver> driver;
  std::string fallback_reason;
  std::mutex mutex;
  std::map<std::string, std::uint64_t> diff_bytes;  ///< what write_diff counted, for commit
  EarlySync early_sync;
};

/// A directory that is being filled: snapshots/new-<random>. Removed by the destructor unless published.
class UnnamedSnapshot {
 public:
  static Result<UnnamedSnapshot> create(FdRef snapshots);
  UnnamedSnapshot(UnnamedSnapshot&& other) noexcept
      : snapshots_(other.snapshots_), name_(std::exchange(other.name_, {})), directory_(std::move(other.directory_)) {}
  ~UnnamedSnapshot();
  FdRef directory() const { return directory_; }  ///< until close()
  void close() { directory_.reset(); }
  const std::string& name() const { return name_; }
  /// Gives it a name, whatever had that name before, and commits the transaction that says so: both or neither.
  Result<void> publish(const std::string& name, Database::Transaction& transaction);

 private:
  UnnamedSnapshot() = default;
  FdRef snapshots_;
  std::string name_;
  FileDescriptor directory_;
};

/// What can be removed goes at once; the rest is left without a name that means anything.
void discard(FdRef snapshots, const std::string& name);
/// mkdir and chmod: the umask has no say.
Result<void> make_directory(FdRef directory, const std::string& name, unsigned mode);

/// A layer's files in "fs", not yet a layer: whoever has them says by what diffID.
struct ExtractedLayer {
  UnnamedSnapshot snapshot;
  std::uint64_t size = 0;  ///< bytes of file content
  std::int64_t flags = 0;
};

struct SnapshotterAccess {
  /// The layers of `layers` (bottom first) as they are to be stacked.
  static Result<Stack> stack_of(const Snapshotter& snapshotter, const std::vector<DiffId>& layers);
  /// An active snapshot with what its driver needs.
  struct Active {
    std::string path;
    std::vector<DiffId> parents;
    Stack stack;
    FileDescriptor tree;  ///< the first of its parts
  };
  static Result<Active> open_active(const Snapshotter& snapshotter, const std::string& id);
  /// Reads to the end-of-archive mark of an uncompressed tar; what follows is the caller's.
  static Result<ExtractedLayer> extract(Snapshotter& snapshotter, ByteSource& tar);
  /// Gives the directory a number and a row, in place of the active snapshot `former` ("" = none). False if the layer
  /// exists already (then the directory is dropped).
  static Result<bool> publish(Snapshotter& snapshotter, ExtractedLayer layer, const DiffId& diff_id,
                              const std::string& former = "");
  /// Has the kernel write to the disk what was made up to now. Returns at once.
  static void sync_early(const Snapshotter& snapshotter);
  /// After a sync that failed, what became of the layers since the last good one is anybody's guess, and the kernel
  /// tells each error once: no later sync may call them durable.
  static void forget_pending(Database& db, const std::string& boot);
  /// syncfs, and forget_pending() where it fails.
  static Result<void> sync(FdRef directory, Database& db, const std::string& boot);
  /// Their rows go first, for good: after a power failure a row without its directory would be damage.
  static Result<void> remove_layers(Snapshotter& snapshotter, const std::vector<DiffId>& layers);
};

}  // namespace dray::store
