// SPDX-License-Identifier: Apache-2.0
#include <dray/core/parallel.hpp>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <optional>
#include <vector>

#include <dray/core/thread.hpp>

namespace dray {

Result<void> run_parallel(std::size_t jobs, std::size_t threads,
                          const std::function<Result<void>(std::size_t thread, std::size_t job)>& run,
                          const ParallelHooks& hooks) {
  std::atomic<std::size_t> next{0};
  std::atomic<bool> failed{false};
  std::mutex mutex;
  std::optional<Error> first_error;
  const auto work = [&](std::size_t thread) {
    for (std::size_t job = next++; job < jobs && !failed; job = next++) {
      auto done = run(thread, job);
      if (done) continue;
      const std::lock_guard lock(mutex);
      if (!first_error) first_error = std::move(done).error();
      failed = true;
      if (hooks.failed) hooks.failed();
    }
    if (hooks.idle) hooks.idle();
  };
  std::vector<std::thread> others;
  for (std::size_t i = 1; i < std::min(threads, jobs); ++i) {
    auto thread = start_thread([&work, i] { work(i); });
    if (!thread) break;
    others.push_back(*std::move(thread));
  }
  work(0);
  for (std::thread& thread : others) thread.join();
  if (first_error) return Failure(*std::move(first_error));
  return {};
}

}  // namespace dray
