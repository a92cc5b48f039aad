// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <dray/builder/builder.hpp>
#include <dray/builder/cache_mounts.hpp>

#include "mounts/bind.hpp"
#include "mounts/ssh_proxy.hpp"
#include "solve/solver.hpp"

namespace dray::builder {

/// The mounts of one RUN, open: what they hold (locks, an agent's proxy, scratch directories) goes with this object.
class RunMounts {
 public:
  RunMounts(const SolveRequest& request, ProgressSink& progress, int step_id, const CancelToken& cancel)
      : request_(request), progress_(progress), step_id_(step_id), cancel_(cancel) {}

  /// `inputs`: of the vertex, by RunMount::input.
  Result<void> open(const RunOp& op, const std::vector<const StepResult*>& inputs);

  std::vector<StepMount> take() { return std::move(mounts_); }
  /// Secrets, for the process alone.
  const std::vector<std::string>& environment() const { return environment_; }

 private:
  Result<void> add(const RunMount& mount, const std::vector<const StepResult*>& inputs);
  Result<FileDescriptor> bind(const RunMount& mount, const StepResult& input);
  Result<void> open_caches(const RunOp& op, const std::vector<const StepResult*>& inputs);
  Result<CacheMount> open_cache(const CacheMountWish& wish, const StepResult* input);
  Result<FileDescriptor> cache(const RunMount& mount, const StepResult* input);
  Result<void> secret(const RunMount& mount);
  Result<void> ssh(const RunMount& mount);

  const SolveRequest& request_;
  ProgressSink& progress_;
  int step_id_;
  const CancelToken& cancel_;
  std::vector<BindMount> bound_;  ///< what holds that which is written to them
  std::map<std::string, CacheMount> caches_;  ///< by cache_mount_directory()
  std::vector<std::unique_ptr<SshProxy>> agents_;
  std::vector<StepMount> mounts_;
  std::vector<std::string> environment_;
};

}  // namespace dray::builder
