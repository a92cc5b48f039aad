// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <dray/engine/engine.hpp>

namespace dray::engine {

/// The image of that name for that platform, where the store has it: under the name itself, as part of the name's index
/// (built here), or pulled under the same digest before another platform took the name. Its layers may be packed yet.
Result<std::optional<store::LoadedImage>> find_platform_image(Context& context, const Reference& reference,
                                                              const image::Platform& platform);
/// The image of a name or ID, where `platform` asks for another of its name that one. not_found says what there is.
Result<store::LoadedImage> image_for(Context& context, const std::string& name,
                                     const std::optional<image::Platform>& platform);
/// Those of its layers that are packed only.
Result<void> unpack_image(Context& context, const store::LoadedImage& image);

}  // namespace dray::engine
