// SPDX-License-Identifier: Apache-2.0
// File operations touch directories that are not their subject: they make parents and write into what is there. Their
// times would be the clock's, and the layer another one at each build. So such a time is put back to what the layers
// below have: that of the directory itself or, where it is new, of the nearest one above it that is not.
#include <fcntl.h>
#include <sys/stat.h>

#include <dray/core/rooted_path.hpp>

#include "layer_format.hpp"
#include "snapshotter_state.hpp"

namespace dray::store {
namespace {

struct Settle {
  FdRef upper, below;  ///< `below` is invalid where there are no layers
  struct timespec since;

  Result<void> directory(const std::string& path, struct timespec inherited, int depth) const {
    if (depth > 2048) return fail(ErrorCode::invalid_argument, "directories nested too deeply");
    const FileDescriptor fd = TRY(open_beneath(upper, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    if (below.valid()) {
      const auto old = stat_in_root(below, "/" + path, FollowLast::no);
      if (old && S_ISDIR(old->st_mode)) inherited = old->st_mtim;
    }
    const auto names = TRY_CTX(list_directory(fd), "\"" + path + "\"");
    for (const std::string& name : names) {
      struct stat status;
      if (::fstatat(fd.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) return fail_errno("\"" + name + "\"");
      if (S_ISDIR(status.st_mode)) {
        TRY(directory(path == "." ? name : path + "/" + name, inherited, depth + 1));
      } else if (!is_whiteout(status) && touched(status)) {
        TRY(set(fd, name, inherited));
      }
    }
    struct stat status;
    if (::fstat(fd.get(), &status) != 0) return fail_errno("\"" + path + "\"");
    return touched(status) ? set(fd, ".", inherited) : Result<void>();
  }

  bool touched(const struct stat& status) const {
    const auto& time = status.st_mtim;
    return std::tie(time.tv_sec, time.tv_nsec) >= std::tie(since.tv_sec, since.tv_nsec);
  }
  static Result<void> set(FdRef directory, const std::string& name, struct timespec time) {
    const struct timespec times[2] = {time, time};
    if (::utimensat(directory.get(), name.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0)
      return fail_errno("setting the time of \"" + name + "\"");
    return {};
  }
};

}  // namespace

Result<void> Snapshotter::settle_times(const std::string& id, const std::vector<DiffId>& layers,
                                       const struct timespec& since) const {
  const MountRecipe recipe = TRY(mount_recipe(id));
  const FileDescriptor upper = TRY_CTX(open_file(recipe.upper, O_RDONLY | O_DIRECTORY), "snapshot " + id);
  FileDescriptor below;
  if (!layers.empty()) {
    const MountRecipe stack = TRY(view(layers));
    below = TRY(open_mount(stack));
  }
  return Settle{upper, below, since}.directory(".", {}, 0);
}

}  // namespace dray::store
