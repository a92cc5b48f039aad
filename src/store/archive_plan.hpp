// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <dray/store/store.hpp>

#include "archive_stage.hpp"

namespace dray::store {

struct PlannedLayer {
  image::Descriptor blob;
  DiffId diff_id;
  const StagedFile* staged = nullptr;  ///< nullptr: in the content store already
};

struct PlannedName {
  Reference reference;
  std::optional<image::Descriptor> index;  ///< which the archive holds whole
};

struct PlannedImage {
  std::string manifest_bytes, config_bytes;
  Digest manifest;
  std::string media_type;
  Digest config;
  std::vector<PlannedLayer> layers;
  std::vector<PlannedName> names;
  std::vector<const StagedFile*> index_blobs;  ///< of other platforms
  std::vector<std::string> made_indexes;       ///< the names' indexes that the archive does not have
};

/// The images an archive makes: from index.json (OCI layout, which newer `docker save` archives are too) or from
/// manifest.json. All is checked that can be checked without unpacking. `platforms` as load_archive has them.
Result<std::vector<PlannedImage>> plan_images(Store& store, const ArchiveStage& stage,
                                              const std::vector<image::Platform>& platforms, ProgressSink& progress);

}  // namespace dray::store
