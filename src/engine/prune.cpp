// SPDX-License-Identifier: Apache-2.0
// `system prune`, and with it the collection of what killed processes left behind. What has no owner is told from what
// is being made right now by the store's lock: makers hold a lease, collect_garbage gets through only when there is
// none. A directory or snapshot that was seen before that moment and has no owner after it is a leftover.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include <dray/runtime/cgroup.hpp>

#include "build_executor.hpp"
#include "container_state.hpp"
#include "images_private.hpp"
#include "prune_kinds.hpp"

namespace dray::engine {
namespace {

std::vector<std::string> directory_names(const std::string& path) {
  return list_directory(path).value_or(std::vector<std::string>());
}

Result<void> remove_unowned(const std::string& parent, const std::vector<std::string>& seen,
                            const std::set<std::string>& owned) {
  auto directory = open_file(parent, O_PATH | O_DIRECTORY);
  if (!directory) return {};
  for (const auto& name : seen) {
    if (!owned.contains(name)) TRY(remove_tree(*directory, name));
  }
  return {};
}

/// Directories that only a running build has: those there before the moment when nobody worked.
struct BuildLeftovers {
  std::string root;
  std::vector<std::string> temporary, stores, locks;

  explicit BuildLeftovers(std::string store) : root(std::move(store)) {
    temporary = directory_names(root + "/tmp");
    locks = directory_names(root + "/build-locks");
    for (std::string& name : directory_names(root + "/cache-mounts"))
      if (name.starts_with("new-") || name.starts_with("old-")) stores.push_back(std::move(name));
  }
  Result<void> remove() const {
    TRY(remove_unowned(root + "/tmp", temporary, {}));
    TRY(remove_unowned(root + "/cache-mounts", stores, {}));
    for (const std::string& name : locks) {
      const std::string path = root + "/build-locks/" + name;
      const auto lock = FileLock::try_acquire(path, FileLock::Mode::exclusive);  // a build of now may have its name
      if (lock) (void)::unlink(path.c_str());
    }
    return {};
  }
};

}  // namespace

Result<PruneReport> prune(Context& context, PruneImages which) {
  PruneReport report;
  report.containers = TRY(remove_stopped_containers(context, {})).names;
  report.images = TRY(forget_unused_images(context, which, {}));
  TRY(context.store->clear_build_cache());

  const std::string& root = context.configuration.root;
  auto directories = directory_names(root + "/containers");
  auto states = directory_names(context.configuration.state + "/containers");
  const std::string builds = context.configuration.state + "/builds";
  auto dead_builds = directory_names(builds);
  auto volumes = directory_names(root + "/volumes");
  const BuildLeftovers leftovers(root);
  std::set<std::string> ids;
  auto remove_dead_snapshots = [&]() -> Result<void> {
    std::set<std::string> used;
    bool all_read = true;
    for (const auto& name : TRY(all_names(context))) {
      ids.insert(name.id);
      auto record = read_record(context, name);
      if (record) used.insert(record->snapshot);
      all_read = all_read && record.has_value();
    }
    if (!all_read) return {};  // a container whose record cannot be read may own any of them
    for (const auto& snapshot : TRY(context.store->snapshots().list_active()))
      if (!used.contains(snapshot)) TRY(context.store->snapshots().remove(snapshot));
    return {};
  };
  auto layers = TRY(layers_in_use(context));
  store::Store::GarbageReport garbage = TRY(context.store->collect_garbage(layers, remove_dead_snapshots));

  std::set<std::string> named_volumes;
  auto known_volumes = TRY(list_volumes(context));
  for (const auto& volume : known_volumes) named_volumes.insert(volume.name);
  TRY(remove_unowned(root + "/containers", directories, ids));
  TRY(remove_unowned(context.configuration.state + "/containers", states, ids));
  TRY(remove_unowned(root + "/volumes", volumes, named_volumes));
  // Build steps seen before the moment when nobody worked are dead; those that are there now and were not then are at
  // work.
  auto builds_directory = open_file(builds, O_PATH | O_DIRECTORY);
  for (const auto& build : directory_names(builds)) {
    if (std::find(dead_builds.begin(), dead_builds.end(), build) == dead_builds.end()) {
      continue;
    }
    const auto cgroup = read_file(builds + "/" + build + "/" + kCgroupFile, 4096);
    TRY(runtime::destroy_cgroup(cgroup ? *cgroup : "dray/" + build));
    if (builds_directory) TRY(remove_tree(*builds_directory, build));
  }
  TRY(leftovers.remove());
  TRY(network::withdraw_stale_ports());
  report.bytes = garbage.bytes;
  return report;
}

}  // namespace dray::engine
