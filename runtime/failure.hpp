// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include <dray/runtime/spec.hpp>

#include "child_plan.hpp"

namespace dray::runtime {

class PlanBuilder;

/// What the child reported, as a sentence. `spec` is null for exec.
Error explain_failure(const ChildFailure& failure, const PlanBuilder& builder, const Process& process,
                      const Spec* spec);

}  // namespace dray::runtime
