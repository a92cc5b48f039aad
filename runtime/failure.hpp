// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include <dray/runtime/spec.hpp>

#include "child_plan.hpp"

namespace dray::runtime {

class PlanBuilder;

/// Does the index of the report exist? While dray-init runs, processes of the container may get hold of the status pipe
/// (/proc/PID/fd): what comes from it is not to be trusted.
bool is_in_range(const ChildFailure& failure, const PlanBuilder& builder, const Process& process, const Spec* spec);

/// What the child reported, as a sentence. `spec` is null for exec.
Error explain_failure(const ChildFailure& failure, const PlanBuilder& builder, const Process& process,
                      const Spec* spec);

}  // namespace dray::runtime
