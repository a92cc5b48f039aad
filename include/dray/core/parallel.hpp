// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>

#include <dray/core/result.hpp>

namespace dray {

struct ParallelHooks {
  std::function<void()> failed;  ///< a job failed, and its error is kept: tells those that still run
  std::function<void()> idle;    ///< a thread has nothing more to do
};

/// Calls `run(thread, job)` for every job below `jobs`, taken in that order by at most `threads` threads, of which the
/// caller's is number 0; fewer do as well where no more can be started. After an error no job is begun; the first one
/// is returned.
Result<void> run_parallel(std::size_t jobs, std::size_t threads,
                          const std::function<Result<void>(std::size_t thread, std::size_t job)>& run,
                          const ParallelHooks& hooks = {});

}  // namespace dray
