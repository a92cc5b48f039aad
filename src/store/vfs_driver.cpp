// SPDX-License-Identifier: Apache-2.0
// No overlayfs: an active snapshot is a whole copy of what its layers show ("root"), with a record of its files beside
// it
// ("baseline") that tells later what was changed. Layers are unpacked one by one as in an overlay store, with whiteouts
// that are plain files.
//
// A view of several layers is a directory made of hard links to the layers' files, which nobody writes to: the mount is
// read-only. It is kept as "stack-<hash of the layers' numbers>" until one of its layers goes, and believed for one
// boot, since nothing syncs it. Killed while it is made: a directory without a row, garbage.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <dray/core/rooted_path.hpp>

#include "merge_layers.hpp"
#include "snapshotter_state.hpp"
#include "vfs_baseline.hpp"
#include "vfs_changes.hpp"

namespace dray::store {
namespace {

constexpr const char* kTree = "root";
constexpr const char* kBaseline = "baseline";

Result<FileDescriptor> make_tree(FdRef parent, const std::string& name) {
  TRY(make_directory(parent, name, 0755));
  return open_file_at(parent, name, O_RDONLY | O_DIRECTORY);
}

/// Builds a layer of an active snapshot's changes: its files get a second name there.
class Gathering {
 public:
  Gathering(FdRef tree, FdRef layer) : tree_(tree), layer_(layer), copier_(layer, EntryCopier::Files::link) {}

  Result<void> add(const Change& change) {
    const auto [directory, name] = split_path(change.path);
    if (change.kind == Change::Kind::root) {
      directories_.push_back({"", change.status});
      return {};
    }
    const FileDescriptor parent = TRY(open_without_links(layer_, directory, O_RDONLY | O_DIRECTORY));
    if (change.kind == Change::Kind::gone) {
      flags_ = kHasWhiteouts;
      return plain_whiteouts().hide(parent, name);
    }
    if (S_ISSOCK(change.status.st_mode)) return {};  // as in the layer's tar
    if (!S_ISDIR(change.status.st_mode)) {
      const FileDescriptor source = TRY(open_without_links(tree_, directory, O_RDONLY | O_DIRECTORY));
      return copier_.add(source, name, change.status, parent, change.path);
    }
    TRY(make_directory(parent, name, 0700));
    directories_.push_back({change.path, change.status});
    if (!change.is_opaque) return {};
    flags_ = kHasWhiteouts;
    return plain_whiteouts().make_opaque(parent, name);
  }

  Result<std::int64_t> finish() {
    for (auto made = directories_.rbegin(); made != directories_.rend(); ++made) {
      const FileDescriptor source = TRY(open_without_links(tree_, made->path, O_RDONLY | O_DIRECTORY));
      const FileDescriptor target = TRY(open_without_links(layer_, made->path, O_RDONLY | O_DIRECTORY));
      TRY(copy_attributes(source, target, made->status));
    }
    return flags_;
  }

 private:
  struct Directory {
    std::string path;
    struct stat status;
  };
  FdRef tree_, layer_;
  EntryCopier copier_;
  std::vector<Directory> directories_;
  std::int64_t flags_ = 0;
};

class VfsDriver : public SnapshotDriver {
 public:
  explicit VfsDriver(DriverPlace place) : place_(std::move(place)) {}
  StorageDriver kind() const override { return StorageDriver::vfs; }
  const WhiteoutForm& whiteouts() const override { return plain_whiteouts(); }
  std::vector<std::string> parts() const override { return {kTree, kBaseline}; }

  Result<void> prepare(FdRef directory, const Stack& stack, Durability durability,
                       const CancelToken& cancel) const override {
    const FileDescriptor tree = TRY(make_tree(directory, kTree));
    TRY(merge_layers(stack, tree, EntryCopier::Files::copy, cancel));
    const struct timespec none[2] = {};  // no layers' root has no time
    if (stack.layers.empty() && ::futimens(tree.get(), none) != 0) return fail_errno("setting the time of a snapshot");
    TRY(write_baseline(tree, directory, kBaseline));
    // Of an overlay a power failure takes what was written last; here it would take files of the image.
    if (durability == Durability::none) return {};
    return SnapshotterAccess::sync(directory, *place_.db, place_.boot);
  }

