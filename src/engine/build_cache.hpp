// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <dray/engine/images.hpp>

namespace dray::engine {

/// After a build that began at `build_started` (seconds since the epoch): removes what is too old or too much.
Result<void> apply_build_cache_limits(Context& context, std::int64_t build_started);

}  // namespace dray::engine
