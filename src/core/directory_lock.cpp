// SPDX-License-Identifier: Apache-2.0
#include <dray/core/directory_lock.hpp>

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>

namespace dray {

Result<DirectoryLock> DirectoryLock::acquire(const std::string& path) {
  DirectoryLock lock;
  lock.fd_ = TRY(open_file(path, O_RDONLY | O_DIRECTORY));
  int outcome;
  do {
    outcome = ::flock(lock.fd_.get(), LOCK_EX);
  } while (outcome != 0 && errno == EINTR);
  // EBADF: NFS makes it a lock that needs a descriptor for writing, which a directory has not.
  if (outcome != 0 && errno != EBADF && errno != ENOLCK && errno != EOPNOTSUPP)
    return fail_errno("locking \"" + path + "\"");
  return lock;
}

}  // namespace dray
