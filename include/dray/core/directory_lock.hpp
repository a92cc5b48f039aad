// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <dray/core/fd.hpp>

namespace dray {

/// flock(2) on a directory itself, exclusive, while the object lives: no lock file that is left, or removed while
/// others wait for it. Without effect on file systems that cannot lock a directory (NFS).
class DirectoryLock {
 public:
  static Result<DirectoryLock> acquire(const std::string& path);

 private:
  FileDescriptor fd_;
};

}  // namespace dray
