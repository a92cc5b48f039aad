// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <dray/core/result.hpp>

namespace dray::store {

/// One image in the manifest.json of a `docker save` archive: paths within the archive.
struct SavedImage {
  std::string config;
  std::vector<std::string> repo_tags;
  std::vector<std::string> layers;
};

Result<std::vector<SavedImage>> parse_saved_images(std::string_view bytes);
std::string serialize(const std::vector<SavedImage>& images);

}  // namespace dray::store
