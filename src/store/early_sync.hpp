// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <thread>

#include <dray/core/fd.hpp>

namespace dray::store {

/// Brings many new files to the disk while their maker goes on, so that the sync that counts has little left to do.
/// Thread-safe.
class EarlySync {
 public:
  /// `sync` is for tests.
  explicit EarlySync(int (*sync)(int descriptor) = nullptr);
  EarlySync(const EarlySync&) = delete;
  EarlySync& operator=(const EarlySync&) = delete;
  /// Waits for one that runs: the kernel lets nobody interrupt it.
  ~EarlySync();
  /// Of the file system of `directory`; returns at once, and does nothing while one runs. `failed` is called in another
  /// thread, when check() fails already: the kernel tells an error to nobody who comes after us.
  void start(FdRef directory, std::function<void()> failed);
  /// The error of one that failed, from then on.
  Result<void> check() const;

 private:
  int (*sync_)(int descriptor);
  std::mutex mutex_;
  std::thread thread_;
  std::atomic<bool> runs_{false};
  std::atomic<int> error_{0};
};

}  // namespace dray::store
