// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <dray/builder/builder.hpp>

#include "export/export.hpp"
#include "plan/plan.hpp"
#include "solve/solver.hpp"

namespace dray::builder {

/// How two tars differ, no time being later than `epoch`: "\"etc/x\" has another content"; "" where they do not.
Result<std::string> first_difference(ByteSource& first, ByteSource& second, std::optional<std::int64_t> epoch);

std::vector<BuiltStep> steps_of(const Plan& plan, const std::vector<StepResult>& results,
                                const std::vector<BuiltImage>& images);

/// Builds once more, with nothing from the cache and nothing put out. Where a step makes something else than in
/// `first`: an error that names it, and the file.
Result<void> verify_reproducible(
    store::Store& store, const BuildRequest& request, const BuildResult& first, std::optional<std::int64_t> epoch,
    ProgressSink& progress,
    const std::function<Result<BuildResult>(const BuildRequest& request, ProgressSink& progress)>& build);

}  // namespace dray::builder
