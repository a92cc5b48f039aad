// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <dray/engine/engine.hpp>

namespace dray::engine {

/// The image of that name for that platform, where the store has it: under the name itself, as part of the name's index
/// (built here), or pulled under the same digest before another platform took the name. Its layers are unpacked.
Result<std::optional<store::LoadedImage>> find_platform_image(Context& context, const Reference& reference,
                                                              const image::Platform& platform);

}  // namespace dray::engine
