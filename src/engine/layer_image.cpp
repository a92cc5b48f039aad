// SPDX-License-Identifier: Apache-2.0
#include "layer_image.hpp"

namespace dray::engine {

Result<store::LoadedImage> make_layer_image(store::Store& store, const store::PackedLayer& layer,
                                            image::ImageConfig config) {
  const auto blob = make_fd_source(TRY(store.content().open_blob(layer.blob.digest)));
  TRY(store.snapshots().unpack(*blob, layer.diff_id));
  store::LoadedImage image;
  image.config = std::move(config);
  image.config.diff_ids = {layer.diff_id};
  const std::string bytes = image::serialize(image.config);
  image.manifest.media_type = image::kOciManifest;
  image.manifest.config.media_type = image::kOciConfig;
  image.manifest.config.size = bytes.size();
  image.manifest.config.digest = TRY(store.content().write_blob(bytes));
  image.manifest.layers = {layer.blob};
  image.record.manifest = TRY(store.content().write_blob(image::serialize(image.manifest)));
  image.record.media_type = image.manifest.media_type;
  image.record.image_id = image.manifest.config.digest;
  image.record.created_at = image.config.created;
  return image;
}

}  // namespace dray::engine
