// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include <dray/store/store.hpp>

#include "export/output_options.hpp"

// Layers in another form than the one they were built in. Results are remembered in the build cache, so that
// exporting again costs nothing.

namespace dray::builder {

/// A layer as an image refers to it.
struct ImageLayer {
  DiffId diff_id;
  image::Descriptor blob;
  std::string created_at;
};

/// The same tar, compressed as wanted; the layer itself where it is so already.
Result<ImageLayer> convert_layer(store::Store& store, const ImageLayer& layer, const CompressionOptions& wanted,
                                 const CancelToken& cancel);

/// No entry younger than `epoch` (seconds): rewrite-timestamp=true.
Result<ImageLayer> clamp_layer_times(store::Store& store, const ImageLayer& layer, std::int64_t epoch,
                                     const CancelToken& cancel);

/// All changes of `own` (on `base`, bottom first) as one layer: what `own` hid or replaced among itself is gone.
Result<ImageLayer> squash_layers(store::Store& store, const std::vector<DiffId>& base,
                                 const std::vector<ImageLayer>& own, const CancelToken& cancel);

/// Unpacks the layer from its blob unless it is.
Result<void> ensure_unpacked(store::Store& store, const ImageLayer& layer);

/// The media type with Docker's or the OCI's name.
std::string layer_media_type(const std::string& type, bool oci);

}  // namespace dray::builder
