// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <dray/core/digest.hpp>

#include "plan/plan.hpp"

namespace dray::builder {

/// What a step's result depends on, as one digest: what it does and what it stands on. `content` are the
/// digests of what a COPY reads. Line numbers, titles, times and proxy settings play no part.
std::string cache_key(const Op& op, const std::vector<DiffId>& parent, const std::vector<std::string>& content);

}  // namespace dray::builder
