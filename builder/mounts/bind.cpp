// SPDX-License-Identifier: Apache-2.0
// Bind mounts of a RUN step are detached mounts: of the directory itself where it can be shown as it is, else of an
// overlay above it. The overlay's upper directory takes what the step writes, and, for a context with a .dockerignore,
// holds a whiteout for everything hidden: a view that costs a walk of the names, not a copy of the files. Where the
// store has no overlays, it is a copy of what is shown.
#include "mounts/bind.hpp"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>
#include <set>

#include <dray/core/copy_directory.hpp>
#include <dray/core/detached_mount.hpp>
#include <dray/core/rooted_path.hpp>

namespace dray::builder {
namespace {

constexpr std::size_t kMaxDepth = 1000;
constexpr std::uint64_t kReadOnly = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV;

Failure add_source(Error error, const std::string& source) {
  const bool missing = error.code() == ErrorCode::not_found || error.error_number() == ENOTDIR;
  if (missing) return fail(ErrorCode::not_found, "failed to compute cache key: \"" + source + "\": not found");
  return Failure(std::move(error).with_context("mounting \"" + source + "\""));
}

Result<void> copy_owner_and_mode(const struct stat& status, FdRef directory, const std::string& name) {
  if (::fchownat(directory.get(), name.c_str(), status.st_uid, status.st_gid, 0) != 0 ||
      ::fchmodat(directory.get(), name.c_str(), status.st_mode & 07777, 0) != 0)
    return fail_errno("setting the attributes of a view's directory");
  return {};
}

Result<void> copy_times(const struct stat& status, FdRef directory, const std::string& name) {
  const timespec times[2] = {status.st_atim, status.st_mtim};
  if (::utimensat(directory.get(), name.c_str(), times, 0) != 0)
    return fail_errno("setting the times of a view's directory");
  return {};
}

/// Finds what a .dockerignore hides.
class HiddenFiles {
 public:
  HiddenFiles(const IgnorePatterns& ignore, const CancelToken& cancel) : ignore_(ignore), cancel_(cancel) {}
  virtual ~HiddenFiles() = default;

  /// `path`: of `directory` in the context ("" for itself). `hidden`: it is, with what no exception brings back.
  /// Returns whether anything of it is shown.
  Result<bool> walk(FdRef directory, const std::string& path, bool hidden, std::size_t depth) {
    TRY(cancel_.check());
    if (depth > kMaxDepth) return fail(ErrorCode::invalid_argument, "directories too deep: \"" + path + "\"");
    const auto names = TRY_CTX(list_directory(directory), "reading \"" + path + "\"");
    bool shows = !hidden;
    for (const std::string& name : names) {
      const std::string child = path.empty() ? name : path + "/" + name;
      const bool child_shown = TRY(look(directory, name, child, depth));
      if (!child_shown) TRY(hide(child));
      shows = shows || child_shown;
    }
    return shows;
  }

