// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <mutex>

#include "context/scan.hpp"
#include "solve/solver.hpp"
#include "source/source_layer.hpp"

namespace dray::builder {

class ActiveSnapshot;
class RunMounts;

/// Runs one vertex: looks into the cache, else makes the layer. Thread-safe.
class StepRunner {
 public:
  StepRunner(const SolveRequest& request, ProgressSink& progress, const CancelToken& cancel)
      : request_(request), progress_(progress), cancel_(cancel) {}

  /// `inputs`: the results of vertex.inputs.
  Result<StepResult> run(const Vertex& vertex, const std::vector<const StepResult*>& inputs);

  /// Where a RUN failed or was to be stopped at (BuildRequest::shell_*): a shell in its file system, with its mounts,
  /// environment, user and directory. When no other step runs any more. Nothing, if no such RUN was met.
  Result<void> open_shell(const CancelToken& cancel);

 private:
  struct Stopped;
  struct CopyInput;
  SourceContext source_context(int id);
  struct Work;
  Result<StepResult> step(const Vertex& vertex, const std::vector<const StepResult*>& inputs, int id, bool& cached);
  Result<void> open_copy(Work& work);
  Result<std::optional<StepResult>> find_copy(Work& work);
  Result<std::optional<StepResult>> find_run(Work& work);
  Result<std::vector<std::string>> mounted_content(const Work& work, bool by_content);
  Result<std::optional<StepResult>> look_up(const std::string& key, const Work& work);
  Result<StepResult> make(Work& work);
  Result<void> change(Work& work, const std::string& snapshot);
  Result<void> run_process(Work& work, const store::MountRecipe& rootfs);
  RunRequest run_request(const RunOp& op, const store::MountRecipe& rootfs, RunMounts& mounts) const;
  bool stops_at(const Vertex& vertex) const;
  void keep_for_shell(const Work& work, ActiveSnapshot& snapshot);
  Result<StepResult> commit(const Work& work, const std::string& snapshot);
  bool inputs_are_unchanged(const Work& work) const;
  Result<void> remember(const Work& work, const StepResult& result, const std::vector<std::string>& keys);

  const SolveRequest& request_;
  ProgressSink& progress_;
  const CancelToken& cancel_;
  std::mutex mutex_;
  std::shared_ptr<Stopped> stopped_;  ///< the first RUN that a shell is wanted in
};

}  // namespace dray::builder
