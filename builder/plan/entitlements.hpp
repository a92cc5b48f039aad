// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <dray/builder/builder.hpp>

#include "plan/plan.hpp"

namespace dray::builder {

/// Before anything runs. What a Dockerfile asks for beyond a container's usual rights is for the user to grant.
Result<void> check_entitlements(const BuildRequest& request, const Plan& plan);

}  // namespace dray::builder
