// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <optional>
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
  std::string created_at;         ///< the time of the newest file in the layer
  std::vector<std::string> keys;  ///< under which the cache knows it
  bool imported = false;          ///< somebody else's cache says that this is the step's result
  bool is_download = false;       ///< of an HttpOp
};

struct SolveRequest {
  store::Store& store;
  Executor& executor;
  ImageSource& images;                              ///< fetches what sources name
  const std::map<std::string, SourceTree>& locals;  ///< by LocalOp::name
  const std::map<int, CopyContent>& contents;       ///< what each COPY from a LocalOp reads, by vertex
  /// What a RUN's bind mounts show of a LocalOp, by vertex and index of the mount.
  const std::map<std::pair<int, std::size_t>, CopyContent>& mounted;
  Secrets& secrets;
  const BuildRequest& build;  ///< how steps are run
  int first_id = 1;           ///< of the vertices in progress events
  /// Asked for a key that the cache has not (--cache-from); what it gives is here, but no record of the cache and
  /// becomes none. Called from several threads; may be empty.
  std::function<Result<std::optional<store::BuildCacheRecord>>(const std::string& key)> import_record;
  /// The layers of a base image; called from several threads.
  std::function<Result<std::vector<DiffId>>(const SourceOp&)> base_layers;
};

/// Runs what the cache does not have, branches that do not depend on each other side by side. Results by
/// vertex. The first error wins and stops the rest; no active snapshot is left.
Result<std::vector<StepResult>> solve(const Plan& plan, const SolveRequest& request, ProgressSink& progress,
                                      const CancelToken& cancel);

}  // namespace dray::builder
