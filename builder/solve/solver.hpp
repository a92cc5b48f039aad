// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include <dray/builder/builder.hpp>

#include "context/scan.hpp"
#include "mounts/secrets.hpp"
#include "plan/plan.hpp"

namespace dray::builder {

/// What a vertex has become: the layers of its rootfs and, unless it is a SourceOp, the last one packed.
struct StepResult {
  std::vector<DiffId> layers;  ///< bottom first
  std::string local;           ///< of a LocalOp: its name; it has no layers
  image::Descriptor blob;
  std::string created_at;
  bool is_download = false;  ///< of an HttpOp
};

struct SolveRequest {
  store::Store& store;
  Executor& executor;
  ImageSource& images;                              ///< fetches what HttpOps and GitOps name
  const BuildRequest& build;                        ///< how steps are run
  const std::map<std::string, SourceTree>& locals;  ///< by LocalOp::name
  const std::map<int, CopyContent>& contents;       ///< what each COPY from a LocalOp reads, by vertex
  /// Digests of what a RUN's bind mounts show of a LocalOp, by vertex and index of the mount.
  const std::map<std::pair<int, std::size_t>, std::vector<std::string>>& mounted;
  Secrets& secrets;
  int first_id = 1;  ///< of the vertices in progress events
  /// The layers of a base image; called from several threads.
  std::function<Result<std::vector<DiffId>>(const SourceOp&)> base_layers;
};

/// Runs what the cache does not have, branches that do not depend on each other side by side. Results by
/// vertex. The first error wins and stops the rest; no active snapshot is left.
Result<std::vector<StepResult>> solve(const Plan& plan, const SolveRequest& request, ProgressSink& progress,
                                      const CancelToken& cancel);

}  // namespace dray::builder
