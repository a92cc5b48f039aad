// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <dray/engine/images.hpp>

namespace dray::engine {

/// Layers of all containers, which collect_garbage must keep though no image names them any more.
Result<std::vector<DiffId>> layers_in_use(Context& context);

}  // namespace dray::engine
