// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <mutex>
#include <thread>

#include <dray/core/fd.hpp>

namespace dray::store {

/// Brings many new files to the disk while their maker goes on, so that the sync that counts has little left to do.
/// Errors are not looked at: that sync, through a descriptor opened before, reports them, too. Thread-safe.
class EarlySync {
 public:
  EarlySync() = default;
  EarlySync(const EarlySync&) = delete;
  EarlySync& operator=(const EarlySync&) = delete;
  /// Waits for one that runs.
  ~EarlySync();
  /// Of the file system of `directory`; returns at once, and does nothing while one runs.
  void start(FdRef directory);

 private:
  std::mutex mutex_;
  std::thread thread_;
  std::atomic<bool> runs_{false};
};

}  // namespace dray::store
