// SPDX-License-Identifier: Apache-2.0
#include "early_sync.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <dray/core/thread.hpp>

namespace dray::store {

EarlySync::EarlySync(int (*sync)(int descriptor)) : sync_(sync != nullptr ? sync : &::syncfs) {}

EarlySync::~EarlySync() {
  if (thread_.joinable()) thread_.join();
}

void EarlySync::start(FdRef directory, std::function<void()> failed) {
  const std::lock_guard lock(mutex_);
  if (runs_) return;
  if (thread_.joinable()) thread_.join();
  // A descriptor of its own: an error is told once to each, and whoever has `directory` shall hear of it, too.
  auto own = open_file_at(directory, ".", O_RDONLY | O_DIRECTORY);
  if (!own) return;
  runs_ = true;
  auto thread = start_thread([this, fd = std::move(*own), failed = std::move(failed)] {
    if (sync_(fd.get()) != 0) {
      error_ = errno;
      failed();
    }
    runs_ = false;
  });
  if (thread)
    thread_ = *std::move(thread);
  else
    runs_ = false;
}

Result<void> EarlySync::check() const {
  if (error_ == 0) return {};
  return Failure(Error::from_errno(error_, "writing layers to the disk"));
}

}  // namespace dray::store
