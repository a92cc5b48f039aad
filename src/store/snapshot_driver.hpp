// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <dray/store/snapshotter.hpp>

#include "whiteouts.hpp"

namespace dray::store {

/// Facts about a layer that decide how it may be mounted (column `flags`).
inline constexpr std::int64_t kHasWhiteouts = 1;   ///< not to be shown as it is
inline constexpr std::int64_t kHasOpaqueRoot = 2;  ///< hides all layers below

/// Layers, topmost first, each once, none below one that hides all.
struct Stack {
  struct Layer {
    std::int64_t id = 0;
    std::string path;  ///< snapshots/<id>/fs
    std::int64_t flags = 0;
  };
  std::vector<Layer> layers;
};

/// One difference of an active snapshot from the layers below it.
struct Change {
  enum class Kind {
    root,   ///< the root directory: always the first; `is_changed` says whether it differs in owner or mode
    entry,  ///< new or changed, or a directory on the way to such a one
    gone
  };
  Kind kind = Kind::entry;
  std::string path;  ///< beneath the root; "" is the root
  struct stat status = {};
  bool is_changed = true;
  bool is_opaque = false;                 ///< a directory that hides what the layers have in its place
  std::optional<struct timespec> before;  ///< time of the layers' directory of that name, if asked for
};
/// Parents come before what is in them; in a directory, the names in the order of their bytes.
using ChangeVisitor = std::function<Result<void>(const Change& change)>;

/// What differs between the ways to keep layers and stacks of them. Rows, numbers, and the order in which directories
/// get their names are the Snapshotter's. Thread-safe.
class SnapshotDriver {
 public:
  virtual ~SnapshotDriver() = default;
  virtual StorageDriver kind() const = 0;
  virtual const WhiteoutForm& whiteouts() const = 0;

  /// The names an active snapshot's directory has; the first holds what its user writes.
  virtual std::vector<std::string> parts() const = 0;
  /// Fills the new directory of an active snapshot.
  virtual Result<void> prepare(FdRef directory, const Stack& stack, Durability durability,
                               const CancelToken& cancel) const = 0;
  /// `directory`: the path of an active snapshot's.
  virtual Result<MountRecipe> writable(const std::string& directory, const Stack& stack, bool is_volatile) const = 0;
  virtual Result<MountRecipe> readable(const std::string& directory, const Stack& stack) const = 0;
  virtual Result<MountRecipe> view(const Stack& stack) const = 0;

  enum class Before { no, yes };
  /// `tree`: the first of parts().
  virtual Result<void> changes(const std::string& directory, FdRef tree, const Stack& stack, Before before,
                               const ChangeVisitor& visit) const = 0;
  /// Makes the layer that an active snapshot's changes are: the directory "fs" in the new directory `layer`. Returns
  /// the layer's flags. The active snapshot may be of no use afterwards.
  virtual Result<std::int64_t> gather(const std::string& directory, const Stack& stack, FdRef layer) const = 0;

  /// In the transaction in which the layer `id` loses its row: what else then has to go (names in snapshots/).
  virtual Result<std::vector<std::string>> forget_layer(std::int64_t id) const = 0;
  /// Names in snapshots/ that belong to no single layer or active snapshot.
  virtual Result<std::vector<std::string>> shared_directories() const = 0;
};

/// What the drivers need of the Snapshotter.
struct DriverPlace {
  std::string path;  ///< root/snapshots
  FdRef directory;   ///< of the same
  std::shared_ptr<Database> db;
  std::string boot;
};
std::unique_ptr<SnapshotDriver> make_overlay_driver(DriverPlace place);
std::unique_ptr<SnapshotDriver> make_vfs_driver(DriverPlace place);

struct DriverChoice {
  StorageDriver driver = StorageDriver::overlay;
  std::string refusal;  ///< what overlayfs said, if it is vfs
};
/// What a new store in `snapshots` (an open directory, its path) is to use: overlay, if overlayfs can write there.
Result<DriverChoice> choose_driver(FdRef directory, const std::string& path);

inline constexpr std::string_view kEmptyLayer = "empty";  ///< the directory that is shown for "no layers"

}  // namespace dray::store
