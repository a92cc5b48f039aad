// SPDX-License-Identifier: Apache-2.0
#include "early_sync.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <dray/core/thread.hpp>

namespace dray::store {

EarlySync::~EarlySync() {
  if (thread_.joinable()) thread_.join();
}

void EarlySync::start(FdRef directory) {
  const std::lock_guard lock(mutex_);
  if (runs_) return;
  if (thread_.joinable()) thread_.join();
  // A descriptor of its own: an error is told once to each that was open when it happened.
  auto own = open_file_at(directory, ".", O_RDONLY | O_DIRECTORY);
  if (!own) return;
  runs_ = true;
  auto thread = start_thread([this, fd = std::move(*own)] {
    (void)::syncfs(fd.get());
    runs_ = false;
  });
  if (thread)
    thread_ = *std::move(thread);
  else
    runs_ = false;
}

}  // namespace dray::store
