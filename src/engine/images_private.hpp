// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <dray/engine/images.hpp>

namespace dray::engine {

/// Layers of all containers, which collect_garbage must keep though no image names them any more.
Result<std::vector<DiffId>> layers_in_use(Context& context);

/// "No such image: NAME" in the place of the store's words for it.
Error no_such_image(Error error, const std::string& name);

}  // namespace dray::engine
