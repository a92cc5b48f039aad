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
  Result<StepResult> step(const Vertex& vertex, const std::vector<const StepResult*>& inputs, int id, bool& cached);
  Result<void> open_copy(const Vertex& vertex, const std::vector<const StepResult*>& inputs, CopyInput& input);
  Result<std::optional<StepResult>> look_up(const std::string& key, const StepResult& parent);
  Result<StepResult> make(const Vertex& vertex, const StepResult& parent, CopyInput& input, int id,
                          const std::vector<std::string>& keys);
  Result<void> change(const Vertex& vertex, const std::string& snapshot, CopyInput& input, int id);
  Result<void> run_process(const RunOp& op, const store::MountRecipe& rootfs, int id);
  Result<StepResult> commit(const Vertex& vertex, const StepResult& parent, const std::string& snapshot,
                            const std::vector<std::string>& keys);

  Result<void> remember(const Vertex& vertex, const StepResult& result, const std::vector<std::string>& keys);

  const SolveRequest& request_;
  ProgressSink& progress_;
  const CancelToken& cancel_;
};

}  // namespace dray::builder
