// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "plan/plan.hpp"

namespace dray::builder {

/// The plans of several platforms as one graph: what they have in common is in it once. `results`: the vertex of each
/// plan's result.
struct MergedPlan {
  Plan plan;
  std::vector<int> results;
};
MergedPlan merge_plans(const std::vector<Plan>& plans, const std::vector<image::Platform>& platforms);

/// That processes of each RUN's platform can run on this host: its own machine language, or one that an interpreter is
/// registered for (binfmt_misc, whose folder is a parameter for tests).
Result<void> check_emulation(const Plan& plan, const std::string& binfmt_misc = "/proc/sys/fs/binfmt_misc");

}  // namespace dray::builder