 private:
  Result<bool> look(FdRef directory, const std::string& name, const std::string& child, std::size_t depth) {
    const bool hidden = ignore_.excluded(child);
    struct stat status = {};
    if (::fstatat(directory.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0 && errno != ENOENT)
      return fail_errno("reading \"" + child + "\"");
    if (!S_ISDIR(status.st_mode) || (hidden && !ignore_.may_reinclude(child))) return !hidden;
    const FileDescriptor next = TRY(open_file_at(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    if (::fstat(next.get(), &status) != 0) return fail_errno("reading \"" + child + "\"");
    way_.push_back({name, status});
    const auto shown = walk(next, child, hidden, depth + 1);
    if (shown && *shown) TRY(leave(child));
    way_.pop_back();
    return shown;
  }

 protected:
  struct Directory {
    std::string name;
    struct stat status = {};
  };
  /// All of `path`. What was hidden in it before came first.
  virtual Result<void> hide(const std::string& path) = 0;
  /// Out of a directory of which something is shown; it is still the last of way().
  virtual Result<void> leave(const std::string&) { return {}; }
  const std::vector<Directory>& way() const { return way_; }

 private:
  const IgnorePatterns& ignore_;
  const CancelToken& cancel_;
  std::vector<Directory> way_;  ///< from the context's root to where we are
};

/// Fills an upper directory with the whiteouts of what is hidden, and with the directories on the way to them.
class Whiteouts : public HiddenFiles {
 public:
  Whiteouts(const IgnorePatterns& ignore, FdRef upper, const CancelToken& cancel)
      : HiddenFiles(ignore, cancel), upper_(upper) {}

 private:
  Result<void> hide(const std::string& path) override {
    std::string parent;
    for (std::size_t i = 0; i < way().size(); ++i) {
      parent += (parent.empty() ? "" : "/") + way()[i].name;
      if (i < made_) continue;
      if (::mkdirat(upper_.get(), parent.c_str(), 0700) != 0) return fail_errno("making a view of the context");
      TRY(copy_owner_and_mode(way()[i].status, upper_, parent));
    }
    made_ = way().size();  // deeper ones are left, or hidden now
    // A directory of which something inside was hidden one by one, and nothing is left.
    TRY(remove_tree(upper_, path));
    if (::mknodat(upper_.get(), path.c_str(), S_IFCHR | 0600, 0) != 0)
      return fail_errno("hiding \"" + path + "\" of the context");
    return {};
  }

  Result<void> leave(const std::string& path) override {
    // Last, as what was made in it has changed its times.
    if (made_ >= way().size()) TRY(copy_times(way().back().status, upper_, path));
    made_ = std::min(made_, way().size() - 1);
    return {};
  }

  FdRef upper_;
  std::size_t made_ = 0;  ///< how many directories of the way are in the upper directory
};

/// Notes them.
class HiddenNames : public HiddenFiles {
 public:
  using HiddenFiles::HiddenFiles;
  bool contains(const std::string& path) const { return names_.contains(path); }

 private:
  Result<void> hide(const std::string& path) override {
    names_.insert(path);
    return {};
  }
  std::set<std::string> names_;
};

/// An overlay on the user's directory, which it never writes to.
Result<store::MountRecipe> lay_over(const SourceTree& tree, const std::string& scratch, const struct stat& root,
                                    const CancelToken& cancel) {
  store::MountRecipe recipe;
  // The name of an open directory for overlay: the descriptor's, since any other could lead somewhere else by now.
  recipe.lower.push_back(descriptor_path(tree.root));
  recipe.upper = scratch + "/upper";
  recipe.work = scratch + "/work";
  recipe.is_volatile = true;
  TRY(make_directories(recipe.upper));
  TRY(make_directories(recipe.work));
  const FileDescriptor upper = TRY(open_file(recipe.upper, O_RDONLY | O_DIRECTORY));
  TRY(copy_owner_and_mode(root, upper, "."));
  if (tree.ignore != nullptr && !tree.ignore->empty()) {
    TRY(Whiteouts(*tree.ignore, upper, cancel).walk(tree.root, "", false, 0));
    TRY(copy_times(root, upper, "."));
  }
  return recipe;
}

/// A copy of what is shown of it.
Result<store::MountRecipe> copy_shown(const SourceTree& tree, const std::string& scratch, const CancelToken& cancel) {
  store::MountRecipe recipe;
  recipe.upper = scratch + "/copy";
  TRY(make_directories(recipe.upper));
  const FileDescriptor copy = TRY(open_file(recipe.upper, O_RDONLY | O_DIRECTORY));
  const IgnorePatterns nothing;
  HiddenNames hidden(tree.ignore != nullptr ? *tree.ignore : nothing, cancel);
  TRY(hidden.walk(tree.root, "", false, 0));
  TRY(copy_directory(tree.root, copy, [&](const std::string& path) { return hidden.contains(path); }, cancel));
  return recipe;
}

Result<void> show(BindMount& bind, const std::string& source, bool read_only) {
  if (source != "/") {
    auto inside = open_submount(bind.tree, source);
    if (!inside) return add_source(std::move(inside).error(), source);
    bind.tree = std::move(*inside);
  }
  return set_mount_attributes(bind.tree, read_only ? kReadOnly : std::uint64_t{MOUNT_ATTR_NODEV}, Below::no);
}

}  // namespace

Result<BindMount> bind_layers(store::Store& store, const std::vector<DiffId>& layers, const std::string& source,
                              bool read_only) {
  BindMount bind;
  store::Snapshotter& snapshots = store.snapshots();
  if (read_only) {
    bind.tree = TRY(store::open_mount(TRY(snapshots.view(layers))));
  } else {
    bind.snapshot = std::make_unique<ActiveSnapshot>(snapshots, TRY(snapshots.prepare(layers)));
    bind.tree = TRY(store::open_mount(TRY(snapshots.mount_recipe(bind.snapshot->id(), true))));
  }
  TRY(show(bind, source, read_only));
  return bind;
}

Result<BindMount> bind_directory(store::Store& store, const SourceTree& tree, const std::string& source, bool read_only,
                                 const CancelToken& cancel) {
  BindMount bind;
  if (!tree.root.valid() && source == "/") return bind_layers(store, {}, source, read_only);  // a bare Dockerfile
  if (!tree.root.valid())
    return Failure(
        Error(ErrorCode::not_found, "there is no \"" + source + "\" to mount").with_hint("the build has no context"));
  const bool filtered = tree.ignore != nullptr && !tree.ignore->empty();
  if (read_only && !filtered) {
    const auto place = tree.open(source, O_PATH);
    if (!place) return add_source(place.error(), source);
    bind.tree = TRY(clone_mount_at(*place, Below::yes));
    TRY(set_mount_attributes(bind.tree, kReadOnly, Below::yes));
    return bind;
  }
  struct stat root = {};
  if (::fstat(tree.root.get(), &root) != 0) return fail_errno("reading the context");
  TRY(make_directories(store.root() + "/tmp", 0700));
  bind.scratch = TRY(TempDir::create(store.root() + "/tmp", "mount-"));
  const store::MountRecipe recipe = store.snapshots().driver() == store::StorageDriver::overlay
                                        ? TRY(lay_over(tree, bind.scratch->path(), root, cancel))
                                        : TRY(copy_shown(tree, bind.scratch->path(), cancel));
  bind.tree = TRY_CTX(store::open_mount(recipe), "mounting the context");
  TRY(show(bind, source, read_only));
  return bind;
}

}  // namespace dray::builder
