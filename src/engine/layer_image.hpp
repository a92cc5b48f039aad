// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <dray/engine/engine.hpp>
#include <dray/store/layer_writer.hpp>

namespace dray::engine {

/// An image of that one layer: unpacks it like any other, its digests verified, and writes manifest and `config`, which
/// gets the layer. The record has no name yet, and is not in the store.
Result<store::LoadedImage> make_layer_image(store::Store& store, const store::PackedLayer& layer,
                                            image::ImageConfig config);

}  // namespace dray::engine
