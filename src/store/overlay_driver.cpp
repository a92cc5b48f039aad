// SPDX-License-Identifier: Apache-2.0
// Layers are stacked by overlayfs. An active snapshot has "upper", which holds its changes and nothing else, so what
// differs from the layers is found without looking at them.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <dray/core/rooted_path.hpp>

#include "layer_format.hpp"
#include "snapshotter_state.hpp"

namespace dray::store {
namespace {

constexpr int kDirectory = O_RDONLY | O_DIRECTORY;

bool is_opaque(FdRef directory) {
  char value = 0;
  return ::fgetxattr(directory.get(), kOpaqueXattr, &value, 1) == 1 && value == 'y';
}

/// A directory is closed while we are in one below it and then opened again, by its whole path, so that depth costs no
/// descriptors.
class UpperWalk {
 public:
  UpperWalk(FdRef upper, FdRef below, const ChangeVisitor& visit) : upper_(upper), below_(below), visit_(visit) {}

  Result<void> directory(const std::string& path, FileDescriptor here) {
    for (const std::string& name : TRY(list_directory(here))) {
      if (!here.valid()) here = TRY(open_without_links(upper_, path, kDirectory));
      Change change;
      change.path = path.empty() ? name : path + "/" + name;
      if (::fstatat(here.get(), name.c_str(), &change.status, AT_SYMLINK_NOFOLLOW) != 0)
        return fail_errno("reading the status of \"" + change.path + "\"");
      if (is_whiteout(change.status)) change.kind = Change::Kind::gone;
      if (!S_ISDIR(change.status.st_mode)) {
        TRY(visit_(change));
        continue;
      }
      FileDescriptor below = TRY(open_file_at(here, name, kDirectory | O_NOFOLLOW));
      here.reset();
      change.is_opaque = is_opaque(below);
      change.before = time_below(change.path);
      TRY(visit_(change));
      TRY(directory(change.path, std::move(below)));
    }
    return {};
  }

 private:
  std::optional<struct timespec> time_below(const std::string& path) const {
    if (!below_.valid()) return std::nullopt;
    const auto old = stat_in_root(below_, "/" + path, FollowLast::no);
    if (!old || !S_ISDIR(old->st_mode)) return std::nullopt;
    return old->st_mtim;
  }

  FdRef upper_, below_;  ///< `below_` is invalid where nobody asks for it, or there are no layers
  const ChangeVisitor& visit_;
};

class OverlayDriver : public SnapshotDriver {
 public:
  explicit OverlayDriver(DriverPlace place) : empty_(place.path + "/" + std::string(kEmptyLayer)) {}
  StorageDriver kind() const override { return StorageDriver::overlay; }
  const WhiteoutForm& whiteouts() const override { return overlay_whiteouts(); }
  std::vector<std::string> parts() const override { return {"upper", "work"}; }

  Result<void> prepare(FdRef directory, const Stack& stack, Durability, const CancelToken&) const override {
    // An overlay shows the upper directory's own attributes as those of the root.
    struct stat root{};
    root.st_mode = 0755;
    if (!stack.layers.empty() && ::stat(stack.layers.front().path.c_str(), &root) != 0)
      return fail_errno("layer " + stack.layers.front().path + " is damaged");
    TRY(make_directory(directory, "work", 0700));
    TRY(make_directory(directory, "upper", 0755));
    if ((root.st_uid != 0 || root.st_gid != 0) &&
        ::fchownat(directory.get(), "upper", root.st_uid, root.st_gid, 0) != 0)
      return fail_errno("changing the owner of a snapshot");
    if ((root.st_mode & 07777) != 0755 && ::fchmodat(directory.get(), "upper", root.st_mode & 07777, 0) != 0)
      return fail_errno("changing the mode of a snapshot");
    const struct timespec times[2] = {root.st_atim, root.st_mtim};
    if (!stack.layers.empty() && ::utimensat(directory.get(), "upper", times, 0) != 0)
      return fail_errno("setting the time of a snapshot");
    return {};
  }

  Result<MountRecipe> writable(const std::string& directory, const Stack& stack, bool is_volatile) const override {
    MountRecipe recipe = TRY(view(stack));
    recipe.upper = directory + "/upper";
    recipe.work = directory + "/work";
    recipe.is_volatile = is_volatile;
    // A volatile overlay leaves a mark that forbids mounting it again, in case the system went down meanwhile.
    // Our snapshots of build steps do not outlive their build, so there the mark says nothing.
    const std::string mark = recipe.work + "/work/incompat";
    if (::access(mark.c_str(), F_OK) == 0) TRY(remove_tree(FdRef(AT_FDCWD), mark));
    return recipe;
  }

  /// An overlay cannot be mounted twice for writing, but its writable layer can be shown as the topmost of a read-only
  /// one.
  Result<MountRecipe> readable(const std::string& directory, const Stack& stack) const override {
    MountRecipe recipe = TRY(view(stack));
    recipe.lower.insert(recipe.lower.begin(), directory + "/upper");
    return recipe;
  }

  Result<MountRecipe> view(const Stack& stack) const override {
    MountRecipe recipe;
    for (const Stack::Layer& layer : stack.layers) recipe.lower.push_back(layer.path);
    // A single layer is shown by a bind mount, which would show its whiteouts; over an empty one an overlay
    // hides them.
    if (recipe.lower.empty() || (recipe.lower.size() == 1 && stack.layers.front().flags != 0))
      recipe.lower.push_back(empty_);
    return recipe;
  }

  Result<void> changes(const std::string&, FdRef tree, const Stack& stack, Before before,
                       const ChangeVisitor& visit) const override {
    const MountRecipe recipe = TRY(view(stack));
    FileDescriptor below;
    if (before == Before::yes && !stack.layers.empty()) below = TRY(open_mount(recipe));
    Change root;
    root.kind = Change::Kind::root;
    struct stat old{};
    if (::fstat(tree.get(), &root.status) != 0 || ::stat(recipe.lower.front().c_str(), &old) != 0)
      return fail_errno("reading the root of a snapshot");
    // The root is in the upper directory always; it is a change only if somebody changed it.
    root.is_changed =
        root.status.st_mode != old.st_mode || root.status.st_uid != old.st_uid || root.status.st_gid != old.st_gid;
    if (below.valid()) root.before = old.st_mtim;
    TRY(visit(root));
    return UpperWalk(tree, below, visit).directory("", TRY(open_without_links(tree, "", kDirectory)));
  }

  Result<std::int64_t> gather(const std::string& directory, const Stack&, FdRef layer) const override {
    const std::string upper = directory + "/upper";
    if (::renameat(AT_FDCWD, upper.c_str(), layer.get(), "fs") != 0) return fail_errno("taking the changes");
    // Whiteouts are assumed: looking for them would cost more than the overlay that hides them.
    return kHasWhiteouts;
  }

  Result<std::vector<std::string>> forget_layer(std::int64_t) const override { return std::vector<std::string>(); }
  Result<std::vector<std::string>> shared_directories() const override { return std::vector<std::string>(); }

 private:
  std::string empty_;
};

}  // namespace

std::unique_ptr<SnapshotDriver> make_overlay_driver(DriverPlace place) {
  return std::make_unique<OverlayDriver>(std::move(place));
}

}  // namespace dray::store
