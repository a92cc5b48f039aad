// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

#include "plan/plan.hpp"

namespace dray::builder {

/// The graph as BuildKit's LLB in JSON, numbered in its order; null where there is nothing to do. `stub_bases`: base
/// images are empty. `cache_namespace`: cache mounts' ids have one already.
nlohmann::json llb_operations(const Plan& plan, bool stub_bases, bool cache_namespace);

}  // namespace dray::builder
