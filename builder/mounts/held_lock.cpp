// SPDX-License-Identifier: Apache-2.0
// flock(2) cannot be interrupted by our cancel token, so a wait is a series of attempts.
#include "mounts/held_lock.hpp"

#include <sys/stat.h>

#include <chrono>
#include <thread>

namespace dray::builder {
namespace {

constexpr auto kPoll = std::chrono::milliseconds(20);

/// Its file was not removed between open and lock.
bool is_named(FdRef lock, const std::string& path) {
  struct stat held = {}, named = {};
  return ::fstat(lock.get(), &held) == 0 && ::stat(path.c_str(), &named) == 0 && held.st_ino == named.st_ino &&
         held.st_dev == named.st_dev;
}

}  // namespace

Result<std::optional<FileLock>> try_named_lock(const std::string& path, FileLock::Mode mode) {
  while (true) {
    auto lock = FileLock::try_acquire(path, mode);
    if (!lock && lock.error().code() == ErrorCode::in_use) return std::nullopt;
    if (!lock) return Failure(std::move(lock).error());
    if (is_named(lock->fd(), path)) return std::optional(std::move(*lock));
  }
}

Result<FileLock> wait_for_named_lock(const std::string& path, FileLock::Mode mode, const std::function<void()>& waiting,
                                     const CancelToken& cancel) {
  for (bool told = false;; told = true) {
    auto lock = TRY(try_named_lock(path, mode));
    if (lock) return std::move(*lock);
    TRY(cancel.check());
    if (!told && waiting) waiting();
    std::this_thread::sleep_for(kPoll);
  }
}

}  // namespace dray::builder
