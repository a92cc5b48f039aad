// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <vector>

#include <dray/builder/builder.hpp>

#include "plan/plan.hpp"
#include "solve/solver.hpp"

namespace dray::builder {

struct ExportRequest {
  const Plan& plan;
  const std::vector<StepResult>& results;  ///< by vertex
  const store::LoadedImage* base;          ///< of the result; nullptr: scratch
  const BuildRequest& build;
  int step_id;  ///< in progress events
};

/// Writes config and manifest and records the image under its tags, or untagged.
Result<BuildResult> export_image(store::Store& store, const ExportRequest& request, ProgressSink& progress);

}  // namespace dray::builder
