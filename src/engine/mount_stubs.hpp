// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <ctime>
#include <string>
#include <vector>

#include <dray/core/fd.hpp>
#include <dray/runtime/spec.hpp>

namespace dray::engine {

/// Mount points that an image lacks. make() creates them before the runtime would and remembers which; remove() takes
/// away those that are still empty and gives their parents the old times, so that a build step leaves no trace of them
/// in its layer.
class MountStubs {
 public:
  explicit MountStubs(FdRef rootfs) : rootfs_(rootfs) {}
  Result<void> make(const std::vector<runtime::Mount>& mounts);
  /// Only where the destination is a symlink to nothing, which the runtime could not mount on.
  Result<void> make_dangling_targets(const std::vector<runtime::Mount>& mounts);
  void remove();

 private:
  struct Stub {
    std::string path;
    bool is_directory = false;
    dev_t device = 0;
    ino_t inode = 0;
    struct timespec parent_before{}, parent_after{};
  };
  Result<void> make_one(const std::string& path, bool is_directory, int depth);
  FdRef rootfs_;
  std::vector<Stub> stubs_;
};

}  // namespace dray::engine
