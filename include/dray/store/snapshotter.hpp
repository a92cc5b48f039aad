// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <time.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <dray/core/digest.hpp>
#include <dray/core/fd.hpp>
#include <dray/core/progress.hpp>
#include <dray/core/stream.hpp>
#include <dray/store/database.hpp>

namespace dray::store {

/// How a store keeps layers and the file systems made of them. overlay: one directory a layer, stacked by overlayfs.
/// vfs: the same directories, stacked by copying, for file systems that overlayfs cannot write to.
enum class StorageDriver { overlay, vfs };
std::string_view name_of(StorageDriver driver);
/// "overlay" (also Docker's "overlay2") or "vfs".
Result<StorageDriver> parse_storage_driver(const std::string& name);
/// A driver that somebody asked for, and where (for errors).
struct DriverWish {
  DriverWish(StorageDriver wished, std::string from = "--storage-driver") : driver(wished), source(std::move(from)) {}
  StorageDriver driver;
  std::string source;
};

/// What to mount to see a stack of layers: how, never where the layers are.
/// open_mount() turns it into a detached mount: no path, no entry in any mount table, gone when the descriptor closes —
/// so a killed process leaves no mount behind. The runtime attaches it in the container's mount namespace.
struct MountRecipe {
  std::vector<std::string> lower;  ///< topmost first; private to the store
  std::string upper, work;         ///< empty = read-only view; `upper` without `lower`: that directory, writable
  bool is_volatile = false;        ///< overlay's "volatile": no sync on unmount (build steps)
};

/// fsopen/fsconfig/fsmount; on kernels whose overlay lacks `lowerdir+` (< 6.5) through mount(2) in a private mount
/// namespace and open_tree(OPEN_TREE_CLONE). The descriptor can be used as a root for rooted_path.hpp and given to
/// runtime::launch.
Result<FileDescriptor> open_mount(const MountRecipe& recipe);

/// What unpack() found out about a layer.
struct UnpackedLayer {
  DiffId diff_id;
  std::uint64_t size = 0;  ///< bytes of file content
};

/// root/snapshots/<n>/fs, one directory a layer, keyed by diffID; root/snapshots/<n>/ with the driver's own parts for
/// an active snapshot (a container's or build step's writable layer). A directory gets its row in the database only
/// when complete and verified; a directory without a row is garbage. Thread-safe, process-safe.
class Snapshotter {
 public:
  /// `wish` decides for a new store, and is an error for one that has another driver. Without it a new store gets
  /// overlay where overlayfs can write, else vfs; that there is no overlayfs at all is an error.
  static Result<std::shared_ptr<Snapshotter>> open(const std::string& directory, std::shared_ptr<Database> db,
                                                   std::optional<DriverWish> wish = {});
  ~Snapshotter();
  StorageDriver driver() const;
  /// Why the new store that this opening made has vfs, unasked; else "".
  const std::string& fallback_reason() const;

  bool contains(const DiffId& diff_id) const;

  /// Extracts a layer (any compression) into its own directory while `blob` is read; verifies `expected` before it gets
  /// its name (corrupt otherwise, nothing left). Whiteouts take the driver's form. Hostile entries (.., absolute,
  /// through symlinks, hard links outside) are refused with their names. Already present = blob is drained and true
  /// success.
  Result<UnpackedLayer> unpack(ByteSource& blob, const DiffId& expected);

  /// A new writable snapshot on the stack `layers` (bottom first). Returns its id. `durability`: whether what is copied
  /// for it shall survive a power failure.
  Result<std::string> prepare(const std::vector<DiffId>& layers, Durability durability = Durability::none,
                              const CancelToken& cancel = kNeverCancelled);
  /// The recipe of an active snapshot / of a read-only view of a stack.
  Result<MountRecipe> mount_recipe(const std::string& id, bool is_volatile = false) const;
  Result<MountRecipe> view(const std::vector<DiffId>& layers) const;
  /// A read-only view of an active snapshot as it is now; it may be mounted for writing meanwhile.
  Result<MountRecipe> view_active(const std::string& id) const;
  /// The directories of an active snapshot; the first takes up its writable layer's room.
  std::vector<std::string> directories_of(const std::string& id) const;
  /// Removes an active snapshot; absent = success. In-flight mounts of it must be gone.
  Result<void> remove(const std::string& id);

  /// Writes the changes of active snapshot `id` as a deterministic layer tar (sorted, whiteouts in OCI form;
  /// timestamps kept as they are) to `sink`. `empty` is set when nothing changed.
  struct DiffSummary {
    bool empty = true;
    std::uint64_t files = 0, bytes = 0;
    std::int64_t newest = 0;  ///< the latest time of an entry (seconds), those in the future left out
  };
  Result<DiffSummary> write_diff(const std::string& id, ByteSink& sink, const CancelToken& cancel) const;
  /// In an active snapshot: times of changed files and directories from `since` on are put back to what the layers have
  /// there (a new one: to its parent's; without layers: 1970), so that equal file operations make equal layers.
  Result<void> settle_times(const std::string& id, const struct timespec& since) const;
  /// Turns active snapshot `id` into the layer `diff_id` (the digest of what write_diff wrote). If that layer exists
  /// already, the active one is dropped.
  Result<void> commit(const std::string& id, const DiffId& diff_id);

  /// Makes all layers survive a power failure: one syncfs, if any layer is new since the last call. Until then a layer
  /// is true for this boot only (kill -9 loses nothing; after a power failure it counts as absent). Store::put_image
  /// calls it.
  Result<void> make_durable();

  /// Bytes on disk of a layer.
  Result<std::uint64_t> layer_size(const DiffId& diff_id) const;
  Result<void> remove_layer(const DiffId& diff_id);
  Result<std::vector<DiffId>> list_layers() const;
  Result<std::vector<std::string>> list_active() const;
  /// The kernel's name for the running boot; empty where it cannot be read.
  const std::string& boot_id() const;
  /// Removes directories without a row (left by kill -9). Caller holds the store's exclusive lock.
  Result<std::uint64_t> remove_orphans();
  /// Names in the snapshots' directory that belong to layers, or to no single one.
  Result<std::set<std::string>> lasting_directories() const;

 private:
  friend struct SnapshotterAccess;
  struct State;
  explicit Snapshotter(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace dray::store