  Result<MountRecipe> writable(const std::string& directory, const Stack&, bool) const override {
    MountRecipe recipe;
    recipe.upper = directory + "/" + kTree;
    return recipe;
  }
  Result<MountRecipe> readable(const std::string& directory, const Stack&) const override {
    return shown(directory + "/" + kTree);
  }

  Result<MountRecipe> view(const Stack& stack) const override {
    if (stack.layers.empty()) return shown(place_.path + "/" + std::string(kEmptyLayer));
    if (stack.layers.size() == 1 && stack.layers.front().flags == 0) return shown(stack.layers.front().path);
    std::string numbers = " ";
    for (const Stack::Layer& layer : stack.layers) numbers += std::to_string(layer.id) + " ";
    const std::string name = "stack-" + Digest::of(numbers).hex().substr(0, 32);
    if (!TRY(is_merged(name))) {
      UnnamedSnapshot merged = TRY(UnnamedSnapshot::create(place_.directory));
      const FileDescriptor tree = TRY(make_tree(merged.directory(), kTree));
      TRY_CTX(merge_layers(stack, tree, EntryCopier::Files::link, kNeverCancelled), "merging layers");
      auto transaction = TRY(Database::begin(place_.db));
      if (!TRY(is_merged(name))) {  // else somebody was faster
        TRY(place_.db->execute("INSERT OR REPLACE INTO merged_stacks(name, layers, boot) VALUES(?, ?, ?)",
                               {name, numbers, place_.boot}));
        TRY(merged.publish(name, transaction));
      }
    }
    return shown(place_.path + "/" + name + "/" + kTree);
  }

  Result<void> changes(const std::string& directory, FdRef tree, const Stack&, Before,
                       const ChangeVisitor& visit) const override {
    return walk_changes(tree, directory + "/" + kBaseline, visit);
  }

  Result<std::int64_t> gather(const std::string& directory, const Stack&, FdRef layer) const override {
    const FileDescriptor tree = TRY(open_file(directory + "/" + kTree, O_RDONLY | O_DIRECTORY));
    const FileDescriptor fs = TRY(make_tree(layer, "fs"));
    Gathering gathering(tree, fs);
    TRY(walk_changes(tree, directory + "/" + kBaseline, [&](const Change& change) { return gathering.add(change); }));
    return gathering.finish();
  }

  Result<std::vector<std::string>> forget_layer(std::int64_t id) const override {
    return names(TRY(place_.db->query("DELETE FROM merged_stacks WHERE instr(layers, ?) > 0 RETURNING name",
                                      {" " + std::to_string(id) + " "})));
  }
  Result<std::vector<std::string>> shared_directories() const override {
    return names(TRY(place_.db->query("SELECT name FROM merged_stacks WHERE boot = ?", {place_.boot})));
  }

 private:
  static MountRecipe shown(std::string path) {
    MountRecipe recipe;
    recipe.lower.push_back(std::move(path));
    return recipe;
  }
  static std::vector<std::string> names(const std::vector<Row>& rows) {
    std::vector<std::string> names;
    for (const Row& row : rows) names.push_back(row.text(0));
    return names;
  }
  Result<bool> is_merged(const std::string& name) const {
    const auto rows =
        TRY(place_.db->query("SELECT 1 FROM merged_stacks WHERE name = ? AND boot = ?", {name, place_.boot}));
    return !rows.empty();
  }

  DriverPlace place_;
};

}  // namespace

std::unique_ptr<SnapshotDriver> make_vfs_driver(DriverPlace place) {
  return std::make_unique<VfsDriver>(std::move(place));
}

}  // namespace dray::store
