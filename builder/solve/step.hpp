// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "context/scan.hpp"
#include "solve/solver.hpp"
#include "source/source_layer.hpp"

namespace dray::builder {

/// Runs one vertex: looks into the cache, else makes the layer. Thread-safe.
class StepRunner {
 public:
  StepRunner(const SolveRequest& request, ProgressSink& progress, const CancelToken& cancel)
      : request_(request), progress_(progress), cancel_(cancel) {}

  /// `inputs`: the results of vertex.inputs.
  Result<StepResult> run(const Vertex& vertex, const std::vector<const StepResult*>& inputs);

 private:
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
  Result<StepResult> commit(const Work& work, const std::string& snapshot);
  Result<void> remember(const Work& work, const StepResult& result, const std::vector<std::string>& keys);

  const SolveRequest& request_;
  ProgressSink& progress_;
  const CancelToken& cancel_;
};

}  // namespace dray::builder
