// SPDX-License-Identifier: Apache-2.0
// File operations touch directories that are not their subject: they make parents and write into what is there. Their
// times would be the clock's, and the layer another one at each build. So such a time is put back to what the layers
// below have: that of the directory itself or, where it is new, of the nearest one above it that is not.
#include <fcntl.h>
#include <sys/stat.h>

#include <tuple>

#include <dray/core/rooted_path.hpp>

#include "snapshotter_state.hpp"

namespace dray::store {
namespace {

class Settle {
 public:
  Settle(FdRef tree, struct timespec since) : tree_(tree), since_(since) {}

  Result<void> note(const Change& change) {
    if (change.kind == Change::Kind::gone) return {};
    while (!way_.empty() && !is_below(change.path, way_.back().path)) way_.pop_back();
    const struct timespec inherited = change.before.value_or(way_.empty() ? timespec{} : way_.back().time);
    if (S_ISDIR(change.status.st_mode)) way_.push_back({change.path, inherited});
    const struct timespec& time = change.status.st_mtim;
    if (std::tie(time.tv_sec, time.tv_nsec) >= std::tie(since_.tv_sec, since_.tv_nsec))
      touched_.push_back({change.path, inherited});
    return {};
  }

  Result<void> finish() const {
    for (const Place& place : touched_) {
      const auto [directory, name] = split_path(place.path);
      const FileDescriptor parent = TRY(open_without_links(tree_, directory, O_PATH | O_DIRECTORY));
      const struct timespec times[2] = {place.time, place.time};
      if (::utimensat(parent.get(), name.empty() ? "." : name.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0)
        return fail_errno("setting the time of \"" + place.path + "\"");
    }
    return {};
  }

 private:
  struct Place {
    std::string path;
    struct timespec time;
  };
  static bool is_below(const std::string& path, const std::string& directory) {
    return directory.empty() ||
           (path.starts_with(directory) && path.size() > directory.size() && path[directory.size()] == '/');
  }

  FdRef tree_;
  struct timespec since_;
  std::vector<Place> way_;  ///< the directories we are in
  std::vector<Place> touched_;
};

}  // namespace

Result<void> Snapshotter::settle_times(const std::string& id, const struct timespec& since) const {
  const auto active = TRY(SnapshotterAccess::open_active(*this, id));
  Settle settle(active.tree, since);
  TRY(state_->driver->changes(active.path, active.tree, active.stack, SnapshotDriver::Before::yes,
                              [&](const Change& change) { return settle.note(change); }));
  return settle.finish();
}

}  // namespace dray::store
