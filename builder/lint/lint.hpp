// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "plan/planner.hpp"

namespace dray::builder {

/// All checks of a Dockerfile and of the stages that `options` ask for. `options.linter` is not used.
LintReport lint(std::string_view dockerfile, const std::string& file, PlanOptions options, const ResolveBase& resolve);

}  // namespace dray::builder
