// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <utility>

#include <dray/store/store.hpp>

#include "context/scan.hpp"
#include "plan/plan.hpp"
#include "progress_step.hpp"

namespace dray::builder {

/// What the plan reads of the user's directories.
struct LocalContent {
  std::map<int, CopyContent> copies;                           ///< by vertex
  std::map<std::pair<int, std::size_t>, CopyContent> mounted;  ///< by vertex and mount
};

/// What each COPY and each bind mount from the context reads. All before the first step runs: a name with a typing
/// error should not cost the minutes of the steps above it. `remember`: files' digests are
/// kept for the next build.
Result<LocalContent> load_local_content(store::Store& store, const Plan& plan, std::map<std::string, SourceTree> trees,
                                        bool remember, StepNumbers& numbers, ProgressSink& progress,
                                        const CancelToken& cancel);

}  // namespace dray::builder
